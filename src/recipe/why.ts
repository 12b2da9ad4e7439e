/**
 * Why does this have to be built? What differs between two derivations, down to the field.
 *
 * A changed input shows in many places: in PATH, in LDFLAGS, in its own variable. So the store paths of inputs, sources and world
 * are replaced by their names before texts are compared, and only the input itself is a reason.
 */
import { baseName, canonicalJson, hashPart, namePart, type StorePath } from "../base/index.ts";
import { diffLines } from "./linediff.ts";
import type { Derivation, Reason } from "./types.ts";

/** Names of inputs and sources by store path, of both derivations, where the caller knows them better than the environment says. */
export type PathNames = ReadonlyMap<StorePath, string>;

/** Sorted by field; empty when the derivations are the same. */
export function whyRebuild(before: Derivation, after: Derivation, names: PathNames = new Map()): readonly Reason[] {
  const reasons: Reason[] = [];
  const compare = (field: string, from: string | undefined, to: string | undefined) => {
    if (from === to) return;
    const isText = from !== undefined && to !== undefined && (from.includes("\n") || to.includes("\n"));
    reasons.push(isText ? { field, before: from, after: to, diff: diffLines(from, to) } : { field, before: from, after: to });
  };
  const old = parts(before, names);
  const now = parts(after, names);
  for (const field of [...new Set([...old.keys(), ...now.keys()])].toSorted()) compare(field, old.get(field), now.get(field));
  return reasons;
}

/** Field -> its value as text. */
function parts(derivation: Derivation, names: PathNames): ReadonlyMap<string, string> {
  const { builder, buildRoot, fixedOutput, inputs, limits, sources } = derivation;
  const called = new Map<StorePath, string>();
  const fields = new Map<string, string>();
  for (const [field, paths] of [
    ["inputs", inputs],
    ["sources", sources],
  ] as const) {
    for (const path of paths) {
      const name = unused(fields, `${field}.${names.get(path) ?? nameInEnvironment(path, builder.env) ?? stem(path)}`);
      fields.set(name, shortPath(path));
      called.set(path, `\${${name}}`);
    }
  }
  if (buildRoot.kind === "world") {
    fields.set("buildRoot", shortPath(buildRoot.path));
    called.set(buildRoot.path, "${buildRoot}");
  } else {
    fields.set("buildRoot", buildRoot.paths.join(" "));
  }
  const plain = (text: string) => withoutPaths(text, called);
  for (const [index, argument] of builder.argv.entries()) fields.set(`builder.argv[${index}]`, plain(argument));
  for (const [name, value] of Object.entries(builder.env)) fields.set(`builder.env.${name}`, plain(value));
  for (const [name, value] of Object.entries(limits)) fields.set(`limits.${name}`, String(value));
  fields.set("builder.cwd", builder.cwd);
  fields.set("outputs", derivation.outputs.join(" "));
  for (const field of ["scheme", "name", "version", "system"] as const) fields.set(field, derivation[field]);
  fields.set("network", String(derivation.network));
  if (fixedOutput !== undefined) fields.set("fixedOutput", canonicalJson({ ...fixedOutput }));
  return fields;
}

function withoutPaths(text: string, called: ReadonlyMap<StorePath, string>): string {
  let plain = text;
  for (const [path, name] of called) plain = plain.replaceAll(path, name);
  return plain;
}

/** Every input and source has a variable that holds its path and nothing else. */
function nameInEnvironment(path: StorePath, env: Readonly<Record<string, string>>): string | undefined {
  return Object.keys(env).find((name) => env[name] === path);
}

/** `zlib` of `<hash>-zlib-1.3.1`. */
function stem(path: StorePath): string {
  return namePart(path).replace(/-[0-9].*$/, "");
}

function unused(fields: ReadonlyMap<string, string>, field: string): string {
  let name = field;
  for (let count = 2; fields.has(name); count++) name = `${field}(${count})`;
  return name;
}

/** The name, and enough of the hash to tell two apart. */
function shortPath(path: StorePath): string {
  return `${hashPart(path).slice(0, 12)}…${baseName(path).slice(64)}`;
}
