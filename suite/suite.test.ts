/** The suite itself: what it makes of cases that fail, hang, throw at nobody and leave things behind. */
import { describe, expect, test } from "bun:test";
import type { Case, Suite } from "./case.ts";
import { parseOptions } from "./options.ts";
import { chosenCases, type Outcome, printable, runCases, totals } from "./runner.ts";
import { compareSnapshots, type Snapshot } from "./snapshot.ts";
import { allCases } from "./cases.ts";

const host = {
  system: "linux",
  uname: "Linux 6 x86_64",
  release: "6",
  name: "x86_64-linux",
  tools: new Map([["sh", "/bin/sh"]]),
  uid: 0,
  racct: false,
  standIn: undefined,
};
const said = { script: "", status: 3, stdout: "what it said\n", stderr: "its last words\n", seconds: 0.1 };
const hand = { sh: (script: string) => Promise.resolve({ ...said, script, status: script.includes("rm -rf") ? 0 : 3 }) };
// Of the suite these cases use no more.
const suite = { host, hand, root: "/r" } as unknown as Suite;

const run = (cases: readonly Case[], only?: RegExp): Promise<readonly Outcome[]> =>
  runCases(cases, suite, { print: () => undefined, ...(only === undefined ? {} : { only }) });
const one = async (body: Case["run"], more: Partial<Case> = {}): Promise<Outcome> => {
  const [outcome] = await run([{ name: "the one", run: body, ...more }]);
  if (outcome === undefined) throw new Error("no outcome");
  return outcome;
};
const textOf = (outcome: Outcome): string => (outcome.state === "failed" ? outcome.text : outcome.state);

describe("a case", () => {
  test("passes when all holds, and fails with all that does not", async () => {
    expect(await one(async (trial) => void trial.equal("it", [1], [1]))).toMatchObject({ state: "passed" });
    const failed = await one(async (trial) => {
      trial.equal("the first", 1, 2);
      trial.matches("the second", "a", /b/);
      trial.must("the third", false, "found");
      trial.equal("never reached", 1, 2);
    });
    expect(textOf(failed)).toBe(
      [
        "FAILED the one",
        "  the first",
        "    expected: 2",
        "    found:    1",
        "  the second",
        "    expected: what matches /b/",
        '    found:    "a"',
        "  the third",
        "    expected: that it holds",
        '    found:    "found"',
      ].join("\n"),
    );
  });

  test("a failure has the script, its output, its last words and what was recorded", async () => {
    const text = textOf(
      await one(async (trial) => {
        await trial.sh("do this; do that");
        trial.record("events", "one\ntwo\0");
        trial.equal("its status", 3, 0);
      }),
    );
    for (const part of ["do this; do that", "what it said", "its last words", "status 3", "one\n", "two\\x00"])
      expect(text).toContain(part);
  });

  test("has its time, and what it registered is undone whatever happens, last first", async () => {
    const undone: string[] = [];
    const hung = await one(
      async (trial) => {
        trial.undo("a", () => Promise.resolve(undone.push("a")));
        trial.undo("b", () => Promise.resolve(undone.push("b")));
        trial.undo("c", () => Promise.reject(new Error("stuck")));
        await new Promise(() => undefined);
      },
      { limitMs: 20 },
    );
    expect(undone).toEqual(["b", "a"]);
    expect(textOf(hung)).toContain("not at its end after 0.02 s");
    expect(textOf(hung)).toContain("undoing c");
  });

  test("what it throws is its failure, and the next one runs", async () => {
    const outcomes = await run([
      {
        name: "throws",
        run: () => Promise.reject(Object.assign(new Error("no"), { code: "E_NO", details: ["because"], hint: "do" })),
      },
      { name: "next", run: () => Promise.resolve() },
    ]);
    expect(outcomes.map(({ state }) => state)).toEqual(["failed", "passed"]);
    expect(outcomes[0] === undefined ? "" : textOf(outcomes[0])).toMatch(/E_NO: no\s+because\s+hint: do/);
    expect(totals(outcomes)).toBe("1 passed, 1 failed, 0 skipped");
  });

  test("is skipped by name where the host lacks something, or what it needs did not pass", async () => {
    const outcomes = await run([
      { name: "other system", only: "freebsd", run: () => Promise.resolve() },
      { name: "tool", tools: ["sh", "cc"], run: () => Promise.resolve() },
      { name: "says so", run: async (trial) => trial.skip("no luck") },
      { name: "fails", run: async (trial) => void trial.ok("it", false) },
      { name: "after a failure", needs: ["fails"], run: () => Promise.resolve() },
      { name: "after a skip", needs: ["tool"], run: () => Promise.resolve() },
    ]);
    expect(outcomes.map((outcome) => (outcome.state === "skipped" ? outcome.reason : outcome.state))).toEqual([
      "for FreeBSD",
      "no cc on the host",
      "no luck",
      "failed",
      "needs what failed: fails",
      "needs what was skipped: tool",
    ]);
  });
});

