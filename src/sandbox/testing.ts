/** Plans and places for tests: of this room, and of rooms that need a real sandbox. */
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
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

export interface Place {
  readonly directory: string;
  /** A plan that runs a line of shell with the host view, in a fresh scratch directory below the place. */
  plan(script: string, changes?: Partial<Omit<SandboxRequest, "limits">> & { readonly limits?: Partial<Limits> }): SandboxPlan;
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
    plan: (script, { limits, ...changes } = {}) => {
      count += 1;
      const own = join(directory, String(count));
      mkdirSync(own);
      return planSandbox(
        sampleRequest({
          scratch: join(own, "sandbox"),
          outputs: { out: { path: outputPath("0", "hello-1.0"), physical: join(own, "out") } },
          identity,
          argv: ["/bin/sh", "-c", script],
          limits: { ...defaultLimits, ...limits },
          ...changes,
        }),
      );
    },
    remove: () => rmSync(directory, { recursive: true, force: true }),
  };
}
