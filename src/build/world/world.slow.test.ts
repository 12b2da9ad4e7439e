/** Real worlds from the mirrors that apt of this machine is set up for, made by mmdebstrap. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { copyFileSync, existsSync, lstatSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { type Host, localHost } from "../../host/index.ts";
import type { WorldSource } from "../../recipe/index.ts";
import { parseLock, type WorldLock, writeLock } from "../../world/index.ts";
import { type FetchBench, openFetchBench } from "../fetch/testing.ts";
import { acquireDebs } from "./acquire.ts";
import { knownWorldPath, realiseWorld } from "./index.ts";

const TIMEOUT = 240_000;
const PACKAGES = ["coreutils", "dash"];

const worldIn = (bench: FetchBench, policy: WorldSource["policy"]): WorldSource => ({
  kind: "debian-world",
  name: "minimal",
  suite: "bookworm",
  packages: PACKAGES,
  lock: `${bench.root}/debian.lock`,
  policy,
});

/** This machine, without what is named. */
function without(...programs: readonly string[]): Host {
  const host = localHost();
  const which = (program: string) => (programs.includes(program) ? undefined : host.which(program));
  return { ...host, processIdentity: host.processIdentity, which };
}

function scratchOf(bench: FetchBench): readonly string[] {
  return readdirSync(bench.store.temporaryDirectory).filter((name) => name.startsWith("source-"));
}

const processesOf = (word: string) =>
  readdirSync("/proc").filter((pid) => {
    if (!/^\d+$/.test(pid) || Number(pid) === process.pid) return false;
    try {
      return readFileSync(`/proc/${pid}/cmdline`, "utf8").includes(word);
    } catch {
      return false;
    }
  });

let bench: FetchBench;
let lock: WorldLock;
let path: string;

beforeAll(async () => {
  bench = openFetchBench();
  const result = await realiseWorld(bench.context(), worldIn(bench, "refresh"));
  path = result.path;
  lock = parseLock(readFileSync(`${bench.root}/debian.lock`, "utf8"), "debian.lock");
  expect(result.changed).toEqual(lock.packages.map((each) => `+ ${each.name} ${each.version}`).toSorted());
}, TIMEOUT);

afterAll(() => bench[Symbol.dispose]());

describe("a world made from nothing", () => {
  const physical = () => bench.store.physical(bench.store.find(path)[0] ?? "/frx/store/");

  test("is written into a lock that names what was asked for and all it needs, and no mirror", () => {
    expect(lock.requested).toEqual(PACKAGES);
    expect(lock.packages.map((each) => each.name)).toEqual(
      expect.arrayContaining(["coreutils", "dash", "libc6", "perl-base", "dpkg"]),
    );
    expect(lock.packages.map((each) => each.name)).not.toContain("apt");
    expect(readFileSync(`${bench.root}/debian.lock`, "utf8")).not.toMatch(/:\/\/|\.org|\.deb\b/);
  });

  test("said what it did", () => {
    const kinds = bench.events.map((event) => event.kind);
    expect(kinds).toEqual(["world-changed", "fetch-started", "world-started", "world-finished"]);
  });

  test("runs programs", async () => {
    const result = await localHost().run({
      argv: ["chroot", physical(), "/bin/sh", "-c", "ls / | sort; dpkg --print-architecture"],
    });
    expect(result.text().split("\n")).toEqual(expect.arrayContaining(["build", "frx", "usr", lock.architecture]));
  });

  test("holds nothing of this machine, no special file and no special bit", async () => {
    for (const name of ["etc/machine-id", "etc/apt", "var/lib/apt", "usr/share/doc"]) {
      expect([name, existsSync(`${physical()}/${name}`)]).toEqual([name, false]);
    }
    expect(readFileSync(`${physical()}/etc/resolv.conf`, "utf8")).toBe("");
    expect(readdirSync(`${physical()}/dev`)).toEqual([]);
    const odd = await localHost().run({
      argv: ["find", physical(), "(", "-perm", "/7000", "-o", "!", "-type", "f", "!", "-type", "d", "!", "-type", "l", ")"],
    });
    expect(odd.text()).toBe("");
    const traces = await localHost().run({ argv: ["grep", "-rlF", bench.root, physical()], okStatuses: [0, 1] });
    expect(traces.text()).toBe("");
  });

  test("leaves no scratch and nothing mounted", () => {
    expect(scratchOf(bench)).toEqual([]);
    expect(readFileSync("/proc/mounts", "utf8")).not.toContain(bench.root);
    expect(lstatSync(bench.distfiles).isDirectory()).toBe(true);
    expect(readdirSync(bench.distfiles).filter((name) => name.startsWith(".part"))).toEqual([]);
  });
});

