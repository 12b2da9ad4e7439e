/** What the system items of both families have in common: a tree put together path by path, the base's etc, owners, metadata. Pure. */
import { canonicalJson, type JsonValue, Problem } from "../base/index.ts";
import { type Attributes, attributesOf, type AttributeTable } from "../world/index.ts";
import { conflictProblem } from "./profile.ts";
import type { Composition, Part, PlannedEntry, PlannedTree } from "./types.ts";

export interface TreeBuilder {
  /** The directories above come along. @throws Problem E_FILE_CONFLICT where one path would be a directory and something else */
  put(path: string, entry: PlannedEntry): void;
  text(path: string, text: string, executable?: boolean): void;
  link(path: string, target: string): void;
  /** Sorted: each directory before what is in it. */
  tree(): PlannedTree;
}

export function treeBuilder(): TreeBuilder {
  const entries = new Map<string, PlannedEntry>();
  const put = (path: string, entry: PlannedEntry): void => {
    for (let end = path.indexOf("/"); end > 0; end = path.indexOf("/", end + 1)) {
      const above = path.slice(0, end);
      const known = entries.get(above);
      if (known === undefined) entries.set(above, { type: "directory" });
      else if (known.type !== "directory") throw notBoth(above, path);
    }
    const known = entries.get(path);
    if (known !== undefined && (known.type === "directory") !== (entry.type === "directory")) throw notBoth(path, path);
    entries.set(path, entry);
  };
  return {
    put,
    text: (path, text, executable = false) => put(path, { type: "file", executable, content: { kind: "text", text } }),
    link: (path, target) => put(path, { type: "symlink", target }),
    tree: () => new Map([...entries].toSorted(([left], [right]) => (left < right ? -1 : 1))),
  };
}

function notBoth(path: string, wanted: string): Problem {
  return new Problem({
    code: "E_FILE_CONFLICT",
    message: `/${path} would be a directory and something else${path === wanted ? "" : `: /${wanted} is to lie in it`}`,
    hint: "leave one of the two out of `etc`, or cut the path from a slice with `prune`",
    exit: 2,
  });
}

/** The base's etc less what `isNotTaken`, with owners where they are not as usual. @throws Problem E_FILE_CONFLICT */
export function* baseEtc(
  { base }: Composition,
  isNotTaken: (path: string) => boolean,
): Generator<readonly [string, PlannedEntry, Attributes | undefined]> {
  const seen = new Map<string, string>();
  for (const part of base) {
    for (const entry of part.listing) {
      const { path, type, executable, target = "" } = entry;
      if (!path.startsWith("etc/") || isNotTaken(path)) continue;
      const other = seen.get(path);
      if (type !== "directory" && other !== undefined) throw conflictProblem([{ path, parts: [other, part.name] }]);
      seen.set(path, part.name);
      const owner = part.attributes.has(path) ? attributesOf(part.attributes, path, entry) : undefined;
      if (type === "directory") yield [path, { type }, owner];
      else if (type === "symlink") yield [path, { type, target }, undefined];
      else yield [path, { type, executable, content: { kind: "part", part: part.path, path } }, owner];
    }
  }
}

/** `MODE UID GID PATH`, one a line, sorted: what an activation gives the files of /etc. */
export function ownerLines(owners: AttributeTable): string {
  return [...owners]
    .toSorted(([left], [right]) => (left < right ? -1 : 1))
    .map(([path, { mode, uid, gid }]) => `${mode.toString(8).padStart(4, "0")} ${uid} ${gid} ${path}\n`)
    .join("");
}

/** What the system was made of. The names of development slices are not here: the running system does not depend on them. */
export function metadata({ spec, kernel, bootloader, base, packages }: Composition): string {
  const part = ({ path, name, origin, prefix }: Part): JsonValue => ({ path, name, origin, prefix });
  const plain: JsonValue = JSON.parse(JSON.stringify(spec));
  const document = {
    schema: "garth-system-1",
    spec: plain,
    kernel: part(kernel),
    bootloader: part(bootloader),
    base: base.map(part),
    packages: packages.map(part),
  };
  return `${canonicalJson(document)}\n`;
}
