/** How two systems differ: packages, files, sizes, services. Pure. */
import { formatSize } from "../base/index.ts";
import type { StorePath } from "../base/index.ts";
import type { ListedEntry } from "../world/index.ts";

export interface SystemFacts {
  readonly path: StorePath;
  /** Name -> item. */
  readonly parts: ReadonlyMap<
    string,
    { readonly path: StorePath; readonly sizeBytes: number; readonly listing: readonly ListedEntry[] }
  >;
  readonly services: readonly string[];
  /** Path in the system item -> digest of what it is. */
  readonly files: ReadonlyMap<string, string>;
  /** Of the closure. */
  readonly sizeBytes: number;
}

export interface SystemDifference {
  readonly packages: readonly string[];
  readonly services: readonly string[];
  readonly files: readonly string[];
  readonly sizeBytes: { readonly left: number; readonly right: number };
  readonly lines: readonly string[];
}

/** Lines as in `diff`: `+` only in the right, `-` only in the left, `~` in both, and other. */
export function diffSystems(left: SystemFacts, right: SystemFacts): SystemDifference {
  const packages = changes(
    left.parts,
    right.parts,
    ({ path }) => path,
    (name, before, after) => {
      const grown = (after?.sizeBytes ?? 0) - (before?.sizeBytes ?? 0);
      const files = before === undefined || after === undefined ? "" : `, ${countChanged(before.listing, after.listing)} paths`;
      return `${name}  ${grown < 0 ? "-" : "+"}${formatSize(Math.abs(grown))}${files}`;
    },
  );
  const asMap = (names: readonly string[]): ReadonlyMap<string, string> => new Map(names.map((name) => [name, name]));
  const services = changes(
    asMap(left.services),
    asMap(right.services),
    (name) => name,
    (name) => name,
  );
  const files = changes(
    left.files,
    right.files,
    (digest) => digest,
    (path) => `/${path}`,
  );
  const section = (title: string, lines: readonly string[]): readonly string[] =>
    lines.length === 0 ? [] : [title, ...lines.map((line) => `  ${line}`)];
  const same = left.path === right.path ? ["the same system"] : [];
  const sizes = `closure  ${formatSize(left.sizeBytes)} -> ${formatSize(right.sizeBytes)}`;
  return {
    packages,
    services,
    files,
    sizeBytes: { left: left.sizeBytes, right: right.sizeBytes },
    lines: [...same, ...section("packages", packages), ...section("services", services), ...section("files", files), sizes],
  };
}

function changes<Value>(
  left: ReadonlyMap<string, Value>,
  right: ReadonlyMap<string, Value>,
  identity: (value: Value) => string,
  say: (name: string, before: Value | undefined, after: Value | undefined) => string,
): readonly string[] {
  return [...new Set([...left.keys(), ...right.keys()])].toSorted().flatMap((name) => {
    const [before, after] = [left.get(name), right.get(name)];
    if (before !== undefined && after !== undefined && identity(before) === identity(after)) return [];
    const sign = before === undefined ? "+" : after === undefined ? "-" : "~";
    return [`${sign} ${say(name, before, after)}`];
  });
}

function countChanged(before: readonly ListedEntry[], after: readonly ListedEntry[]): number {
  const key = ({ type, sizeBytes, target = "", executable }: ListedEntry): string =>
    `${type} ${sizeBytes} ${executable} ${target}`;
  const old = new Map(before.map((entry) => [entry.path, key(entry)]));
  let count = 0;
  for (const entry of after) {
    if (old.get(entry.path) !== key(entry)) count += 1;
    old.delete(entry.path);
  }
  return count + old.size;
}
