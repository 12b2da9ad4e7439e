/**
 * A machine for tests without one: a root of its own in which scripts run through a real shell (bubblewrap), with this host's tools, and a
 * program `generations` that says what a test wants and writes down what it was asked.
 */
import * as fs from "node:fs";
import type { StorePath } from "../base/index.ts";
import { localHost } from "../host/index.ts";
import { localConnection, type LocalConnection, type Shell } from "../remote/testing.ts";
import { openTestStore, type TestStore } from "../store/testing.ts";
import { type Machine, openMachine } from "./index.ts";
import type { MachineStatus } from "./types.ts";

/** Of the machine: what its program says, and what it was asked. */
export const STATE = "/var/lib/stand-in";
export const PROGRAM = `#!/bin/sh
echo "$*" >>${STATE}/calls
case $1 in
  status) cat ${STATE}/status ;;
  *)
    cat >${STATE}/input
    cat ${STATE}/said >&2
    exit "$(cat ${STATE}/exit)"
    ;;
esac
`;

export interface StandIn extends Disposable {
  readonly here: TestStore;
  readonly connection: LocalConnection;
  readonly machine: Machine;
  /** Where a file of the machine is seen from here. */
  path(there: string): string;
  /** A system that is in the store here, with an item beside it that it refers to. */
  system(name: string, change?: SystemChange): Promise<StorePath>;
  /** What the machine says of itself; lines as the program prints them. */
  says(status: readonly string[]): void;
  /** How the program ends when it is told something, and its words. */
  answers(status: number, words: readonly string[]): void;
  /** What it was asked, but for its status; what the last one had for its input. */
  calls(): readonly string[];
  input(): string;
  /** Names in its store. */
  stored(): readonly string[];
}

/** A status with nothing odd in it. */
export function sampleStatus(change: Partial<MachineStatus> = {}): MachineStatus {
  return {
    family: "linux",
    architecture: "x86_64",
    bootId: "first",
    hasMtree: false,
    running: 1,
    runningSystem: undefined,
    current: 1,
    rollback: undefined,
    next: undefined,
    onTrial: false,
    bootFreeBytes: 64 * 1024 ** 2,
    rootFreeBytes: 1024 ** 3,
    generations: [],
    ...change,
  };
}

export interface SystemChange {
  readonly family?: string;
  readonly kernel?: Uint8Array | string;
  readonly files?: Readonly<Record<string, string>>;
}

/** A system in the store, with an item beside it that it refers to. */
export async function makeSystem(here: TestStore, name: string, change: SystemChange = {}): Promise<StorePath> {
  const { family = "linux", kernel = "kernel", files = {} } = change;
  const part = here.store.addText(`part-of-${name}`, name, []).path;
  const physical = here.built({
    generations: PROGRAM,
    "boot/initrd": "initrd",
    "metadata/system.json": JSON.stringify({ schema: "garth-system-1", spec: { family }, part }),
    ...files,
  });
  fs.chmodSync(`${physical}/generations`, 0o755);
  fs.writeFileSync(`${physical}/boot/kernel`, kernel);
  const drv = here.store.addText(`${name}.drv`, name, []).path;
  const out = { physical, name: `system-${name}`, referenceCandidates: [part] };
  const made = (await here.store.register({ outputs: { out }, drv }))["out"];
  if (made === undefined) throw new Error("nothing was registered");
  return made.path;
}

export async function standIn(shell: Shell = "dash"): Promise<StandIn> {
  const here = openTestStore();
  const root = here.directory();
  const path = (there: string): string => `${root}${there}`;
  for (const each of ["/frx/store", "/run/current-system", STATE, "/tmp"]) fs.mkdirSync(path(each), { recursive: true });
  fs.writeFileSync(path("/run/current-system/generations"), PROGRAM, { mode: 0o755 });
  const says = (lines: readonly string[]): void =>
    fs.writeFileSync(path(`${STATE}/status`), lines.map((line) => `${line}\n`).join(""));
  const answers = (status: number, words: readonly string[]): void => {
    fs.writeFileSync(path(`${STATE}/said`), words.map((line) => `garth: ${line}\n`).join(""));
    fs.writeFileSync(path(`${STATE}/exit`), `${status}\n`);
  };
  fs.writeFileSync(path(`${STATE}/calls`), "");
  says([]);
  answers(0, []);
  const links = ["bin", "lib", "lib64", "sbin"].flatMap((name) => ["--symlink", `usr/${name}`, `/${name}`]);
  const binds = ["frx", "run", "tmp", "var"].flatMap((name) => ["--bind", path(`/${name}`), `/${name}`]);
  const system = [
    "--ro-bind",
    "/usr",
    "/usr",
    "--ro-bind",
    "/etc",
    "/etc",
    "--proc",
    "/proc",
    "--dev",
    "/dev",
    "--die-with-parent",
  ];
  const connection = localConnection(shell, ["bwrap", "--tmpfs", "/", ...links, ...binds, ...system]);
  const known = { name: "web1", url: "ssh://root@web1", root: "/frx/var/garth/remote", jobs: 1, identityFile: undefined };
  const facts = { system: "x86_64-linux", release: "1", osVersion: undefined, processors: 1, memoryBytes: 1 } as const;
  const machine = await openMachine(
    {
      host: localHost(),
      store: here.store,
      hosts: () =>
        Promise.resolve({ get: () => ({ ...known, facts, addedAtMs: 0, checkedAtMs: 0 }), connection: () => connection }),
      visit: { runtimeDirectory: here.root, environment: {} },
      now: () => 0,
      compare: (left, right) => Promise.resolve([`${left} and ${right}`]),
    },
    { machine: "web1" },
  );
  return {
    here,
    connection,
    machine,
    path,
    system: (name, change) => makeSystem(here, name, change),
    says,
    answers,
    calls: () =>
      fs
        .readFileSync(path(`${STATE}/calls`), "utf8")
        .split("\n")
        .filter((line) => line !== "" && line !== "status"),
    input: () => fs.readFileSync(path(`${STATE}/input`), "utf8"),
    stored: () => fs.readdirSync(path("/frx/store")).toSorted(),
    [Symbol.dispose]: () => here[Symbol.dispose](),
  };
}
