/** What making a world is given. */
import type { Emit, StorePath } from "../../base/index.ts";
import type { Store } from "../../store/index.ts";
import type { FetchContext, FetchEvent } from "../fetch/index.ts";
import type { Records } from "../records.ts";
import type { BuildEvent } from "../types.ts";

type Unkeyed<E> = E extends unknown ? Omit<E, "key"> : never;

/** The events of the build room without the key of the node: the caller knows which one it is. */
export type WorldEvent =
  | FetchEvent
  | Unkeyed<Extract<BuildEvent, { readonly kind: "world-started" | "world-changed" | "world-finished" }>>;

export interface WorldContext extends Omit<FetchContext, "emit" | "store"> {
  /** Scratch and store must be on one file system. */
  readonly store: Pick<Store, "addText" | "isValid" | "realisation" | "register" | "temporaryDirectory">;
  readonly records: Pick<Records, "worldPath" | "noteWorld">;
  readonly emit: Emit<WorldEvent>;
}

export interface RealisedWorld {
  readonly path: StorePath;
  /** Lines of the difference where the lock was written anew; empty otherwise. */
  readonly changed: readonly string[];
}
