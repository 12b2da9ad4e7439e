/** Sends what is missing of a closure: asked, cut into batches, unpacked and checked there, sent once more where it was refused. */
import { baseName, formatSize, Problem, type StorePath } from "../base/index.ts";
import { scriptFailed } from "./errors.ts";
import type { Host } from "../host/index.ts";
import { narOf, type Store } from "../store/index.ts";
import { readAhead } from "./read-ahead.ts";
import { archiveBytes, archiveOf, listItem, type Pace, type SentItem, weigh, type Weight } from "./send-archive.ts";
import { askScript, sendScript } from "./send-script.ts";
import type { Connection, HostRecord, ScriptEnd, SendReport, StoreNeed } from "./types.ts";

/** What has to be known of a host to send to it. */
export type SendRecord = Pick<HostRecord, "name" | "url" | "root"> & { readonly facts: Pick<HostRecord["facts"], "system"> };

export interface Sender {
  readonly host: Host;
  readonly store: Store;
  readonly connection: Connection;
  readonly record: SendRecord;
  /** In place of `root`/store: one that others keep, on the same file system. */
  readonly storeDirectory?: string;
  /** "nar" is for a Linux that has no mtree(8). Default "mtree". */
  readonly check?: "mtree" | "nar";
}

interface Signalled {
  readonly signal?: AbortSignal;
}

/** One archive: what is lost when a connection breaks, and what waits to be checked while the next is on its way. */
const BATCH_ITEMS_MAX = 256;
const BATCH_ENTRIES_MAX = 2500;
const BATCH_BYTES_MAX = 64 * 1024 * 1024;
/** Batches at one time: while one is unpacked, the one before it is checked, and the script for the next begins. */
const BATCHES_MAX = 3;
/** Entries that are held from weighing to sending; those of items beyond are listed again. */
const HELD_ENTRIES_MAX = 100_000;
const READ_AHEAD_CHUNKS = 4;
/** An item that was refused is sent again so many times. */
const AGAIN_MAX = 1;

export async function missing(
  { connection, record, storeDirectory }: Sender,
  paths: readonly StorePath[],
  { signal }: Signalled = {},
): Promise<readonly StorePath[]> {
  if (paths.length === 0) return [];
  const doing = "asking which items are there";
  const script = { doing, body: askScript({ root: record.root, system: record.facts.system, storeDirectory }, paths) };
  const end = await connection.start(script, signal === undefined ? {} : { signal }).ended;
  if (end.status !== 0) throw notDone(record, doing, end);
  const names = new Set(end.events.filter(({ name }) => name === "missing").map(({ rest }) => rest));
  return paths.filter((path) => names.has(baseName(path)));
}

interface Weighed extends SentItem {
  readonly references: readonly StorePath[];
  readonly weight: Weight;
}

interface Batch {
  readonly items: readonly Weighed[];
  /** Of this and of those behind it. */
  readonly neededBytes: number;
}

/** In order; none is empty. */
function batchesOf(items: readonly Weighed[]): readonly Batch[] {
  const runs: Weighed[][] = [];
  let [entries, bytes] = [0, 0];
  for (const item of items) {
    const { weight } = item;
    const run = runs.at(-1);
    entries += weight.entries;
    bytes += weight.contentBytes;
    const fits = entries <= BATCH_ENTRIES_MAX && bytes <= BATCH_BYTES_MAX;
    if (run !== undefined && fits && run.length < BATCH_ITEMS_MAX) run.push(item);
    else {
      runs.push([item]);
      [entries, bytes] = [weight.entries, weight.contentBytes];
    }
  }
  const sizes = runs.map((run) => run.reduce((sum, { weight }) => sum + weight.diskBytes, 0));
  return runs.map((items, index) => ({ items, neededBytes: sizes.slice(index).reduce((sum, size) => sum + size, 0) }));
}

interface Outcome {
  readonly stored: ReadonlySet<string>;
  readonly refused: ReadonlySet<string>;
  readonly words: readonly string[];
}

export async function send(sender: Sender, paths: readonly StorePath[], signalled: Signalled = {}): Promise<SendReport> {
  const { store } = sender;
  const closure = store.closure(paths);
  // They are read later than they are listed.
  store.pin(closure);
  const sent: StorePath[] = [];
  let sentBytes = 0;
  let wanted = await missing(sender, closure, signalled);
  for (let again = 0; wanted.length > 0; again += 1) {
    const outcomes = await sendBatches(sender, batchesOf(weighed(sender, wanted)), signalled, (count) => (sentBytes += count));
    signalled.signal?.throwIfAborted();
    const stored = new Set(outcomes.flatMap((outcome) => [...outcome.stored]));
    sent.push(...wanted.filter((path) => stored.has(baseName(path))));
    const left = wanted.filter((path) => !stored.has(baseName(path)));
    if (left.length > 0 && again === AGAIN_MAX) throw damaged(sender, left, outcomes);
    wanted = left;
  }
  return { sent, sentBytes };
}

function weighed({ store, host }: Sender, paths: readonly StorePath[]): readonly Weighed[] {
  let held = 0;
  return paths.map((path) => {
    const item = { path, physical: store.physical(path), references: store.references(path) };
    const entries = listItem(host.files, item);
    const weight = weigh(entries);
    held += entries.length;
    return held > HELD_ENTRIES_MAX ? { ...item, weight } : { ...item, weight, entries };
  });
}

