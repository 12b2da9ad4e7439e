/** What composing is given. */
import type { StorePath, System } from "../base/index.ts";
import type { Host } from "../host/index.ts";
import type { Buildable, Fetch, WorldSource } from "../recipe/index.ts";
import type { Store } from "../store/index.ts";

export interface ComposeContext {
  readonly host: Host;
  readonly store: Store;
  readonly system: System;
  /** The build room's: worlds of Debian packages, and sources. */
  readonly makeWorld: (source: WorldSource) => Promise<StorePath>;
  readonly fetch: (source: Fetch) => Promise<StorePath>;
  /** What a recipe has as its output `out`, built where it has to be. */
  readonly outputOf: (recipe: Buildable) => Promise<StorePath>;
  readonly now: () => number;
}
