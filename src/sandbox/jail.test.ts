/** The jail's files: as text, and by their own rules. */
import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { golden } from "../base/testing.ts";
import { localHost } from "../host/index.ts";
import { abandonedScratch, jailSandbox } from "./jail.ts";
import { jailConfString, jailName, renderJail } from "./jail-files.ts";
import { readJobReport } from "./job.ts";
import { defaultLimits, lintPlan, planSandbox } from "./plan.ts";
import type { RootEntry } from "./root.ts";
import { outputPath, sampleRequest } from "./testing.ts";
import { isProblem } from "./expect.testing.ts";

const inputs = [
  { path: outputPath("a", "zlib-1.3"), physical: `/frx/store/${"a".repeat(64)}-zlib-1.3`, type: "directory" as const },
  { path: outputPath("b", "hello.tar.gz"), physical: `/frx/store/${"b".repeat(64)}-hello.tar.gz`, type: "file" as const },
];
const limits = {
  ...defaultLimits,
  wallClockMs: 90_500,
  memoryBytes: 2 ** 30,
  processes: 200,
  openFiles: 1024,
  outputBytes: 2 ** 30,
};

const hostView = planSandbox(
  sampleRequest({
    system: "x86_64-freebsd",
    root: { kind: "host", paths: ["/bin", "/lib", "/usr"] },
    inputs,
    limits,
    env: { CC: "cc -O2" },
  }),
);
const hostRoot: readonly RootEntry[] = ["/bin", "/lib", "/usr"].map((path) => ({
  kind: "mount",
  type: "directory",
  source: path,
  target: path,
}));

const world = planSandbox(
  sampleRequest({
    system: "aarch64-freebsd",
    root: { kind: "world", path: outputPath("c", "world"), physical: "/tank/my store/c" },
    scratch: "/tank/my store/tmp/1",
    outputs: { out: { path: outputPath("0", "hello-1.0"), physical: "/tank/my store/out#1" } },
    limits,
    network: true,
  }),
);
const worldRoot: readonly RootEntry[] = [
  { kind: "mount", type: "file", source: "/tank/my store/c/COPYRIGHT", target: "/COPYRIGHT" },
  { kind: "mount", type: "directory", source: "/tank/my store/c/bin", target: "/bin" },
  { kind: "symlink", target: "/sys", to: "usr/src/sys" },
  { kind: "mount", type: "directory", source: "/tank/my store/c/usr", target: "/usr" },
];

/** All that a person can write into a plan, and may. */
const HOSTILE = `it's "$HOME" \`id\` \\ #1`;
const hostile = planSandbox(
  sampleRequest({
    system: "x86_64-freebsd",
    name: HOSTILE,
    root: { kind: "host", paths: ["/bin", "/lib", "/libexec", `/opt/${HOSTILE}`] },
    inputs: [{ path: outputPath("a", "in"), physical: `/s/${HOSTILE}/in`, type: "directory" }],
    outputs: { out: { path: outputPath("0", "hello-1.0"), physical: `/t/${HOSTILE}/out` } },
    scratch: `/t/${HOSTILE}/1`,
    identity: { kind: "choose", uid: 35_001, gid: 35_001, count: 1_000, taken: `/t/${HOSTILE}/users` },
    argv: ["/bin/sh", "-c", `printf '%s\n' "$@"`, HOSTILE, "a\nb", "", "-n", "*"],
    env: { WORDS: HOSTILE, LINES: "a\nb\n" },
    cwd: `/build/${HOSTILE}`,
    limits,
  }),
);
const hostileRoot: readonly RootEntry[] = ["/bin", "/lib", "/libexec", `/opt/${HOSTILE}`].map((path) => ({
  kind: "mount",
  type: "directory",
  source: path,
  target: path,
}));

const CASES = [
  ["host", hostView, hostRoot],
  ["world", world, worldRoot],
  ["hostile", hostile, hostileRoot],
] as const;

