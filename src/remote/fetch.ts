/**
 * Brings trees from a host: each in an archive, written here, and accepted when its NAR is what the host says it is.
 *
 *     (nothing) ──archive──► written ──digest as the host's──► there
 *                   └── a difference, a lost host, a full disk, a signal ──► (nothing), for each of the trees
 *
 * Whatever the archive says, nothing is written but below `to`: each member's directory was made by a member before it, and what is there is
 * never opened again.
 */
import { Problem } from "../base/index.ts";
import { readTar, type TarEntry } from "../formats/index.ts";
import { type Files, isErrno, type PathLike } from "../host/index.ts";
import { narOf } from "../store/index.ts";
import { fetchScript } from "./fetch-script.ts";
import { notDone, type Sender } from "./send.ts";
import type { ScriptEnd } from "./types.ts";

export interface FetchedTree {
  readonly from: string;
  readonly to: string;
}

/** More than any output has; the sandbox's limit on what a build writes is far below. */
const LIMITS = { members: 10_000_000, contentBytes: 1024 ** 4 };
/** Larger files are written on a thread of the runtime, by parts. */
const SMALL_BYTES = 256 * 1024;

export async function fetchTrees(
  sender: Sender,
  trees: readonly FetchedTree[],
  { signal }: { readonly signal?: AbortSignal } = {},
): Promise<void> {
  const { files } = sender.host;
  const made: string[] = [];
  try {
    for (const tree of trees) {
      files.makeDirectory(tree.to);
      made.push(tree.to);
      await fetchTree(sender, tree, signal);
    }
  } catch (error) {
    for (const directory of made) await files.removeTreeBeside(directory);
    throw error;
  }
}

async function fetchTree(sender: Sender, tree: FetchedTree, signal: AbortSignal | undefined): Promise<void> {
  const { connection, record, host } = sender;
  const doing = `fetching ${tree.from}`;
  const id = `fetch-${crypto.randomUUID()}`;
  const body = fetchScript({ root: record.root, system: record.facts.system, id, from: tree.from });
  const pipe = new Pipe();
  const unpacking = unpack(host.files, tree, pipe, `the archive of ${tree.from} on the host ${record.name}`);
  // Its error is looked at below; what comes after it is thrown away.
  const unpacked = unpacking.then(
    () => undefined,
    (error: unknown) => {
      pipe.close();
      return { error };
    },
  );
  let end: ScriptEnd;
  try {
    const given = signal === undefined ? {} : { signal };
    end = await connection.start({ doing, body }, { ...given, onOutput: (chunk) => pipe.push(chunk) }).ended;
  } catch (error) {
    pipe.end();
    await unpacked;
    throw error;
  }
  pipe.end();
  const fault = await unpacked;
  signal?.throwIfAborted();
  const said = end.events.find(({ name }) => name === "nar");
  if (end.status !== 0 || said === undefined) throw notHandedOver(sender, tree, end);
  if (fault !== undefined) throw notWritten(sender, tree, fault.error);
  const { sha256 } = await narOf(host.files, tree.to);
  if (sha256 !== said.fields[0]) {
    throw damaged(sender, tree, [`expected ${said.fields[0] ?? ""}, the SHA-256 of its NAR there`, `found    ${sha256}`]);
  }
}

/** From whoever pushes to whoever pulls, one chunk at a time: a push waits until its chunk was taken. */
class Pipe implements AsyncIterable<Uint8Array> {
  #chunk: Uint8Array | undefined;
  #ended = false;
  #closed = false;
  #changed = Promise.withResolvers<void>();

