/** A world as a store item: acquired, made, registered. */
import { namePart, Problem, type StorePath } from "../../base/index.ts";
import { derivationPath, derivationText, type WorldSource } from "../../recipe/index.ts";
import {
  debianArchitecture,
  diffLocks,
  lockAnswers,
  worldIdentity,
  worldItemName,
  type WorldLock,
  writeLock,
} from "../../world/index.ts";
import { sweepParts, writeAtomically } from "../fetch/distfiles.ts";
import { withScratch } from "../fetch/scratch.ts";
import { acquireDebs, type DebFiles } from "./acquire.ts";
import { madeBefore, type Reader, readLock } from "./known.ts";
import { makeTree } from "./make.ts";
import { resolveWorld } from "./resolve.ts";
import type { RealisedWorld, WorldContext } from "./types.ts";

/** @throws Problem see index.ts */
export async function realise(context: WorldContext, world: WorldSource): Promise<RealisedWorld> {
  const lock = readLock(context, world);
  const isAnswered = lock !== undefined && lockAnswers(lock, world, context.system);
  if (world.policy === "strict" && !isAnswered) throw lock === undefined ? noLock(world) : staleLock(context, world, lock);
  const known = isAnswered ? madeBefore(context, world, lock) : undefined;
  if (known !== undefined) return { path: known, changed: [] };
  sweepParts(context);
  const debs = isAnswered ? await pinned(context, world, lock) : undefined;
  if (debs !== undefined && lock !== undefined) return { path: await make(context, world, lock, debs), changed: [] };
  return refresh(context, world, lock);
}

/** undefined where a pin is gone and the policy is to go on without it. */
async function pinned(context: WorldContext, world: WorldSource, lock: WorldLock): Promise<DebFiles | undefined> {
  try {
    return await acquireDebs(context, world, lock);
  } catch (error) {
    if (world.policy === "refresh" && error instanceof Problem && error.code === "E_PIN_GONE") return undefined;
    throw error;
  }
}

/** The lock is written when the tree is there: what is committed can be made. */
async function refresh(context: WorldContext, world: WorldSource, before: WorldLock | undefined): Promise<RealisedWorld> {
  const after = await resolveWorld(context, world);
  const changed = diffLocks(before, after);
  if (changed.length > 0) context.emit({ kind: "world-changed", lines: changed });
  const path = madeBefore(context, world, after) ?? (await make(context, world, after, await acquireDebs(context, world, after)));
  const text = writeLock(after);
  if (before === undefined || writeLock(before) !== text) writeAtomically(context.host, world.lock, text);
  return { path, changed };
}

async function make(context: WorldContext, world: WorldSource, lock: WorldLock, debs: DebFiles): Promise<StorePath> {
  context.emit({ kind: "world-started", name: world.name, packages: lock.packages.length });
  const derivation = worldIdentity(world, lock, context.system);
  const drv = derivationPath(derivation);
  const path = await withScratch(context, async (scratch) => {
    const physical = await makeTree(context, world.name, lock, debs, scratch, world.purpose);
    context.store.addText(namePart(drv), derivationText(derivation), []);
    const outputs = { out: { physical, name: worldItemName(world), referenceCandidates: [], deriver: drv } };
    return (await context.store.register({ drv, outputs }))["out"]?.path;
  });
  if (path === undefined) throw new Error("the store registered no output");
  context.records.noteWorld(drv, path);
  context.emit({ kind: "world-finished", path });
  return path;
}

function noLock(world: WorldSource): Problem {
  return new Problem({
    code: "E_LOCK_MISSING",
    message: `the world ${world.name} is pinned by a lock file, and there is none`,
    where: world.lock,
    hint: "set the world's policy to `refresh` once: the versions of today are taken and the lock is written; then commit it",
    exit: 2,
  });
}

function staleLock(context: Reader, world: WorldSource, lock: WorldLock): Problem {
  const wanted = new Set(world.packages);
  const locked = new Set(lock.requested);
  const differences = [
    ...(lock.suite === world.suite ? [] : [`the lock is for ${lock.suite}, the world for ${world.suite}`]),
    ...(lock.architecture === debianArchitecture(context.system) ? [] : [`the lock is for ${lock.architecture}`]),
    ...[...wanted].filter((name) => !locked.has(name)).map((name) => `+ ${name}`),
    ...[...locked].filter((name) => !wanted.has(name)).map((name) => `- ${name}`),
  ];
  return new Problem({
    code: "E_LOCK_STALE",
    message: `the lock of the world ${world.name} was made for another list of packages`,
    details: differences,
    where: world.lock,
    hint: "set the world's policy to `refresh` to write it anew; two worlds need two lock files",
    exit: 2,
  });
}
