/**
 * Changes in a directory: by inotify(7) where the guest has python3 to ask for it, else by looking again and again.
 *
 *     starting ──ready──► watching ──close, the directory is gone, the connection was lost──► closed
 *        └── no python3, no inotify ──► looking every second (a renaming is a remove and a create; what changes twice in a second is one change,
 *                                       and what keeps its size and the second of its time is none)
 *
 * Names are those that fsnotify gives: a renaming is a `rename` of the old name and a `create` of the new one. In a directory that is made
 * while its parent is watched, everything is told, whether it was there before the watch was or not. inotify holds 16,384 changes
 * that nobody has read; more are lost.
 */
import { Problem } from "../base/index.ts";
import { decodeName } from "./sftp-wire.ts";
import type { FilesRoom } from "./files.ts";
import { fileProblem } from "./file-problems.ts";
import { type Runner, spawnIn } from "./process.ts";
import type { GuestEntry, WatchEvent, WatchKind } from "./types.ts";
import { TEMPORARY } from "./upload.ts";
import program from "./watch.py" with { type: "text" };

const LOOK_AGAIN_MS = 1_000;
const WORD_MAX_BYTES = 64 * 1024;
const SAID_MAX_CHARS = 2_000;

const KINDS: Readonly<Record<string, WatchKind>> = { c: "create", w: "write", r: "remove", n: "rename", m: "chmod" };

export interface Watch {
  close(): void;
  readonly closed: Promise<void>;
}

export type OnEvent = (event: WatchEvent) => void;

/** @throws Problem E_NO_FILE, E_NOT_DIRECTORY, E_FILE_DENIED, E_GUEST_FULL (no more watches in the guest), E_GUEST_LOST */
export async function watchIn(
  runner: Runner,
  { files }: FilesRoom,
  path: string,
  { recursive }: { readonly recursive: boolean },
  onEvent: OnEvent,
): Promise<Watch> {
  return (await byInotify(runner, path, recursive, onEvent)) ?? (await byLooking(files, path, recursive, onEvent));
}

/** undefined: the guest cannot. */
async function byInotify(runner: Runner, path: string, recursive: boolean, onEvent: OnEvent): Promise<Watch | undefined> {
  const doing = { verb: "watching", path, guest: runner.address.name };
  if (!path.startsWith("/") || path.includes("\0")) throw fileProblem(doing, "E_BAD_PATH");
  const source = Buffer.from(program);
  const size = String(source.byteLength);
  const argv = ["python3", "-ISc", "import sys; exec(sys.stdin.buffer.read(int(sys.argv[1])))", size, path] as const;
  const answer = Promise.withResolvers<string>();
  let said = "";
  let open = true;
  const onWord = (word: string): void => {
    if (word.startsWith("!")) return answer.resolve(word.slice(1));
    const kind = KINDS[word.slice(0, 1)];
    if (open && kind !== undefined) onEvent({ kind, name: word.slice(1).toWellFormed() });
  };
  const split = wordSplitter(onWord);
  const process = await spawnIn(
    runner,
    { argv: [...argv, recursive ? "recursive" : "flat", TEMPORARY.made, TEMPORARY.replaced], cwd: "/", stdin: "open" },
    (chunk, channel) => {
      if (channel === "stdout") split(chunk);
      else said = (said + Buffer.from(chunk).toString()).slice(-SAID_MAX_CHARS);
    },
  );
  void process.exited.then(({ lost }) => answer.resolve(lost ? "lost" : "cannot"));
  void process.write(source);
  switch (await answer.promise) {
    case "ready":
      return {
        close: () => {
          open = false;
          void process.endInput();
        },
        closed: process.exited.then(() => undefined),
      };
    case "cannot":
    case "ENOSYS":
      return undefined;
    case "ENOENT":
    case "ELOOP":
      throw fileProblem(doing, "E_NO_FILE");
    case "ENOTDIR":
      throw fileProblem(doing, "E_NOT_DIRECTORY");
    case "EACCES":
      throw fileProblem(doing, "E_FILE_DENIED");
    case "lost":
      throw new Problem({ code: "E_GUEST_LOST", message: `watching ${path}: the connection to ${doing.guest} was lost` });
    default:
      throw fileProblem(doing, "E_GUEST_FULL", `no more watches (sysctl fs.inotify.max_user_watches) ${said}`.trim());
  }
}

/** Words that end in a zero byte; a name that is no UTF-8 keeps its bytes until it is shown. */
function wordSplitter(onWord: (word: string) => void): (chunk: Uint8Array) => void {
  let held: Buffer = Buffer.alloc(0);
  return (chunk) => {
    let rest = held.byteLength === 0 ? Buffer.from(chunk) : Buffer.concat([held, chunk]);
    for (let end = rest.indexOf(0); end >= 0; end = rest.indexOf(0)) {
      onWord(decodeName(rest.subarray(0, end)));
      rest = rest.subarray(end + 1);
    }
    // No path is as long; a program that prints without end is not ours.
    held = rest.subarray(0, WORD_MAX_BYTES);
  };
}

type Seen = ReadonlyMap<string, GuestEntry>;

async function byLooking(files: FilesRoom["files"], path: string, recursive: boolean, onEvent: OnEvent): Promise<Watch> {
  const look = async (): Promise<Seen> => {
    const entries = await files.list(path, recursive ? Infinity : 1);
    const from = path.endsWith("/") ? path.length : path.length + 1;
    const isUpload = ({ name }: GuestEntry): boolean => Object.values(TEMPORARY).some((prefix) => name.startsWith(prefix));
    return new Map(entries.filter((entry) => !isUpload(entry)).map((entry) => [entry.path.slice(from), entry]));
  };
  const closed = Promise.withResolvers<void>();
  const state = { before: await look(), open: true };
  let timer: ReturnType<typeof setTimeout> | undefined;
  const close = (): void => {
    state.open = false;
    clearTimeout(timer);
    closed.resolve();
  };
  const again = async (): Promise<void> => {
    try {
      const now = await look();
      for (const event of changesBetween(state.before, now)) if (state.open) onEvent(event);
      state.before = now;
      if (state.open) timer = setTimeout(again, LOOK_AGAIN_MS);
    } catch (error) {
      // The directory is gone, or the guest.
      close();
      if (!(error instanceof Problem)) throw error;
    }
  };
  timer = setTimeout(again, LOOK_AGAIN_MS);
  return { close, closed: closed.promise };
}

/** Removals first, the deepest first of them, so that a name that was used again is removed before it is made. */
export function changesBetween(before: Seen, now: Seen): readonly WatchEvent[] {
  const events: WatchEvent[] = [];
  const isAnother = (a: GuestEntry, b: GuestEntry): boolean => a.kind !== b.kind || a.target !== b.target;
  for (const [name, entry] of [...before].toReversed()) {
    const later = now.get(name);
    if (later === undefined || isAnother(entry, later)) events.push({ kind: "remove", name });
  }
  for (const [name, entry] of now) {
    const earlier = before.get(name);
    if (earlier === undefined || isAnother(earlier, entry)) {
      events.push({ kind: "create", name });
      continue;
    }
    const isWritten = entry.sizeBytes !== earlier.sizeBytes || entry.modifiedMs !== earlier.modifiedMs;
    if (entry.kind === "file" && isWritten) events.push({ kind: "write", name });
    if (entry.mode !== earlier.mode || entry.owner !== earlier.owner || entry.group !== earlier.group)
      events.push({ kind: "chmod", name });
  }
  return events;
}
