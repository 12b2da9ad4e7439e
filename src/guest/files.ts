/**
 * Files of the guest over SFTP, as whoever logs in.
 *
 * What SFTP cannot say or do in one request (a tree removed, a move to another file system) is a command of the guest.
 */
import { randomBytes } from "node:crypto";
import { asProblem, assertPath, baseOf, below, type Doing, fileProblem, parentOf, problemOfRefusal } from "./file-problems.ts";
import { lost } from "./link.ts";
import { Names } from "./names.ts";
import { type Runner } from "./process.ts";
import { runIn } from "./run.ts";
import { openSftp, Refusal, type Sftp } from "./sftp.ts";
import {
  type Attributes,
  encodeAttributes,
  type NameEntry,
  OPEN,
  path as wirePath,
  REQUEST,
  STATUS,
  typeOf,
} from "./sftp-wire.ts";
import { readRange, writeAll } from "./transfer.ts";
import type { GuestEntry, GuestFiles } from "./types.ts";
import { type Users, usersOf } from "./users.ts";
import { string, u32 } from "./wire.ts";

/** Directories read at once: each has a handle, of which a server has some hundreds. */
const DIRECTORIES_MAX = 16;
/** A file of no size (of /proc) is read whole before its size is said. */
const UNSIZED_MAX_BYTES = 64 * 1024 ** 2;
/** Files up to it are read before their size is said, which is then what was there: /sys says 4096 of everything. */
const SMALL_BYTES = 64 * 1024;
const LINKS_MAX = 40;

/**
 * Names of files that are being written, which are renamed when they are whole. `watch` leaves them out and tells the renaming as what it
 * stands for: a file that was made, or one that was written to.
 */
export const TEMPORARY = { made: ".garth-new-", replaced: ".garth-old-" } as const;

export interface FilesRoom {
  readonly files: GuestFiles;
  readonly users: Users;
  sftp(): Promise<Sftp>;
  close(): void;
}

