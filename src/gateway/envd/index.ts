/**
 * The data plane of the gateway: what goes on in one sandbox, in the protocols of E2B's envd and of its code interpreter.
 *
 *   rpc.ts, envelope.ts, codes.ts   the Connect protocol with its JSON codec
 *   process-*.ts, processes.ts      process.Process
 *   outlet.ts                       answers that go on: back-pressure, keepalives, the end
 *   state.ts                        what is kept of a sandbox, and its end
 *
 * Guests are reached through their SSH connection alone; nothing of ours is installed in them. Callers were let in before.
 */
import type { Envd, Session } from "../types.ts";
import { DEFAULT_LIMITS, type Limits } from "./limits.ts";
import { serveFiles } from "./files.ts";
import { FILESYSTEM_METHODS } from "./filesystem-service.ts";
import { serveInterpreter } from "./interpreter.ts";
import { PROCESS_METHODS } from "./process-service.ts";
import { serveRpc } from "./rpc.ts";
import { openState, type SessionState } from "./state.ts";

export type { Limits as EnvdLimits } from "./limits.ts";

/** The version of envd whose features this has: clients decide by it what they ask for. */
export const ENVD_VERSION = "0.6.3";

export interface EnvdOptions {
  /** The unix user of requests that name none. Default: the one that the gateway logs in as. */
  readonly defaultUser?: string;
  readonly limits?: Partial<Limits>;
  /** What went wrong in here, as opposed to out there. Clients are told "internal error". */
  readonly onFault?: (error: unknown) => void;
}

const METHODS = { ...PROCESS_METHODS, ...FILESYSTEM_METHODS };

export function openEnvd(options: EnvdOptions = {}): Envd {
  const { defaultUser, onFault = () => {} } = options;
  const limits: Limits = { ...DEFAULT_LIMITS, ...options.limits };
  const states = new Map<Session, SessionState>();

  const stateOf = (session: Session): SessionState => {
    const kept = states.get(session);
    if (kept !== undefined) return kept;
    const state = openState(session, { limits, defaultUser, onFault });
    if (session.ended.aborted) return state;
    states.set(session, state);
    session.ended.addEventListener("abort", () => states.delete(session), { once: true });
    return state;
  };

  return {
    connect: async (request, session) => await serveRpc(request, stateOf(session), METHODS),
    files: async (request, session) => await serveFiles(request, stateOf(session)),
    interpreter: async (request, session) => await serveInterpreter(request, stateOf(session)),
    close: async () => {
      for (const state of states.values()) state.end(undefined);
      states.clear();
    },
  };
}
