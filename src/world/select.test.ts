import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { compareSlices, type ListedEntry, matcher, selectEntries } from "./index.ts";

/** The rules of select.ts, word by word: no regular expression, every way a pattern can be read. */
function matchesPart(pattern: readonly string[], text: readonly string[]): boolean {
  const [first, ...rest] = pattern;
  if (first === undefined) return text.length === 0;
  if (first === "*") return matchesPart(rest, text) || (text.length > 0 && matchesPart(pattern, text.slice(1)));
  return text.length > 0 && (first === "?" || first === text[0]) && matchesPart(rest, text.slice(1));
}

function matchesParts(pattern: readonly string[], path: readonly string[]): boolean {
  const [first, ...rest] = pattern;
  // What is below a match is meant too.
  if (first === undefined) return true;
  if (first === "**") return matchesParts(rest, path) || (path.length > 0 && matchesParts(pattern, path.slice(1)));
  const [name, ...below] = path;
  return name !== undefined && matchesPart([...first], [...name]) && matchesParts(rest, below);
}

const isMeant = (pattern: string, path: string): boolean => matchesParts(pattern.split("/"), path.split("/"));

const letter = fc.constantFrom("a", "b", ".", "+", "(", "]", "\\", "$", "^", "|", "é", "😀", "\n", " ");
const name = fc.string({ unit: letter, minLength: 1, maxLength: 3 });
const path = fc.array(name, { minLength: 1, maxLength: 4 }).map((parts) => parts.join("/"));
const pattern = fc
  .array(
    fc.oneof(fc.constant("**"), fc.string({ unit: fc.oneof(letter, fc.constantFrom("*", "?")), minLength: 1, maxLength: 3 })),
    {
      minLength: 1,
      maxLength: 4,
    },
  )
  .map((parts) => parts.join("/"));

describe("a pattern", () => {
  const cases: readonly (readonly [pattern: string, yes: readonly string[], no: readonly string[]])[] = [
    ["usr/lib", ["usr/lib", "usr/lib/a", "usr/lib/a/b"], ["usr", "usr/library", "usr/lib.a", "lib"]],
    ["boot/vmlinuz-*", ["boot/vmlinuz-6.1", "boot/vmlinuz-"], ["boot/vmlinuz", "boot/sub/vmlinuz-6"]],
    ["etc/rc?.d", ["etc/rc0.d", "etc/rc0.d/S01x", "etc/rcé.d", "etc/rc😀.d"], ["etc/rc.d", "etc/rc10.d", "etc/rc0xd"]],
    ["usr/lib/**/*.a", ["usr/lib/x.a", "usr/lib/d/e/x.a", "usr/lib/x.a/below"], ["usr/lib", "usr/x.a", "usr/lib/xa"]],
    ["usr/share/**", ["usr/share", "usr/share/a", "usr/share/a/b/c"], ["usr", "usr/shared"]],
    ["**/doc", ["doc", "a/doc", "a/b/doc/c"], ["docs", "a/docs"]],
    ["**", ["a", "a/b"], []],
    ["a[b]", ["a[b]"], ["ab"]],
    ["a.b+c*", ["a.b+c", "a.b+cd"], ["axb+c", "a.bbc"]],
  ];
  for (const [text, yes, no] of cases) {
    test(`${text} means what it matches and everything below`, () => {
      const isMatched = matcher([text]);
      expect(yes.filter((each) => !isMatched(each))).toEqual([]);
      expect(no.filter((each) => isMatched(each))).toEqual([]);
    });
  }

  test("is read as its rules say, whatever characters it holds", () => {
    fc.assert(
      fc.property(fc.array(pattern, { maxLength: 3 }), path, (patterns, each) => {
        expect(matcher(patterns)(each)).toBe(patterns.some((one) => isMeant(one, each)));
      }),
      { numRuns: 2000 },
    );
  });

  test("is read quickly where it could be read in very many ways", () => {
    const isMatched = matcher(["**/**/**/**/*a*a*a*b"]);
    expect(isMatched(`${"d/".repeat(40)}${"a".repeat(40)}`)).toBe(false);
  });
});

