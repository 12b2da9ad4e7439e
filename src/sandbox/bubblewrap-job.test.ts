/** The script for a Linux host, as text. */
import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { golden } from "../base/testing.ts";
import { bubblewrapJob } from "./bubblewrap-job.ts";
import { JOB_SCRIPT_NAME } from "./job-script.ts";
import { planSandbox } from "./plan.ts";
import type { RootEntry } from "./root.ts";
import { HOST_VIEW, outputPath, sampleRequest } from "./testing.ts";
import type { SandboxIdentity, SandboxPlan } from "./types.ts";

const choose: SandboxIdentity = { kind: "choose", uid: 35_001, gid: 35_001, count: 1_000, taken: "/frx/var/garth/remote/users" };

const inputs = [
  { path: outputPath("a", "zlib-1.3"), physical: "/r/frx/store/a zlib", type: "directory" as const },
  { path: outputPath("b", "hello.tar.gz"), physical: "/r/frx/store/b", type: "file" as const },
];

const presumed = HOST_VIEW.map((path): RootEntry => ({ kind: "mount", type: "directory", source: path, target: path }));

const worldRoot: readonly RootEntry[] = [
  { kind: "symlink", target: "/bin", to: "usr/bin" },
  { kind: "mount", type: "directory", source: "/here/c/etc", target: "/etc" },
  { kind: "mount", type: "directory", source: "/here/c/usr", target: "/usr" },
];

const CASES: readonly (readonly [string, SandboxPlan, readonly RootEntry[]])[] = [
  ["job-linux-host.sh", planSandbox(sampleRequest({ inputs, identity: choose, env: { CFLAGS: "-O2 -g" } })), presumed],
  [
    "job-linux-world.sh",
    planSandbox(
      sampleRequest({
        inputs: [...inputs, { path: outputPath("c", "tool"), physical: "/r/frx/store/c", type: "directory" }],
        root: { kind: "world", path: outputPath("d", "world"), physical: "/r/frx/store/d" },
        outputs: { out: { path: outputPath("0", "hello-1.0"), physical: "/r/tmp/1/out put" } },
      }),
    ),
    worldRoot,
  ],
  [
    "job-linux-rootless.sh",
    planSandbox(sampleRequest({ identity: { kind: "user-namespace", uid: 35_001, gid: 35_001 }, network: true })),
    presumed,
  ],
];

const hostile = planSandbox(
  sampleRequest({
    identity: { ...choose, taken: '/r/it\'s "here" $(id)/users' },
    argv: ["/bin/sh", "-c", "EOF\nEOF\n'$(id)'`id`\\"],
    env: { HOME: "/x\nEOF\n$(id)", ODD: "a\nb'\"$(id)`id`\\ !" },
    scratch: '/r/it\'s "here" $(id)/tmp/1',
    outputs: { out: { path: outputPath("0", "hello-1.0"), physical: '/r/it\'s "here" $(id)/out' } },
    inputs: [{ path: outputPath("a", "zlib"), physical: "/r/it's `id`", type: "directory" }],
  }),
);

const textOf = (plan: SandboxPlan, root: readonly RootEntry[]): string => bubblewrapJob(plan, root).files[JOB_SCRIPT_NAME] ?? "";

describe("the script of a build on a Linux host", () => {
  for (const [name, plan, root] of CASES) {
    test(`${name}, whole`, () => {
      const text = textOf(plan, root);
      expect(text).toBe(golden(join(import.meta.dir, "golden", name), text));
    });
  }

  for (const [name, plan, root] of [...CASES, ["hostile words", hostile, presumed] as const]) {
    test(`${name} is sound by shellcheck's lights, and every sh reads it`, () => {
      const text = textOf(plan, root);
      // It wonders at words that look as if they should be expanded.
      const severity = plan === hostile ? "warning" : "style";
      const checked = Bun.spawnSync(["shellcheck", "-s", "sh", "-S", severity, "-"], { stdin: Buffer.from(text) });
      expect(checked.stdout.toString()).toBe("");
      expect(checked.exitCode).toBe(0);
      for (const sh of [["dash"], ["busybox", "sh"]]) {
        const read = Bun.spawnSync([...sh, "-n"], { stdin: Buffer.from(text) });
        expect([read.exitCode, read.stderr.toString()]).toEqual([0, ""]);
      }
    });
  }

  test("network only where the plan has it", () => {
    const [host, , rootless] = CASES.map(([, plan, root]) => textOf(plan, root));
    expect(host).toContain("--unshare-net");
    expect(rootless).not.toContain("--unshare-net");
  });

  test("a person enters it with one line", () => {
    expect(bubblewrapJob(hostile, presumed).enter).toBe(`sh '/r/it'\\''s "here" $(id)/tmp/1/run.sh' enter`);
  });
});
