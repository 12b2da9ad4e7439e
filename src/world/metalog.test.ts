import { describe, expect, test } from "bun:test";
import { thrownProblem } from "../base/testing.ts";
import { type ListedEntry, loggedAttributes, parseMetalog } from "./index.ts";

/** As install(1) and `mtree -C` of FreeBSD write them into one file. */
const LOG = String.raw`#mtree 2.0
. type=dir uname=root gname=wheel mode=0755 tags=package=runtime
./var/mail type=dir uname=root gname=mail mode=0775 tags=package=runtime
./usr/bin type=dir uname=root gname=wheel mode=0755
./usr/bin/ type=dir uname=root gname=wheel mode=0755
./usr/bin/chpass type=file uname=root gname=wheel mode=04555 size=5 flags=schg tags=package=runtime
./usr/bin/chfn type=file mode=0555 size=5 tags=package=runtime
.//usr/bin//true type=file uname=root gname=wheel mode=0555 size=5
./usr/bin/again type=file uname=root gname=wheel mode=0644 size=5
./usr/bin/again type=file uname=uucp gname=dialer mode=0550 size=5
./usr/bin/alone type=file mode=0444 size=9
./usr/share/a\040b type=file uname=root gname=wheel mode=0444 size=1
./etc/termcap type=link uname=uucp gname=wheel mode=0755 link=/usr/share/misc/termcap
./usr/lib/gone type=file uname=nobody gname=nobody mode=0444 size=1
./usr/by-number type=file uname=ghost uid=77 gid=78 mode=0600
`;

const file = (path: string, sizeBytes = 5): ListedEntry => ({ path, type: "file", executable: true, sizeBytes });
const directory = (path: string): ListedEntry => ({ path, type: "directory", executable: true, sizeBytes: 0 });
const LISTING: readonly ListedEntry[] = [
  directory("var/mail"),
  directory("usr/bin"),
  file("usr/bin/chpass"),
  file("usr/bin/chfn"),
  file("usr/bin/true"),
  file("usr/bin/again"),
  file("usr/bin/alone", 9),
  file("usr/bin/unlogged"),
  file("usr/share/a b", 1),
  { path: "etc/termcap", type: "symlink", executable: true, sizeBytes: 23, target: "/usr/share/misc/termcap" },
  file("usr/by-number"),
];
const ACCOUNTS = {
  users: new Map([
    ["root", 0],
    ["uucp", 66],
  ]),
  groups: new Map([
    ["wheel", 0],
    ["mail", 6],
    ["dialer", 68],
  ]),
};
const DIGESTS: Readonly<Record<string, string>> = { "usr/bin/chpass": "one", "usr/bin/chfn": "one" };

const shown = (log: string): Readonly<Record<string, string>> => {
  const digestOf = (path: string): string => DIGESTS[path] ?? path;
  const table = loggedAttributes(parseMetalog(log, "METALOG"), { world: "w", listing: LISTING, accounts: ACCOUNTS, digestOf });
  return Object.fromEntries([...table].map(([path, { mode, uid, gid }]) => [path, `${mode.toString(8)} ${uid}:${gid}`]));
};

describe("a METALOG", () => {
  test("says owners by the tree's own names, modes as they are to be, and of a path what came last", () => {
    expect(shown(LOG)).toEqual({
      "var/mail": "775 0:6",
      "usr/bin": "755 0:0",
      "usr/bin/chpass": "4555 0:0",
      "usr/bin/chfn": "4555 0:0",
      "usr/bin/true": "555 0:0",
      "usr/bin/again": "550 66:68",
      "usr/bin/alone": "444 0:0",
      "usr/share/a b": "444 0:0",
      "etc/termcap": "777 66:0",
      "usr/by-number": "600 77:78",
    });
  });

  test("gives a hard link what its file has, and a file that is only alike nothing of it", () => {
    const links = (mode: string): string => `./usr/bin/chpass type=file uname=root gname=mail mode=02711
./usr/bin/true type=file uname=root gname=wheel mode=0555
./usr/bin/chfn type=file mode=${mode} size=5\n`;
    expect(shown(links("0711"))).toMatchObject({ "usr/bin/chfn": "2711 0:6" });
    // Other bits, or other bytes, are another file.
    expect(shown(links("0700"))).toMatchObject({ "usr/bin/chfn": "700 0:0" });
    expect(shown(links("0711").replace("chfn", "unlogged"))).toMatchObject({ "usr/bin/unlogged": "711 0:0" });
  });

  test("is refused where it names somebody whom the tree does not know, or is none", () => {
    const refused = (line: string) => {
      const { code, message, where } = thrownProblem(() => shown(`#mtree 2.0\n${line}\n`));
      return [code, message, where];
    };
    expect(refused("./usr/bin/true type=file uname=ghost gname=wheel mode=0555")).toEqual([
      "E_WORLD_OWNER",
      "the world w: its METALOG says that /usr/bin/true belongs to the user ghost, which the tree does not know",
      undefined,
    ]);
    expect(refused("./usr/bin/true type=file uname=root gname=ghosts mode=0555")[1]).toContain("the group ghosts");
    expect(refused("./usr/bin/true uname=root")).toEqual(["E_BAD_MTREE", expect.stringContaining("has no type"), "METALOG:2"]);
    expect(refused("./usr/../etc/x type=file")[0]).toBe("E_BAD_MTREE");
  });
});
