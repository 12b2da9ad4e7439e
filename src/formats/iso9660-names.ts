/**
 * The names beneath those of Rock Ridge: of level 3 (ECMA-119, 7.5 and 7.6), for readers that know no others. Capitals, digits and `_`, at most
 * 30 without the dot, each once in its directory, and in the order that the standard wants.
 */
import type { Child } from "./tree.ts";

export interface IsoName {
  readonly child: Child;
  /** As it is written: `NAME.EXT;1`, of a directory `NAME`. */
  readonly id: string;
}

const NAME_MAX = 30;
const EXTENSION_MAX = 8;

const decoder = new TextDecoder();

interface Parts {
  readonly base: string;
  readonly extension: string;
}

/** @param isDirectory of a child */
export function isoNames(children: readonly Child[], isDirectory: (child: Child) => boolean): readonly IsoName[] {
  const taken = new Set<string>();
  // Where to go on counting: thousands of names may be the same when they are short.
  const counts = new Map<string, number>();
  const named = children
    .map((child) => ({ child, text: decoder.decode(child.name), directory: isDirectory(child) }))
    .toSorted((a, b) => compare(a.text, b.text))
    .map(({ child, text, directory }) => {
      const wanted = directory ? { base: plain(text), extension: "" } : fileParts(text);
      return { child, directory, parts: unique({ ...wanted, base: wanted.base.slice(0, NAME_MAX - wanted.extension.length) }) };
    });

  function unique(parts: Parts): Parts {
    const key = (one: Parts): string => `${one.base}.${one.extension}`;
    let found = parts;
    for (let count = counts.get(key(parts)) ?? 1; taken.has(key(found)); count += 1) {
      counts.set(key(parts), count);
      const tail = `_${count}`;
      found = { ...parts, base: parts.base.slice(0, NAME_MAX - parts.extension.length - tail.length) + tail };
    }
    taken.add(key(found));
    return found;
  }

  return named
    .toSorted((a, b) => compare(a.parts.base, b.parts.base) || compare(a.parts.extension, b.parts.extension))
    .map(({ child, directory, parts }) => ({
      child,
      id: directory ? parts.base : `${parts.base}.${parts.extension};1`,
    }));
}

function fileParts(text: string): Parts {
  const dot = text.lastIndexOf(".");
  if (dot <= 0 || text.length - dot - 1 > EXTENSION_MAX) return { base: plain(text), extension: "" };
  return { base: plain(text.slice(0, dot)), extension: plain(text.slice(dot + 1)) };
}

function plain(text: string): string {
  return text.toUpperCase().replaceAll(/[^A-Z0-9_]/g, "_");
}

/** By code units, which of these names is by bytes. */
function compare(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}
