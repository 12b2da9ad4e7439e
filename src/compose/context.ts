/** What composing is given. */
import type { StorePath, System } from "../base/index.ts";
import type { Host } from "../host/index.ts";
import type { Fetch, WorldSource } from "../recipe/index.ts";
import type { Store } from "../store/index.ts";

export interface ComposeContext {
  readonly host: Host;
  readonly store: Store;
  readonly system: System;
  /** The build room's: worlds of Debian packages, and sources. */
  readonly makeWorld: (source: WorldSource) => Promise<StorePath>;
  readonly fetch: (source: Fetch) => Promise<StorePath>;
  readonly now: () => number;
}