export function openFiles(runner: Runner): FilesRoom {
  const { address, link } = runner;
  let opening: Promise<{ readonly sftp: Sftp; readonly names: Names }> | undefined;
  const session = async (): Promise<{ readonly sftp: Sftp; readonly names: Names }> => {
    const current = opening;
    if (current !== undefined) {
      const open = await current;
      if (open.sftp.isOpen) return open;
      if (opening === current) opening = undefined;
      return await session();
    }
    const next = openSftp(link, address).then((sftp) => ({ sftp, names: new Names(sftp) }));
    opening = next;
    next.catch(() => {
      if (opening === next) opening = undefined;
    });
    return await next;
  };
  const sftp = async (): Promise<Sftp> => (await session()).sftp;
  const doing = (verb: string, path: string): Doing => {
    const what = { verb, path, guest: address.name };
    assertPath(what);
    return what;
  };
  const users = usersOf({
    guest: address.name,
    readPasswd: async () => Buffer.concat(await Array.fromAsync((await files.read("/etc/passwd")).chunks)).toString(),
    askGetent: async (name) => Buffer.from((await runIn(runner, { argv: ["getent", "passwd", "--", name] })).stdout).toString(),
  });

  const stat: GuestFiles["stat"] = async (path) => {
    const what = doing("looking at", path);
    const { sftp, names } = await session();
    const attributes = await asProblem(sftp, what, () => sftp.attributes(REQUEST.lstat, wirePath(path)));
    return await names.entryOf(parentOf(path), { name: baseOf(path), attributes }, path);
  };

  const readDirectory = async (sftp: Sftp, what: Doing): Promise<readonly NameEntry[]> =>
    await asProblem(sftp, what, async () => {
      const handle = await sftp.handle(REQUEST.opendir, wirePath(what.path));
      try {
        const found: NameEntry[] = [];
        for (;;) {
          const names = await sftp.names(REQUEST.readdir, string(handle));
          if (names === undefined) return found;
          found.push(...names.filter(({ name }) => name !== "." && name !== ".."));
        }
      } finally {
        await sftp.done(REQUEST.close, string(handle));
      }
    });

  const list: GuestFiles["list"] = async (path, depth = 1) => {
    const what = doing("listing", path);
    const { sftp, names } = await session();
    const attributes = await asProblem(sftp, what, () => sftp.attributes(REQUEST.stat, wirePath(path)));
    if (typeOf(attributes) !== "directory") throw fileProblem(what, "E_NOT_DIRECTORY");
    const free = limiter(DIRECTORIES_MAX);
    // Real paths stay bytes underneath: a name that is no UTF-8 leads on to its directory, and is shown with U+FFFD in it.
    const walk = async (directory: string, left: number): Promise<readonly GuestEntry[]> => {
      const found = (await free(() => readDirectory(sftp, { ...what, path: directory }))).toSorted((a, b) =>
        a.name < b.name ? -1 : a.name > b.name ? 1 : 0,
      );
      const parts = await Promise.all(
        found.map(async (one) => {
          const entry = await names.entryOf(directory, one);
          const isTree = left > 1 && typeOf(one.attributes) === "directory";
          return isTree ? [entry, ...(await under(directory, one.name, left - 1))] : [entry];
        }),
      );
      return parts.flat();
    };
    const under = async (directory: string, name: string, left: number): Promise<readonly GuestEntry[]> => {
      try {
        return await walk(below(directory, name), left);
      } catch (error) {
        // Gone since, or closed to us: what was asked for is the tree above it.
        if (isProblem(error, "E_NO_FILE", "E_FILE_DENIED", "E_NOT_DIRECTORY")) return [];
        throw error;
      }
    };
    return await walk(path, Math.max(1, depth));
  };

  /** Directories that are missing on the way to it, and itself. Which were made is told from the top. */
  const makeAll = async (sftp: Sftp, path: string, what: Doing): Promise<readonly string[]> => {
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
  };
  /** mkdir was refused: fine where a directory is there. */
  const thereOr = async (
    sftp: Sftp,
    path: string,
    what: Doing,
    error: unknown,
    made: readonly string[],
  ): Promise<readonly string[]> => {
    let attributes: Attributes | undefined;
    try {
      attributes = await sftp.attributes(REQUEST.stat, wirePath(path));
    } catch (missing) {
      if (!(missing instanceof Refusal)) throw missing;
    }
    if (attributes === undefined) throw await problemOfRefusal(sftp, { ...what, path }, error);
    if (typeOf(attributes) !== "directory") throw fileProblem({ ...what, path }, "E_NOT_DIRECTORY");
    return made;
  };
  const own = async (sftp: Sftp, paths: readonly string[], user: string | undefined): Promise<void> => {
    if (user === undefined || paths.length === 0) return;
    const { uid, gid } = await users.find(user);
    for (const path of paths) await sftp.done(REQUEST.setstat, wirePath(path), encodeAttributes({ uid, gid }));
  };

  const makeDirectory: GuestFiles["makeDirectory"] = async (path, user) => {
    const what = doing("making the directory", path);
    const client = await sftp();
    return await asProblem(client, what, async () => {
      const made = await makeAll(client, path, what);
      await own(client, made, user);
      return made.length > 0;
    });
  };

  const kindAt = async (client: Sftp, path: string): Promise<ReturnType<typeof typeOf> | undefined> => {
    try {
      return typeOf(await client.attributes(REQUEST.lstat, wirePath(path)));
    } catch (error) {
      if (error instanceof Refusal) return undefined;
      throw error;
    }
  };

  const rename = async (client: Sftp, from: string, to: string): Promise<void> => {
    if (client.extensions.has("posix-rename@openssh.com")) {
      await client.extendedDone("posix-rename@openssh.com", wirePath(from), wirePath(to));
      return;
    }
    // Version 3 itself replaces nothing.
    if ((await kindAt(client, to)) === "file") await client.done(REQUEST.remove, wirePath(to));
    await client.done(REQUEST.rename, wirePath(from), wirePath(to));
  };

  const move: GuestFiles["move"] = async (from, to) => {
    const what = doing("moving", from);
    doing("moving to", to);
    const client = await sftp();
    const [kind, above] = await Promise.all([kindAt(client, from), kindAt(client, parentOf(to))]);
    if (kind === undefined) throw fileProblem(what, "E_NO_FILE");
    if (above === undefined) await asProblem(client, what, () => makeAll(client, parentOf(to), what));
    try {
      await rename(client, from, to);
    } catch (error) {
      if (!(error instanceof Refusal) || error.status !== STATUS.failure) throw await problemOfRefusal(client, what, error);
      const there = await kindAt(client, to);
      const target = { ...what, verb: `moving ${from} to`, path: to };
      if (there === "directory") throw fileProblem(target, kind === "directory" ? "E_FILE_EXISTS" : "E_IS_DIRECTORY");
      if (there !== undefined && kind === "directory") throw fileProblem(target, "E_NOT_DIRECTORY");
      // Another file system, most likely.
      await command(["mv", "-f", "--", from, to], what);
    }
    return await stat(to);
  };

  const command = async (argv: readonly [string, ...string[]], what: Doing): Promise<void> => {
    const { code, stderr } = await runIn(runner, { argv, env: { LC_ALL: "C" }, cwd: "/" });
    if (code === 0) return;
    const full = stderr.includes("No space left on device");
    throw fileProblem(what, full ? "E_GUEST_FULL" : "E_FILE_DENIED", stderr.trim());
  };

  const remove: GuestFiles["remove"] = async (path) => {
    const what = doing("removing", path);
    const client = await sftp();
    const kind = await kindAt(client, path);
    if (kind === undefined) return;
    try {
      await client.done(kind === "directory" ? REQUEST.rmdir : REQUEST.remove, wirePath(path));
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      if (error.status === STATUS.noSuchFile) return;
      if (kind !== "directory" || error.status !== STATUS.failure) throw await problemOfRefusal(client, what, error);
      await command(["rm", "-rf", "--", path], what);
    }
  };

  const read: GuestFiles["read"] = async (path, range) => {
    const what = doing("reading", path);
    const client = await sftp();
    return await asProblem(client, what, async () => {
      // Looked at before it is opened: opening a pipe would hold up every other file until somebody writes to it.
      const kind = typeOf(await client.attributes(REQUEST.stat, wirePath(path)));
      if (kind === "directory") throw fileProblem(what, "E_IS_DIRECTORY");
      if (kind !== "file") throw fileProblem(what, "E_FILE_DENIED", "it is a device, a pipe or a socket");
      const handle = await client.handle(REQUEST.open, wirePath(path), u32(OPEN.read), encodeAttributes({}));
      const close = (): Promise<void> => client.done(REQUEST.close, string(handle)).catch(() => undefined);
      try {
        const { sizeBytes = 0 } = await client.attributes(REQUEST.fstat, string(handle));
        if (sizeBytes <= SMALL_BYTES) {
          const data = await whole(client, handle, what);
          void close();
          const part = range === undefined ? data : data.subarray(range.from, range.to);
          return { sizeBytes: part.byteLength, chunks: once(part) };
        }
        const from = Math.min(range?.from ?? 0, sizeBytes);
        const to = Math.max(from, Math.min(range?.to ?? sizeBytes, sizeBytes));
        return { sizeBytes: to - from, chunks: closing(readRange(client, handle, from, to), what, client, close) };
      } catch (error) {
        void close();
        throw error;
      }
    });
  };

  const write: GuestFiles["write"] = async (path, chunks, options = {}) => {
    const what = doing("writing", path);
    const client = await sftp();
    const { target, attributes } = await asProblem(client, what, () => placeOf(client, path, what));
    const kind = attributes === undefined ? undefined : typeOf(attributes);
    if (kind === "directory" || target.endsWith("/")) throw fileProblem(what, "E_IS_DIRECTORY");
    const isNew = attributes === undefined;
    // A device or a pipe is written to: there is nothing to keep.
    const inPlace = kind === "other";
    const name = `${isNew ? TEMPORARY.made : TEMPORARY.replaced}${randomBytes(8).toString("hex")}`;
    const temporary = inPlace ? target : below(parentOf(target), name);
    const flags = OPEN.write | (inPlace ? 0 : OPEN.create | OPEN.exclusive);
    const open = (): Promise<Uint8Array> =>
      client.handle(REQUEST.open, wirePath(temporary), u32(flags), encodeAttributes(isNew ? {} : { mode: 0o600 }));
    let refusedBytes = 0;
    try {
      let handle: Uint8Array;
      try {
        handle = await open();
      } catch (error) {
        if (!(error instanceof Refusal) || error.status !== STATUS.noSuchFile) throw error;
        await own(client, await makeAll(client, parentOf(target), what), options.user);
        handle = await open();
      }
      try {
        await writeAll(client, handle, chunks, (sizeBytes) => (refusedBytes = sizeBytes));
        if (!inPlace) await settle(client, handle, attributes, options.user);
        await client.done(REQUEST.close, string(handle));
      } catch (error) {
        await client.done(REQUEST.close, string(handle)).catch(() => undefined);
        throw error;
      }
      if (!inPlace) await rename(client, temporary, target);
    } catch (error) {
      if (!inPlace) await client.done(REQUEST.remove, wirePath(temporary)).catch(() => undefined);
      if (!client.isOpen) throw error instanceof Refusal ? lost(address) : error;
      throw await problemOfRefusal(client, { ...what, path: target }, error, refusedBytes);
    }
    return await stat(path);
  };

  /** Owner first: a change of owner takes away setuid. Who is not root cannot give a file away, and keeps it. */
  const settle = async (
    client: Sftp,
    handle: Uint8Array,
    before: Attributes | undefined,
    user: string | undefined,
  ): Promise<void> => {
    const set = (attributes: Attributes): Promise<void> =>
      client.done(REQUEST.fsetstat, string(handle), encodeAttributes(attributes));
    const owner = before ?? (user === undefined ? undefined : await users.find(user));
    if (owner?.uid !== undefined && owner.gid !== undefined) {
      await set({ uid: owner.uid, gid: owner.gid }).catch((error: unknown) => {
        if (!(error instanceof Refusal && before !== undefined)) throw error;
      });
    }
    if (before?.mode === undefined) return;
    await set({ mode: before.mode & 0o7777 });
    // The old content goes with the renaming: the new one has to be there after a power failure too.
    if (client.extensions.has("fsync@openssh.com")) await client.extendedDone("fsync@openssh.com", string(handle));
  };

  const files: GuestFiles = { stat, list, makeDirectory, move, remove, read, write };
  return {
    files,
    users,
    sftp,
    close: () => {
      opening?.then(
        ({ sftp: open }) => open.close(),
        () => undefined,
      );
    },
  };
}

