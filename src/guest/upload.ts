/**
 * A file written whole or not at all: beside its place first, then renamed into it.
 *
 *     looked at ──► beside its place ──all of it written──► owner and mode as they were ──► renamed
 *                         └──the stream broke, no space──► removed; what was there is as it was
 *
 * When the connection itself is lost in between, the half-written file stays beside its place, under a name that begins with `.garth-`.
 */
import { randomBytes } from "node:crypto";
import { makeAll, own, rename } from "./changes.ts";
import { asProblem, below, type Doing, fileProblem, parentOf, problemOfRefusal } from "./file-problems.ts";
import { Refusal, type Sftp } from "./sftp.ts";
import { type Attributes, encodeAttributes, OPEN, path as wirePath, REQUEST, STATUS, typeOf } from "./sftp-wire.ts";
import { writeAll } from "./transfer.ts";
import type { GuestUser } from "./types.ts";
import { string, u32 } from "./wire.ts";

const LINKS_MAX = 40;
const TYPE_MASK = 0o170000;
const CHARACTER_DEVICE = 0o020000;

/**
 * Names of files that are being written, which are renamed when they are whole. `watch` leaves them out and tells the renaming as what it
 * stands for: a file that was made, or one that was written to.
 */
export const TEMPORARY = { made: ".garth-new-", replaced: ".garth-old-" } as const;

export function temporaryName(kind: keyof typeof TEMPORARY): string {
  return `${TEMPORARY[kind]}${randomBytes(8).toString("hex")}`;
}

/** `user`: who gets what was not there before. What the source throws comes through. */
export async function upload(
  client: Sftp,
  what: Doing,
  chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  user: GuestUser | undefined,
): Promise<void> {
  const { target, attributes } = await asProblem(client, what, () => placeOf(client, what));
  const kind = attributes === undefined ? undefined : typeOf(attributes);
  if (kind === "directory" || target.endsWith("/")) throw fileProblem(what, "E_IS_DIRECTORY");
  const isNew = attributes === undefined;
  // A device is written to: there is nothing to keep. A pipe without a reader would hold up every other file.
  const inPlace = kind === "other";
  if (inPlace && ((attributes?.mode ?? 0) & TYPE_MASK) !== CHARACTER_DEVICE)
    throw fileProblem(what, "E_FILE_DENIED", "it is no file");
  const temporary = inPlace ? target : below(parentOf(target), temporaryName(isNew ? "made" : "replaced"));
  const flags = OPEN.write | (inPlace ? 0 : OPEN.create | OPEN.exclusive);
  const open = (): Promise<Uint8Array> =>
    client.handle(REQUEST.open, wirePath(temporary), u32(flags), encodeAttributes(isNew ? {} : { mode: 0o600 }));
  const place = { ...what, path: target };
  let refusedBytes = 0;
  let handle: Uint8Array;
  try {
    handle = await open();
  } catch (error) {
    if (!(error instanceof Refusal) || error.status !== STATUS.noSuchFile) throw await problemOfRefusal(client, place, error);
    handle = await asProblem(client, place, async () => {
      await own(client, await makeAll(client, parentOf(target), what), user);
      return await open();
    });
  }
  try {
    try {
      await writeAll(client, handle, chunks, (sizeBytes) => (refusedBytes = sizeBytes));
      if (!inPlace) await settle(client, handle, attributes, user);
    } catch (error) {
      await client.done(REQUEST.close, string(handle)).catch(() => undefined);
      throw error;
    }
    await client.done(REQUEST.close, string(handle));
    if (!inPlace) await rename(client, temporary, target);
  } catch (error) {
    // Before it is gone: the room that it takes is what is missing.
    const problem = await problemOfRefusal(client, place, error, refusedBytes);
    if (!inPlace) await client.done(REQUEST.remove, wirePath(temporary)).catch(() => undefined);
    throw problem;
  }
}

/** Owner first: a change of owner takes away setuid. Who is not root cannot give a file away, and keeps it. */
async function settle(
  client: Sftp,
  handle: Uint8Array,
  before: Attributes | undefined,
  user: GuestUser | undefined,
): Promise<void> {
  const set = (attributes: Attributes): Promise<void> =>
    client.done(REQUEST.fsetstat, string(handle), encodeAttributes(attributes));
  const owner = before ?? user;
  if (owner?.uid !== undefined && owner.gid !== undefined) {
    await set({ uid: owner.uid, gid: owner.gid }).catch((error: unknown) => {
      if (!(error instanceof Refusal && before !== undefined)) throw error;
    });
  }
  if (before?.mode === undefined) return;
  await set({ mode: before.mode & 0o7777 });
  // The old content goes with the renaming: the new one has to be there after a power failure too.
  if (client.extensions.has("fsync@openssh.com")) await client.extendedDone("fsync@openssh.com", string(handle));
}

/** Where a path that may be a link leads, through links that lead to nothing too. */
async function placeOf(
  client: Sftp,
  what: Doing,
): Promise<{ readonly target: string; readonly attributes: Attributes | undefined }> {
  let target = what.path;
  for (let links = 0; links < LINKS_MAX; links += 1) {
    let attributes: Attributes;
    try {
      attributes = await client.attributes(REQUEST.lstat, wirePath(target));
    } catch (error) {
      if (error instanceof Refusal && error.status === STATUS.noSuchFile) return { target, attributes: undefined };
      throw error;
    }
    if (typeOf(attributes) !== "symlink") return { target, attributes };
    const [link] = (await client.names(REQUEST.readlink, wirePath(target))) ?? [];
    if (link === undefined) break;
    target = link.name.startsWith("/") ? link.name : below(parentOf(target), link.name);
  }
  throw fileProblem(what, "E_NO_FILE", "its links lead round in a circle");
}
