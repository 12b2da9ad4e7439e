/** Builds on hosts, for tests: a Garth with a root of its own whose builders run on hosts that it was told of. */
import * as fs from "node:fs";
import { type Bench, type BenchOptions, openBench } from "../build/testing.ts";
import { openHosts } from "./hosts.ts";
import { HOST_MIGRATION } from "./records.ts";
import type { TestHost } from "./testing.ts";
import type { Hosts } from "./types.ts";

export interface Farm extends AsyncDisposable {
  readonly bench: Bench;
  readonly hosts: Hosts;
  /** Leaves the root, for another process. */
  close(): Promise<void>;
}

export interface FarmOptions extends Pick<BenchOptions, "root" | "onEvent" | "answerWaitsMs"> {
  /** A host that is silent this long is gone. */
  readonly silenceMs?: number;
  /** Builds on this machine, too. */
  readonly local?: boolean;
}

/** Hosts that are known in the root, in the order of their names. */
export function openFarm({ local = false, silenceMs, ...options }: FarmOptions = {}): Farm {
  const bench = openBench({
    ...options,
    sites: (here) => [...(local ? [here] : []), ...hosts.list().map(({ name }) => hosts.site(name))],
  });
  const { host, ledger, store, root } = bench;
  ledger.apply(HOST_MIGRATION);
  const configFile = `${root}/ssh_config`;
  fs.writeFileSync(configFile, "Host *\n  GlobalKnownHostsFile /dev/null\n  UserKnownHostsFile /dev/null\n");
  const hosts = openHosts({
    host,
    ledger,
    store,
    directory: `${root}/hosts`,
    runtimeDirectory: `${root}/run`,
    environment: {},
    now: () => Date.now(),
    configFile,
    ...(silenceMs === undefined ? {} : { silenceMs }),
  });
  const close = async (): Promise<void> => {
    await hosts.close();
    await bench.close();
  };
  return {
    bench,
    hosts,
    close,
    [Symbol.asyncDispose]: async () => {
      await hosts.close();
      await bench.remove();
    },
  };
}

/** What builds have left on a host: scratch, numbers of build users that are taken, processes of build users. */
export function leftOn(there: TestHost): readonly string[] {
  const files = ["tmp", "users"].flatMap((directory) => {
    const path = there.path(`${there.root}/${directory}`);
    return fs.existsSync(path) ? fs.readdirSync(path).map((name) => `${directory}/${name}`) : [];
  });
  return [
    ...files,
    ...there
      .look("ps -eo uid=,args=")
      .split("\n")
      .filter((line) => /^ *35\d{3} /.test(line)),
  ];
}

/** Asks until it is so, for as long as a host takes to undo a build. */
export async function untilClean(there: TestHost): Promise<readonly string[]> {
  const deadlineMs = performance.now() + 30_000;
  for (;;) {
    const left = leftOn(there);
    if (left.length === 0 || performance.now() > deadlineMs) return left;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