describe("the files of a jail", () => {
  for (const [name, plan, root] of CASES) {
    const { files } = renderJail(plan, root);

    test(`${name}: the plan is sound`, () => expect(lintPlan(plan)).toEqual([]));

    for (const [file, text] of Object.entries(files)) {
      test(`${name}: ${file}, whole`, () => expect(text).toBe(golden(join(import.meta.dir, `golden/jail-${name}`, file), text)));
    }

    test(`${name}: run.sh is sound by shellcheck's lights, and by those of shells`, () => {
      const script = Buffer.from(files["run.sh"] ?? "");
      const checked = Bun.spawnSync(["shellcheck", "-s", "sh", "-"], { stdin: script });
      expect(checked.stdout.toString()).toBe("");
      expect(checked.exitCode).toBe(0);
      for (const shell of [["dash"], ["busybox", "sh"]]) {
        expect(Bun.spawnSync([...shell, "-n"], { stdin: script }).stderr.toString()).toBe("");
      }
    });

    test(`${name}: jail.conf is one block of well-formed settings`, () => {
      const lines = (files["jail.conf"] ?? "").trimEnd().split("\n");
      expect(lines[0]).toBe(`"${jailName(plan)}" {`);
      expect(lines.at(-1)).toBe("}");
      const settings = lines.slice(1, -1).filter((line) => !line.startsWith("  # "));
      for (const line of settings) expect(line).toMatch(/^ {2}[a-z0-9_.]+( = ([a-z0-9]+|"([^"\\$]|\\["\\$])*"))?;$/);
      const addresses = plan.network === "none" ? "disable" : "inherit";
      for (const needed of [
        "persist",
        "enforce_statfs = 2",
        "children.max = 0",
        "devfs_ruleset = 4",
        "stop.timeout = 0",
        `ip4 = ${addresses}`,
        `ip6 = ${addresses}`,
      ])
        expect(settings).toContain(`  ${needed};`);
    });
  }

  test("a string of jail.conf ends where it should and names no variable", () => {
    expect(jailConfString('a"b\\c$d')).toBe('"a\\"b\\\\c\\$d"');
  });

  test("two scratch directories have two jails", () => {
    expect(jailName({ id: "1a2b3c4d", scratch: "/a" })).not.toBe(jailName({ id: "1a2b3c4d", scratch: "/b" }));
  });
});

describe("reading what is there", () => {
  test("the report of events", () => {
    const event = (text: string) => {
      const [name = "", ...fields] = text.split(" ");
      return { name, fields, rest: fields.join(" ") };
    };
    expect(
      readJobReport(
        ["user 35001 35002", "absent 4", "absent 7", "created", "limits each", "limit wallClockMs 90500", "exited 143"].map(
          event,
        ),
      ),
    ).toEqual({
      created: true,
      user: { uid: 35_001, gid: 35_002 },
      status: 143,
      limit: { name: "wallClockMs", value: 90_500 },
      stuck: false,
      missing: [],
      refused: [],
      absent: [4, 7],
      taken: undefined,
      limits: "each",
    });
    expect(readJobReport(["missing 3", "refused 0", "taken garth-1", "stuck"].map(event))).toMatchObject({
      created: false,
      status: undefined,
      stuck: true,
      missing: [3],
      refused: [0],
      taken: "garth-1",
      limits: undefined,
    });
  });

  test("what may be scratch directories of jails, from mount -p and jls", () => {
    const found = abandonedScratch(
      "/bin\t\t\t/a/1/jail-root/bin\tnullfs\tro\n/x\t/b/jail-rooted\tnullfs\n/c/2/jail-root\n/a/1/jail-root\n/usr\t\t/my store/3/jail-root/usr nullfs\tro\n/usr /my\\040store/4/jail-root/usr nullfs\tro\n",
    );
    expect(found).toEqual(["/a/1", "/c/2", "/my store/3", "/usr /my store/4", "/my store/4"]);
  });

  test("a plan for FreeBSD is refused where it cannot be carried out", () => {
    const sandbox = jailSandbox(localHost());
    expect(sandbox.run(hostView, { onOutput: () => undefined })).rejects.toThrow(isProblem("E_SANDBOX_PLAN", []));
  });
});