/** A tree in the order of a listing: each directory before what is in it, names sorted. */
const tree: fc.Arbitrary<readonly ListedEntry[]> = fc
  .uniqueArray(fc.array(fc.constantFrom("a", "b", "c", "a.x", "a-"), { minLength: 1, maxLength: 4 }), {
    minLength: 1,
    maxLength: 16,
    selector: (parts) => parts.join("/"),
  })
  .map((paths) => {
    const types = new Map<string, "file" | "directory">();
    for (const parts of paths) types.set(parts.join("/"), "file");
    for (const parts of paths) {
      for (let depth = 1; depth < parts.length; depth++) types.set(parts.slice(0, depth).join("/"), "directory");
    }
    const key = (text: string): string => text.replaceAll("/", "\0");
    return [...types]
      .toSorted(([left], [right]) => (key(left) < key(right) ? -1 : 1))
      .map(([each, type]) => ({ path: each, type, executable: false, sizeBytes: 0 }));
  });
const few = fc.array(
  fc.array(fc.constantFrom("a", "b", "c", "*", "?", "**", "a*"), { minLength: 1, maxLength: 3 }).map((parts) => parts.join("/")),
  { maxLength: 3 },
);

const parentsOf = (text: string): readonly string[] =>
  text
    .split("/")
    .slice(0, -1)
    .map((_, index, all) => all.slice(0, index + 1).join("/"));

describe("what a slice holds", () => {
  test("what is kept and not pruned, with the directories above, in the order of the listing, and nothing else", () => {
    fc.assert(
      fc.property(tree, few, few, (listing, keep, prune) => {
        const isWanted = (each: string): boolean =>
          (keep.length === 0 || keep.some((one) => isMeant(one, each))) && !prune.some((one) => isMeant(one, each));
        const wanted = new Set(listing.flatMap((entry) => (isWanted(entry.path) ? [entry.path, ...parentsOf(entry.path)] : [])));
        expect(selectEntries(listing, { keep, prune })).toEqual(listing.filter((entry) => wanted.has(entry.path)));
      }),
    );
  });

  test("an empty directory that is kept stays; one that lost all it had and was not kept does not", () => {
    const entry = (each: string, type: ListedEntry["type"]): ListedEntry => ({
      path: each,
      type,
      executable: false,
      sizeBytes: 0,
    });
    const listing = [entry("a", "directory"), entry("a/empty", "directory"), entry("b", "directory"), entry("b/x", "file")];
    const paths = (keep: readonly string[], prune: readonly string[]): readonly string[] =>
      selectEntries(listing, { keep, prune }).map((each) => each.path);
    expect(paths(["a/empty"], [])).toEqual(["a", "a/empty"]);
    expect(paths(["b/x"], ["b/x"])).toEqual([]);
    expect(paths([], ["b/x"])).toEqual(["a", "a/empty", "b"]);
  });
});

describe("slices of one world", () => {
  const names = ["one", "two", "three"];
  const file = (each: string): ListedEntry => ({ path: each, type: "file", executable: false, sizeBytes: 0 });
  const directory = (each: string): ListedEntry => ({ ...file(each), type: "directory" });

  test("every path that is no directory is below exactly what is reported of it", () => {
    fc.assert(
      fc.property(tree, fc.array(fc.tuple(few, few), { maxLength: 3 }), (listing, lists) => {
        const slices = lists.map(([keep, prune], index) => ({
          name: names[index] ?? "",
          entries: selectEntries(listing, { keep, prune }),
        }));
        const { overlaps, gaps } = compareSlices(listing, slices);
        const isBelow = (each: string, above: string): boolean => each === above || each.startsWith(`${above}/`);
        for (const { path: each, type } of listing) {
          if (type === "directory") continue;
          const holders = slices.filter(({ entries }) => entries.some((entry) => entry.path === each)).map((slice) => slice.name);
          expect(gaps.filter((gap) => isBelow(each, gap))).toHaveLength(holders.length === 0 ? 1 : 0);
          expect(overlaps.filter((overlap) => isBelow(each, overlap.path)).map((overlap) => overlap.slices)).toEqual(
            holders.length > 1 ? [holders] : [],
          );
        }
      }),
    );
  });

  test("a directory stands for all that is in it, the highest that can; one without content is no gap", () => {
    const listing = [
      directory("etc"),
      file("etc/a"),
      file("etc/b"),
      directory("usr"),
      directory("usr/doc"),
      file("usr/doc/x"),
      file("usr/run"),
      directory("void"),
    ];
    const slices = [
      { name: "one", entries: selectEntries(listing, { keep: ["etc", "usr/run"], prune: [] }) },
      { name: "two", entries: selectEntries(listing, { keep: ["etc"], prune: [] }) },
    ];
    expect(compareSlices(listing, slices)).toEqual({ overlaps: [{ path: "etc", slices: ["one", "two"] }], gaps: ["usr/doc"] });
    expect(compareSlices(listing, [])).toEqual({ overlaps: [], gaps: ["etc", "usr"] });
  });
});
