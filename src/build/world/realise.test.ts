/** What is decided from the lock alone, before anything runs. */
import { describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { localHost } from "../../host/index.ts";
import { derivationPath, derivationText, type WorldSource } from "../../recipe/index.ts";
import { namePart, storePath } from "../../base/index.ts";
import { worldIdentity, type WorldLock, writeLock } from "../../world/index.ts";
import { type FetchBench, openFetchBench } from "../fetch/testing.ts";
import { knownWorldPath, realiseWorld } from "./index.ts";

const LOCK: WorldLock = {
  suite: "bookworm",
  architecture: "amd64",
  requested: ["dash"],
  packages: [{ name: "dash", version: "0.5.12-2", architecture: "amd64", sha256: "a".repeat(64), sizeBytes: 91848 }],
};

const worldIn = (bench: FetchBench, changes: Partial<WorldSource> = {}): WorldSource => ({
  kind: "debian-world",
  name: "test",
  suite: "bookworm",
  packages: ["dash"],
  lock: `${bench.root}/debian.lock`,
  policy: "strict",
  ...changes,
});

/** A host that fails the test when anything is started. */
function still() {
  const host = localHost();
  const refuse = () => {
    throw new Error("something was started");
  };
  return { ...host, processIdentity: host.processIdentity, system: "x86_64-linux", spawn: refuse, run: refuse } as const;
}

const contextOf = (bench: FetchBench) => bench.context({ host: still(), system: "x86_64-linux" });

describe("a strict world", () => {
  test("without a lock is refused", async () => {
    using bench = openFetchBench();
    await expect(realiseWorld(contextOf(bench), worldIn(bench))).rejects.toMatchObject({
      code: "E_LOCK_MISSING",
      where: `${bench.root}/debian.lock`,
      exit: 2,
    });
  });

  test("with a lock for other packages is refused, and the difference is named", async () => {
    using bench = openFetchBench();
    writeFileSync(`${bench.root}/debian.lock`, writeLock(LOCK));
    const world = worldIn(bench, { packages: ["make", "gcc"], suite: "trixie" });
    await expect(realiseWorld(contextOf(bench), world)).rejects.toMatchObject({
      code: "E_LOCK_STALE",
      details: ["the lock is for bookworm, the world for trixie", "+ make", "+ gcc", "- dash"],
      exit: 2,
    });
    expect(knownWorldPath(contextOf(bench), world)).toBeUndefined();
  });

  test("with a lock that cannot be read is refused, and the file is left as it is", async () => {
    using bench = openFetchBench();
    const text = `${writeLock(LOCK)}<<<<<<< HEAD\n`;
    writeFileSync(`${bench.root}/debian.lock`, text);
    for (const policy of ["strict", "refresh"] as const) {
      await expect(realiseWorld(contextOf(bench), worldIn(bench, { policy }))).rejects.toMatchObject({
        code: "E_LOCK_INVALID",
        where: `${bench.root}/debian.lock:6`,
      });
    }
    expect(await Bun.file(`${bench.root}/debian.lock`).text()).toBe(text);
  });
});

test("a world that was made is known from its lock, and nothing is started", async () => {
  using bench = openFetchBench();
  writeFileSync(`${bench.root}/debian.lock`, writeLock(LOCK));
  const world = worldIn(bench);
  const context = contextOf(bench);
  expect(knownWorldPath(context, world)).toBeUndefined();
  const derivation = worldIdentity(world, LOCK, "x86_64-linux");
  const drv = derivationPath(derivation);
  context.store.addText(namePart(drv), derivationText(derivation), []);
  const physical = `${bench.store.temporaryDirectory}/tree`;
  mkdirSync(`${physical}/bin`, { recursive: true });
  const made = await context.store.register({ drv, outputs: { out: { physical, name: "world-test", referenceCandidates: [] } } });
  const path = made["out"]?.path;
  expect(path).toBeDefined();
  expect(knownWorldPath(context, world)).toBe(path);
  for (const policy of ["strict", "refresh"] as const) {
    expect(await realiseWorld(context, { ...world, policy })).toEqual({ path: path ?? "/frx/store/", changed: [] });
  }
  expect(bench.events).toEqual([]);
});

test("a world that was made and collected since is still known, and is made again for who needs it", async () => {
  using bench = openFetchBench();
  writeFileSync(`${bench.root}/debian.lock`, writeLock(LOCK));
  const world = worldIn(bench);
  const context = contextOf(bench);
  const path = storePath({ kind: "flat", sha256: "0".repeat(64), references: [] }, "world-test");
  context.records.noteWorld(derivationPath(worldIdentity(world, LOCK, "x86_64-linux")), path);
  expect(context.store.isValid(path)).toBe(false);
  expect(knownWorldPath(context, world)).toBe(path);
  await expect(realiseWorld(context, world)).rejects.toThrow("something was started");
});

describe("a machine that cannot make worlds", () => {
  test("because apt is not there says what to install, and leaves no lock", async () => {
    using bench = openFetchBench();
    const host = { ...still(), which: () => undefined };
    const world = worldIn(bench, { policy: "refresh" });
    await expect(realiseWorld(bench.context({ host, system: "x86_64-linux" }), world)).rejects.toMatchObject({
      code: "E_TOOL_MISSING",
      hint: "apt-get install apt",
      exit: 3,
    });
    expect(existsSync(world.lock)).toBe(false);
  });

  test("because Debian has no packages for its system says so", async () => {
    using bench = openFetchBench();
    const context = bench.context({ host: still(), system: "x86_64-freebsd" });
    await expect(realiseWorld(context, worldIn(bench, { policy: "refresh" }))).rejects.toMatchObject({
      code: "E_WORLD_UNSUPPORTED",
    });
  });
});
