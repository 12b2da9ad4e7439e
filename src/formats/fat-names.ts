/**
 * Names in FAT directories: 11 bytes "8.3" in capitals, and beside it a long name where that says less than was asked for
 * (Microsoft FAT specification, version 1.03 "FAT32 File System", the sections on long directory entries).
 *
 * `README.TXT` is itself; `readme.txt` is itself with two flags for small letters, as Windows NT and everybody since has it;
 * `Read me.html` is the long name of `README~1.HTM`.
 */
import { Problem } from "../base/index.ts";
import { concatenate } from "./tar-write.ts";

const encoder = new TextEncoder();
const latin1 = new TextDecoder("latin1");

export const SLOT_BYTES = 32;
export const SHORT_BYTES = 11;
export const LONG_ATTRIBUTES = 0x0f;
export const LAST_LONG = 0x40;
export const LONG_UNITS = 13;
/** Where the units of a long name's slot lie. */
export const LONG_PLACES: readonly number[] = [1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30];
export const LOWER_BASE = 0x08;
export const LOWER_EXTENSION = 0x10;
const NAME_UNITS = 255;

export interface FatName {
  /** 11 bytes of ASCII, padded with spaces. */
  readonly short: Uint8Array;
  /** LOWER_BASE, LOWER_EXTENSION. */
  readonly caseFlags: number;
  /** undefined where the short name and the flags say it all. */
  readonly long: string | undefined;
}