  #wake(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers<void>();
  }

  async push(chunk: Uint8Array): Promise<void> {
    this.#chunk = chunk;
    this.#wake();
    while (this.#chunk !== undefined && !this.#closed) await this.#changed.promise;
  }

  end(): void {
    this.#ended = true;
    this.#wake();
  }

  /** Nobody pulls any more: what is pushed is gone. */
  close(): void {
    this.#closed = true;
    this.#wake();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array> {
    for (;;) {
      const chunk = this.#chunk;
      if (chunk !== undefined) {
        yield chunk;
        this.#chunk = undefined;
        this.#wake();
      } else if (this.#ended) return;
      else await this.#changed.promise;
    }
  }
}

const asBytes = (text: string): Buffer => Buffer.from(text, "latin1");

async function unpack(files: Files, { to }: FetchedTree, archive: AsyncIterable<Uint8Array>, name: string): Promise<void> {
  const top = Buffer.from(to).toString("latin1");
  const place = (path: string): PathLike => asBytes(`${top}/${path}`);
  const directories = new Set<string>([""]);
  const plain = new Set<string>();
  for await (const entry of readTar(archive, name, LIMITS, { names: "bytes", belowDot: true })) {
    const { path, type, target = "" } = entry;
    if (path === "") continue;
    if (path.startsWith("/") || !directories.has(path.slice(0, Math.max(0, path.lastIndexOf("/"))))) throw stray(name, path);
    switch (type) {
      case "directory":
        files.makeDirectory(place(path));
        directories.add(path);
        break;
      case "symlink":
        files.symlink(asBytes(target), place(path));
        break;
      case "hardlink":
        if (!plain.has(target)) throw stray(name, path);
        files.hardLink(place(target), place(path));
        plain.add(path);
        break;
      case "file":
        await writeFile(files, place(path), entry, name);
        plain.add(path);
    }
  }
}

async function writeFile(files: Files, path: PathLike, entry: TarEntry, name: string): Promise<void> {
  if ((entry.mode & 0o6000) !== 0) throw stray(name, entry.path);
  const descriptor = files.open(path, "wx", (entry.mode & 0o100) === 0 ? 0o644 : 0o755);
  try {
    let at = 0;
    for await (const part of entry.content()) {
      if (entry.sizeBytes <= SMALL_BYTES) files.write(descriptor, part);
      else await files.writeBeside(descriptor, part, at);
      at += part.byteLength;
    }
  } finally {
    files.close(descriptor);
  }
}

function stray(name: string, path: string): Problem {
  return new Problem({
    code: "E_BAD_ARCHIVE",
    message: `the member ${JSON.stringify(asBytes(path).toString())} of ${name} may not be there`,
    hint: "an output holds files, directories and symlinks, each in a directory of its own; nothing of it was kept",
  });
}

function damaged({ record }: Sender, { from }: FetchedTree, details: readonly string[], cause?: unknown): Problem {
  return new Problem({
    code: "E_HOST_DAMAGED",
    message: `fetching ${from} from the host ${record.name}: it came as something else`,
    details,
    hint: `nothing of it was kept; is the disk of ${record.name} sound?`,
    cause,
  });
}

function notWritten(sender: Sender, tree: FetchedTree, error: unknown): unknown {
  if (isErrno(error, "ENOSPC", "EDQUOT")) {
    return new Problem({
      code: "E_NO_SPACE",
      message: `the disk filled up while fetching ${tree.from} from the host ${sender.record.name}`,
      where: tree.to,
      hint: "nothing of it was kept; free some space, for example with `garth store gc`",
      exit: 3,
      cause: error,
    });
  }
  // A name that is there already: the archive has it twice, or the file system here takes two names for one.
  if (isErrno(error, "EEXIST", "ENAMETOOLONG", "EINVAL", "EILSEQ"))
    return damaged(sender, tree, [error instanceof Error ? error.message : ""], error);
  if (!(error instanceof Problem)) return error;
  if (error.code === "E_ARCHIVE_TRUNCATED" || error.code === "E_ARCHIVE_DAMAGED")
    return damaged(sender, tree, [error.message], error);
  if (error.code === "E_ARCHIVE_MEMBER" || error.code === "E_ARCHIVE_LIMIT") {
    const { message, details, hint = "nothing of it was kept" } = error;
    return new Problem({ code: "E_BAD_ARCHIVE", message, details, hint, cause: error });
  }
  return error;
}

function octalText(octal: string): string {
  const bytes = octal.split("/").map((name) => Buffer.from((name.match(/.../g) ?? []).map((one) => Number.parseInt(one, 8))));
  return bytes.map((one) => one.toString()).join("/");
}

/** What the script said in place of a digest. */
function notHandedOver({ record }: Sender, { from }: FetchedTree, end: ScriptEnd): Problem {
  const where = `${from} on the host ${record.name}`;
  const bad = end.events.filter(({ name }) => name === "bad");
  const special = bad.filter(({ fields }) => fields[0] === "special");
  const names = (events: typeof bad): readonly string[] =>
    events.map(({ fields: [kind = "", path = ""] }) => (kind === "special" ? octalText(path) : `${octalText(path)} (${kind})`));
  if (special.length > 0) {
    return new Problem({
      code: "E_SETUID_OUTPUT",
      message: `${names(special)[0] ?? ""} has the setuid or setgid bit; everybody can read and run what is in the store`,
      details: names(special),
      where,
      hint: "clear the bit in the install phase (chmod u-s,g-s); grant it where the package is installed",
    });
  }
  if (bad.length > 0) {
    return new Problem({
      code: "E_BAD_FILE_TYPE",
      message: `${names(bad)[0] ?? ""}: a store item holds regular files, directories and symbolic links only`,
      details: names(bad),
      where,
      hint: "remove it in the install phase",
    });
  }
  if (end.events.some(({ name }) => name === "absent")) {
    return new Problem({
      code: "E_HOST_DAMAGED",
      message: `fetching ${from} from the host ${record.name}: there is no such directory`,
      hint: "somebody removed it, or put something else in its place",
    });
  }
  return notDone(record, `fetching ${from}`, end);
}
