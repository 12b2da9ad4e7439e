/** The store of a host over a real sshd, on either system: what local shells cannot show. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { execFileSync } from "node:child_process";
import * as fs from "node:fs";
import { baseName } from "../base/index.ts";
import { problemOf } from "../base/testing.ts";
import { localHost } from "../host/index.ts";
import { narSha256Of, oddTree, openTestStore, type TestStore } from "../store/testing.ts";
import { collectInner } from "./collect-script.ts";
import { openConnection } from "./connection.ts";
import { openHostStore } from "./store.ts";
import { chainOf, localConnection, recordOf, type Shell, soundStore } from "./store.testing.ts";
import { openTestHost, type TestHost } from "./testing.ts";
import { hostileTree } from "./trees.testing.ts";
import type { Connection, HostFacts, HostStore } from "./types.ts";

const host = localHost();

describe.each(["linux", "freebsd"] as const)("a %s host", (kind) => {
  let here: TestStore;
  let machine: TestHost;
  let connection: Connection;
  let facts: HostFacts;
  let there: HostStore;

  beforeEach(async () => {
    here = openTestStore();
    machine = await openTestHost({ kind });
    const known = `${machine.directory}/known`;
    const { name, url } = machine.wish;
    fs.writeFileSync(known, `${name} ${machine.knownHostsLine.split(" ").slice(1).join(" ")}\n`);
    connection = openConnection({
      host,
      name,
      url,
      identityFile: machine.identityFile,
      knownHostsFile: known,
      runtimeDirectory: `${machine.directory}/run`,
      environment: {},
      configFile: "/dev/null",
    });
    const record = recordOf(machine.root, name);
    facts = { ...record.facts, system: kind === "freebsd" ? "x86_64-freebsd" : host.system };
    there = openHostStore({ host, store: here.store, connection, record: { ...record, facts } });
  });
  afterEach(async () => {
    await connection.close();
    await machine.close();
    here[Symbol.dispose]();
  });

  test("takes everything odd that a tree can hold, gives it back, and lets it go", async () => {
    const source = `${here.root}/source`;
    oddTree(source);
    hostileTree(`${source}/hostile`);
    const item = await here.store.add(source, "odd");
    const flat = here.store.addText("refers", item.path, [item.path]);
    expect((await there.send([flat.path])).sent).toEqual([item.path, flat.path]);
    expect(await there.present([item.path, flat.path])).toEqual(new Set([item.path, flat.path]));
    const to = `${here.root}/back`;
    await there.fetch([{ from: there.physical(item.path), to }]);
    expect(item.narSha256).toBe(narSha256Of(to));
    expect(fs.readdirSync(machine.path(`${machine.root}/incoming`))).toEqual([]);
    expect(fs.readFileSync(machine.path(`${machine.root}/used/${baseName(flat.path)}`), "utf8")).toBe(`${baseName(item.path)}\n`);
    const { removed, freedBytes } = await there.collect({ olderThanMs: 0 });
    expect(removed).toBe(2);
    expect(freedBytes).toBeGreaterThan(8_000_000);
    for (const directory of ["store", "used", "incoming"])
      expect(fs.readdirSync(machine.path(`${machine.root}/${directory}`))).toEqual([]);
  });

  test("a connection that is lost in the middle leaves what was whole, and the next takes the rest", async () => {
    const paths = chainOf(here.store, 300);
    const root = machine.path(machine.root);
    let dropAt = 0;
    const start = connection.start;
    const dropping: Connection = {
      ...connection,
      start: (script, options = {}) => {
        const { input } = options;
        return start(script, input === undefined ? options : { ...options, input: dropped(input) });
      },
    };
    async function* dropped(input: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
      for await (const chunk of input) {
        yield chunk.subarray(0, dropAt);
        dropAt -= chunk.byteLength;
        if (dropAt > 0) continue;
        machine.dropConnections();
        return;
      }
    }
    const record = recordOf(machine.root, machine.wish.name);
    const broken = openHostStore({ host, store: here.store, connection: dropping, record: { ...record, facts } });
    for (dropAt of [1, 100_000, 300_000]) {
      expect((await problemOf(broken.send(paths))).code).toBe("E_HOST_LOST");
      await settled(root);
      soundStore(here.store, root);
    }
    const kept = fs.readdirSync(`${root}/store`).length;
    expect(kept).toBeGreaterThan(0);
    expect((await there.send(paths)).sent).toHaveLength(300 - kept);
    expect(soundStore(here.store, root)).toHaveLength(300);
  }, 60_000);

  /** Scripts of lost connections end by themselves. */
  async function settled(root: string): Promise<void> {
    const left = (): boolean => fs.existsSync(`${root}/incoming`) && fs.readdirSync(`${root}/incoming`).length > 0;
    while (left()) await new Promise((resolve) => setTimeout(resolve, 20));
  }
});

