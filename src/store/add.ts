/** Copying things in: files, trees, texts, and content whose digest somebody promised. */
import { Problem, sha256, sha256Hasher, storePath, type StorePath } from "../base/index.ts";
import { NarWriter } from "../formats/index.ts";
import { isErrno, type PathLike } from "../host/index.ts";
import { canonicalise, refuseSpecialBits } from "./canonical.ts";
import { type Committer, commitNow } from "./commit.ts";
import { physicalOf, type StoreContext } from "./context.ts";
import { emitTree } from "./emit.ts";
import { outOfSpace } from "./errors.ts";
import { queryItem } from "./items.ts";
import { pin } from "./pins.ts";
import type { Prepared } from "./plan.ts";
import { BUFFER_BYTES, NarStream } from "./stream.ts";
import { isExecutable, type TreeEntry, walk } from "./tree.ts";
import type { Store, StoreItem } from "./types.ts";

/** From here on a second thread earns its start. */
const BESIDE_BYTES = 32 * 1024 * 1024;

export type Form = "flat" | "tree";
export type AddOptions = NonNullable<Parameters<Store["add"]>[2]>;

interface Digests {
  readonly narSha256: string;
  readonly narSizeBytes: number;
  /** Of the single file's contents. */
  readonly flatSha256: string | undefined;
}

function formOf(entries: readonly TreeEntry[], asked: Form | undefined, source: string): Form {
  const root = entries[0];
  const plain = root?.type === "file" && !isExecutable(root);
  if (asked === "flat" && !plain) {
    throw new Problem({
      code: "E_NOT_A_PLAIN_FILE",
      message: `${source} is not a regular, non-executable file`,
      where: source,
      hint: "add it as a tree, or clear its executable bit",
    });
  }
  return asked ?? (plain ? "flat" : "tree");
}

/** One pass over the tree, with or without a copy. */
async function digest(context: StoreContext, entries: readonly TreeEntry[], form: Form, copyTo?: PathLike): Promise<Digests> {
  const [root] = entries;
  if (form === "flat" && copyTo !== undefined && root !== undefined && root.stat.sizeBytes >= BESIDE_BYTES) {
    return await digestBeside(context, root, copyTo);
  }
  const flat = form === "flat" ? sha256Hasher() : undefined;
  const stream = new NarStream(flat === undefined ? {} : { flat });
  await emitTree(context.files, entries, stream, copyTo === undefined ? {} : { copyTo });
  const { sha256, sizeBytes } = stream.end();
  return { narSha256: sha256, narSizeBytes: sizeBytes, flatSha256: flat?.digest("hex") };
}

/** Two digests of one large file at once: of its contents on a thread of their own, of its archive here. */
async function digestBeside(context: StoreContext, root: TreeEntry, copyTo: PathLike): Promise<Digests> {
  const shared = new SharedArrayBuffer(2 * BUFFER_BYTES);
  const stream = new NarStream({}, new Uint8Array(shared));
  const hasher = context.host.hashBeside();
  try {
    await emitTree(context.files, [root], stream, {
      copyTo,
      beside: (part) => hasher.update(new Uint8Array(shared, part.byteOffset, part.byteLength)),
    });
    const { sha256, sizeBytes } = stream.end();
    return { narSha256: sha256, narSizeBytes: sizeBytes, flatSha256: await hasher.digest() };
  } finally {
    hasher.close();
  }
}

function nameOf(digests: Digests, name: string): StorePath {
  return digests.flatSha256 === undefined
    ? storePath({ kind: "tree", narSha256: digests.narSha256, references: [] }, name)
    : storePath({ kind: "flat", sha256: digests.flatSha256, references: [] }, name);
}

/** What is missing, shut, or broken in the source, in words; any other error as it is. */
function cannotRead(error: unknown, source: string): unknown {
  if (!isErrno(error, "ENOENT", "ENOTDIR", "EACCES", "EPERM", "EIO", "ELOOP", "ENAMETOOLONG")) return error;
  return new Problem({
    code: "E_CANNOT_READ",
    message: `${source} cannot be read`,
    details: [error instanceof Error ? error.message : String(error)],
    where: source,
    hint: "check that it exists, that you may read it, and that nothing changes it at the same time",
    exit: 2,
    cause: error,
  });
}

function walkSource(context: StoreContext, source: string, options: AddOptions): TreeEntry[] {
  try {
    return walk(context.files, source, options.filter === undefined ? {} : { filter: options.filter });
  } catch (error) {
    throw cannotRead(error, source);
  }
}

export async function add(
  context: StoreContext,
  committer: Committer,
  source: string,
  name: string,
  options: AddOptions = {},
): Promise<StoreItem> {
  const entries = walkSource(context, source, options);
  const form = formOf(entries, options.form, source);
  const from = context.fresh("add");
  try {
    const digests = await digest(context, entries, form, from);
    return await settle(context, committer, {
      ...digests,
      path: nameOf(digests, name),
      from,
      references: [],
      deriver: undefined,
    });
  } catch (error) {
    context.files.removeTree(from);
    throw cannotRead(outOfSpace(error, context, `adding ${source}`), source);
  }
}

