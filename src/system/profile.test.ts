import { describe, expect, test } from "bun:test";
import { posix } from "node:path";
import fc from "fast-check";
import { Problem, type StorePath } from "../base/index.ts";
import { thrownProblem } from "../base/testing.ts";
import type { ListedEntry } from "../world/index.ts";
import { isOutsideProfile, planProfile } from "./index.ts";
import type { Part, PlannedTree } from "./types.ts";

const item = (name: string): StorePath => `/frx/store/${Bun.SHA256.hash(name, "hex")}-${name}`;

/** `dir/`, `file`, `link -> target`; the directories above come along. */
function part(name: string, lines: readonly string[], prefix = ""): Part {
  const entries = new Map<string, ListedEntry>();
  for (const line of lines) {
    const [path = "", target] = line.replace(/\/$/, "").split(" -> ");
    for (let end = path.indexOf("/"); end > 0; end = path.indexOf("/", end + 1)) {
      const above = path.slice(0, end);
      if (!entries.has(above)) entries.set(above, { path: above, type: "directory", executable: true, sizeBytes: 0 });
    }
    const type = line.endsWith("/") ? "directory" : target === undefined ? "file" : "symlink";
    entries.set(path, { path, type, executable: false, sizeBytes: 0, ...(target !== undefined && { target }) });
  }
  const listing = [...entries.values()].toSorted((left, right) => (left.path < right.path ? -1 : 1));
  return { path: item(name), name, origin: "native", prefix, listing, attributes: new Map() };
}

/** `usr/bin/` for a directory that is made, `usr/lib -> <one>/usr/lib` for a link into a part. */
function shown(tree: PlannedTree): readonly string[] {
  return [...tree].map(([path, entry]) => {
    if (entry.type === "directory") return `${path}/`;
    const target = entry.type === "symlink" ? entry.target : "?";
    return `${path} -> ${target.replace(/^\/frx\/store\/[0-9a-f]{64}-([^/]+)/, "<$1>")}`;
  });
}

const plan = (...parts: readonly Part[]): readonly string[] => shown(planProfile(parts, isOutsideProfile));

