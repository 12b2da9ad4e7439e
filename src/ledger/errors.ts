/** What SQLite reports, in the words of a person who has to do something about it. */
import { SQLiteError } from "bun:sqlite";
import { Problem } from "../base/index.ts";

/** SQLite's extended codes share their first part: SQLITE_BUSY_SNAPSHOT is SQLITE_BUSY. */
function is(error: SQLiteError, ...names: readonly string[]): boolean {
  const code = error.code ?? "";
  return names.some((name) => code === name || code.startsWith(`${name}_`));
}

export function damaged(file: string, details: readonly string[], cause?: unknown): Problem {
  return new Problem({
    code: "E_LEDGER_DAMAGED",
    message: `the database ${file} is damaged`,
    details,
    where: file,
    hint: "`garth store verify --repair` sets it aside and rebuilds the list of items from the store itself; what is lost is which derivation made what, and the times",
    exit: 3,
    cause,
  });
}

/** A Problem where the outside world is at fault; the error itself where it is a bug (a constraint, wrong SQL). */
export function explained(error: unknown, file: string): unknown {
  if (!(error instanceof SQLiteError)) return error;
  if (is(error, "SQLITE_NOTADB", "SQLITE_CORRUPT")) return damaged(file, [error.message], error);
  const about = (code: `E_${string}`, message: string, hint: string): Problem =>
    new Problem({ code, message, details: [error.message], where: file, hint, exit: 3, cause: error });
  if (is(error, "SQLITE_BUSY", "SQLITE_LOCKED")) {
    return about(
      "E_LEDGER_BUSY",
      `the database ${file} was held by another process for too long`,
      "see who holds it with `fuser -v`, wait, or end that process; nothing was changed",
    );
  }
  // A tmpfs that is full fails already when the memory that readers share is made.
  if (is(error, "SQLITE_FULL", "SQLITE_IOERR_SHMSIZE")) {
    return about("E_NO_SPACE", `there was no space left to write the database ${file}`, "free some space; nothing was changed");
  }
  if (is(error, "SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_READONLY", "SQLITE_AUTH")) {
    return about(
      "E_LEDGER_UNREACHABLE",
      `the database ${file} cannot be opened for writing`,
      "check the directory and its owner, or choose another one with --root or GARTH_ROOT",
    );
  }
  if (is(error, "SQLITE_IOERR")) {
    return about("E_LEDGER_IO", `the disk failed under the database ${file}`, "look into the kernel's log; nothing was changed");
  }
  return error;
}
