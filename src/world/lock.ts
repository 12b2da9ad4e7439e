/**
 * The lock file of a world: a stable text, one line per package, made to be committed and read in a diff.
 *
 *     garth-world-lock 1
 *     suite bookworm
 *     architecture amd64
 *     request gcc
 *     request make
 *     package gcc 4:12.2.0-3 amd64 19432 <64 hexadecimal digits>
 *     package make 4.3-4.1 amd64 395804 <64 hexadecimal digits>
 *
 * The writer gives one text for one value, and the parser takes exactly the texts that the writer gives: one space between
 * words, both lists sorted by code units, a line feed at the end. Whatever else is there is refused with its line, so that a
 * merge that went wrong is seen where it went wrong.
 */
import { isSha256, Problem } from "../base/index.ts";
import type { LockedPackage, WorldLock } from "./types.ts";

const FORMAT = "garth-world-lock 1";
const SUITE = /^[a-z][a-z0-9./-]*$/;
const ARCHITECTURE = /^[a-z0-9][a-z0-9-]*$/;
/** Debian Policy 5.6.1 and 5.6.12. */
const NAME = /^[a-z0-9][a-z0-9+.-]+$/;
const VERSION = /^(?:[0-9]+:)?[0-9A-Za-z][0-9A-Za-z.+~:-]*$/;
const SIZE = /^[1-9][0-9]{0,12}$/;

function order(left: LockedPackage, right: LockedPackage): number {
  const [a, b] = [`${left.name} ${left.architecture}`, `${right.name} ${right.architecture}`];
  return a < b ? -1 : a > b ? 1 : 0;
}

/** Sorts both lists and leaves out what is asked for twice. */
export function worldLock(fields: WorldLock): WorldLock {
  return {
    suite: fields.suite,
    architecture: fields.architecture,
    requested: [...new Set(fields.requested)].toSorted(),
    packages: [...fields.packages].toSorted(order),
  };
}

export function writeLock(lock: WorldLock): string {
  const sorted = worldLock(lock);
  return [
    FORMAT,
    `suite ${sorted.suite}`,
    `architecture ${sorted.architecture}`,
    ...sorted.requested.map((name) => `request ${name}`),
    ...sorted.packages.map((each) => packageLine(each)),
    "",
  ].join("\n");
}

function packageLine(each: LockedPackage): string {
  return `package ${each.name} ${each.version} ${each.architecture} ${each.sizeBytes} ${each.sha256}`;
}

/**
 * @param where the file's name, for errors
 * @throws Problem E_LOCK_INVALID with the line
 */
export function parseLock(text: string, where: string): WorldLock {
  const lines = text.split("\n");
  const refuse = (index: number, what: string): never => {
    throw new Problem({
      code: "E_LOCK_INVALID",
      message: `the lock file cannot be read: ${what}`,
      where: `${where}:${index + 1}`,
      hint: "take the last good version of the file from version control, or remove it and build with the policy `refresh`",
      exit: 2,
    });
  };
  const field = (index: number, key: string, pattern: RegExp): string => {
    const [word, value, ...more] = (lines[index] ?? "").split(" ");
    if (word !== key || value === undefined || more.length > 0 || !pattern.test(value)) {
      return refuse(index, `expected a line "${key} …"`);
    }
    return value;
  };
  if (lines[0] !== FORMAT) {
    refuse(0, lines[0]?.startsWith("garth-world-lock ") ? "its format is newer than this Garth" : `expected "${FORMAT}"`);
  }
  const suite = field(1, "suite", SUITE);
  const architecture = field(2, "architecture", ARCHITECTURE);
  const last = lines.length - 1;
  if (lines[last] !== "") refuse(last, "the last line has no end; the file was cut off");
  let index = 3;
  const requested: string[] = [];
  for (; lines[index]?.startsWith("request "); index += 1) {
    const name = field(index, "request", NAME);
    const before = requested.at(-1);
    if (before !== undefined && before >= name) refuse(index, `${name} is out of order`);
    requested.push(name);
  }
  const packages: LockedPackage[] = [];
  for (; index < last; index += 1) {
    const each = parsePackage(lines[index] ?? "", architecture);
    if (each === undefined) return refuse(index, `expected "package NAME VERSION ${architecture}|all SIZE SHA256"`);
    const before = packages.at(-1);
    if (before !== undefined && order(before, each) >= 0) refuse(index, `${each.name} is out of order or there twice`);
    packages.push(each);
  }
  if (packages.length === 0) refuse(last, "it holds no package");
  return { suite, architecture, requested, packages };
}

function parsePackage(line: string, native: string): LockedPackage | undefined {
  const [word, name, version, architecture, size, sha256, ...more] = line.split(" ");
  if (word !== "package" || more.length > 0) return undefined;
  if (name === undefined || version === undefined || architecture === undefined || size === undefined || sha256 === undefined) {
    return undefined;
  }
  const isGood =
    NAME.test(name) &&
    VERSION.test(version) &&
    (architecture === native || architecture === "all") &&
    SIZE.test(size) &&
    isSha256(sha256);
  return isGood ? { name, version, architecture, sizeBytes: Number(size), sha256 } : undefined;
}
