/**
 * The Unix socket by which the owner of a root speaks to its daemon, without a key.
 *
 * It lies in the runtime directory, whose path is short whatever the root is (sun_path has room for 104 bytes); `var/run/garth/garth.sock`
 * below the root is a link to it. Both directories on the way to it, and the socket, are its owner's alone.
 */
import { dirname } from "node:path/posix";
import type { Garth } from "../app/index.ts";
import { Problem } from "../base/index.ts";

type Places = Pick<Garth["places"], "root" | "runtime">;

export function socketFile({ runtime }: Places): string {
  return `${runtime}/garth.sock`;
}

/** As people know it. */
export function socketLink({ root }: Places): string {
  return `${root}/var/run/garth/garth.sock`;
}

/** Ready to be listened on: nobody else does, for the caller holds the lease. @throws Problem E_NOT_ALLOWED (exit 3) */
export function prepareSocket({ host, places }: Pick<Garth, "host" | "places">): string {
  const { files } = host;
  files.makeDirectory(places.runtime, { parents: true, mode: 0o700 });
  for (const directory of [dirname(places.runtime), places.runtime]) {
    try {
      // Refused to anybody but the owner: a directory that somebody else made there first is none of ours.
      files.chmod(directory, 0o700);
    } catch (error) {
      throw new Problem({
        code: "E_NOT_ALLOWED",
        message: `the directory ${directory}, for the daemon's socket, belongs to somebody else`,
        hint: "remove it, or set XDG_RUNTIME_DIR",
        exit: 3,
        cause: error,
      });
    }
  }
  const file = socketFile(places);
  if (files.lstatIfAny(file) !== undefined) files.unlink(file);
  return file;
}

/** When it listens. */
export function publishSocket({ host, places }: Pick<Garth, "host" | "places">): void {
  const { files } = host;
  const [file, link] = [socketFile(places), socketLink(places)];
  files.chmod(file, 0o600);
  files.makeDirectory(dirname(link), { parents: true });
  if (files.lstatIfAny(link) !== undefined) files.unlink(link);
  files.symlink(file, link);
}

/** What is left when nobody listens any more; connections to machines may lie there too, and then it stays. */
export function leaveRuntime({ host, places }: Pick<Garth, "host" | "places">): void {
  const { files } = host;
  if (files.exists(places.runtime) && files.list(places.runtime).length === 0) files.removeDirectory(places.runtime);
}

export function withdrawSocket({ host, places }: Pick<Garth, "host" | "places">): void {
  const { files } = host;
  const link = socketLink(places);
  if (files.lstatIfAny(link)?.type === "symlink") files.unlink(link);
}
