/** What the data plane keeps of one sandbox: everything here goes when the sandbox does, or the gateway. */
import type { Session } from "../types.ts";
import { unavailable } from "./codes.ts";
import type { Limits } from "./limits.ts";
import type { Outlet } from "./outlet.ts";

export interface SessionState {
  readonly session: Session;
  readonly limits: Limits;
  /** The unix user of those who name none; undefined: the one who logs in. */
  readonly defaultUser: string | undefined;
  /** Ends the outlet with the session. */
  track(outlet: Outlet): void;
  /** One of each kind, made when it is first asked for; let go of with the session. */
  part<T extends Part>(key: symbol, make: () => T): T;
  readonly ended: boolean;
  /** A fault of ours, which the client is not told about. */
  readonly onFault: (error: unknown) => void;
  /** Settles when every part has closed. */
  end(reason: unknown): Promise<void>;
}

export interface Part {
  /** Settles when nothing of it is left in the guest, as far as that can be reached. */
  close(): void | Promise<void>;
}

export type StateOptions = Pick<SessionState, "limits" | "defaultUser" | "onFault">;

export function openState(session: Session, options: StateOptions): SessionState {
  const outlets = new Set<Outlet>();
  const parts = new Map<symbol, Part>();
  let ended = false;

  const end = async (reason: unknown): Promise<void> => {
    if (ended) return;
    ended = true;
    for (const outlet of outlets) outlet.end(unavailable(reason));
    outlets.clear();
    session.ended.removeEventListener("abort", onEnded);
    const closing = [...parts.values()].map((part) => part.close());
    parts.clear();
    await Promise.all(closing);
  };
  const onEnded = () => void end(session.ended.reason);

  const state: SessionState = {
    session,
    ...options,
    track(outlet) {
      if (ended) {
        outlet.end(unavailable(session.ended.reason));
        return;
      }
      outlets.add(outlet);
      void outlet.closed.then(() => outlets.delete(outlet));
    },
    part<T extends Part>(key: symbol, make: () => T): T {
      const kept = parts.get(key);
      // Each key belongs to the one file that makes its part.
      if (kept !== undefined) return kept as T;
      const made = make();
      if (ended) void made.close();
      else parts.set(key, made);
      return made;
    },
    get ended() {
      return ended;
    },
    end,
  };
  session.ended.addEventListener("abort", onEnded);
  if (session.ended.aborted) onEnded();
  return state;
}
