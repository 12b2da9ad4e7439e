/** A build root that is no longer there. The world is a small one of this machine's own shell, noted as if it had been made. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, realpathSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { namePart, type StorePath } from "../base/index.ts";
import { debianWorld, derivationPath, derivationText } from "../recipe/index.ts";
import { worldIdentity, type WorldLock, writeLock } from "../world/index.ts";
import { openRecords } from "./records.ts";
import { type Bench, openBench, tiny } from "./testing.ts";

const LOCK: WorldLock = {
  suite: "bookworm",
  architecture: process.arch === "arm64" ? "arm64" : "amd64",
  requested: ["dash"],
  packages: [{ name: "dash", version: "0.5.12-2", architecture: "amd64", sha256: "a".repeat(64), sizeBytes: 91848 }],
};

let bench: Bench;
beforeAll(() => {
  bench = openBench();
});
afterAll(() => bench.remove());

/** /bin/sh and the libraries it is linked with, and the directories a sandbox mounts on. */
function layOutShell(tree: string): void {
  for (const name of ["bin", "build", "dev", "etc", "frx/store", "proc", "tmp"])
    mkdirSync(`${tree}/${name}`, { recursive: true });
  cpSync(realpathSync("/bin/sh"), `${tree}/bin/sh`);
  for (const [, file = ""] of execFileSync("ldd", ["/bin/sh"], { encoding: "utf8" }).matchAll(/(\/\S+) \(/g)) {
    mkdirSync(`${tree}${dirname(file)}`, { recursive: true });
    cpSync(realpathSync(file), `${tree}${file}`);
  }
}

async function shellWorld() {
  const lock = `${bench.root}/debian.lock`;
  writeFileSync(lock, writeLock(LOCK));
  const world = debianWorld({ name: "shell", suite: "bookworm", packages: ["dash"], lock, policy: "strict" });
  const identity = worldIdentity(world, LOCK, bench.host.system);
  const drv = derivationPath(identity);
  const physical = `${bench.store.temporaryDirectory}/tree`;
  layOutShell(physical);
  bench.store.addText(namePart(drv), derivationText(identity), []);
  const made = await bench.store.register({ drv, outputs: { out: { physical, name: "world-shell", referenceCandidates: [] } } });
  const path = made["out"]?.path;
  if (path === undefined) throw new Error("nothing was registered");
  openRecords(bench.ledger).noteWorld(drv, path);
  return { world, path };
}

test("a goal that is there asks for no world that was collected", async () => {
  const { world, path } = await shellWorld();
  const recipe = tiny("in-world", "echo built > $out/f", { buildRoot: world });
  const outOf = async (): Promise<StorePath> => {
    const [goal] = (await bench.build(recipe)).goals.values();
    return goal?.outputs["out"] ?? "/frx/store/";
  };
  const out = await outOf();
  const { root } = bench;
  await bench.close();
  bench = openBench({ root });
  bench.store.addRoot(`${root}/keep`, out);
  await bench.store.gc({});
  expect(bench.store.isValid(path)).toBe(false);
  expect(await outOf()).toBe(out);
  expect(bench.events.map(({ kind }) => kind)).toEqual(["graph", "present"]);
});
