/**
 * What stands between the two halves of the gateway: the control plane (sandboxes, keys, timeouts: `control/`) and the data plane
 * (what goes on in one sandbox: `envd/`).
 */
import type { Guest } from "../guest/index.ts";
import type { EgressPolicy } from "../network/index.ts";

export interface Lifecycle {
  readonly onTimeout: "kill" | "pause";
  /** A request to it wakes it up. */
  readonly autoResume: boolean;
}

export interface Sandbox {
  /** [a-z0-9]{20}: stands in host names. */
  readonly id: string;
  readonly tenant: string;
  /** As clients name it: a pool or a snapshot. `alias` is what was asked for, where that was another name. */
  readonly template: string;
  readonly pool: string;
  /** Of the pool's entry. */
  readonly entry: string;
  readonly alias: string | undefined;
  readonly state: "running" | "paused";
  readonly metadata: Readonly<Record<string, string>>;
  readonly environment: Readonly<Record<string, string>>;
  readonly envdAccessToken: string;
  readonly trafficAccessToken: string;
  readonly startedAtMs: number;
  /** When it is killed or paused; undefined while it is paused. */
  readonly endAtMs: number | undefined;
  readonly timeoutMs: number;
  readonly lifecycle: Lifecycle;
  readonly policy: EgressPolicy;
  readonly cpuCount: number;
  readonly memoryMiB: number;
  readonly diskMiB: number;
}

/** A running sandbox as the data plane has it. One object for each sandbox while it lives in this process. */
export interface Session {
  readonly sandbox: Sandbox;
  readonly guest: Guest;
  /** Aborted when the sandbox is killed, or its machine dies; the reason is a Problem for whoever waits. Streams end then. */
  readonly ended: AbortSignal;
}

/** What the data plane is asked. `body` and headers are the request's; the caller was let in already. */
export type EnvdHandler = (request: Request, session: Session) => Promise<Response>;

/** The data plane. It keeps processes, watchers and interpreter contexts by session, and lets go of them when the session ends. */
export interface Envd {
  /** `/process.Process/*` and `/filesystem.Filesystem/*`. */
  readonly connect: EnvdHandler;
  /** `/files`: the caller has looked at the token or the signature. `user` is the one that the signature was made for. */
  readonly files: EnvdHandler;
  /** `/execute`, `/contexts...`. */
  readonly interpreter: EnvdHandler;
  /** Ends every stream: the gateway closes. */
  close(): Promise<void>;
}
