/** garth world: trees of whole systems taken in, and parts cut out of them. */
import { closest, formatSize, namePart, Problem, type StorePath } from "../../base/index.ts";
import type { Garth } from "../../app/index.ts";
import type { BuildEvent } from "../../build/index.ts";
import type { ComposeContext, Listings } from "../../compose/index.ts";
import type { ProjectExport } from "../../project/index.ts";
import type { WorldSource } from "../../recipe/index.ts";
import type { Role, SliceDeclaration, SliceReport, WorldDeclaration } from "../../world/index.ts";
import type { Answer, Context, Given, Handler } from "../command.ts";
import { usageProblem } from "../parse.ts";
import { existing } from "../paths.ts";
import { table } from "../render/text.ts";
import { systemReference } from "../system-of.ts";
import { oneItem } from "./store.ts";
import { type MachinePlace, machinePlace, readMachine } from "./world-machine.ts";

const NAME = /^[A-Za-z0-9][A-Za-z0-9+._-]{0,63}$/;
const MACHINE_OPTIONS = ["without", "save", "identity", "host-key"] as const;
const ROLES: readonly Role[] = ["kernel", "boot", "runtime", "development"];
/** Of overlaps and gaps, for a person; all of them are in the document. */
const SHOWN = 20;

interface Composing {
  readonly garth: Garth;
  readonly context: ComposeContext;
  readonly listings: Listings;
  /** What making a Debian world changed in its lock. */
  readonly lock: readonly string[];
}

/** `word` is what worlds are named by: FILE#NAME, where a recipe makes one. */
async function composing(context: Context, word: string): Promise<Composing> {
  const garth = await context.garth();
  const { Listings } = await garth.compose();
  const lock: string[] = [];
  const show = await context.progress();
  const builder = garth.builder((event: BuildEvent) => {
    if (event.kind === "world-changed") lock.push(...event.lines);
    show(event);
  });
  const { host, store, system } = garth;
  const { now, signal } = context;
  return {
    garth,
    context: {
      host,
      store,
      system,
      now,
      makeWorld: (source) => builder.world(source, signal),
      fetch: (source) => builder.fetch(source, signal),
      outputOf: async (recipe) => {
        const { jobs } = (await garth.settings()).settings;
        return await garth.ship(show).outputOf({ file: systemReference(word).file, recipe, jobs, signal });
      },
    },
    listings: new Listings(host, store),
    lock,
  };
}

const refuse = (given: Given, names: readonly string[], why: string): void => {
  const found = names.find((name) => given.text(name) !== undefined);
  if (found !== undefined)
    throw usageProblem(`--${found} is not for this: ${why}`, "leave it out, or say it in the project file");
};

function checkedName(option: string, text: string): string {
  if (NAME.test(text)) return text;
  throw usageProblem(`--${option} ${text}: expected a name of letters, digits and + . _ -`, "at most 64 of them");
}

/** What FILE#NAME exports. @throws Problem E_UNKNOWN_NAME, E_NOT_A_WORLD (exit 2) */
async function exported(garth: Garth, word: string, kinds: readonly ProjectExport["kind"][]): Promise<ProjectExport> {
  const { file, name = "" } = systemReference(word);
  const project = await garth.loadProject(file);
  const found = project.exports.get(name);
  if (found !== undefined && kinds.includes(found.kind)) return found;
  const known = [...project.exports.values()].filter(({ kind }) => kinds.includes(kind)).map((each) => each.name);
  const meant = closest(name, known);
  throw new Problem({
    code: found === undefined ? "E_UNKNOWN_NAME" : "E_NOT_A_WORLD",
    message: `${name} in ${project.file} is ${found === undefined ? "not exported" : `a ${found.kind}, not a ${kinds.join(" or a ")}`}`,
    details: known,
    hint:
      meant === undefined
        ? `name what ${kinds.map((kind) => `${kind}({ ... })`).join(" or ")} returned`
        : `did you mean #${meant}?`,
    exit: 2,
  });
}

/** A build root is a world, too, under its suite. */
function declared(value: WorldSource | WorldDeclaration): WorldDeclaration {
  if (value.kind === "world") return value;
  return {
    kind: "world",
    name: value.name,
    label: value.suite,
    origin: { kind: "debian", source: value },
    site: new Error("declared"),
  };
}

export const importOne: Handler = async (context, given) => {
  const made = await composing(context, given.arguments[0] ?? "");
  const { garth } = made;
  const place = await machinePlace(garth, given.arguments[0] ?? "");
  if (place !== undefined) return await importMachine(context, given, made, place);
  refuse(given, MACHINE_OPTIONS, "it is for the tree of a machine: ssh://root@host");
  const declaration = await toImport(context, given, garth, given.arguments[0] ?? "");
  const path = await (await garth.compose()).importWorld(made.context, declaration);
  const { entries, sizeBytes } = counted(made, path);
  const data = { path, name: declaration.name, label: declaration.label, entries, sizeBytes, lock: made.lock };
  const text = () =>
    [...made.lock.map((line) => `lock  ${line}`), `${path}  ${entries} paths, ${formatSize(sizeBytes)}`].join("\n");
  return { data, text };
};