describe("through a shell of this machine", () => {
  let here: TestStore;
  let root: string;
  beforeEach(() => {
    here = openTestStore();
    root = `${here.root}/there`;
    fs.mkdirSync(root);
  });
  // Tens of thousands of files go slowly on some disks.
  afterEach(() => here[Symbol.dispose](), 120_000);

  function open(shell: Shell = "dash") {
    const connection = localConnection(shell);
    return { connection, there: openHostStore({ host, store: here.store, connection, record: recordOf(root) }) };
  }

  test.each(["dash", "busybox"] as const)(
    "%s: a connection that is lost anywhere leaves what was whole of it",
    async (shell) => {
      const { connection, there } = open(shell);
      const paths = chainOf(here.store, 300);
      const all = await there.send(paths);
      fs.rmSync(root, { recursive: true });
      let before = 0;
      for (const share of [0, 0.2, 0.21, 0.55, 0.9]) {
        // Of what is left.
        connection.losesAfterBytes = Math.floor(all.sentBytes * share * (1 - before / 300));
        expect((await problemOf(there.send(paths))).code).toBe("E_HOST_LOST");
        const kept = soundStore(here.store, root).length;
        expect(kept).toBeGreaterThanOrEqual(before);
        before = kept;
      }
      expect(before).toBeGreaterThan(0);
      connection.losesAfterBytes = undefined;
      expect((await there.send(paths)).sent).toHaveLength(300 - before);
      expect(soundStore(here.store, root)).toHaveLength(300);
    },
    60_000,
  );

  /** A small disk below the host's directory. */
  function mounted(options: string): Disposable {
    execFileSync("mount", ["-t", "tmpfs", "-o", options, "garth-test", root]);
    return { [Symbol.dispose]: () => execFileSync("umount", [root]) };
  }

  test("a disk that is too small is told before anything is sent", async () => {
    using _ = mounted("size=4m");
    const { there } = open();
    const item = here.store.addText("large", "x".repeat(5_000_000), []);
    const problem = await problemOf(there.send([item.path]));
    expect(problem).toMatchObject({ code: "E_HOST_FULL", exit: 3 });
    expect(problem.message).toMatch(/4\.8 MiB are needed there, [34](\.\d)? MiB are free/);
    expect(soundStore(here.store, root)).toEqual([]);
  });

  test.each(["size=3m", "nr_inodes=600"])(
    "a disk (%s) that fills up on the way keeps what was whole",
    async (limit) => {
      using _ = mounted(limit);
      const { connection, there } = open();
      const paths = chainOf(here.store, 300);
      let scripts = 0;
      connection.losesAt = ({ name }) => {
        if (name !== "ready") return false;
        scripts += 1;
        if (scripts !== 2) return false;
        // Somebody else takes nearly all of what is left, while the second batch is on its way.
        if (limit.startsWith("size")) fs.writeFileSync(`${root}/other`, Buffer.alloc(64 * 1024));
        for (let index = 0; ; index += 1) {
          try {
            if (limit.startsWith("size")) fs.appendFileSync(`${root}/other`, Buffer.alloc(4096));
            else fs.writeFileSync(`${root}/other-${index}`, "");
          } catch {
            return false;
          }
        }
      };
      const problem = await problemOf(there.send(paths));
      expect([problem.code, problem.details.length]).toEqual(["E_HOST_FULL", 1]);
      for (const name of fs.readdirSync(root)) if (name.startsWith("other")) fs.rmSync(`${root}/${name}`);
      const kept = soundStore(here.store, root).length;
      expect(kept).toBeLessThan(300);
    },
    60_000,
  );

  test("a directory of 10,000 files, and files larger than any buffer", async () => {
    const source = here.directory();
    for (let index = 0; index < 10_000; index += 1)
      fs.writeFileSync(`${source}/file-${index}`, index % 3 === 0 ? "" : `${index}`);
    fs.writeFileSync(`${source}/large`, Buffer.alloc(70_000_001, "large"));
    const item = await here.store.add(source, "many");
    const { there } = open();
    await there.send([item.path]);
    expect(soundStore(here.store, root)).toHaveLength(1);
    await there.fetch([{ from: there.physical(item.path), to: `${here.root}/back` }]);
    expect(item.narSha256).toBe(narSha256Of(`${here.root}/back`));
  }, 180_000);

  test("room is made by removing what nobody asked for, whole closures at a time", async () => {
    const { there } = open();
    const age = (name: string): void => fs.utimesSync(`${root}/used/${name}`, new Date(), new Date(Date.now() - 3 * 86_400_000));
    const [low, middle, high] = chainOf(here.store, 3).map((path) => baseName(path));
    const alone = here.store.addText("what?-2=3", "alone", []);
    const bound = here.store.addText("bound", "bound", []);
    await there.send(here.store.all().map(({ path }) => path));
    const all = fs.readdirSync(`${root}/store`);
    expect(all).toHaveLength(5);
    const day = { olderThanMs: 86_400_000 };
    expect(await there.collect(day)).toEqual({ removed: 0, freedBytes: 0 });
    // What a younger one refers to stays.
    for (const name of [low, middle, baseName(alone.path), baseName(bound.path)]) age(name ?? "");
    const place = here.directory();
    execFileSync("mount", [
      "--bind",
      `${root}/store/${baseName(bound.path)}`,
      (fs.writeFileSync(`${place}/x`, ""), `${place}/x`),
    ]);
    try {
      const { removed, freedBytes } = await there.collect(day);
      expect([removed, freedBytes]).toEqual([1, expect.any(Number)]);
      expect(freedBytes).toBeGreaterThan(0);
      expect(soundStore(here.store, root)).toEqual(
        [low, middle, high, baseName(bound.path)].map((name) => name ?? "").toSorted(),
      );
    } finally {
      execFileSync("umount", [`${place}/x`]);
    }
    // Asked for again, it is young again; and what was not, goes with all that is only there for it.
    for (const name of fs.readdirSync(`${root}/used`)) age(name);
    expect((await there.present([bound.path])).size).toBe(1);
    fs.writeFileSync(`${root}/used/${"d".repeat(64)}-gone`, "");
    age(`${"d".repeat(64)}-gone`);
    expect((await there.collect(day)).removed).toBe(3);
    expect(soundStore(here.store, root)).toEqual([baseName(bound.path)]);
    expect(fs.readdirSync(`${root}/used`)).toEqual([baseName(bound.path)]);
    // Nobody knows when it was asked for: not lately, from now on.
    fs.rmSync(`${root}/used/${baseName(bound.path)}`);
    expect((await there.collect(day)).removed).toBe(0);
    expect((await there.present([bound.path])).size).toBe(1);
  }, 60_000);

  test("what is asked for while room is made is put back", async () => {
    const { there } = open();
    const [low, high] = chainOf(here.store, 2);
    if (low === undefined || high === undefined) throw new Error("no items");
    await there.send([high]);
    for (const path of [low, high]) fs.utimesSync(`${root}/used/${baseName(path)}`, 0, 0);
    const work = here.directory();
    const before = "# Asked for since it was listed.\n";
    const inner = collectInner(host.system, 60_000).replace(
      before,
      `[ ! -e "$store/${baseName(low)}" ] && touch "$used/${baseName(low)}"\n${before}`,
    );
    expect(inner).toContain("touch");
    execFileSync("dash", ["-c", inner, "inner", root, work], { cwd: work });
    expect(fs.readdirSync(`${root}/store`)).toEqual([baseName(low)]);
    expect(fs.readdirSync(`${root}/used`)).toEqual([baseName(low)]);
    expect(fs.readdirSync(`${work}/gone`)).toEqual([baseName(high)]);
  });

  test("somebody else who makes room is waited for", async () => {
    const { there } = open();
    await there.send(chainOf(here.store, 1));
    const holder = host.spawn(
      { argv: ["flock", `${root}/lock`, "sh", "-c", "echo held; read line"] },
      { stdin: "pipe", onOutput: () => held.resolve() },
    );
    const held = Promise.withResolvers<void>();
    await held.promise;
    let done = false;
    const collecting = there.collect({ olderThanMs: 0 }).then((report) => {
      done = true;
      return report;
    });
    await there.present([]);
    expect(done).toBe(false);
    await holder.endInput();
    expect((await collecting).removed).toBe(1);
  });
});