describe("the same lock", () => {
  test("is known at once, without any tool", async () => {
    const host = { ...without(), which: () => undefined };
    const context = bench.context({ host });
    expect(knownWorldPath(context, worldIn(bench, "strict"))).toBe(bench.store.find(path)[0]);
    expect(await realiseWorld(context, worldIn(bench, "refresh"))).toEqual({
      path: bench.store.find(path)[0] ?? "/frx/store/",
      changed: [],
    });
  });

  test(
    "gives the same path in another place, from distfiles alone",
    async () => {
      using other = openFetchBench();
      copyFileSync(`${bench.root}/debian.lock`, `${other.root}/debian.lock`);
      const context = other.context({ distfiles: bench.distfiles, host: without("apt-get", "apt-cache", "apt-config") });
      const made = await realiseWorld(context, worldIn(other, "strict"));
      expect(String(made.path)).toBe(path);
      expect(made.changed).toEqual([]);
      expect(other.events.map((event) => event.kind)).toEqual(["world-started", "world-finished"]);
    },
    TIMEOUT,
  );
});

/** A pin that no mirror ever had. */
function withOldPin(): WorldLock {
  const packages = lock.packages.map((each) =>
    each.name === "dash"
      ? { name: "dash", version: "0.5.1-1", architecture: each.architecture, sha256: "1".repeat(64), sizeBytes: 9 }
      : each,
  );
  return { ...lock, packages };
}

describe("a pin that the mirrors no longer have", () => {
  test(
    "is refused by a strict world, which names it and what there is, and changes nothing",
    async () => {
      using other = openFetchBench();
      const text = writeLock(withOldPin());
      writeFileSync(`${other.root}/debian.lock`, text);
      const now = lock.packages.find((each) => each.name === "dash")?.version ?? "";
      await expect(realiseWorld(other.context({ distfiles: bench.distfiles }), worldIn(other, "strict"))).rejects.toMatchObject({
        code: "E_PIN_GONE",
        message: expect.stringContaining("dash 0.5.1-1"),
        details: [`dash 0.5.1-1 (sha256 ${"1".repeat(64)}): the mirrors have ${now}`],
        hint: expect.stringContaining("refresh"),
        where: `${other.root}/debian.lock`,
      });
      expect(readFileSync(`${other.root}/debian.lock`, "utf8")).toBe(text);
      expect(other.store.all()).toEqual([]);
    },
    TIMEOUT,
  );

  test(
    "is replaced in a refreshed world, the difference shown and the lock written",
    async () => {
      using other = openFetchBench();
      writeFileSync(`${other.root}/debian.lock`, writeLock(withOldPin()));
      const made = await realiseWorld(other.context({ distfiles: bench.distfiles }), worldIn(other, "refresh"));
      const now = lock.packages.find((each) => each.name === "dash")?.version ?? "";
      expect(made.changed).toEqual([`~ dash 0.5.1-1 -> ${now}`]);
      expect(String(made.path)).toBe(path);
      expect(readFileSync(`${other.root}/debian.lock`, "utf8")).toBe(writeLock(lock));
      expect(other.events[0]).toEqual({ kind: "world-changed", lines: [`~ dash 0.5.1-1 -> ${now}`] });
    },
    TIMEOUT,
  );

  test("is as good as there when its bytes are among distfiles", async () => {
    using other = openFetchBench();
    mkdirSync(other.distfiles, { recursive: true });
    const dash = lock.packages.find((each) => each.name === "dash");
    if (dash === undefined) throw new Error("there is no dash");
    copyFileSync(`${bench.distfiles}/${dash.sha256}`, `${other.distfiles}/${dash.sha256}`);
    const only = { ...lock, packages: [{ ...dash, version: "0.5.1-1" }] };
    const context = other.context({ host: without("apt-get", "apt-cache", "apt-config") });
    const debs = await acquireDebs(context, worldIn(other, "strict"), only);
    expect([...debs.values()]).toEqual([`${other.distfiles}/${dash.sha256}`]);
  });
});