test("a pattern chooses cases with those that they need; an unknown need and a name twice are faults", () => {
  const cases = ["a", "b", "c"].map((name, index): Case => ({
    name,
    needs: index === 2 ? ["a"] : [],
    run: () => Promise.resolve(),
  }));
  expect(chosenCases(cases, /c/).map(({ name }) => name)).toEqual(["a", "c"]);
  expect(() => chosenCases([{ name: "x", needs: ["y"], run: () => Promise.resolve() }], undefined)).toThrow("no case");
  expect(() => chosenCases([...cases, ...cases], undefined)).toThrow("one name");
});

test("the cases are sound: names once, needs before what needs them", () => {
  const seen = new Set<string>();
  for (const { name, needs = [] } of chosenCases(allCases, undefined)) {
    expect(name).toMatch(/^\S.*: \S|^[a-z_, ]+\S/);
    for (const need of needs) expect(seen).toContain(need);
    seen.add(name);
  }
  expect(seen.size).toBeGreaterThan(230);
});

test("the command line", () => {
  expect(parseOptions(["--host", "ssh://h:2222", "--only", "Jail", "--keep", "--json=f"])).toMatchObject({
    url: "ssh://root@h:2222",
    only: /Jail/i,
    keep: true,
    json: "f",
  });
  expect(parseOptions(["--host=ssh://u@[::1]:22/"])).toMatchObject({ url: "ssh://u@[::1]:22", keep: false });
  for (const words of [
    [],
    ["--host"],
    ["--host", "http://h"],
    ["--host", "ssh://h", "--more"],
    ["--host", "ssh://h", "--only", "("],
    ["--host", "ssh://h;x y"],
  ]) {
    expect(typeof parseOptions(words)).toBe("string");
  }
});

describe("before and after", () => {
  const plain: Snapshot = {
    mounts: ["/dev/ada0p2 / ufs rw 1 1"],
    jails: [],
    processes: ["0 1 /sbin/init", "0 77 /usr/sbin/cron -s"],
    files: ["100 Directory 777 0:0 512 /tmp", "100 Regular File 644 0:0 5 /etc/rc.conf"],
    modules: ["kernel"],
    users: ["1 2 /etc/passwd"],
    "memory disks": [],
    limits: [],
  };
  const after = (changes: Partial<Snapshot>, system: "freebsd" | "linux" = "freebsd") =>
    compareSnapshots(plain, { ...plain, ...changes }, { system, ours: /garth-suite-1/ });

  test("the same is the same; what a running system does by itself is told and allowed", () => {
    expect(after({})).toEqual({ left: [], allowed: [] });
    const { left, allowed } = after({
      processes: ["0 1 /sbin/init", "0 99 /usr/sbin/cron -s", "0 100 cron: running job (cron)"],
      files: [
        "200 Directory 777 0:0 512 /tmp",
        "100 Regular File 644 0:0 5 /etc/rc.conf",
        "9 Regular File 644 0:0 1 /var/run/utx.active",
      ],
      modules: ["kernel", "nullfs.ko"],
    });
    expect(left).toEqual([]);
    expect(allowed).toHaveLength(4);
  });

  test.each([
    [{ mounts: [...plain.mounts, "/bin /var/tmp/x nullfs ro 0 0"] }, "mounts new"],
    [{ mounts: [] }, "mounts gone"],
    [{ jails: ["1 garth-1 /x"] }, "jails new"],
    [{ processes: [...plain.processes, "35001 200 sleep 100"] }, "processes new"],
    [{ processes: ["0 1 /sbin/init", "0 77 /usr/sbin/cron -s", "0 78 sh run.sh serve"] }, "processes new"],
    [{ files: [...plain.files, "1 Regular File 644 0:0 1 /var/tmp/left"] }, "files new"],
    [{ files: ["100 Directory 777 0:0 512 /tmp", "101 Regular File 644 0:0 6 /etc/rc.conf"] }, "files changed"],
    [{ modules: ["kernel", "vmm.ko"] }, "modules new"],
    [{ users: ["9 9 /etc/passwd"] }, "users new"],
    [{ "memory disks": ["md0"] }, "memory disks new"],
  ] as const)("%j is found", (changes, expected) => {
    expect(after(changes).left.map(({ part, change }) => `${part} ${change}`)).toContain(expected);
  });

  test("on a desk of somebody's only what is ours counts", () => {
    const files = [...plain.files, "1 regular file 644 0:0 1 /tmp/somebody's", "1 directory 755 0:0 1 /var/tmp/garth-suite-1"];
    expect(after({ files, mounts: [...plain.mounts, "/mnt"] }, "linux").left.map(({ what }) => what)).toEqual([
      "1 directory 755 0:0 1 /var/tmp/garth-suite-1",
    ]);
    expect(after({ processes: [...plain.processes, "35002 9 sleep 9", "1000 10 vi"] }, "linux").left).toHaveLength(1);
  });
});

test("what cannot be printed is printed as its number", () => {
  expect(printable("a\0b\tc\nd\u001b[1m")).toBe("a\\x00b\tc\nd\\x1b[1m");
});
