/** garth store: one exported handler for each verb. */
import { formatSize, namePart, parseDuration, parseSize, parseStorePath, Problem, type StorePath } from "../../base/index.ts";
import type { Garth } from "../../app/index.ts";
import type { Damage, Store, VerifyReport } from "../../store/index.ts";
import type { Answer, Handler } from "../command.ts";
import { absolute, existing } from "../paths.ts";
import { table } from "../render/text.ts";

/**
 * A full path, or the beginning of a hash or name that only one item has, or only one of those that were built.
 *
 * @throws Problem E_NO_SUCH_ITEM, E_AMBIGUOUS_ITEM
 */
export function oneItem(store: Store, text: string): StorePath {
  const found = store.find(text);
  // A derivation and a package begin with the same name; what is meant is what was built.
  const built = found.filter((path) => store.query(path)?.deriver !== undefined);
  const [only, ...others] = built.length === 1 ? built : found;
  if (only !== undefined && others.length === 0) return only;
  throw found.length === 0
    ? new Problem({
        code: "E_NO_SUCH_ITEM",
        message: `the store has nothing that begins with ${JSON.stringify(text)}`,
        where: store.directory,
        hint: "`garth store ls` lists what it has",
        exit: 2,
      })
    : new Problem({
        code: "E_AMBIGUOUS_ITEM",
        message: `${JSON.stringify(text)} begins ${found.length} items`,
        details: found.slice(0, 20),
        exit: 2,
      });
}

function list(paths: readonly string[], nothing: string): Answer {
  return { data: paths, text: () => (paths.length === 0 ? nothing : paths.join("\n")) };
}

function lastPart(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}

export const add: Handler = async (context, given) => {
  const [source = ""] = given.arguments;
  const { host, store } = await context.garth();
  const real = existing(context, host, source);
  const item = await store.add(real, given.text("name") ?? lastPart(real));
  return { data: item, text: () => item.path };
};

export const path: Handler = async (context, given) => {
  const [source = ""] = given.arguments;
  const { host, store } = await context.garth();
  const real = existing(context, host, source);
  const result = await store.pathOf(real, given.text("name") ?? lastPart(real));
  return { data: { path: result, valid: store.isValid(result) }, text: () => result };
};

export const ls: Handler = async (context, given) => {
  const { store } = await context.garth();
  const [beginning] = given.arguments;
  const wanted = beginning === undefined ? undefined : new Set(store.find(beginning));
  const items = store.all().filter((item) => wanted === undefined || wanted.has(item.path));
  if (!given.flag("long")) {
    const answer = list(
      items.map((item) => item.path),
      "",
    );
    return { ...answer, data: items };
  }
  const rows = items.map((item) => [
    formatSize(item.narSizeBytes),
    new Date(item.registeredAtMs).toISOString().slice(0, 16),
    item.path,
  ]);
  return { data: items, text: () => table(rows, [0]) };
};

export const show: Handler = async (context, given) => {
  const { store } = await context.garth();
  const item = store.query(oneItem(store, given.arguments[0] ?? ""));
  if (item === undefined) throw new Error("found, and not there");
  const physical = store.physical(item.path);
  const data = { ...item, physical, referrers: store.referrers(item.path) };
  const text = () =>
    table([
      ["path", item.path],
      ["physical", physical],
      ["nar sha256", item.narSha256 ?? "- (its name says the digest of its bytes)"],
      ["nar size", `${formatSize(item.narSizeBytes)} (${item.narSizeBytes} bytes)`],
      ["deriver", item.deriver ?? "-"],
      ["registered", new Date(item.registeredAtMs).toISOString()],
      ["last used", new Date(item.lastUsedAtMs).toISOString()],
      ...item.references.map((reference, index) => [index === 0 ? "references" : "", reference]),
      ...data.referrers.map((referrer, index) => [index === 0 ? "referrers" : "", referrer]),
    ]);
  return { data, text };
};

export const refs: Handler = async (context, given) => {
  const { store } = await context.garth();
  const item = oneItem(store, given.arguments[0] ?? "");
  if (given.flag("closure")) return list(store.closure([item]), "");
  if (given.flag("referrers")) return list(store.referrers(item), "nothing refers to it");
  return list(store.references(item), "it refers to nothing");
};

export const roots: Handler = async (context) => {
  const { store } = await context.garth();
  const found = store.roots();
  return { data: found, text: () => table(found.map((root) => [root.kind, root.link, root.target])) };
};

export const why: Handler = async (context, given) => {
  const { store } = await context.garth();
  const [from, to] = [oneItem(store, given.arguments[0] ?? ""), oneItem(store, given.arguments[1] ?? "")];
  const chain = shortestChain(store, from, to);
  if (chain === undefined) {
    return { data: { chain: [], places: [] }, text: () => `${namePart(from)} does not depend on ${namePart(to)}`, exit: 1 };
  }
  const links = chain.slice(1).map((target, index) => {
    const source = chain[index] ?? from;
    return { from: source, to: target, places: store.why(source, target) };
  });
  const text = () =>
    links
      .flatMap((link) => [
        `${link.from}`,
        ...link.places.map((place) => `  ${place.file === "" ? "(the file itself)" : place.file} at byte ${place.offset} names`),
        `  -> ${link.to}`,
      ])
      .join("\n");
  return { data: { chain, links }, text };
};