test(
  "a package that does not exist is named by apt, and no lock is written",
  async () => {
    using other = openFetchBench();
    const world = { ...worldIn(other, "refresh"), packages: ["no-such-package-in-debian"] };
    await expect(realiseWorld(other.context({ distfiles: bench.distfiles }), world)).rejects.toMatchObject({
      code: "E_WORLD_UNSOLVABLE",
      details: ["E: Unable to locate package no-such-package-in-debian"],
      exit: 2,
    });
    expect(existsSync(world.lock)).toBe(false);
  },
  TIMEOUT,
);

describe("making that is ended", () => {
  test(
    "by an interruption leaves no process, no mount, no scratch and no item",
    async () => {
      using other = openFetchBench();
      copyFileSync(`${bench.root}/debian.lock`, `${other.root}/debian.lock`);
      const controller = new AbortController();
      const host = localHost();
      const spawn: Host["spawn"] = (command, options) => {
        const running = host.spawn(command, {
          onOutput: (chunk, stream) => {
            options?.onOutput?.(chunk, stream);
            if (Buffer.from(chunk).includes("installing essential packages")) controller.abort();
          },
        });
        return running;
      };
      const context = other.context({
        distfiles: bench.distfiles,
        signal: controller.signal,
        host: { ...host, processIdentity: host.processIdentity, spawn },
      });
      await expect(realiseWorld(context, worldIn(other, "strict"))).rejects.toMatchObject({ code: "E_INTERRUPTED", exit: 130 });
      expect(processesOf(other.root)).toEqual([]);
      expect(readFileSync("/proc/mounts", "utf8")).not.toContain(other.root);
      expect(scratchOf(other)).toEqual([]);
      expect(knownWorldPath(other.context(), worldIn(other, "strict"))).toBeUndefined();
    },
    TIMEOUT,
  );

  test(
    "by kill -9 of Garth takes everything it started along, and the next start clears its scratch",
    async () => {
      using other = openFetchBench();
      copyFileSync(`${bench.root}/debian.lock`, `${other.root}/debian.lock`);
      const before = readdirSync("/tmp").filter((name) => name.startsWith("garth-world-"));
      const child = Bun.spawn({
        cmd: [process.execPath, "-e", CHILD],
        env: { ...process.env, ROOT: other.root, DISTFILES: bench.distfiles },
        cwd: import.meta.dir,
        stdout: "pipe",
        stderr: "inherit",
      });
      for await (const chunk of child.stdout) if (Buffer.from(chunk).includes("installing essential packages")) break;
      expect(processesOf(other.root).length).toBeGreaterThan(0);
      child.kill("SIGKILL");
      await child.exited;
      // The kernel's part: it is done when it is done, and the test's own limit of time is the bound.
      while (processesOf(other.root).length > 0) await Bun.sleep(5);
      expect(readFileSync("/proc/mounts", "utf8")).not.toContain(other.root);
      const state = `${other.root}/frx/var/garth/tmp/store`;
      expect(readdirSync(state).length).toBeGreaterThan(0);
      other.store.recover();
      const own = other.store.temporaryDirectory;
      expect(readdirSync(state).filter((name) => `${state}/${name}` !== own)).toEqual([]);
      expect(readdirSync("/tmp").filter((name) => name.startsWith("garth-world-"))).toEqual(before);
    },
    TIMEOUT,
  );
});

/** A Garth of its own on the same state, which prints what mmdebstrap says. */
const CHILD = `
  const { localHost } = await import("../../host/index.ts");
  const { openLedger } = await import("../../ledger/index.ts");
  const { openStore, STORE_MIGRATION } = await import("../../store/index.ts");
  const { realiseWorld } = await import("./index.ts");
  const { ROOT: root, DISTFILES: distfiles } = process.env;
  const host = localHost();
  const stateDirectory = root + "/frx/var/garth";
  const ledger = openLedger(stateDirectory + "/garth.db", [STORE_MIGRATION]);
  const store = openStore({ host, ledger, storeDirectory: root + "/frx/store", stateDirectory, now: Date.now });
  const spawn = (command, options) => host.spawn(command, { onOutput: (chunk, stream) => { process.stdout.write(chunk); options?.onOutput?.(chunk, stream); } });
  const loud = { ...host, processIdentity: host.processIdentity, spawn };
  const world = { kind: "debian-world", name: "minimal", suite: "bookworm", packages: ${JSON.stringify(PACKAGES)}, lock: root + "/debian.lock", policy: "strict" };
  await realiseWorld({ host: loud, store, distfiles, system: host.system, emit: () => {}, records: { noteWorld: () => {} } }, world);
`;
