/**
 * Order of package versions as pkg-version(8) and the Porter's Handbook define it: `VERSION[_REVISION][,EPOCH]`.
 *
 * The epoch decides before the version, the version before the revision. A version is a row of components, each a number, a
 * letter and a patch level; anything but letters, digits, `+` and `*` separates components. What is missing counts as zero, so
 * `10` equals `10.0`. A component without a number comes before zero (`1.a` < `1`), words count by their first letter, and the
 * words pl, alpha, beta, pre and rc begin a component of their own (`1.0rc1` < `1.0`, but `1.0` < `1.0a`); `pl` comes before
 * every letter. `*` is smaller than anything. `+` separates blocks that are compared one after the other.
 */

type Natural = number | bigint;

interface Component {
  readonly number: Natural;
  readonly letter: number;
  readonly patch: Natural;
}

interface Version {
  readonly epoch: Natural;
  readonly blocks: readonly (readonly Component[])[];
  readonly revision: Natural;
}

const ZERO: Component = { number: 0, letter: 0, patch: 0 };
const STAGES: ReadonlyMap<string, number> = new Map([
  ["pl", 0],
  ["alpha", 1],
  ["beta", 2],
  ["pre", 16],
  ["rc", 18],
]);
const LEADING_DIGITS = /^[0-9]+/;
const LEADING_LETTERS = /^[A-Za-z]+/;
const SEPARATORS = /^[^A-Za-z0-9*]+/;

/** Negative, zero or positive, for `Array.sort`. Accepts a bare version or `name-version`. */
export function compareVersions(left: string, right: string): -1 | 0 | 1 {
  const a = parse(left);
  const b = parse(right);
  const epochs = order(a.epoch, b.epoch);
  if (epochs !== 0) return epochs;
  for (let block = 0; block < Math.max(a.blocks.length, b.blocks.length); block++) {
    const result = compareBlocks(a.blocks[block] ?? [], b.blocks[block] ?? []);
    if (result !== 0) return result;
  }
  return order(a.revision, b.revision);
}

function compareBlocks(left: readonly Component[], right: readonly Component[]): -1 | 0 | 1 {
  for (let index = 0; index < Math.max(left.length, right.length); index++) {
    const a = left[index] ?? ZERO;
    const b = right[index] ?? ZERO;
    const result = order(a.number, b.number) || order(a.letter, b.letter) || order(a.patch, b.patch);
    if (result !== 0) return result;
  }
  return 0;
}

function order(left: Natural, right: Natural): -1 | 0 | 1 {
  if (left < right) return -1;
  return left > right ? 1 : 0;
}

function parse(text: string): Version {
  const version = text.slice(text.lastIndexOf("-") + 1);
  const underscore = version.lastIndexOf("_");
  const comma = version.lastIndexOf(",");
  // A comma before the underscore belongs to the version, as pkg reads it.
  const hasEpoch = comma > underscore;
  const end = underscore >= 0 ? underscore : hasEpoch ? comma : version.length;
  return {
    epoch: hasEpoch ? leadingNumber(version.slice(comma + 1)) : 0,
    revision: underscore >= 0 ? leadingNumber(version.slice(underscore + 1)) : 0,
    blocks: version.slice(0, end).split("+").map(components),
  };
}

function leadingNumber(text: string): Natural {
  const digits = LEADING_DIGITS.exec(text)?.[0];
  if (digits === undefined) return 0;
  return digits.length <= 15 ? Number(digits) : BigInt(digits);
}

function components(block: string): readonly Component[] {
  const found: Component[] = [];
  let rest = block;
  while (rest !== "") {
    const [component, remaining] = nextComponent(rest);
    found.push(component);
    rest = remaining.replace(SEPARATORS, "");
  }
  return found;
}

function nextComponent(text: string): readonly [Component, string] {
  if (text.startsWith("*")) return [{ number: -2, letter: 0, patch: 0 }, ""];
  const digits = LEADING_DIGITS.exec(text)?.[0] ?? "";
  const number: Natural = digits === "" ? -1 : leadingNumber(digits);
  const afterNumber = text.slice(digits.length);
  const word = LEADING_LETTERS.exec(afterNumber)?.[0].toLowerCase();
  if (word === undefined) return [{ number, letter: 0, patch: 0 }, afterNumber];

  const stage = word.length > 1 ? STAGES.get(word) : undefined;
  if (stage !== undefined && digits !== "") return [{ number, letter: 0, patch: 0 }, afterNumber];
  const letter = stage ?? word.charCodeAt(0) - "a".charCodeAt(0) + 1;
  const afterWord = afterNumber.slice(word.length);
  const patchDigits = LEADING_DIGITS.exec(afterWord)?.[0] ?? "";
  const patch: Natural = patchDigits === "" ? -1 : leadingNumber(patchDigits);
  return [{ number, letter, patch }, afterWord.slice(patchDigits.length)];
}