export async function pathOf(context: StoreContext, source: string, name: string, options: AddOptions = {}): Promise<StorePath> {
  const entries = walkSource(context, source, options);
  return nameOf(await digest(context, entries, formOf(entries, options.form, source)), name);
}

async function settle(context: StoreContext, committer: Committer, item: Prepared): Promise<StoreItem> {
  await committer.commit({ items: [item], realised: [] });
  return registered(context, item.path);
}

export function registered(context: StoreContext, path: StorePath): StoreItem {
  const item = queryItem(context.ledger, path);
  if (item === undefined) throw new Error(`${path} was registered and is not there`);
  return item;
}

export interface TextItem {
  readonly name: string;
  readonly text: string;
  readonly references: readonly StorePath[];
}

/** NAR digest and size of one plain file that is in memory. */
function narOfFile(contents: Uint8Array): { readonly sha256: string; readonly sizeBytes: number } {
  const stream = new NarStream({}, new Uint8Array(contents.byteLength + 512));
  const writer = new NarWriter((bytes) => stream.write(bytes));
  writer.regular(false, contents.byteLength);
  stream.write(contents);
  writer.endRegular();
  return stream.end();
}

export function addTexts(context: StoreContext, texts: readonly TextItem[]): readonly StoreItem[] {
  const named = texts.map((item) => {
    const references = [...new Set(item.references)].toSorted();
    return { ...item, references, path: storePath({ kind: "flat", sha256: sha256(item.text), references }, item.name) };
  });
  const paths = named.map(({ path }) => path);
  const valid = new Set(pin(context, paths).filter((path) => context.files.exists(physicalOf(context, path))));
  const missing = new Map(named.filter(({ path }) => !valid.has(path)).map((item) => [item.path, item]));
  if (missing.size > 0) {
    const written: Prepared[] = [];
    try {
      for (const { path, text, references } of missing.values()) {
        const bytes = Buffer.from(text, "utf8");
        const nar = narOfFile(bytes);
        const from = context.fresh("text");
        written.push({ path, from, narSha256: nar.sha256, narSizeBytes: nar.sizeBytes, references, deriver: undefined });
        writeText(context, from, bytes);
      }
      commitNow(context, { items: written, realised: [] });
    } catch (error) {
      for (const { from } of written) context.files.removeTree(from);
      throw outOfSpace(error, context, "writing derivations");
    }
  }
  return paths.map((path) => registered(context, path));
}

function writeText(context: StoreContext, path: string, bytes: Uint8Array): void {
  context.files.writeFile(path, bytes, 0o444);
  const entry = walk(context.files, path);
  canonicalise(context.host, entry, false);
}

/** @throws Problem E_HASH_MISMATCH with both digests; the candidate is gone then, as it is after success */
export async function addFixed(
  context: StoreContext,
  committer: Committer,
  physical: string,
  name: string,
  expected: { readonly form: Form; readonly sha256: string },
): Promise<StoreItem> {
  try {
    const entries = walk(context.files, physical, unlocking(context));
    refuseSpecialBits(entries);
    const digests = await digest(context, entries, formOf(entries, expected.form, physical));
    const found = digests.flatSha256 ?? digests.narSha256;
    if (found !== expected.sha256) {
      throw new Problem({
        code: "E_HASH_MISMATCH",
        message: `${name} does not have the content that was promised`,
        details: [`expected sha256 ${expected.sha256}`, `found    sha256 ${found}`],
        hint: "nothing was kept; if the new content is what you want, put its digest into the recipe",
      });
    }
    canonicalise(context.host, entries, !context.host.isRoot);
    return await settle(context, committer, {
      ...digests,
      path: nameOf(digests, name),
      from: physical,
      references: [],
      deriver: undefined,
    });
  } catch (error) {
    context.files.removeTree(physical);
    throw outOfSpace(error, context, `adding ${name}`);
  }
}

/** A plain file in scratch that its writer digested on the way: reading it again would take longer than writing it did. */
export async function addWritten(
  context: StoreContext,
  committer: Committer,
  physical: string,
  name: string,
  sha256: string,
): Promise<StoreItem> {
  const entries = walk(context.files, physical);
  formOf(entries, "flat", physical);
  canonicalise(context.host, entries, !context.host.isRoot);
  return await settle(context, committer, {
    path: storePath({ kind: "flat", sha256, references: [] }, name),
    from: physical,
    narSha256: undefined,
    narSizeBytes: narSizeOfFile(context.files.lstat(physical).sizeBytes),
    references: [],
    deriver: undefined,
  });
}

/** Of a plain file: what stands around its contents, and they. */
function narSizeOfFile(sizeBytes: number): number {
  let framingBytes = 0;
  const writer = new NarWriter((bytes) => (framingBytes += bytes.byteLength));
  writer.regular(false, sizeBytes);
  writer.endRegular();
  writer.end();
  return framingBytes + sizeBytes;
}

/** Without root, a tree may hold directories and files that shut out their own owner. */
export function unlocking(context: StoreContext): NonNullable<Parameters<typeof walk>[2]> {
  if (context.host.isRoot) return {};
  return {
    unlock: (path, stat) => {
      const needed = stat.type === "directory" ? 0o700 : 0o600;
      if ((stat.mode & needed) !== needed) context.files.chmod(path, stat.mode | needed);
    },
  };
}