/** All of them, also when one fails: what was whole of the others is kept. */
async function sendBatches(
  sender: Sender,
  batches: readonly Batch[],
  { signal }: Signalled,
  onBytes: (count: number) => void,
): Promise<readonly Outcome[]> {
  const stop = new AbortController();
  const abort = (): void => stop.abort();
  signal?.addEventListener("abort", abort, { once: true });
  const running: Promise<Outcome>[] = [];
  try {
    let mayBegin: Promise<unknown> = Promise.resolve();
    for (const batch of batches) {
      const written = Promise.withResolvers<void>();
      // What a name in the store refers to is there before it: the end of the input waits for the batch before.
      const mayEnd = running.at(-1) ?? Promise.resolve();
      const one = sendBatch(sender, batch, stop.signal, { mayBegin, mayEnd, onBytes, onWritten: written.resolve });
      mayBegin = written.promise;
      // Looked at in the end; until then nobody is to miss it. One that sent nothing keeps none of the others waiting.
      const settled = (): void => written.resolve();
      one.then(settled, settled);
      running.push(one);
      await running.at(-BATCHES_MAX);
    }
    return await Promise.all(running);
  } catch (error) {
    stop.abort();
    await Promise.allSettled(running);
    signal?.throwIfAborted();
    throw error;
  } finally {
    signal?.removeEventListener("abort", abort);
  }
}

async function sendBatch(sender: Sender, { items, neededBytes }: Batch, signal: AbortSignal, pace: Pace): Promise<Outcome> {
  const { host, connection, record, storeDirectory } = sender;
  const id = `send-${crypto.randomUUID()}`;
  const { root, facts } = record;
  const size = archiveBytes(host.files, items);
  const place = { root, system: facts.system, storeDirectory };
  const body = sendScript({
    ...place,
    id,
    items: sender.check === "nar" ? await withSums(sender, items) : items,
    archiveBytes: size,
    neededBytes,
  });
  const input = readAhead(archiveOf(host.files, items, pace), READ_AHEAD_CHUNKS);
  const end = await connection.start({ doing: doing(items), body }, { input, signal }).ended;
  const names = (event: string): ReadonlySet<string> =>
    new Set(end.events.filter(({ name }) => name === event).map(({ rest }) => rest));
  const outcome: Outcome = { stored: names("stored"), refused: names("refused"), words: end.words };
  if (end.status !== 0 || outcome.stored.size < items.length) refuseFull(sender, end, items, neededBytes);
  if (end.status !== 0) throw notDone(record, doing(items), end);
  return outcome;
}

/** One that was digested for its name alone (an image) is read once more. */
async function withSums({ store, host }: Sender, items: readonly Weighed[]) {
  return await Promise.all(
    items.map(async ({ path, references }) => {
      const narSha256 = store.query(path)?.narSha256 ?? (await narOf(host.files, store.physical(path))).sha256;
      return { path, references, narSha256 };
    }),
  );
}

/** What `send` would send. */
export async function needed(sender: Sender, paths: readonly StorePath[], signalled: Signalled = {}): Promise<StoreNeed> {
  const absent = await missing(sender, sender.store.closure(paths), signalled);
  const diskBytes = absent.reduce((sum, path) => {
    const entries = listItem(sender.host.files, { path, physical: sender.store.physical(path) });
    return sum + weigh(entries).diskBytes;
  }, 0);
  return { missing: absent, diskBytes };
}

function doing(items: readonly SentItem[]): string {
  const [first] = items;
  if (first === undefined) return "sending nothing";
  return items.length === 1 ? `sending ${first.path}` : `sending ${first.path} and ${items.length - 1} more`;
}

const FULL_WORDS = /no space left on device|dis[ck] quota exceeded|file system full/i;

/** @throws Problem E_HOST_FULL when that is what stopped it */
function refuseFull({ record }: Sender, end: ScriptEnd, items: readonly SentItem[], neededBytes: number): void {
  const said = end.events.find(({ name }) => name === "full");
  const words = end.words.find((line) => FULL_WORDS.test(line));
  if (said === undefined && words === undefined) return;
  const needed = formatSize(Number(said?.fields[0] ?? neededBytes));
  const free = said === undefined ? "it filled up on the way" : `${formatSize(Number(said.fields[1]))} are free`;
  throw new Problem({
    code: "E_HOST_FULL",
    message: `${doing(items)}: the disk of the host ${record.name} is too small: ${needed} are needed there, ${free}`,
    ...(words === undefined ? {} : { details: [words] }),
    where: record.root,
    hint: "what was not finished is removed there; make room, or remove items that nobody asked for lately from its store",
    exit: 3,
  });
}

/** For a script of the store that ended with another status than 0. */
export function notDone(record: SendRecord, doing: string, end: ScriptEnd): Problem {
  const unsafe = end.events.find(({ name }) => name === "unsafe");
  return unsafe === undefined ? scriptFailed(record, doing, end.status, end.words) : unsafeDirectory(record, doing, unsafe.rest);
}

function unsafeDirectory({ name }: SendRecord, doing: string, path: string): Problem {
  return new Problem({
    code: "E_HOST_UNSAFE",
    message: `${doing}: ${path} on the host ${name} is a symlink or no directory; nothing is put where somebody else decides`,
    where: path,
    hint: "find out who made it; remove it, and Garth makes the directory",
    exit: 3,
  });
}

function damaged({ record }: Sender, left: readonly StorePath[], outcomes: readonly Outcome[]): Problem {
  return new Problem({
    code: "E_HOST_DAMAGED",
    message: `sending ${left[0] ?? ""} to the host ${record.name}: it came there as something else, twice`,
    details: [...left.slice(1, 10), ...outcomes.flatMap(({ words }) => words).slice(-20)],
    hint: `is the disk of ${record.name} sound? \`garth store verify\` says whether it is damaged here`,
  });
}
