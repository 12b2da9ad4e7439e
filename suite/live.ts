/**
 * What cases about systems of the host's own world leave for each other in this run: the world, the project with its systems, closures and
 * images in the store, a disk that a machine has been booting from.
 */
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Garth } from "../src/app/index.ts";
import type { StorePath } from "../src/base/index.ts";
import type { ShippedSystem } from "../src/ship/index.ts";
import type { Suite, Trial } from "./case.ts";

/** The world of the host, by what the command that took it in has said. */
export interface LiveWorld {
  readonly path: StorePath;
  readonly name: string;
  readonly label: string;
  readonly entries: number;
  readonly sizeBytes: number;
  readonly kernel: string;
  readonly changed: readonly string[];
  readonly left: readonly string[];
}

const worldFile = (suite: Suite): string => join(suite.here, "files", "live-world.json");

export function keepLiveWorld(suite: Suite, world: LiveWorld): void {
  writeFileSync(worldFile(suite), JSON.stringify(world));
}

/** @throws Stopped where no case has taken it in */
export function liveWorld(trial: Trial, suite: Suite): LiveWorld {
  const file = worldFile(suite);
  trial.must("the world of the host was taken in", existsSync(file));
  const world: LiveWorld = JSON.parse(readFileSync(file, "utf8"));
  return world;
}

/** Seconds that an emulated machine may take to be ready: it was ready in 38 on a sound host. */
export const TRIAL_SECONDS = 600;
/** Of the one that is never ready. */
export const SHORT_TRIAL_SECONDS = 240;

export type SystemName = "one" | "two" | "stuck" | "panicking" | "lost" | "own" | "target";

const PROJECT = (world: LiveWorld, publicKey: string): string => `
import { gate, slices, system, world } from "garth";

export const live = world({ name: ${JSON.stringify(world.name)}, label: ${JSON.stringify(world.label)}, item: ${JSON.stringify(world.path)} });
export const { kernel, boot, runtime, development } = slices(live, "freebsd");
const sshd = { name: "sshd", listens: 22 };
const common = {
  name: "live", family: "freebsd", kernel, bootloader: boot, base: [runtime], services: [sshd],
  users: [{ name: "root", authorizedKeys: [${JSON.stringify(publicKey)}] }],
  disk: { rootFree: "600M", esp: "64M" },
} as const;
const greeting = (text: string) => ({ greeting: text + "\\n" });
const once = (name: string, ...command: string[]) => ({ name, oneShot: true, command });

export const one = system({ ...common, etc: greeting("one") });
export const two = system({ ...common, etc: greeting("two"), services: [sshd, { name: "idle", command: ["/bin/sleep", "1000000"] }] });
// Its sshd is there; it is never ready.
export const stuck = system({ ...common, etc: greeting("stuck"), services: [sshd, once("wait", "/bin/sleep", "1000000")] });
export const panicking = system({ ...common, etc: greeting("panicking"), services: [sshd, once("crash", "/sbin/sysctl", "debug.kdb.panic=1")] });
// Process 1 ends at once.
export const lost = system({ ...common, etc: greeting("lost"), services: [], readiness: [], init: { exec: "/usr/bin/false" } });
// Process 1 is this script, which does what rc(8) would have done as far as this system needs it.
const OWN = \`#!/bin/sh
PATH=/sbin:/bin:/usr/sbin:/usr/bin
export PATH
hostname own
ifconfig lo0 127.0.0.1 up
mkdir -p /var/run/dhclient
dhclient vtnet0
ssh-keygen -A
/usr/sbin/sshd
/run/current-system/generations confirm
echo "garth: run_current_system_target=$(readlink /run/current-system)" >/dev/console
echo "garth: pid1_command=$(ps -o comm= -p 1)" >/dev/console
echo "garth: ready $(readlink /run/current-system)" >/dev/console
while :; do sleep 1000; done
\`;
export const own = system({ ...common, services: [], readiness: [], etc: { "own-init": { text: OWN, mode: 0o755 } }, init: { exec: "/etc/own-init" } });
// For the medium: a disk of its own name.
export const target = system({ ...common, etc: greeting("target") });

export const sound = gate({ system: one, timeoutS: 1200 });
`;

/** The project of this run; made where it is not there. */
export function liveProject(trial: Trial, suite: Suite): string {
  const directory = join(suite.here, "live");
  if (existsSync(join(directory, "garth.ts"))) return directory;
  mkdirSync(directory, { recursive: true });
  const key = join(directory, "key");
  if (!existsSync(key)) execFileSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-C", "suite", "-f", key]);
  writeFileSync(join(directory, "garth.ts"), PROJECT(liveWorld(trial, suite), readFileSync(`${key}.pub`, "utf8").trim()));
  return directory;
}

export const liveKey = (suite: Suite): string => join(suite.here, "live", "key");

/** The line of one of its systems as far as it is asked for; what is there already is not made again. */
export async function shipLive(
  trial: Trial,
  suite: Suite,
  garth: Garth,
  name: SystemName,
  until: "system" | "image" | "gate",
): Promise<ShippedSystem> {
  const file = join(liveProject(trial, suite), "garth.ts");
  const stages: string[] = [];
  const report = await garth
    .ship(() => undefined)
    .run({
      file,
      only: name,
      until,
      jobs: 2,
      keepGoing: false,
      keepFailed: false,
      keyFile: join(suite.here, "live", "key.pem"),
      signal: trial.signal,
      onStage: ({ stage, how, summary, durationMs }) =>
        stages.push(`${stage}: ${how}, ${(durationMs / 1000).toFixed(1)} s: ${summary}`),
    });
  trial.record(`the line of ${name} until ${until}`, stages.join("\n"));
  const system = report.systems.find((each) => each.name === name);
  return trial.must(`the line made ${name}`, system, report.systems);
}
