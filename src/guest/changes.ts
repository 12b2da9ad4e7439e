/** Steps that change names in the guest, of which the operations of `files.ts` are made. They throw refusals as they come. */
import { type Doing, fileProblem, parentOf, problemOfRefusal } from "./file-problems.ts";
import { Refusal, type Sftp } from "./sftp.ts";
import { type Attributes, encodeAttributes, path as wirePath, REQUEST, STATUS, typeOf } from "./sftp-wire.ts";
import type { EntryKind, GuestUser } from "./types.ts";

/** Directories that are missing on the way to it, and itself. Which were made is told from the top. */
export async function makeAll(sftp: Sftp, path: string, what: Doing): Promise<readonly string[]> {
  const make = (): Promise<void> => sftp.done(REQUEST.mkdir, wirePath(path), encodeAttributes({}));
  try {
    await make();
    return [path];
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    if (error.status === STATUS.noSuchFile && path !== "/") {
      const above = await makeAll(sftp, parentOf(path), what);
      try {
        await make();
        return [...above, path];
      } catch (again) {
        return await thereOr(sftp, path, what, again, above);
      }
    }
    return await thereOr(sftp, path, what, error, []);
  }
}

/** mkdir was refused: fine where a directory is there. */
async function thereOr(
  sftp: Sftp,
  path: string,
  what: Doing,
  error: unknown,
  made: readonly string[],
): Promise<readonly string[]> {
  let attributes: Attributes | undefined;
  try {
    attributes = await sftp.attributes(REQUEST.stat, wirePath(path));
  } catch (missing) {
    if (!(missing instanceof Refusal)) throw missing;
  }
  if (attributes === undefined) throw await problemOfRefusal(sftp, { ...what, path }, error);
  if (typeOf(attributes) !== "directory") throw fileProblem({ ...what, path }, "E_NOT_DIRECTORY");
  return made;
}

/** Gives them to a user. */
export async function own(sftp: Sftp, paths: readonly string[], user: GuestUser | undefined): Promise<void> {
  if (user === undefined) return;
  const owner = encodeAttributes({ uid: user.uid, gid: user.gid });
  await Promise.all(paths.map((path) => sftp.done(REQUEST.setstat, wirePath(path), owner)));
}

/** Of the path itself, where it is a link. undefined: there is nothing, as far as we may see. */
export async function kindAt(client: Sftp, path: string): Promise<EntryKind | undefined> {
  try {
    return typeOf(await client.attributes(REQUEST.lstat, wirePath(path)));
  } catch (error) {
    if (error instanceof Refusal) return undefined;
    throw error;
  }
}

/** What is there is replaced. @throws Refusal */
export async function rename(client: Sftp, from: string, to: string): Promise<void> {
  if (client.extensions.has("posix-rename@openssh.com")) {
    await client.extendedDone("posix-rename@openssh.com", wirePath(from), wirePath(to));
    return;
  }
  // Version 3 itself replaces nothing.
  if ((await kindAt(client, to)) === "file") await client.done(REQUEST.remove, wirePath(to));
  await client.done(REQUEST.rename, wirePath(from), wirePath(to));
}