function isProblem(error: unknown, ...codes: readonly string[]): boolean {
  return error instanceof Error && "code" in error && codes.includes(String(error.code));
}

/** Where a path that may be a link leads, through links that lead to nothing too. */
async function placeOf(
  client: Sftp,
  path: string,
  what: Doing,
): Promise<{ readonly target: string; readonly attributes: Attributes | undefined }> {
  let target = path;
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

async function whole(client: Sftp, handle: Uint8Array, what: Doing): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of readRange(client, handle, 0, UNSIZED_MAX_BYTES + 1)) {
    chunks.push(chunk);
    size += chunk.byteLength;
  }
  if (size > UNSIZED_MAX_BYTES) throw fileProblem(what, "E_FILE_FAILED", "it says that it is empty and does not end");
  return Buffer.concat(chunks);
}

async function* once(data: Uint8Array): AsyncGenerator<Uint8Array> {
  if (data.byteLength > 0) yield data;
}

async function* closing(
  chunks: AsyncGenerator<Uint8Array>,
  what: Doing,
  client: Sftp,
  close: () => Promise<void>,
): AsyncGenerator<Uint8Array> {
  try {
    yield* chunks;
  } catch (error) {
    throw await problemOfRefusal(client, what, error);
  } finally {
    void close();
  }
}

/** Runs as many as `most` at once. */
function limiter(most: number): <Value>(work: () => Promise<Value>) => Promise<Value> {
  const waiting: (() => void)[] = [];
  let running = 0;
  return async (work) => {
    if (running >= most) await new Promise<void>((resolve) => waiting.push(resolve));
    else running += 1;
    try {
      return await work();
    } finally {
      const next = waiting.shift();
      if (next === undefined) running -= 1;
      else next();
    }
  };
}
