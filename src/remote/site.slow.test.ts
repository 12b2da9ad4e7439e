/** Whole builds on a Linux host over a real sshd, through the scheduler: what comes back, and what is left there. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import * as fs from "node:fs";
import { type Bench, openBench, tiny } from "../build/testing.ts";
import { buildReceipt, type BuildEvent } from "../build/index.ts";
import { problemOf } from "../base/testing.ts";
import { openHosts } from "./hosts.ts";
import { HOST_MIGRATION } from "./records.ts";
import { openTestHost, type TestHost } from "./testing.ts";
import type { Hosts } from "./types.ts";

let there: TestHost;
let bench: Bench;
let hosts: Hosts;

beforeAll(async () => {
  there = await openTestHost({ kind: "linux", name: "far" });
  bench = openBench({ sites: () => [hosts.site("far")] });
  bench.ledger.apply(HOST_MIGRATION);
  const { host, ledger, store, root } = bench;
  fs.writeFileSync(`${there.directory}/config`, "Host *\n  GlobalKnownHostsFile /dev/null\n  UserKnownHostsFile /dev/null\n");
  hosts = openHosts({
    host,
    ledger,
    store,
    directory: `${root}/hosts`,
    runtimeDirectory: `${root}/run`,
    environment: {},
    now: () => Date.now(),
    configFile: `${there.directory}/config`,
  });
  await hosts.add(there.wish);
});
beforeEach(() => {
  bench.forget();
});
afterAll(async () => {
  await hosts.close();
  await bench.remove();
  await there.close();
});

function eventsOf<Kind extends BuildEvent["kind"]>(kind: Kind) {
  return bench.events.filter((event): event is Extract<BuildEvent, { kind: Kind }> => event.kind === kind);
}

/** Scratch and build users that are left on the host. */
function left(): readonly string[] {
  return ["tmp", "users"].flatMap((directory) => fs.readdirSync(there.path(`${there.root}/${directory}`)));
}

describe("a build on a host", () => {
  test("an output, its references, its receipt and its log", async () => {
    const lib = tiny("lib", "echo library > $out/lib");
    const app = tiny("app", 'echo "@garth phase link"; cat $lib/lib; id -u; echo "$lib/lib $out" > $out/uses', { inputs: [lib] });
    const { goals, steps } = await bench.build(app);
    const [goal] = goals.values();
    const out = goal?.outputs["out"];
    if (goal === undefined || out === undefined) throw new Error("unreachable");
    const [libPath] = bench.store.find("lib").filter((path) => path.endsWith("-lib"));
    expect(steps.map(({ how }) => how)).toEqual(["built", "built"]);
    expect(fs.readFileSync(`${bench.store.physical(out)}/uses`, "utf8")).toBe(`${libPath}/lib ${out}\n`);
    expect(bench.store.references(out).toSorted()).toEqual(
      [out, ...bench.store.find("lib").filter((path) => path.endsWith("-lib"))].toSorted(),
    );
    expect(buildReceipt(goal, bench.store)).toMatchObject({
      build_mode: "linux-bubblewrap",
      build_host: "far",
      build_uid: "35001",
      build_gid: "35001",
      out_path: out,
    });
    expect(bench.builder.readLog(goal.drv)).toContain("\n@garth phase link\nlibrary\n35001\n# garth: ended with status 0");
    expect(eventsOf("phase")).toMatchObject([{ phase: "link" }]);
    expect(left()).toEqual([]);
  });

  test("a builder's failure has its status, its last lines, and is not tried again", async () => {
    const problem = await problemOf(bench.build(tiny("fails", "echo the last words >&2; exit 7")));
    expect([problem.code, problem.message]).toEqual(["E_BUILD_FAILED", "building fails: the builder ended with status 7"]);
    expect(problem.details).toEqual(["the last words"]);
    expect(eventsOf("started")).toHaveLength(1);
    expect(left()).toEqual([]);
  });
});
