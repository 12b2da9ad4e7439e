/**
 * localTree: files beside the project, hashed where they lie. They are copied into the store only when the store does not have
 * them, and read only when something about them changed: a command that changes nothing looks at names, sizes and times.
 *
 * What is remembered is trusted by the rule of git's index: a change within the same tick of the clock as the look before it
 * leaves the times as they were, so a tree whose newest change is not older than the note about it is read again.
 */
import { Problem, sha256Hasher, type StorePath } from "../../base/index.ts";
import { rememberedNote, rememberNote } from "./distfiles.ts";
import { excludes, fetchKey } from "./plan.ts";
import type { FetchContext, FetchOf } from "./types.ts";

type Context = Pick<FetchContext, "host" | "store" | "distfiles">;
type IsLeftOut = (relative: string) => boolean;

/** Coarsest times of the file systems in use: two seconds. */
const TICK_MS = 2_000;

/** @throws Problem E_NO_SUCH_SOURCE */
export async function localTreePath(context: Context, fetch: FetchOf<"localTree">): Promise<StorePath> {
  const { store } = context;
  const isLeftOut = excludes(fetch.exclude);
  const before = look(context, fetch, isLeftOut);
  const note = rememberedNote(context, fetchKey(fetch));
  const isTrusted = note !== undefined && note.detail === before.fingerprint && before.newestMs + TICK_MS < note.writtenMs;
  if (isTrusted && store.isValid(note.path)) return note.path;
  const options = { filter: (relative: string) => !isLeftOut(relative) };
  const known = await store.pathOf(fetch.path, fetch.name, options);
  const path = store.isValid(known) ? known : (await store.add(fetch.path, fetch.name, options)).path;
  // Of a tree that is being written to, there is nothing to be remembered.
  if (path === known) rememberNote(context, fetchKey(fetch), { path, detail: before.fingerprint });
  return path;
}

interface Look {
  /** Digest of names, types, modes, sizes, times and inodes. */
  readonly fingerprint: string;
  readonly newestMs: number;
}

function look({ host: { files } }: Context, fetch: FetchOf<"localTree">, isLeftOut: IsLeftOut): Look {
  const hasher = sha256Hasher();
  let newestMs = 0;
  const visit = (path: string | Uint8Array, relative: string): void => {
    const stat = files.lstat(path);
    newestMs = Math.max(newestMs, stat.ctimeMs, stat.mtimeMs);
    const { type, mode, sizeBytes, mtimeMs, ctimeMs, inode, device } = stat;
    hasher.update(`${relative}\0${type} ${mode} ${sizeBytes} ${mtimeMs} ${ctimeMs} ${inode} ${device}\0`);
    if (type !== "directory") return;
    for (const entry of files.list(path)) {
      const name = Buffer.from(entry).toString("utf8");
      const below = relative === "" ? name : `${relative}/${name}`;
      if (!isLeftOut(below)) visit(Buffer.concat([Buffer.from(path), Buffer.from("/"), entry]), below);
    }
  };
  if (files.lstatIfAny(fetch.path) === undefined) throw nothingThere(fetch);
  visit(fetch.path, "");
  return { fingerprint: hasher.digest("hex"), newestMs };
}

function nothingThere(fetch: FetchOf<"localTree">): Problem {
  return new Problem({
    code: "E_NO_SUCH_SOURCE",
    message: `the source ${fetch.name} is to come from ${fetch.path}, and there is nothing there`,
    where: fetch.path,
    hint: "a relative path is relative to the file of the recipe",
    exit: 2,
  });
}
