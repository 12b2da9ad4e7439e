import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { golden } from "../base/testing.ts";
import { assertSound, defaultLimits, lintPlan, planSandbox, programPath, sandboxHostname } from "./plan.ts";
import { outputPath, sampleRequest } from "./testing.ts";
import { isProblem } from "./expect.testing.ts";
import type { SandboxPlan } from "./types.ts";

const inputs = [
  { path: outputPath("b", "hello-2.10.tar.gz"), physical: "/r/frx/store/b", type: "file" as const },
  { path: outputPath("a", "zlib-1.3"), physical: "/r/frx/store/a", type: "directory" as const },
];

describe("planSandbox", () => {
  for (const system of ["x86_64-linux", "x86_64-freebsd"] as const) {
    test(`a plan for ${system}, whole`, () => {
      const plan = planSandbox(
        sampleRequest({
          system,
          root: { kind: "world", path: outputPath("c", "world"), physical: "/r/frx/store/c" },
          inputs,
          outputs: {
            out: { path: outputPath("0", "hello-1.0"), physical: "/r/frx/var/garth/tmp/1/out" },
            doc: { path: outputPath("1", "hello-1.0-doc"), physical: "/r/frx/var/garth/tmp/1/doc" },
          },
          env: { CFLAGS: "-O2" },
        }),
      );
      const text = `${JSON.stringify(plan, null, 2)}\n`;
      expect(text).toBe(golden(`${import.meta.dir}/golden/plan-${system}.txt`, text));
      expect(lintPlan(plan)).toEqual([]);
    });
  }

  test("the order in which inputs are declared does not matter", () => {
    expect(planSandbox(sampleRequest({ inputs }))).toEqual(planSandbox(sampleRequest({ inputs: inputs.toReversed() })));
  });

  test("a recipe's variable replaces a default, never the path of an output", () => {
    const { env } = planSandbox(sampleRequest({ env: { LC_ALL: "C", out: "/elsewhere" } }));
    expect(env["LC_ALL"]).toBe("C");
    expect(env["out"]).toBe(outputPath("0", "hello-1.0"));
  });

  test("PATH names what is in view", () => {
    expect(programPath("x86_64-linux", { kind: "host", paths: ["/usr"] })).toBe(
      "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin",
    );
    expect(programPath("x86_64-freebsd", { kind: "host", paths: ["/bin", "/usr/bin"] })).toBe("/bin:/usr/bin");
  });
});

describe("sandboxHostname", () => {
  test("is a host name that ends in the id, for any name", () => {
    fc.assert(
      fc.property(fc.string({ maxLength: 200 }), fc.stringMatching(/^[0-9a-f]{8}$/), (name, id) => {
        const hostname = sandboxHostname(name, id);
        expect(hostname).toMatch(/^garth-([A-Za-z0-9-]+-)?[0-9a-f]{8}$/);
        expect(hostname.length).toBeLessThanOrEqual(64);
        expect(hostname.endsWith(id)).toBe(true);
      }),
    );
  });
});

const sound = planSandbox(sampleRequest({ inputs }));
const readOnly = (source: string, target: string) => ({ kind: "read-only", source, target, type: "directory" }) as const;
const writable = (source: string, target: string) => ({ kind: "writable", source, target }) as const;

const chosen = { kind: "choose", uid: 35_001, gid: 35_001, count: 1_000, taken: "/r/frx/var/garth/remote/users" } as const;

