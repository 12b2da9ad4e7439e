/** For which FreeBSD a world was made: what is newer than the kernel of a host does not run there. */
import { MAXIMUM_TABLE_BYTES, readElf } from "../formats/index.ts";
import { type Host, isErrno } from "../host/index.ts";

/** As pkg(8) looks for the system's ABI. */
const PROGRAMS = ["usr/bin/uname", "bin/sh"] as const;

/** `__FreeBSD_version` in a note of the world's own programs; undefined where none says one. */
export function worldVersion(host: Pick<Host, "files">, world: string): number | undefined {
  for (const program of PROGRAMS) {
    const tag = readProgram(host, `${world}/${program}`)?.abiTag;
    if (tag?.system === "FreeBSD") return tag.osVersion;
  }
  return undefined;
}

function readProgram({ files }: Pick<Host, "files">, path: string): ReturnType<typeof readElf> {
  if (files.lstatIfAny(path)?.type !== "file") return undefined;
  const descriptor = files.open(path, "r");
  try {
    return readElf((offset, length) => {
      const bytes = new Uint8Array(Math.min(length, MAXIMUM_TABLE_BYTES));
      return bytes.subarray(0, files.read(descriptor, bytes, offset));
    });
  } catch (error) {
    if (isErrno(error, "EISDIR", "EINVAL")) return undefined;
    throw error;
  } finally {
    files.close(descriptor);
  }
}
