/**
 * world: build roots made of Debian packages, as store items. Part of the build room, entered by it alone.
 *
 *     lock answers? ──yes──► made before? ──yes──► path (nothing runs)
 *        │ no                    │ no
 *        │                   packages had? ──yes──► tree ──► store item
 *        │                       │ E_PIN_GONE
 *        ▼                       ▼
 *     strict: E_LOCK_MISSING, E_LOCK_STALE, E_PIN_GONE
 *     refresh: resolve anew ──► world-changed ──► packages ──► tree ──► store item ──► lock written
 *
 * Order of steps: packages come into distfiles one by one under their digest; the tree is made in scratch by mmdebstrap from
 * exactly these files; it is cleaned of all that tells one making from another; the store moves it in and records that this lock
 * came to this path; the lock is written last. A kill at any point leaves whole packages or nothing: mmdebstrap has mounts and
 * processes in namespaces of its own, which end with it, and it ends with its parent.
 *
 * Limits: made on Linux only, as root, or without root where newuidmap(1) works; foreign architectures need binfmt and QEMU.
 */
import type { WorldSource } from "../../recipe/index.ts";
import type { RealisedWorld, WorldContext } from "./types.ts";

export { knownWorldPath } from "./known.ts";
export type { RealisedWorld, WorldContext, WorldEvent } from "./types.ts";

/**
 * Makes the world a valid store item. Emits world-changed, fetch-started, fetch-failed, world-started, world-finished.
 *
 * @throws Problem E_LOCK_MISSING, E_LOCK_STALE, E_LOCK_INVALID, E_NO_DEBIAN_SOURCES, E_APT_UPDATE, E_WORLD_UNSOLVABLE, E_PIN_GONE,
 *   E_FETCH_FAILED, E_HASH_MISMATCH, E_WORLD_FAILED, E_TOOL_MISSING, E_WORLD_UNSUPPORTED, E_NO_SPACE, E_INTERRUPTED
 */
export async function realiseWorld(context: WorldContext, world: WorldSource): Promise<RealisedWorld> {
  const { realise } = await import("./realise.ts");
  return realise(context, world);
}
