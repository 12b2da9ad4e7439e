/** What a fetch is given and what it gives. */
import type { Emit, StorePath, System } from "../../base/index.ts";
import type { Host } from "../../host/index.ts";
import type { Fetch } from "../../recipe/index.ts";
import type { Store } from "../../store/index.ts";
import type { BuildEvent } from "../types.ts";

type Unkeyed<E> = E extends unknown ? Omit<E, "key"> : never;

/** The events of the build room without the key of the node: the caller knows which one it is. */
export type FetchEvent = Unkeyed<Extract<BuildEvent, { readonly kind: "fetch-started" | "fetch-finished" | "fetch-failed" }>>;

export interface Timeouts {
  /** From asking to the header of the answer: name, connection, TLS and the server's thinking. */
  readonly answerMs: number;
  /** Without a single byte, once it flows. */
  readonly stallMs: number;
}

export interface FetchContext {
  readonly host: Host;
  readonly store: Pick<Store, "isValid" | "add" | "addFixed" | "pathOf" | "temporaryDirectory">;
  /** Directory of files kept by their digest. Made when it is missing. */
  readonly distfiles: string;
  readonly system: System;
  readonly emit: Emit<FetchEvent>;
  readonly signal?: AbortSignal;
  /** Proxies and credentials of the caller: HOME, *_proxy, SSH_AUTH_SOCK, npm_config_*. Default: none. */
  readonly environment?: Readonly<Record<string, string | undefined>>;
  readonly timeouts?: Timeouts;
}

export interface Fetched {
  readonly path: StorePath;
  /** A URL, `distfiles`, `store`, or the place of a tree: what the receipt says. */
  readonly from: string;
}

export type FetchOf<K extends Fetch["fetcher"]> = Extract<Fetch, { readonly fetcher: K }>;
