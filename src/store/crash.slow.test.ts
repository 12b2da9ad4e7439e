import { describe, expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import * as fs from "node:fs";
import { programForAnybody } from "../host/testing.ts";
import { disposableDirectory, openTestStore } from "./testing.ts";

const CHILD = `${import.meta.dir}/crash.child.ts`;
const STEPS = ["sync-file-system", "begin", "move", "sync-directory", "insert", "refer", "realise", "commit"] as const;

function child(root: string, ...rest: readonly string[]) {
  return spawnSync(process.execPath, [CHILD, root, ...rest], { encoding: "utf8" });
}

function killed(root: string, ...rest: readonly string[]): void {
  const { signal, stderr } = child(root, ...rest);
  expect([signal, stderr]).toEqual(["SIGKILL", ""]);
}

/** Everything that may be known about a store from outside: items are whole, and there is nothing else. */
async function expectWhole(root: string): Promise<readonly string[]> {
  using test = openTestStore({ root });
  test.store.recover();
  const scratch = fs.readdirSync(`${root}/frx/var/garth/tmp/store`);
  expect(scratch).toEqual([]);
  const items = test.store.all().map(({ path }) => path.slice(76));
  const registered = new Set(test.store.all().map(({ path }) => path.slice(11)));
  expect(fs.readdirSync(`${root}/frx/store`)).toEqual(expect.arrayContaining([...registered]));
  const { damage } = await test.store.verify({ repair: false, contents: true });
  expect(damage.filter(({ kind }) => kind !== "unregistered")).toEqual([]);
  expect(test.ledger.statement("SELECT * FROM pin").all()).toEqual([]);
  return items.toSorted();
}

const ALL = ["x", "x-lib", "x.drv"];

describe("kill -9", () => {
  // The first step of each name belongs to the derivation's own registration; the outputs' steps are met in the next test.
  for (const step of STEPS) {
    for (const when of ["before", "after"] as const) {
      test(`${when} ${step}: registered whole or not at all, nothing left, and the same work then succeeds`, async () => {
        using directory = disposableDirectory();
        const { root } = directory;
        killed(root, "register", step, when);
        const first = await expectWhole(root);
        expect([[], ["x.drv"], ALL]).toContainEqual([...first]);
        const again = child(root, "register");
        expect([again.status, again.stderr]).toEqual([0, ""]);
        expect(await expectWhole(root)).toEqual(ALL);
        using test = openTestStore({ root });
        expect((await test.store.verify({ repair: false, contents: true })).damage).toEqual([]);
      });
    }
  }

  test("with the derivation there already, each step of the outputs' own registration", async () => {
    using directory = disposableDirectory();
    const { root } = directory;
    {
      using test = openTestStore({ root });
      test.store.addText("x.drv", "x", []);
    }
    for (const [step, when] of STEPS.flatMap((step) => [[step, "before"] as const, [step, "after"] as const])) {
      killed(root, "register", step, when);
      expect(await expectWhole(root)).toEqual(step === "commit" && when === "after" ? ALL : ["x.drv"]);
    }
    using test = openTestStore({ root });
    expect((await test.store.verify({ repair: false, contents: true })).damage).toEqual([]);
    expect(test.store.realisation(test.store.find("x.drv")[0] ?? "/frx/store/none")).toBeDefined();
  });

  test("an orphan of a dead process is set aside by the next registration and removed by gc", async () => {
    using directory = disposableDirectory();
    const { root } = directory;
    killed(root, "register", "sync-directory", "after");
    using test = openTestStore({ root });
    expect((await test.store.gc({ dryRun: true })).orphans.length).toBe(1);
    expect((await test.store.gc({})).orphans.length).toBe(1);
    expect(fs.readdirSync(`${root}/frx/store`)).toEqual([]);
  });
});

describe("sharing", () => {
  test("processes that add the same and different things at once, beside one that collects garbage", async () => {
    using directory = disposableDirectory();
    const { root } = directory;
    const names = ["one", "two", "three"];
    const children = names.map((name) =>
      Bun.spawn([process.execPath, CHILD, root, "add", name, "15"], { stdout: "pipe", stderr: "pipe" }),
    );
    const adding = new Set(children);
    const done = Promise.all(children.map((child) => child.exited.finally(() => adding.delete(child))));
    {
      using collector = openTestStore({ root });
      while (adding.size > 0) {
        await collector.store.gc({});
        await new Promise((resolve) => setImmediate(resolve));
      }
    }
    expect(await done).toEqual([0, 0, 0]);
    const errors = await Promise.all(children.map(({ stderr }) => new Response(stderr).text()));
    expect(errors).toEqual(["", "", ""]);
    const told = await Promise.all(children.map(({ stdout }) => new Response(stdout).text()));
    expect(new Set(told.join("").trim().split("\n")).size).toBe(4 * 15);
    await expectWhole(root);
  }, 60_000);

  test("without root: registered, rewritten, verified and collected by a user who owns the store", async () => {
    using directory = disposableDirectory();
    using programs = disposableDirectory();
    const { root } = directory;
    fs.chmodSync(programs.root, 0o755);
    fs.chownSync(root, 35001, 35001);
    const asUser = async (script: string, ...rest: readonly string[]) => {
      const program = await programForAnybody(`${import.meta.dir}/${script}`, programs.root);
      const drop = ["--reuid", "35001", "--regid", "35001", "--clear-groups"];
      return spawnSync("setpriv", [...drop, ...program, root, ...rest], { cwd: root, encoding: "utf8" });
    };
    for (const [script, ...rest] of [
      ["crash.child.ts", "register"],
      ["crash.child.ts", "add", "mine", "2"],
      ["user.child.ts"],
    ] as const) {
      const { status, stderr } = await asUser(script, ...rest);
      expect([script, status, stderr]).toEqual([script, 0, ""]);
    }
    expect(fs.readdirSync(`${root}/frx/store`)).toEqual([".links"]);
  });

  test("a disk that fills half-way: said in words, nothing registered, nothing left, and the store goes on", () => {
    const script = `
      mount -t tmpfs -o size=24m tmpfs "$1" && exec "$2" "$3" "$1"`;
    const mount = fs.mkdtempSync("/tmp/garth-full-");
    try {
      const argv = ["--mount", "--propagation", "private", "sh", "-c", script, "sh", mount, process.execPath];
      const { status, stdout, stderr } = spawnSync("unshare", [...argv, `${import.meta.dir}/full.child.ts`], {
        encoding: "utf8",
      });
      expect([status, stderr]).toEqual([0, ""]);
      expect(JSON.parse(stdout)).toEqual({
        add: "E_NO_SPACE",
        tree: "E_NO_SPACE",
        text: "E_NO_SPACE",
        items: ["small"],
        scratch: [],
        damage: [],
        after: "fits",
      });
    } finally {
      fs.rmdirSync(mount);
    }
  });
});
