/**
 * host: the only room that spawns processes, opens files and connects to sockets. None listens here.
 *
 * Commands run with a clean environment and closed stdin and either complete with an accepted status or throw a `Problem` with
 * the tail of stderr and a line to replay it. File operations are synchronous and throw what the runtime throws, an `Error`
 * with an errno name in `code`; `isErrno` asks for it.
 *
 * Limits: `run` holds all of stdout and stderr in memory and is for tools that print little; `spawn` hands output on in chunks.
 */
export { eachChunk, fileDigests } from "./chunks.ts";
export { isErrno } from "./errno.ts";
export { localHost } from "./local.ts";
export {
  EVENT_PREFIX,
  openEventReader,
  parseEvent,
  SCRIPT_HEAD,
  SCRIPT_LEASH,
  type ScriptEvent,
  scriptLoader,
  wholeScript,
} from "./script.ts";
export { CLEAN_ENVIRONMENT, replayLine, shellQuote } from "./process.ts";
export type {
  BesideFile,
  BesideHasher,
  Command,
  Completed,
  Connection,
  Exit,
  Files,
  Host,
  OnData,
  PathLike,
  Running,
  SpawnOptions,
  Stat,
} from "./types.ts";
