/**
 * The data plane of the gateway: what goes on in one sandbox, in the protocols of E2B's envd and of its code interpreter. Callers were let in
 * before. Guests are reached through their SSH connection alone; nothing of ours is installed in them.
 *
 *   rpc.ts, envelope.ts, codes.ts     the Connect protocol with its JSON codec
 *   process-*.ts, processes.ts        process.Process
 *   filesystem-*.ts, watchers.ts      filesystem.Filesystem
 *   files.ts, multipart.ts, range.ts  /files
 *   interpreter.ts, contexts.ts       /execute and /contexts; kernel.ts and kernel/ are what runs in the guest
 *   outlet.ts                         answers that go on: back-pressure, signs of life, the end
 *   state.ts, limits.ts               what is kept of a sandbox, its end, and every number
 *
 * Decisions where the protocol says nothing: the time limit of Start is the process's life, counted from its start, and takes its whole tree,
 * in a guest that is paused as soon as that goes on; those of Connect and of watches end the answer alone. Who connects to a process that runs
 * sees what comes from then on; of one that ended (or was killed at its limit) the last of its output and the end. A program that is not there
 * is a process that ended with 127. File metadata is refused. Interpreter kernels run as the default user; interrupted, Python keeps its
 * state, bash and JavaScript lose it. A sandbox that ends closes Connect streams with `unavailable` and cuts executions and downloads off:
 * their clients take any end for a success.
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
      const ending = Promise.all([...states.values()].map((state) => state.end(undefined)));
      states.clear();
      // A guest that is paused, or gone, is not waited for.
      const late = Promise.withResolvers<void>();
      const timer = setTimeout(late.resolve, limits.killGraceMs);
      await Promise.race([ending, late.promise]);
      clearTimeout(timer);
    },
  };
}