describe("a profile", () => {
  test("links whole directories that one part has, and makes those where parts meet", () => {
    const one = part("one", ["bin -> usr/bin", "usr/bin/sh", "usr/lib/x/deep/a", "usr/share/doc/one/readme", "usr/empty/"]);
    const two = part("two", ["usr/bin/two", "usr/share/doc/two/readme", "usr/include/stdio.h", "usr/empty/"]);
    expect(plan(one, two)).toEqual([
      "bin -> usr/bin",
      "usr/",
      "usr/bin/",
      "usr/bin/sh -> <one>/usr/bin/sh",
      "usr/bin/two -> <two>/usr/bin/two",
      "usr/empty/",
      "usr/include -> <two>/usr/include",
      "usr/lib -> <one>/usr/lib",
      "usr/share/",
      "usr/share/doc/",
      "usr/share/doc/one -> <one>/usr/share/doc/one",
      "usr/share/doc/two -> <two>/usr/share/doc/two",
    ]);
    expect(plan(one)).toEqual(["bin -> usr/bin", "usr -> <one>/usr"]);
  });

  test("has what a recipe built below usr/local, as a whole where nobody else is there", () => {
    const base = part("base", ["usr/bin/sh"]);
    const hello = part("hello", ["bin/hello", "share/man/hello.1"], "usr/local");
    const world = part("world", ["bin/world"], "usr/local");
    expect(plan(base, hello)).toEqual(["usr/", "usr/bin -> <base>/usr/bin", "usr/local -> <hello>"]);
    expect(plan(hello)).toEqual(["usr/", "usr/local -> <hello>"]);
    expect(plan(base, hello, world).slice(2)).toEqual([
      "usr/local/",
      "usr/local/bin/",
      "usr/local/bin/hello -> <hello>/bin/hello",
      "usr/local/bin/world -> <world>/bin/world",
      "usr/local/share -> <hello>/share",
    ]);
  });

  test("holds nothing of what is outside, and nothing that is known of a slice", () => {
    expect(plan(part("one", ["etc/passwd", "var/lib/x", "boot/vmlinuz", ".garth/attributes", "usr/x"]))).toEqual([
      "usr -> <one>/usr",
    ]);
    const cut = part("cut", ["usr/share/keep", "usr/share/doc/a", "usr/lib/x"]);
    expect(shown(planProfile([cut], (path) => path.startsWith("usr/share/doc")))).toEqual([
      "usr/",
      "usr/lib -> <cut>/usr/lib",
      "usr/share/",
      "usr/share/keep -> <cut>/usr/share/keep",
    ]);
  });

  test("keeps what links mean", () => {
    const runtime = part("runtime", ["usr/lib/libz.so.1", "usr/bin/x", "etc/ssl/openssl.cnf"]);
    const headers = part("headers", [
      "usr/include/zlib.h",
      // Out of its directory into another part's, into what is not in a profile, out of the part, to nowhere.
      "usr/dev/libz.so -> ../lib/libz.so.1",
      "usr/conf/openssl.cnf -> ../../etc/ssl/openssl.cnf",
      "usr/odd/up -> ../../../outside",
      "usr/none/gone -> ../nothing",
      "usr/same/header -> ../include/zlib.h",
      "usr/far/away -> /etc/motd",
    ]);
    expect(plan(runtime, headers)).toEqual([
      "usr/",
      "usr/bin -> <runtime>/usr/bin",
      "usr/conf/",
      "usr/conf/openssl.cnf -> /etc/ssl/openssl.cnf",
      "usr/dev/",
      "usr/dev/libz.so -> ../lib/libz.so.1",
      "usr/far -> <headers>/usr/far",
      "usr/include -> <headers>/usr/include",
      "usr/lib -> <runtime>/usr/lib",
      "usr/none -> <headers>/usr/none",
      "usr/odd -> <headers>/usr/odd",
      "usr/same -> <headers>/usr/same",
    ]);
  });

  test("takes links that say the same as one, in a directory of any name and whichever way they say it", () => {
    const [one, two] = [part("one", ["a", "etc -> ."], "usr/c"), part("two", ["etc -> .", "usr -> ."], "usr/c")];
    expect(plan(one, two)).toEqual(["usr/", "usr/c/", "usr/c/a -> <one>/a", "usr/c/etc -> .", "usr/c/usr -> ."]);
    const [relative, absolute] = [part("relative", ["usr/x/conf -> ../../etc"]), part("absolute", ["usr/x/conf -> /etc"])];
    expect(plan(relative, absolute)).toEqual(["usr/", "usr/x/", "usr/x/conf -> /etc"]);
    const other = part("other", ["etc -> a", "a"], "usr/c");
    expect(thrownProblem(() => plan(one, other)).details).toContain("/usr/c/etc: one and other");
  });

  test("names both parts and every path that they both bring, up to a number that can be read", () => {
    const many = Array.from({ length: 25 }, (_, index) => `usr/share/${String(index).padStart(2, "0")}`);
    const problem = thrownProblem(() => plan(part("left", many), part("right", many)));
    expect(problem).toMatchObject({ code: "E_FILE_CONFLICT", exit: 2, message: "left and right both bring /usr/share/00" });
    expect(problem.details).toHaveLength(21);
    expect(problem.details.at(-1)).toBe("and 5 more");
    expect(thrownProblem(() => plan(part("a", ["usr/x"]), part("b", ["x"], "usr"))).message).toBe("a and b both bring /usr/x");
  });
});

// ---- against a model: one tree with everything copied into it

type Node =
  | { readonly kind: "directory" }
  | { readonly kind: "file"; readonly id: string }
  | { readonly kind: "link"; readonly target: string };
