import { afterAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { golden } from "../base/testing.ts";
import { type BubblewrapFacts, bubblewrapOptions, bubblewrapScript } from "./bubblewrap-script.ts";
import { planCgroup } from "./cgroup.ts";
import { planSandbox } from "./plan.ts";
import { outputPath, sampleRequest } from "./testing.ts";

const directory = mkdtempSync(join(tmpdir(), "garth-script-test-"));
afterAll(() => rmSync(directory, { recursive: true }));

const inputs = [
  { path: outputPath("a", "zlib-1.3"), physical: "/r/frx/store/a zlib", type: "directory" as const },
  { path: outputPath("b", "hello.tar.gz"), physical: "/r/frx/store/b", type: "file" as const },
];

const world = planSandbox(
  sampleRequest({
    inputs,
    root: { kind: "world", path: outputPath("c", "world"), physical: "/r/frx/store/c" },
    env: { CFLAGS: "-O2 -g" },
  }),
);
const worldFacts: BubblewrapFacts = {
  root: [
    { kind: "symlink", target: "/bin", to: "usr/bin" },
    { kind: "mount", type: "directory", source: "/r/frx/store/c/etc", target: "/etc" },
    { kind: "mount", type: "directory", source: "/r/frx/store/c/usr", target: "/usr" },
  ],
  etc: [
    { name: "passwd", over: true },
    { name: "group", over: true },
  ],
  cgroup: planCgroup(
    { kind: "v1", memory: "/sys/fs/cgroup/memory", pids: "/sys/fs/cgroup/pids" },
    "garth-1-2-35001-abcdefabcdef",
    world.limits,
  ),
  clearGroups: true,
  processCeiling: undefined,
};

const rootless = planSandbox(sampleRequest({ identity: { kind: "user-namespace", uid: 35_001, gid: 35_001 }, network: true }));
const rootlessFacts: BubblewrapFacts = {
  root: [{ kind: "mount", type: "directory", source: "/usr", target: "/usr" }],
  etc: [{ name: "passwd", over: false }],
  cgroup: undefined,
  clearGroups: false,
  processCeiling: 5_000,
};

const CASES = [
  ["bwrap-world.sh", world, worldFacts],
  ["bwrap-rootless.sh", rootless, rootlessFacts],
] as const;

describe("the script", () => {
  for (const [name, plan, facts] of CASES) {
    test(`${name}, whole`, () => {
      const script = bubblewrapScript(plan, facts);
      expect(script).toBe(golden(join(import.meta.dir, "golden", name), script));
    });

    test(`${name} is sound by shellcheck's lights`, () => {
      const checked = Bun.spawnSync(["shellcheck", "-s", "sh", "-"], { stdin: Buffer.from(bubblewrapScript(plan, facts)) });
      expect(checked.stdout.toString()).toBe("");
      expect(checked.exitCode).toBe(0);
    });
  }

  test("network only where it was asked for", () => {
    expect(bubblewrapOptions(world, worldFacts)).toContainEqual(["--unshare-net"]);
    expect(bubblewrapOptions(rootless, rootlessFacts)).not.toContainEqual(["--unshare-net"]);
  });

  test("the root is shut last", () => {
    const options = bubblewrapOptions(world, worldFacts).map((option) => option.join(" "));
    const shut = options.indexOf("--remount-ro /");
    const mounting = options.findLastIndex((option) => /^--(ro-)?(bind|symlink|dir|file|tmpfs|proc|dev)/.test(option));
    expect(shut).toBeGreaterThan(mounting);
  });

  test("any words and variables reach bwrap as they are", () => {
    // A bwrap that says what it was given.
    writeFileSync(join(directory, "bwrap"), "#!/bin/sh\nprintf '%s\\0' \"$@\"\n", { mode: 0o755 });
    const word = fc.string({ unit: "grapheme", maxLength: 40 }).filter((text) => !text.includes("\0"));
    const odd = fc.constantFrom("'", '"', "$(id)", "`id`", "\\", "a\nb", "-n", "", "*", "~", "#", "a'b\"c", "$1", "EOF\nEOF");
    const words = fc.array(fc.oneof(word, odd), { maxLength: 5 });
    fc.assert(
      fc.property(words, fc.oneof(word, odd), (rest, value) => {
        const plan = { ...rootless, argv: ["/bin/sh", ...rest] as const, env: { VALUE: value } };
        const facts = { ...rootlessFacts, processCeiling: undefined };
        const run = Bun.spawnSync(["sh", "-c", bubblewrapScript(plan, facts), "bwrap.sh", "run"], {
          env: { PATH: `${directory}:/usr/bin:/bin` },
        });
        const given = run.stdout.toString().split("\0").slice(0, -1);
        const expected = [...bubblewrapOptions(plan, facts).flat(), "--new-session", "--json-status-fd", "3", "--", ...plan.argv];
        expect(given).toEqual(expected);
      }),
      { numRuns: 60 },
    );
  });
});
