/** Garth itself, with a root of its own here, as a library and as the program. What it says to the host is written down for the case. */
import { mkdirSync, mkdtempSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { localHost, type ScriptEvent } from "../src/host/index.ts";
import { type Garth, openGarth } from "../src/app/index.ts";
import {
  type Connection,
  type HostRecord,
  type Hosts,
  type HostStore,
  openConnection,
  type ScriptEnd,
  type ScriptOptions,
} from "../src/remote/index.ts";
import type { Site } from "../src/sandbox/index.ts";
import type { Store } from "../src/store/index.ts";
import type { Suite, Trial } from "./case.ts";
import { readKnownHosts, runHere, type Said } from "./hand.ts";
import { tellError } from "./trial.ts";

/** The name of the host in all that Garth is told. */
export const HOST_NAME = "suite";

export interface Ours {
  /** `./garth --root DIR ...`, with its words told when the case fails. `env` is added to the caller's. */
  garth(trial: Trial, words: readonly string[], options?: GarthOptions): Promise<Omit<Said, "script">>;
  /** Words of that command line. */
  readonly program: readonly string[];
  readonly garthRoot: string;
  close(): Promise<void>;
}

export interface GarthOptions {
  readonly limitMs?: number;
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
}

/** A build may be that of a tool on an emulated host. */
const GARTH_LIMIT_MS = 20 * 60_000;

/** The same keys under the name by which ours looks them up. */
export function knownHostsAs(suite: Suite, name: string, file: string): string {
  const lines = readKnownHosts(suite.knownHosts)
    .split("\n")
    .filter((line) => line !== "" && !line.startsWith("#"))
    .map((line) => `${name} ${line.split(" ").slice(1).join(" ")}\n`);
  const path = join(suite.here, "files", file);
  writeFileSync(path, lines.join(""));
  return path;
}

export interface ConnectionWish {
  readonly url?: string;
  readonly knownHostsFile?: string;
  readonly name?: string;
}

/** A connection of ours for one case: closed with it, each script and its events told when it fails. */
export function connectionFor(trial: Trial, suite: Suite, wish: ConnectionWish = {}): Connection {
  const name = wish.name ?? HOST_NAME;
  const connection = openConnection({
    host: localHost(),
    name,
    url: wish.url ?? suite.url,
    identityFile: suite.identityFile,
    knownHostsFile: wish.knownHostsFile ?? knownHostsAs(suite, name, "known_hosts"),
    runtimeDirectory: join(suite.here, "run"),
    environment: process.env,
  });
  trial.undo("the connection of ours", () => connection.close());
  return traced(connection, trial);
}

/** The same connection, whose scripts are written down with all that they said. */
export function traced(connection: Connection, trial: Trial): Connection {
  const written = (body: string, doing: string, options: ScriptOptions): { options: ScriptOptions; end(text: string): void } => {
    const events: string[] = [];
    let outputBytes = 0;
    let last = "";
    const began = performance.now();
    const at = (): string => `${((performance.now() - began) / 1000).toFixed(1)} s`;
    const write = (end: string): void =>
      trial.record(
        `a script of ours, ${doing}: ${end} (${at()})`,
        `${body}\n--- its events\n${events.join("\n")}\n--- its output, ${outputBytes} bytes, the last of them\n${last}`,
      );
    return {
      options: {
        ...options,
        onEvent: (event: ScriptEvent) => {
          events.push(`${at()} ${event.name} ${event.rest}`);
          options.onEvent?.(event);
        },
        onOutput: (chunk: Uint8Array) => {
          outputBytes += chunk.byteLength;
          last = (last + Buffer.from(chunk).toString("latin1")).slice(-2_000);
          return options.onOutput?.(chunk);
        },
      },
      end: write,
    };
  };
  const told = (end: ScriptEnd): string => `status ${end.status}; its last words: ${end.words.join(" | ") || "none"}`;
  return {
    ...connection,
    start: (script, options = {}) => {
      const trace = written(script.body, script.doing, options);
      const running = connection.start(script, trace.options);
      running.ended.then(
        (end) => trace.end(told(end)),
        (error: unknown) => trace.end(tellError(error)),
      );
      return running;
    },
    run: async (script, options = {}) => {
      const trace = written(script.body, script.doing, options);
      try {
        const end = await connection.run(script, trace.options);
        trace.end(told(end));
        return end;
      } catch (error) {
        trace.end(tellError(error));
        throw error;
      }
    },
  };
}

/** A Garth of this process for one case: all that it says to the host is told when the case fails, and it is closed with the case. */
export interface Wired {
  readonly garth: Garth;
  readonly hosts: Hosts;
  readonly record: HostRecord;
  readonly store: Store;
  readonly connection: Connection;
  readonly hostStore: HostStore;
  readonly site: Site;
  /** A directory here for this case. */
  readonly directory: string;
}

export function openHere(suite: Suite, trial: Trial): Garth {
  const garth = openGarth({ root: join(suite.here, "garth"), env: process.env, workingDirectory: suite.here, home: suite.home });
  trial.undo("Garth here", () => garth.close());
  return garth;
}

/** `name`: of a host that a case before has added. */
export async function wiredFor(trial: Trial, suite: Suite, name = HOST_NAME): Promise<Wired> {
  const garth = openHere(suite, trial);
  const hosts = await garth.hosts();
  const connection = hosts.connection(name);
  // The one object that store and site speak through, too.
  Object.assign(connection, traced({ ...connection }, trial));
  const directory = mkdtempSync(join(suite.here, "files", "case-"));
  return {
    garth,
    hosts,
    record: hosts.get(name),
    store: garth.store,
    connection,
    hostStore: hosts.store(name),
    site: hosts.site(name),
    directory,
  };
}

export async function openOurs(suite: Suite): Promise<Ours> {
  const garthRoot = join(suite.here, "garth");
  mkdirSync(garthRoot, { recursive: true });
  const program = [join(suite.home, "garth"), "--root", garthRoot];
  return {
    program,
    garthRoot,
    garth: async (trial, words, { limitMs = GARTH_LIMIT_MS, cwd, env } = {}) => {
      const [first = "", ...rest] = program;
      const said = await runHere([first, ...rest, ...words], {
        limitMs,
        signal: trial.signal,
        ...(cwd === undefined ? {} : { cwd }),
        ...(env === undefined ? {} : { env }),
      });
      trial.record(
        `garth ${words.join(" ")} (status ${said.status ?? "none"}, ${said.seconds.toFixed(1)} s)`,
        `--- its output\n${said.stdout}\n--- its errors\n${said.stderr}`,
      );
      return said;
    },
    close: () => Promise.resolve(),
  };
}
