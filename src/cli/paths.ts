/** Paths as people give them: relative to where they stand. */
import { Problem } from "../base/index.ts";
import type { Host } from "../host/index.ts";
import type { Context } from "./command.ts";

export function absolute(context: Pick<Context, "workingDirectory">, path: string): string {
  const whole = path.startsWith("/") ? path : `${context.workingDirectory}/${path}`;
  return whole.replaceAll(/\/\.(?=\/|$)/g, "") || "/";
}

function refused(path: string, error: unknown): Problem {
  const code = error instanceof Error && "code" in error ? String(error.code) : "";
  const why = { ENOENT: "is not there", EACCES: "may not be read", EISDIR: "is a directory", ENOTDIR: "is below a file" }[code];
  if (why === undefined) throw error;
  return new Problem({ code: "E_NO_SUCH_FILE", message: `${path} ${why}`, exit: 2, cause: error });
}

/** Absolute, symlinks resolved. @throws Problem E_NO_SUCH_FILE */
export function existing(context: Context, host: Host, path: string): string {
  try {
    return host.files.realPath(absolute(context, path));
  } catch (error) {
    throw refused(path, error);
  }
}

/** @throws Problem E_NO_SUCH_FILE */
export function textOf(context: Context, host: Host, path: string): string {
  try {
    return host.files.readText(absolute(context, path));
  } catch (error) {
    throw refused(path, error);
  }
}
