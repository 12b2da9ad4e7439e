/** Where the sockets of a process's connections are: a directory of its own, with a short name, gone with it. */
import { type Host, isErrno } from "../host/index.ts";

/** sun_path has room for 104 bytes with its end; ssh(1) binds a name that is 17 longer, and ours are numbers. */
const PATH_MAX_BYTES = 80;
const PREFIX = "ssh-";

export interface SocketDirectory {
  /** Made at the first call. */
  readonly make: () => string;
  readonly remove: () => void;
}

export function socketDirectory(host: Host, runtimeDirectory: string): SocketDirectory {
  let made: string | undefined;
  return {
    make: () => (made ??= makeOne(host, runtimeDirectory)),
    remove: () => {
      if (made !== undefined) host.files.removeTree(made);
      made = undefined;
    },
  };
}

function makeOne(host: Host, runtimeDirectory: string): string {
  const { files } = host;
  const prefix = `${PREFIX}${pidOf(host.processIdentity)}-`;
  // Six letters follow.
  if (Buffer.byteLength(runtimeDirectory) + prefix.length + 7 > PATH_MAX_BYTES)
    return files.makeTemporaryDirectory(`/tmp/garth-${prefix}`);
  files.makeDirectory(runtimeDirectory, { parents: true, mode: 0o700 });
  removeThoseOfTheDead(host, runtimeDirectory);
  return files.makeTemporaryDirectory(`${runtimeDirectory}/${prefix}`);
}

function pidOf(processIdentity: string): string {
  return processIdentity.split(":")[1] ?? "";
}

/** Their connections end by themselves, and take their sockets with them. */
function removeThoseOfTheDead(host: Host, runtimeDirectory: string): void {
  for (const bytes of host.files.list(runtimeDirectory)) {
    const name = Buffer.from(bytes).toString();
    const pid = /^ssh-([0-9]+)-/.exec(name)?.[1];
    if (pid === undefined || host.identityOf(Number(pid)) !== undefined) continue;
    try {
      host.files.removeTree(`${runtimeDirectory}/${name}`);
    } catch (error) {
      if (!isErrno(error, "ENOENT", "ENOTEMPTY")) throw error;
    }
  }
}
