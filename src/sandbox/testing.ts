/** Plans and places for tests: of this room, and of rooms that need a real sandbox. */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { StorePath } from "../base/index.ts";
import { defaultLimits, planSandbox, type SandboxRequest } from "./plan.ts";
import type { Limits, SandboxIdentity, SandboxPlan } from "./types.ts";

/** The directories of a Debian host in which its programs and libraries lie. */
export const HOST_VIEW = ["/usr", "/bin", "/lib", "/lib64", "/sbin", "/etc/alternatives"] as const;

export const outputPath = (digit: string, name: string): StorePath => `/frx/store/${digit.repeat(64)}-${name}`;

/** A request with every field filled in; nothing in it exists. */
export function sampleRequest(changes: Partial<SandboxRequest> = {}): SandboxRequest {
  return {
    hash: "1a2b3c4d".repeat(8),
    name: "hello",
    system: "x86_64-linux",
    root: { kind: "host", paths: HOST_VIEW },
    inputs: [],
    outputs: { out: { path: outputPath("0", "hello-1.0"), physical: "/r/frx/var/garth/tmp/1/out" } },
    scratch: "/r/frx/var/garth/tmp/1/sandbox",
    identity: { kind: "drop", uid: 35_001, gid: 35_001 },
    network: false,
    argv: ["/bin/sh", "-c", "make install"],
    env: {},
    limits: defaultLimits,
    ...changes,
  };
}

/** Sandboxes are tried for real where this is true: as root, on Linux. */
export const CAN_SANDBOX = process.platform === "linux" && process.getuid?.() === 0;

/** Command lines of the processes of one user, those aside that are dead and wait for their parent to notice. */
export function livingProcesses(uid: number): string[] {
  return readdirSync("/proc").flatMap((pid) => {
    try {
      if (!/^[0-9]+$/.test(pid) || statSync(`/proc/${pid}`).uid !== uid) return [];
      const state = readFileSync(`/proc/${pid}/stat`, "latin1").replace(/^.*\) /s, "")[0];
      return state === "Z" || state === "X" ? [] : [readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ").trim()];
    } catch {
      // It ended while we looked.
      return [];
    }
  });
}

type Changes = Partial<Omit<SandboxRequest, "limits">> & { readonly limits?: Partial<Limits> };

/** A plan that runs a line of shell with the host view; scratch directory and output lie in the given directory. */
export function planIn(
  directory: string,
  identity: SandboxIdentity,
  script: string,
  { limits, ...changes }: Changes = {},
): SandboxPlan {
  return planSandbox(
    sampleRequest({
      scratch: join(directory, "sandbox"),
      outputs: { out: { path: outputPath("0", "hello-1.0"), physical: join(directory, "out") } },
      identity,
      argv: ["/bin/sh", "-c", script],
      limits: { ...defaultLimits, ...limits },
      ...changes,
    }),
  );
}

export interface Place {
  readonly directory: string;
  /** A plan of its own, in a fresh directory below the place. */
  plan(script: string, changes?: Changes): SandboxPlan;
  remove(): void;
}

/** A directory of its own, closed to everybody but its owner. */
export function makePlace(
  identity: SandboxIdentity = { kind: "drop", uid: 35_001, gid: 35_001 },
  parent: string = tmpdir(),
): Place {
  const directory = mkdtempSync(join(parent, "garth-sandbox-test-"));
  let count = 0;
  return {
    directory,
    plan: (script, changes) => {
      count += 1;
      const own = join(directory, String(count));
      mkdirSync(own);
      return planIn(own, identity, script, changes);
    },
    remove: () => rmSync(directory, { recursive: true, force: true }),
  };
}
