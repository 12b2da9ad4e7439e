/**
 * Why a file operation failed. SFTP version 3 has few words for it: OpenSSH says "no such file", "permission denied", "bad message" (EINVAL,
 * ENAMETOOLONG), and "failure" for everything else, so that the rest is found out by looking.
 */
import { Problem } from "../base/index.ts";
import { Refusal, type Sftp } from "./sftp.ts";
import { path as wirePath, REQUEST, STATUS, typeOf } from "./sftp-wire.ts";

export type FileCode =
  | "E_NO_FILE"
  | "E_IS_DIRECTORY"
  | "E_NOT_DIRECTORY"
  | "E_FILE_EXISTS"
  | "E_FILE_DENIED"
  | "E_GUEST_FULL"
  | "E_BAD_PATH"
  | "E_FILE_FAILED";

const WORDS: Readonly<Record<FileCode, string>> = {
  E_NO_FILE: "there is no such file",
  E_IS_DIRECTORY: "it is a directory",
  E_NOT_DIRECTORY: "it is not a directory",
  E_FILE_EXISTS: "something is there already",
  E_FILE_DENIED: "the guest does not allow it",
  E_GUEST_FULL: "no space is left in the guest",
  E_BAD_PATH: "it is no path",
  E_FILE_FAILED: "the guest could not do it",
};

export interface Doing {
  /** "reading". */
  readonly verb: string;
  readonly path: string;
  readonly guest: string;
}

export function fileProblem({ verb, path, guest }: Doing, code: FileCode, detail?: string): Problem {
  return new Problem({
    code,
    message: `${verb} ${path} in ${guest}: ${WORDS[code]}`,
    ...(detail === undefined || detail === "" ? {} : { details: [detail] }),
    ...(code === "E_BAD_PATH" ? { exit: 2, hint: "a path is absolute and has no zero byte" } : {}),
  });
}

/** @throws Problem E_BAD_PATH */
export function assertPath(doing: Doing): void {
  if (!doing.path.startsWith("/") || doing.path.includes("\0")) throw fileProblem(doing, "E_BAD_PATH");
}

/**
 * The problem behind a refusal; anything else is given back as it is. `sizeBytes`: how much was about to be written below the directory of
 * the path.
 */
export async function problemOfRefusal(sftp: Sftp, doing: Doing, error: unknown, sizeBytes = 0): Promise<unknown> {
  if (!(error instanceof Refusal)) return error;
  switch (error.status) {
    case STATUS.noSuchFile:
      return fileProblem(doing, (await isBelowFile(sftp, doing.path)) ? "E_NOT_DIRECTORY" : "E_NO_FILE");
    case STATUS.permissionDenied:
      return fileProblem(doing, "E_FILE_DENIED");
    case STATUS.badMessage:
      return fileProblem(doing, "E_BAD_PATH", "a name is too long, or it is moved into itself");
    default: {
      const full = await isFull(sftp, parentOf(doing.path), sizeBytes);
      return fileProblem(doing, full ? "E_GUEST_FULL" : "E_FILE_FAILED", error.message);
    }
  }
}

/** What runs `work` and says its refusals as problems. */
export async function asProblem<Value>(sftp: Sftp, doing: Doing, work: () => Promise<Value>): Promise<Value> {
  try {
    return await work();
  } catch (error) {
    throw await problemOfRefusal(sftp, doing, error);
  }
}

/** Something on the way to the path is there and is no directory: ENOTDIR, which the protocol does not tell from ENOENT. */
async function isBelowFile(sftp: Sftp, path: string): Promise<boolean> {
  for (let parent = parentOf(path); parent !== "/"; parent = parentOf(parent)) {
    try {
      return typeOf(await sftp.attributes(REQUEST.stat, wirePath(parent))) !== "directory";
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
    }
  }
  return false;
}

/** No room for as much, or no inode. Where the server cannot say: no. */
async function isFull(sftp: Sftp, directory: string, sizeBytes: number): Promise<boolean> {
  if (!sftp.extensions.has("statvfs@openssh.com")) return false;
  try {
    const reader = await sftp.extended("statvfs@openssh.com", wirePath(directory));
    reader.u64();
    const [fragment, , , available, inodes, , inodesAvailable] = Array.from({ length: 7 }, () => reader.u64());
    const room = (fragment ?? 0) * (available ?? 0);
    return room <= Math.max(sizeBytes, fragment ?? 0) || (inodes !== 0 && inodesAvailable === 0);
  } catch (error) {
    if (error instanceof Refusal) return false;
    throw error;
  }
}

/** Of "/a/b/" and "/a/b": "/a". */
export function parentOf(path: string): string {
  const trimmed = path.replace(/\/+$/, "");
  return trimmed.slice(0, Math.max(0, trimmed.lastIndexOf("/"))).replace(/\/+$/, "") || "/";
}

export function baseOf(path: string): string {
  const trimmed = path.replace(/\/+$/, "");
  return trimmed.slice(trimmed.lastIndexOf("/") + 1) || "/";
}

export function below(directory: string, name: string): string {
  return directory.endsWith("/") ? `${directory}${name}` : `${directory}/${name}`;
}