async function importMachine(context: Context, given: Given, made: Composing, place: MachinePlace): Promise<Answer> {
  const { garth } = made;
  const { declaration, read, saved, done } = await readMachine(
    context,
    given,
    garth,
    place,
    checkedName,
    patterns(given, "without"),
  );
  try {
    const { importWorld } = await garth.compose();
    const path = await importWorld(made.context, declaration);
    const { name, label } = declaration;
    // Nobody can make it again from what is here.
    garth.store.addRoot(`world-${name}`, path);
    const { entries, sizeBytes } = counted(made, path);
    const words = (value: string): string => JSON.stringify(value);
    const source =
      saved === undefined
        ? `item: ${words(path)}`
        : `archive: fetchurl({ urls: [${words(fileUrl(saved.file))}], sha256: ${words(saved.sha256)} })`;
    const line = `world({ name: ${words(name)}, label: ${words(label)}, ${source} })`;
    const data = {
      path,
      name,
      label,
      entries,
      sizeBytes,
      kernel: read.kernel,
      changed: read.changed,
      left: read.left,
      archive: saved ?? null,
      declaration: line,
    };
    const text = () =>
      [
        ...read.left.map((each) => `left     ${each}`),
        ...read.changed.map((each) => `changed while it was read  ${each}`),
        `${path}  ${entries} paths, ${formatSize(sizeBytes)}`,
        line,
      ].join("\n");
    return { data, text };
  } finally {
    done();
  }
}

function fileUrl(path: string): string {
  return `file://${path.split("/").map(encodeURIComponent).join("/")}`;
}

async function toImport(context: Context, given: Given, garth: Garth, word: string): Promise<WorldDeclaration> {
  if (word.includes("#")) {
    refuse(given, ["name", "label"], "the project file names the world");
    const found = await exported(garth, word, ["world"]);
    if (found.kind !== "world") throw new Error("a world was asked for");
    return declared(found.value);
  }
  const path = existing(context, garth.host, word);
  const base = path.slice(path.lastIndexOf("/") + 1).replace(/\.(?:tar(?:\.[a-z0-9]+)?|t[gxb]z|txz|tzst)$/i, "");
  const name = checkedName("name", given.text("name") ?? base);
  const label = checkedName("label", given.text("label") ?? "local");
  const isTree = garth.host.files.lstat(path).type === "directory";
  const origin: WorldDeclaration["origin"] = isTree ? { kind: "directory", path } : { kind: "archive", source: { path } };
  return { kind: "world", name, label, origin, site: new Error("declared") };
}

function counted({ garth, listings }: Composing, path: StorePath): { readonly entries: number; readonly sizeBytes: number } {
  return { entries: treeOf(listings, path).length, sizeBytes: garth.store.query(path)?.narSizeBytes ?? 0 };
}

/** Less what is known of the tree, which lies beside it. */
function treeOf(listings: Listings, path: StorePath) {
  return listings.of(path).listing.filter((entry) => entry.path !== ".garth" && !entry.path.startsWith(".garth/"));
}

export const cut: Handler = async (context, given) => {
  const [word = ""] = given.arguments;
  return word.includes("#") ? await cutDeclared(context, given, word) : await cutItem(context, given, word);
};

async function cutDeclared(context: Context, given: Given, word: string): Promise<Answer> {
  refuse(given, ["name", "role", "keep", "prune"], "the project file says what is cut");
  const made = await composing(context, word);
  const found = await exported(made.garth, word, ["slice", "world"]);
  const { importWorld, realiseSlices } = await made.garth.compose();
  const standard = async (of: WorldDeclaration): Promise<readonly SliceDeclaration[]> => {
    const family = familyOf(made.listings, await importWorld(made.context, of));
    return Object.values((await made.garth.world()).slices(of, family));
  };
  const wanted: readonly SliceDeclaration[] =
    found.kind === "slice" ? [found.value] : found.kind === "world" ? await standard(declared(found.value)) : [];
  const { worlds, slices } = await realiseSlices(made.context, made.listings, wanted);
  const [world] = worlds.values();
  if (world === undefined) throw new Error("slices of no world");
  return await sliceAnswer(
    made,
    world,
    wanted.flatMap((slice) => {
      const path = slices.get(slice);
      return path === undefined ? [] : [{ slice, path }];
    }),
  );
}

/** By the accounts of the base: which standard slices are meant. */
function familyOf(listings: Listings, path: StorePath): "linux" | "freebsd" {
  return listings.of(path).listing.some((entry) => entry.path === "etc/master.passwd") ? "freebsd" : "linux";
}

