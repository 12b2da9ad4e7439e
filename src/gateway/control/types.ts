/** What the control plane keeps, is told, and gives. */
import type { Host } from "../../host/index.ts";
import type { Ledger } from "../../ledger/index.ts";
import type { EgressPolicy } from "../../network/index.ts";
import type { Pools } from "../../pool/index.ts";
import type { Envd, Lifecycle, Sandbox } from "../types.ts";
import type { GatewayConfiguration } from "./configuration.ts";

/** admin may do everything, exec may also read. */
export type Scope = "read" | "exec" | "admin";

/** Who asks. */
export interface Caller {
  readonly tenant: string;
  readonly scopes: readonly Scope[];
  /** Names the key in lists and in the audit log: its first characters. */
  readonly keyId: string;
  /** Sandboxes that its tenant may have at once; undefined: what is said for the tenant. */
  readonly sandboxesMax: number | undefined;
  readonly expiresAtMs: number | undefined;
}

/** A sandbox with what only the control plane needs to know. Also a `Span` of plan.ts. */
export interface SandboxRecord extends Sandbox {
  /** Of the template or snapshot it was made from. */
  readonly build: string;
  /** The snapshot it was started from, which has to stay while it lives. */
  readonly snapshot: string | undefined;
  /** From one start or resume to the next pause or end. */
  readonly execution: string;
  readonly executionStartedAtMs: number;
  readonly pausedAtMs: number | undefined;
  readonly pauseFailures: number;
  readonly retryAtMs: number | undefined;
  /** false: its ports answer only to those who have `trafficAccessToken`. */
  readonly allowPublicTraffic: boolean;
  /** The Host header that servers in it see, `${PORT}` replaced; undefined: the one of the request. */
  readonly maskRequestHost: string | undefined;
  /** What was said about the network; undefined: nothing was. */
  readonly network: NetworkRequest | undefined;
}

export interface NetworkRequest {
  readonly allowInternetAccess: boolean | undefined;
  readonly allowOut: readonly string[] | undefined;
  readonly denyOut: readonly string[] | undefined;
}

/** What a sandbox is made from. */
export interface Origin {
  /** As clients name it from then on: a pool, a snapshot. */
  readonly template: string;
  /** What was asked for, where that was another name. */
  readonly alias: string | undefined;
  readonly pool: string;
  readonly build: string;
  readonly snapshot: string | undefined;
}

export interface NewSandbox {
  readonly timeoutMs: number;
  readonly lifecycle: Lifecycle;
  readonly metadata: Readonly<Record<string, string>>;
  readonly environment: Readonly<Record<string, string>>;
  readonly network: NetworkRequest | undefined;
  readonly allowPublicTraffic: boolean;
  readonly maskRequestHost: string | undefined;
}

/** Why a sandbox is no more, or not awake. */
export type Why =
  | { readonly reason: "request" | "timeout" | "auto-resume" }
  /** Its machine died, or was taken away from below. */
  | { readonly reason: "machine-lost"; readonly detail: string };

export interface GatewayOptions {
  readonly host: Host;
  /** Opened with GATEWAY_MIGRATION among its migrations. */
  readonly ledger: Ledger;
  readonly pools: Pools;
  readonly envd: Envd;
  /** Of its own, absolute; made when it is not there. Holds audit.jsonl. */
  readonly directory: string;
  /** For sockets, whose paths are short; made when it is not there. Default: `directory`. */
  readonly runtime?: string;
  readonly configuration?: Partial<GatewayConfiguration>;
  /** Milliseconds since 1970. */
  readonly now?: () => number;
  readonly random?: (sizeBytes: number) => Uint8Array;
  /** Told of what no client can be told: bugs, and work in the background that failed. */
  readonly onFault?: (doing: string, error: unknown) => void;
}

export interface Peer {
  /** Of the other end of the connection: "127.0.0.1". */
  readonly address: string | undefined;
  /**
   * Makes a WebSocket of the request, whose answer is none then. false: it does not ask for one. A listener without it makes none.
   */
  readonly upgrade?: (handlers: SocketHandlers, headers: Readonly<Record<string, string>>) => boolean;
}

/** A WebSocket whose other end is the client. */
export interface ClientSocket {
  /** false: more waits for the client than may. */
  send(data: string | Uint8Array): boolean;
  close(code?: number, reason?: string): void;
}

export interface SocketHandlers {
  open(client: ClientSocket): void;
  message(data: string | Uint8Array): void;
  closed(code: number, reason: string): void;
}

export interface Gateway {
  /** Never rejects. */
  handle(request: Request, peer?: Peer): Promise<Response>;
  /** Finds the sandboxes of an earlier process, or ends them; then keeps time. */
  start(): Promise<void>;
  /** What is due now, and a look at every machine; for tests and for those who keep time themselves. Settles when all of it is done. */
  tick(): Promise<void>;
  /** Sandboxes go on; the next process finds them. */
  close(): Promise<void>;
}

export type { EgressPolicy, Lifecycle };