/** What is wrong -> the sound plan with that fault, and the field that must be named. */
const FAULTS: Readonly<Record<string, { readonly plan: Partial<SandboxPlan>; readonly field: string }>> = {
  "an id that is not hexadecimal": { plan: { id: "xyz" }, field: "id" },
  "a host name with a dot": { plan: { hostname: "a.b" }, field: "hostname" },
  "the machine's root as a build root": {
    plan: { root: { kind: "world", path: outputPath("c", "w"), physical: "/" } },
    field: "root.physical",
  },
  "a host view of everything": { plan: { root: { kind: "host", paths: ["/"] } }, field: "root.paths[0]" },
  "a host view of /proc": { plan: { root: { kind: "host", paths: ["/usr", "/proc/self"] } }, field: "root.paths[1]" },
  "a host view of nothing": { plan: { root: { kind: "host", paths: [] } }, field: "root.paths" },
  "a relative scratch directory": { plan: { scratch: "tmp" }, field: "scratch" },
  "a relative target": { plan: { mounts: [...sound.mounts, readOnly("/a", "b")] }, field: "mounts[5].target" },
  "a target with ..": { plan: { mounts: [...sound.mounts, readOnly("/a", "/b/../c")] }, field: "mounts[5].target" },
  "a source with a newline": { plan: { mounts: [...sound.mounts, readOnly("/a\nb", "/b")] }, field: "mounts[5].source" },
  "one target twice": { plan: { mounts: [...sound.mounts, readOnly("/a", "/build")] }, field: "mounts[3].target" },
  "a target below another": { plan: { mounts: [...sound.mounts, readOnly("/a", "/tmp/x")] }, field: "mounts[5].target" },
  "a target over /proc": { plan: { mounts: [...sound.mounts, readOnly("/a", "/proc/sys")] }, field: "mounts[5].target" },
  "a writable store": { plan: { mounts: [...sound.mounts, writable("/a", "/frx")] }, field: "mounts[5].target" },
  "an input that is writable too": {
    plan: { mounts: [...sound.mounts, writable("/r/frx/store/a/x", "/w")] },
    field: "mounts[5].source",
  },
  "an input that holds the scratch directory": {
    plan: { mounts: [...sound.mounts, readOnly("/r/frx/var", "/v")] },
    field: "mounts[5].source",
  },
  "an input inside the scratch directory": {
    plan: { mounts: [...sound.mounts, readOnly(`${sound.scratch}/x`, "/v")] },
    field: "mounts[5].source",
  },
  "no /build": { plan: { mounts: sound.mounts.filter(({ target }) => target !== "/build") }, field: "mounts" },
  "user 0": { plan: { identity: { kind: "drop", uid: 0, gid: 35_001 } }, field: "identity.uid" },
  "group 0": { plan: { identity: { kind: "drop", uid: 35_001, gid: 0 } }, field: "identity.gid" },
  "a fraction of a user": { plan: { identity: { kind: "drop", uid: 1.5, gid: 1 } }, field: "identity.uid" },
  "a user namespace on FreeBSD": {
    plan: { system: "aarch64-freebsd", identity: { kind: "user-namespace", uid: 1, gid: 1 } },
    field: "identity.kind",
  },
  "a group that is not the user's": { plan: { identity: { ...chosen, gid: 35_002 } }, field: "identity.gid" },
  "user 0 to choose first": { plan: { identity: { ...chosen, uid: 0, gid: 0 } }, field: "identity.uid" },
  "no user to choose": { plan: { identity: { ...chosen, count: 0 } }, field: "identity.count" },
  "more users than there are": { plan: { identity: { ...chosen, count: 2 ** 32 } }, field: "identity.count" },
  "a relative directory of users": { plan: { identity: { ...chosen, taken: "users" } }, field: "identity.taken" },
  "a directory of users with ..": { plan: { identity: { ...chosen, taken: "/r/../users" } }, field: "identity.taken" },
  "the machine's root as directory of users": { plan: { identity: { ...chosen, taken: "/" } }, field: "identity.taken" },
  "users that the builder may write to": {
    plan: { identity: { ...chosen, taken: `${sound.scratch}/build/users` } },
    field: "identity.taken",
  },
  "no program": { plan: { argv: [""] }, field: "argv[0]" },
  "an argument with a NUL": { plan: { argv: ["/bin/sh", "a\0b"] }, field: "argv[1]" },
  "a variable with a NUL": { plan: { env: { A: "\0" } }, field: "env.A" },
  "a variable that no shell can name": { plan: { env: { "A-B": "" } }, field: "env.A-B" },
  "a relative working directory": { plan: { cwd: "build" }, field: "cwd" },
  "a limit of nothing": { plan: { limits: { ...defaultLimits, processes: 0 } }, field: "limits.processes" },
  "a limit without end": { plan: { limits: { ...defaultLimits, memoryBytes: Infinity } }, field: "limits.memoryBytes" },
};

describe("lintPlan", () => {
  test("finds nothing in a sound plan", () => {
    expect(lintPlan(sound)).toEqual([]);
    expect(lintPlan({ ...sound, identity: chosen })).toEqual([]);
  });

  for (const [name, { plan, field }] of Object.entries(FAULTS)) {
    test(`finds ${name}`, () => {
      expect(lintPlan({ ...sound, ...plan }).map((problem) => problem.field)).toContain(field);
    });
  }

  test("a plan with faults is refused before anything is done, with all of them", () => {
    const refuse = (): void => assertSound({ ...sound, cwd: "x", argv: [""] }, "x86_64-linux");
    expect(refuse).toThrow(
      isProblem("E_SANDBOX_PLAN", ["argv[0]: no program is named", 'cwd: "x" is not a normal absolute path']),
    );
  });

  test("a plan for another system is refused", () => {
    expect(() => assertSound(sound, "x86_64-freebsd")).toThrow(isProblem("E_SANDBOX_PLAN", []));
  });
});