async function cutItem(context: Context, given: Given, word: string): Promise<Answer> {
  const made = await composing(context, word);
  const world = oneItem(made.garth.store, word);
  made.garth.store.pin([world]);
  requireTree(made, world);
  const role = roleNamed(given.text("role") ?? "runtime");
  const itemName = namePart(world).replace(/^world-/, "");
  const slice = {
    name: checkedName("name", given.text("name") ?? `${itemName}-${role}`),
    role,
    keep: patterns(given, "keep"),
    prune: patterns(given, "prune"),
  };
  const path = await (await made.garth.compose()).makeSlice(made.context, made.listings, slice, world);
  return await sliceAnswer(made, world, [{ slice, path }]);
}

function requireTree({ listings }: Composing, world: StorePath): void {
  if (listings.of(world).listing.length > 0) return;
  throw new Problem({
    code: "E_NOT_A_WORLD",
    message: `${world} is a file or empty, and no tree to cut from`,
    hint: "`garth world ls` lists the worlds there are",
    exit: 2,
  });
}

function roleNamed(text: string): Role {
  const found = ROLES.find((role) => role === text);
  if (found !== undefined) return found;
  throw usageProblem(`--role ${text}: there is no such role`, `the roles are ${ROLES.join(", ")}`);
}

/** Commas apart; a slash in front is what people write, and is no part of a pattern. */
function patterns(given: Given, option: string): readonly string[] {
  const text = given.text(option);
  if (text === undefined) return [];
  return text.split(",").map((each) => {
    const pattern = each.trim().replace(/^\/+/, "").replace(/\/+$/, "");
    const isPath = pattern !== "" && pattern.split("/").every((part) => part !== "" && part !== "." && part !== "..");
    if (!isPath)
      throw usageProblem(
        `--${option} ${text}: ${JSON.stringify(each)} is no path of a world`,
        "such as usr/share/doc or usr/lib/*.a",
      );
    return pattern;
  });
}

interface Cut {
  readonly slice: Pick<SliceDeclaration, "name" | "role" | "keep" | "prune">;
  readonly path: StorePath;
}

async function sliceAnswer(made: Composing, world: StorePath, cuts: readonly Cut[]): Promise<Answer> {
  const { compareSlices, selectEntries } = await made.garth.world();
  const tree = treeOf(made.listings, world);
  const selected = cuts.map(({ slice }) => ({ name: slice.name, entries: selectEntries(tree, slice) }));
  const { overlaps, gaps }: SliceReport = compareSlices(tree, selected);
  const slices = cuts.map(({ slice: { name, role, keep, prune }, path }) => ({
    name,
    role,
    path,
    keep,
    prune,
    ...counted(made, path),
  }));
  const text = () =>
    [
      table(
        slices.map(({ role, path, entries, sizeBytes }) => [
          role,
          path,
          `${entries} of ${tree.length} paths, ${formatSize(sizeBytes)}`,
        ]),
      ),
      ...some(
        `${counting(overlaps.length)} in more than one`,
        overlaps.map(({ path, slices: names }) => `${path}  (${names.join(", ")})`),
      ),
      ...some(`${counting(gaps.length)} in none`, gaps),
    ].join("\n");
  return { data: { world, entries: tree.length, slices, overlaps, gaps, lock: made.lock }, text };
}

function counting(paths: number): string {
  return paths === 1 ? "1 path" : `${paths} paths`;
}

function some(title: string, lines: readonly string[]): readonly string[] {
  if (lines.length === 0) return [title];
  const more = lines.length > SHOWN ? [`  and ${lines.length - SHOWN} more (--json has all)`] : [];
  return [`${title}:`, ...lines.slice(0, SHOWN).map((line) => `  ${line}`), ...more];
}

export const ls: Handler = async (context) => {
  const { store, host } = await context.garth();
  const held = new Set(store.roots().map(({ target }) => target));
  const found = store.all().flatMap(({ path, narSizeBytes, registeredAtMs }) => {
    const name = namePart(path);
    if (host.files.lstatIfAny(store.physical(path))?.type !== "directory") return [];
    const slice = host.files.readTextIfAny(`${store.physical(path)}/.garth/slice.json`);
    if (slice === undefined && !name.startsWith("world-")) return [];
    const role = slice === undefined ? undefined : roleOf(slice);
    const kind = slice === undefined ? ("world" as const) : ("slice" as const);
    return [{ kind, role, path, name, sizeBytes: narSizeBytes, registeredAtMs, held: held.has(path) }];
  });
  const rows = found.map(({ kind, role, path, sizeBytes, registeredAtMs, held: isHeld }) => [
    role ?? kind,
    formatSize(sizeBytes),
    new Date(registeredAtMs).toISOString().slice(0, 16),
    isHeld ? "root" : "-",
    path,
  ]);
  return { data: found, text: () => table(rows, [1]) };
};

function roleOf(record: string): string | undefined {
  const value: unknown = JSON.parse(record);
  const role: unknown = typeof value === "object" && value !== null && "role" in value ? value.role : undefined;
  return typeof role === "string" ? role : undefined;
}