/** Fewest steps along references. */
function shortestChain(store: Store, from: StorePath, to: StorePath): readonly StorePath[] | undefined {
  const cameFrom = new Map<StorePath, StorePath | undefined>([[from, undefined]]);
  // A Map that grows while it is walked is a queue.
  for (const [current] of cameFrom) {
    for (const next of store.references(current)) if (!cameFrom.has(next)) cameFrom.set(next, current);
    if (cameFrom.has(to)) break;
  }
  if (!cameFrom.has(to)) return undefined;
  const chain: StorePath[] = [];
  for (let step: StorePath | undefined = to; step !== undefined; step = cameFrom.get(step)) chain.unshift(step);
  return chain;
}

export const gc: Handler = async (context, given) => {
  const garth = await context.garth();
  const older = given.text("older-than");
  const keepFree = given.text("keep-free");
  const maxFreed = given.text("max-freed");
  const olderThanMs = older === undefined ? (await garth.settings()).settings.gcOlderThanMs : parseDuration(older);
  const report = await garth.store.gc({
    olderThanMs,
    ...(keepFree === undefined ? {} : { keepFreeBytes: parseSize(keepFree) }),
    ...(maxFreed === undefined ? {} : { maxFreedBytes: parseSize(maxFreed) }),
    dryRun: given.flag("dry-run"),
  });
  const text = () =>
    [
      ...report.removed.map(({ path, freedBytes }) => `${formatSize(freedBytes).padStart(9)}  ${path}`),
      ...report.orphans.map((orphan) => `   orphan  ${orphan}`),
      `${report.dryRun ? "would free" : "freed"} ${formatSize(report.freedBytes)} in ${report.removed.length} items; ${report.kept} kept`,
    ].join("\n");
  return { data: report, text };
};

function damageLine(damage: Damage): string {
  switch (damage.kind) {
    case "missing":
      return `missing       ${damage.path}`;
    case "modified":
      return `modified      ${damage.path}\n  expected ${damage.expected}\n  found    ${damage.found}`;
    case "unregistered":
      return `unregistered  ${damage.physical}`;
    case "reference-missing":
      return `dangling      ${damage.path}\n  refers to ${damage.reference}`;
    case "metadata":
      return `metadata      ${damage.path}: ${damage.detail}`;
    case "database":
      return `database      ${damage.detail}`;
  }
}

export const verify: Handler = async (context, given) => {
  const garth = await context.garth();
  const repair = given.flag("repair");
  const { report, aside } = await verified(garth, repair, !given.flag("quick"));
  const open = report.damage.length - report.repaired.length;
  const text = () =>
    [
      ...(aside === undefined ? [] : [`the database could not be read; it is now ${aside}, and a new one was made of the store`]),
      ...report.damage.map(damageLine),
      ...report.repaired.map(({ path, how }) => `repaired      ${path}: ${how}`),
      `${report.checked} items checked, ${report.damage.length} damaged, ${report.repaired.length} repaired`,
    ].join("\n");
  return { data: { ...report, aside }, text, exit: open > 0 ? 1 : 0 };
};

interface Verified {
  readonly report: VerifyReport;
  /** Where a database that could not be read is now. */
  readonly aside: string | undefined;
}

async function verified(garth: Garth, repair: boolean, contents: boolean): Promise<Verified> {
  try {
    const report = await garth.store.verify({ repair, contents });
    if (!repair || !report.damage.some(({ kind }) => kind === "database")) return { report, aside: undefined };
  } catch (error) {
    if (!repair || !(error instanceof Problem) || error.code !== "E_LEDGER_DAMAGED") throw error;
  }
  const aside = garth.setAsideLedger();
  return { report: await garth.store.verify({ repair, contents: true, adopt: true }), aside };
}

export const diff: Handler = async (context, given) => {
  const { store } = await context.garth();
  const [left, right] = [oneItem(store, given.arguments[0] ?? ""), oneItem(store, given.arguments[1] ?? "")];
  const differences = store.diff(left, right);
  const rows = differences.map(({ kind, file, detail }) => [kind, file === "" ? "." : file, detail]);
  return { data: differences, text: () => (rows.length === 0 ? "the same" : table(rows)), exit: rows.length === 0 ? 0 : 1 };
};

export const dump: Handler = async (context, given) => {
  const { store } = await context.garth();
  for await (const chunk of store.dump(oneItem(store, given.arguments[0] ?? ""))) context.raw(chunk);
  return { data: undefined, text: () => "" };
};

export const optimise: Handler = async (context) => {
  const { store } = await context.garth();
  const report = await store.optimise();
  const text = () => `${report.linked} of ${report.files} files linked, ${formatSize(report.savedBytes)} saved`;
  return { data: report, text };
};

export const root: Handler = async (context, given) => {
  const { store } = await context.garth();
  const [link = "", target] = given.arguments;
  const held = absolute(context, link);
  if (target === undefined) {
    store.removeRoot(held);
    return { data: { link: held, target: null }, text: () => `${held} holds nothing any more` };
  }
  const item = target.startsWith("/") ? parseStorePath(target) : oneItem(store, target);
  store.addRoot(held, item);
  return { data: { link: held, target: item }, text: () => `${held} -> ${item}` };
};