type Tree = Map<string, Node>;

/** As the kernel goes: every link on the way followed, `..` from where one really is. undefined: there is nothing. */
function resolve(tree: Tree, path: string): string | undefined {
  let rest = path.split("/");
  let at: string[] = [];
  for (let links = 0; rest.length > 0;) {
    const [name = "", ...more] = rest;
    rest = more;
    if (name === "" || name === ".") continue;
    if (name === "..") {
      at.pop();
      continue;
    }
    const here = [...at, name].join("/");
    const node = tree.get(here);
    if (node === undefined || (node.kind === "file" && rest.length > 0)) return undefined;
    if (node.kind !== "link") {
      at = here.split("/");
      continue;
    }
    links += 1;
    if (links > 40) return undefined;
    if (node.target.startsWith("/")) at = [];
    rest = [...node.target.split("/"), ...rest];
  }
  return at.join("/");
}

/** What somebody finds at a path: which file, or what is in the directory. */
function found(tree: Tree, path: string): unknown {
  const real = resolve(tree, path);
  if (real === undefined) return "nothing";
  const node = tree.get(real);
  if (node?.kind === "file") return node.id;
  return [...tree.keys()]
    .filter((each) => each.startsWith(`${real}/`) && !each.slice(real.length + 1).includes("/"))
    .map((each) => each.slice(real.length + 1))
    .toSorted();
}

function place(tree: Tree, path: string, node: Node): void {
  for (let end = path.indexOf("/"); end > 0; end = path.indexOf("/", end + 1))
    tree.set(path.slice(0, end), { kind: "directory" });
  tree.set(path, node);
}

const nodeOf = ({ type, target = "" }: ListedEntry, id: string): Node =>
  type === "directory" ? { kind: "directory" } : type === "symlink" ? { kind: "link", target } : { kind: "file", id };

/** Everything copied into one root. */
function merged(parts: readonly Part[]): Tree {
  const tree: Tree = new Map();
  for (const { name, prefix, listing } of parts) {
    for (const entry of listing)
      place(tree, prefix === "" ? entry.path : `${prefix}/${entry.path}`, nodeOf(entry, `${name}:${entry.path}`));
  }
  return tree;
}

/** The root of a machine: items in the store, the profile beside them, links to it, what is outside copied. */
function machine(parts: readonly Part[], profile: PlannedTree): Tree {
  const tree: Tree = new Map();
  for (const { path: root, name, prefix, listing } of parts) {
    for (const entry of listing) {
      const isOutside = isOutsideProfile(prefix === "" ? entry.path : prefix);
      place(tree, `${root.slice(1)}/${entry.path}`, nodeOf(entry, isOutside ? "a copy" : `${name}:${entry.path}`));
      if (isOutside) place(tree, entry.path, nodeOf(entry, `${name}:${entry.path}`));
    }
  }
  for (const [path, entry] of profile) {
    place(
      tree,
      `frx/store/profile/${path}`,
      entry.type === "symlink" ? { kind: "link", target: entry.target } : { kind: "directory" },
    );
    if (path.includes("/")) continue;
    const isRelative = entry.type === "symlink" && !entry.target.startsWith("/");
    place(tree, path, { kind: "link", target: isRelative ? entry.target : `/frx/store/profile/${path}` });
  }
  return tree;
}

const names = fc.constantFrom("a", "b", "c", "usr", "etc");
const path = fc.array(names, { minLength: 1, maxLength: 4 });
const line = fc.oneof(
  { weight: 4, arbitrary: path.map((parts) => parts.join("/")) },
  { weight: 1, arbitrary: path.map((parts) => `${parts.join("/")}/`) },
  { weight: 2, arbitrary: fc.tuple(path, path).map(([from, to]) => `${from.join("/")} -> /${to.join("/")}`) },
  {
    weight: 4,
    // Up at most to the part's own root.
    arbitrary: fc
      .tuple(path, fc.nat(3), fc.array(names, { maxLength: 3 }))
      .map(
        ([from, up, to]) =>
          `${from.join("/")} -> ${[...Array<string>(Math.min(up, from.length - 1)).fill(".."), ...to].join("/") || "."}`,
      ),
  },
);

