/** Paths as clients write them: absolute, from `~`, or relative to the home of whoever acts. Pure. */
import { posix } from "node:path";
import { RpcError } from "./codes.ts";

/**
 * An absolute path without `.`, `..`, doubled or trailing slashes. "" is the home. @throws RpcError invalid_argument for a NUL byte, and
 * for another user's home
 */
export function resolvePath(path: string, home: string): string {
  if (path.includes("\0")) throw new RpcError("invalid_argument", `the path ${JSON.stringify(path)} has a NUL byte in it`);
  let expanded = path;
  if (path.startsWith("~")) {
    if (path.length > 1 && path[1] !== "/") {
      throw new RpcError("invalid_argument", `failed to expand path '${path}': cannot expand user-specific home dir`);
    }
    expanded = `.${path.slice(1)}`;
  }
  return posix.resolve("/", home, expanded);
}
