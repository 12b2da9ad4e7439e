/**
 * Files of the guest over SFTP, as whoever logs in.
 *
 * What SFTP cannot say or do in one request (a tree removed, a move to another file system) is a command of the guest.
 */
import { asProblem, assertPath, baseOf, below, type Doing, fileProblem, parentOf, problemOfRefusal } from "./file-problems.ts";
import { kindAt, makeAll, own, rename } from "./changes.ts";
import { Names } from "./names.ts";
import { type Runner } from "./process.ts";
import { runIn } from "./run.ts";
import { openSftp, Refusal, type Sftp } from "./sftp.ts";
import { encodeAttributes, type NameEntry, OPEN, path as wirePath, REQUEST, STATUS, typeOf } from "./sftp-wire.ts";
import { readRange } from "./transfer.ts";
import type { GuestEntry, GuestFiles } from "./types.ts";
import { temporaryName, upload } from "./upload.ts";
import { type Users, usersOf } from "./users.ts";
import { string, u32 } from "./wire.ts";

/** Directories read at once: each has a handle, of which a server has some hundreds. */
const DIRECTORIES_MAX = 16;
/** A file of no size (of /proc) is read whole before its size is said. */
const UNSIZED_MAX_BYTES = 64 * 1024 ** 2;
/** Files up to it are read before their size is said, which is then what was there: /sys says 4096 of everything. */
const SMALL_BYTES = 64 * 1024;

/** Whole beside its place before what is there is touched, as with a file that is written. */
const MOVE_BY_COPY = 'cp -pRP -- "$1" "$2" && mv -f -- "$2" "$3" && rm -rf -- "$1" || { rm -rf -- "$2"; exit 1; }';

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

  const makeDirectory: GuestFiles["makeDirectory"] = async (path, user) => {
    const what = doing("making the directory", path);
    const client = await sftp();
    const owner = user === undefined ? undefined : await users.find(user);
    return await asProblem(client, what, async () => {
      const made = await makeAll(client, path, what);
      await own(client, made, owner);
      return made.length > 0;
    });
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
      if (!(error instanceof Refusal)) throw error;
      const there = await kindAt(client, to);
      const target = { ...what, verb: `moving ${from} to`, path: to };
      if (there === "directory") throw fileProblem(target, kind === "directory" ? "E_FILE_EXISTS" : "E_IS_DIRECTORY");
      if (there !== undefined && kind === "directory") throw fileProblem(target, "E_NOT_DIRECTORY");
      if (error.status !== STATUS.failure) throw await problemOfRefusal(client, what, error);
      // Another file system, most likely.
      const beside = below(parentOf(to), temporaryName(there === undefined ? "made" : "replaced"));
      await command(["/bin/sh", "-c", MOVE_BY_COPY, "move", from, beside, to], what);
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

  const write: GuestFiles["write"] = async (path, chunks, { user } = {}) => {
    const what = doing("writing", path);
    const client = await sftp();
    await upload(client, what, chunks, user === undefined ? undefined : await users.find(user));
    return await stat(path);
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