/** A tree has one thing at a path, and nothing below what is no directory. */
function sound(lines: readonly string[]): readonly string[] {
  const kinds = new Map<string, string>();
  return lines.filter((text) => {
    const [own = ""] = text.replace(/\/$/, "").split(" -> ");
    const above = own.split("/").map((_, index, all) => all.slice(0, index + 1).join("/"));
    if (kinds.has(own) || above.slice(0, -1).some((each) => (kinds.get(each) ?? "directory") !== "directory")) return false;
    for (const each of above.slice(0, -1)) kinds.set(each, "directory");
    kinds.set(own, text.endsWith("/") ? "directory" : "leaf");
    return true;
  });
}

const parts = fc
  .array(fc.record({ lines: fc.array(line, { minLength: 1, maxLength: 8 }), isBelow: fc.nat(4) }), { minLength: 1, maxLength: 3 })
  .map((all) =>
    all.map(({ lines, isBelow }, index) =>
      part(["one", "two", "three"][index] ?? "", sound(lines), isBelow === 0 ? "usr/c" : ""),
    ),
  );

describe("a profile and one tree with everything copied into it", () => {
  /** A link as the profile has it: by its own target, or absolute where that is not in a profile. Parts are read from their root. */
  function written(prefix: string, path: string, target: string): string {
    const leadsTo = posix.join("/", prefix, posix.dirname(path), target).slice(1);
    return target.startsWith("/") || (leadsTo !== "" && !isOutsideProfile(leadsTo)) ? target : `/${leadsTo}`;
  }

  /** Two parts bring one path, and it is not a directory of both. Links that say the same are one. */
  function conflicts(all: readonly Part[]): boolean {
    const seen = new Map<string, string>();
    return all.some(({ name, prefix, listing }) => {
      const above = prefix.split("/").map((_, index, names) => names.slice(0, index + 1).join("/"));
      const made = prefix === "" ? [] : above.map((each) => ({ full: each, key: "directory" }));
      const own = listing.map(({ path: each, type, target = "" }) => ({
        full: prefix === "" ? each : `${prefix}/${each}`,
        key: type === "directory" ? type : type === "symlink" ? `link ${written(prefix, each, target)}` : `file of ${name}`,
      }));
      return [...made, ...own].some(({ full, key }) => {
        if (isOutsideProfile(full)) return false;
        const other = seen.get(full);
        seen.set(full, key);
        return other !== undefined && other !== key;
      });
    });
  }

  test("show the same at every path, through every link, or conflict for the same reason", () => {
    let compared = 0;
    fc.assert(
      fc.property(parts, (all) => {
        let profile: PlannedTree;
        try {
          profile = planProfile(all, isOutsideProfile);
        } catch (error) {
          if (!(error instanceof Problem)) throw error;
          expect(conflicts(all)).toBe(true);
          return;
        }
        expect(conflicts(all)).toBe(false);
        const [wanted, real] = [merged(all), machine(all, profile)];
        for (const each of wanted.keys()) {
          compared += 1;
          expect([each, found(real, each)]).toEqual([each, found(wanted, each)]);
        }
      }),
      { numRuns: 2000 },
    );
    expect(compared).toBeGreaterThan(10_000);
  });

  test("the parents of each planned path come before it", () => {
    fc.assert(
      fc.property(parts, (all) => {
        fc.pre(!conflicts(all));
        const seen = new Set<string>([""]);
        for (const each of planProfile(all, isOutsideProfile).keys()) {
          expect(seen.has(each.slice(0, Math.max(each.lastIndexOf("/"), 0)))).toBe(true);
          seen.add(each);
        }
      }),
    );
  });
});
