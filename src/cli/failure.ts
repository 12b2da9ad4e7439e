/** What reaches the edge without being a Problem: the machine's refusals in words, and what is left is a bug. */
import { Problem, type ProblemFields } from "../base/index.ts";

type Said = Pick<ProblemFields, "code" | "hint"> & { readonly what: string };

const REFUSALS: Readonly<Record<string, Said>> = {
  ENOSPC: { code: "E_NO_SPACE", what: "the disk is full", hint: "free some space, for example with `garth store gc`" },
  EDQUOT: { code: "E_NO_SPACE", what: "the quota is used up", hint: "free some space, for example with `garth store gc`" },
  EACCES: {
    code: "E_NOT_ALLOWED",
    what: "permission denied",
    hint: "check the owner, or choose another place with --root or GARTH_ROOT",
  },
  EPERM: {
    code: "E_NOT_ALLOWED",
    what: "not permitted",
    hint: "check the owner, or choose another place with --root or GARTH_ROOT",
  },
  EROFS: { code: "E_NOT_ALLOWED", what: "the file system is read-only", hint: "choose another place with --root or GARTH_ROOT" },
  ENOTDIR: { code: "E_NOT_ALLOWED", what: "a file is where a directory should be", hint: "choose another place" },
  EISDIR: { code: "E_NOT_ALLOWED", what: "a directory is where a file should be", hint: "choose another place" },
  EMFILE: { code: "E_TOO_MANY_FILES", what: "too many open files", hint: "raise the limit: ulimit -n" },
  ENFILE: { code: "E_TOO_MANY_FILES", what: "the machine has too many open files", hint: "end what holds them" },
  EIO: { code: "E_DISK", what: "the disk failed", hint: "look into the kernel's log" },
};

interface SystemError extends Error {
  readonly code: string;
  readonly syscall: unknown;
  readonly path: unknown;
}

function isSystemError(error: unknown): error is SystemError {
  return error instanceof Error && "code" in error && typeof error.code === "string" && "syscall" in error;
}

/** undefined for what is no refusal of the machine. */
export function refusal(error: unknown): Problem | undefined {
  if (!isSystemError(error)) return undefined;
  const said = REFUSALS[error.code];
  if (said === undefined) return undefined;
  const where = typeof error.path === "string" ? error.path : undefined;
  const object = where === undefined ? "" : ` ${where}`;
  return new Problem({
    code: said.code,
    message: `${String(error.syscall)}${object}: ${said.what}`,
    ...(said.hint === undefined ? {} : { hint: said.hint }),
    exit: 3,
    cause: error,
  });
}