const FORBIDDEN = /\p{Cc}|["*/:<>?\\|]/u;
const SHORT = /^([A-Z0-9!#$%&'()@^_`{}~-]{1,8})(?:\.([A-Z0-9!#$%&'()@^_`{}~-]{1,3}))?$/;

/**
 * The names of one directory, in the order given. Those that are short in themselves stay so; the aliases of others keep clear of
 * them and of each other. `directory` is its path in an error.
 *
 * @throws Problem E_FAT_NAME for what no FAT name can be, and for two that differ in nothing but case
 */
export function fatNames(names: readonly string[], directory: string): readonly FatName[] {
  const known = new Map<string, string>();
  for (const name of names) {
    const wrong = whatIsWrong(name) ?? sameAs(known.get(folded(name)));
    if (wrong !== undefined)
      throw new Problem({
        code: "E_FAT_NAME",
        message: `writing a FAT file system: in /${directory}, the name ${JSON.stringify(name)} ${wrong}`,
        hint: "rename it; FAT keeps the case of names and does not tell names apart by it",
        exit: 2,
      });
    known.set(folded(name), name);
  }
  const plain = names.map(plainName);
  const taken = new Set(plain.flatMap((name) => (name === undefined ? [] : [asText(name.short)])));
  const tails = new Map<string, number>();
  return names.map((name, index) => plain[index] ?? { short: alias(name, taken, tails), caseFlags: 0, long: name });
}

/** How many slots of a directory a name takes. */
export function slotsOf(name: FatName): number {
  return 1 + Math.ceil((name.long?.length ?? 0) / LONG_UNITS);
}

/** The slots that come before the short name's own: the end of the long name first. */
export function longSlots(name: FatName): Uint8Array {
  const { long, short } = name;
  if (long === undefined) return new Uint8Array(0);
  const count = slotsOf(name) - 1;
  const slots = Array.from({ length: count }, (_, index) => {
    const number = count - index;
    const slot = new Uint8Array(SLOT_BYTES);
    slot[0] = number | (index === 0 ? LAST_LONG : 0);
    slot[11] = LONG_ATTRIBUTES;
    slot[13] = shortChecksum(short);
    const view = new DataView(slot.buffer);
    LONG_PLACES.forEach((place, unit) => {
      const at = (number - 1) * LONG_UNITS + unit;
      // A zero ends a name that does not fill its last slot; ones fill the rest.
      view.setUint16(place, at < long.length ? long.charCodeAt(at) : at === long.length ? 0 : 0xffff, true);
    });
    return slot;
  });
  return concatenate(slots);
}

/** Ties a long name to the short one that follows it, for systems that change the one and do not know the other. */
export function shortChecksum(short: Uint8Array): number {
  return short.reduce((sum, byte) => (((sum & 1) << 7) + (sum >> 1) + byte) & 0xff, 0);
}

/** 11 bytes from a base and an extension, in ASCII capitals. */
export function shortName(base: string, extension: string): Uint8Array {
  return encoder.encode(base.padEnd(8) + extension.padEnd(3));
}

function whatIsWrong(name: string): string | undefined {
  if (name === "" || name === "." || name === "..") return "is not one";
  if (name.length > NAME_UNITS) return `has ${name.length} UTF-16 units, and ${NAME_UNITS} fit`;
  const character = FORBIDDEN.exec(name)?.[0];
  if (character !== undefined) return `has the character ${JSON.stringify(character)}, which FAT does not allow`;
  // Windows takes them off.
  return /[. ]$/.test(name) ? "ends in a dot or a space, which FAT does not allow" : undefined;
}

function sameAs(other: string | undefined): string | undefined {
  return other === undefined ? undefined : `is the same as ${JSON.stringify(other)} for FAT`;
}

/** Capitals, character by character: the length stays. */
function folded(name: string): string {
  if (/^[\x20-\x7e]*$/.test(name)) return name.toUpperCase();
  return Array.from(name, (character) => {
    const upper = character.toUpperCase();
    return upper.length === character.length ? upper : character;
  }).join("");
}

/** undefined for a name that needs a long one. */
function plainName(name: string): FatName | undefined {
  const match = SHORT.exec(name.toUpperCase());
  // A letter outside ASCII can have a capital inside: the long s, for one.
  if (match === null || !/^[\x21-\x7e]*$/.test(name)) return undefined;
  const dot = name.lastIndexOf(".");
  const [base, extension] = dot < 0 ? [name, ""] : [name.slice(0, dot), name.slice(dot + 1)];
  const lowers = [base, extension].map((part) => (part === part.toUpperCase() ? 0 : part === part.toLowerCase() ? 1 : undefined));
  const [lowerBase, lowerExtension] = lowers;
  if (lowerBase === undefined || lowerExtension === undefined) return undefined;
  const caseFlags = lowerBase * LOWER_BASE + lowerExtension * LOWER_EXTENSION;
  return { short: shortName(match[1] ?? "", match[2] ?? ""), caseFlags, long: undefined };
}

/**
 * The short name beside a long one: what can be kept of it, and `~1` or a higher number unless all of it could and nobody else
 * has it. `tails` remembers the last number of each beginning, so that a directory of thousands stays quick.
 */
function alias(name: string, taken: Set<string>, tails: Map<string, number>): Uint8Array {
  const kept = (part: string): string => part.replaceAll(/[ .]/g, "").replaceAll(/[^A-Z0-9!#$%&'()@^_`{}~-]/gu, "_");
  const upper = folded(name).replace(/^[ .]+/, "");
  const dot = upper.lastIndexOf(".");
  const base = kept(dot < 0 ? upper : upper.slice(0, dot));
  const extension = kept(dot < 0 ? "" : upper.slice(dot + 1)).slice(0, 3);
  const whole = shortName(base.slice(0, 8), extension);
  if (SHORT.test(name.toUpperCase()) && !taken.has(asText(whole))) {
    taken.add(asText(whole));
    return whole;
  }
  for (;;) {
    const number = (tails.get(asText(whole)) ?? 0) + 1;
    tails.set(asText(whole), number);
    const tail = `~${number}`;
    const short = shortName(base.slice(0, 8 - tail.length) + tail, extension);
    if (taken.has(asText(short))) continue;
    taken.add(asText(short));
    return short;
  }
}

function asText(short: Uint8Array): string {
  return latin1.decode(short);
}
