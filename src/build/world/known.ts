/** What a world is known to come to, from its lock alone. Loaded by every command that has a world; so it loads little. */
import type { StorePath } from "../../base/index.ts";
import { derivationPath, type WorldSource } from "../../recipe/index.ts";
import { lockAnswers, parseLock, worldIdentity, type WorldLock } from "../../world/index.ts";
import type { WorldContext } from "./types.ts";

export type Reader = Pick<WorldContext, "host" | "store" | "system">;

/** The lock as it lies there; undefined when there is none. @throws Problem E_LOCK_INVALID */
export function readLock(context: Pick<WorldContext, "host">, world: WorldSource): WorldLock | undefined {
  const text = context.host.files.readTextIfAny(world.lock);
  return text === undefined ? undefined : parseLock(text, world.lock);
}

/** Where this lock came to a tree before, and the tree is still valid. */
export function madeBefore(context: Reader, world: WorldSource, lock: WorldLock): StorePath | undefined {
  return context.store.realisation(derivationPath(worldIdentity(world, lock, context.system)))?.["out"];
}

/** The world's path, when its lock answers and it was made before. It may be gone from the store. Reads one file, runs nothing. */
export function knownWorldPath(context: Reader & Pick<WorldContext, "records">, world: WorldSource): StorePath | undefined {
  const lock = readLock(context, world);
  if (lock === undefined || !lockAnswers(lock, world, context.system)) return undefined;
  return (
    madeBefore(context, world, lock) ?? context.records.worldPath(derivationPath(worldIdentity(world, lock, context.system)))
  );
}
