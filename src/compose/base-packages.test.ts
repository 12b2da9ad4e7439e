/** Worlds of FreeBSD's base packages, out of repositories that are made here and held against the trees that they come to. */
import { afterAll, describe, expect, test } from "bun:test";
import * as fs from "node:fs";
import { sha256 } from "../base/index.ts";
import { problemOf } from "../base/testing.ts";
import { localHost } from "../host/index.ts";
import type { Manifest, PackageDirectory, PackageFile } from "../pkg/index.ts";
import { publish } from "../repository/index.ts";
import { workshop } from "../repository/testing.ts";
import { world, type WorldDeclaration } from "../world/index.ts";
import { importWorld } from "./index.ts";
import { fill, type TreeFiles, type Workplace, workplace } from "./testing.ts";

const host = localHost();
const shop = workshop();
afterAll(() => shop[Symbol.dispose]());

const USERS: Readonly<Record<string, number>> = { root: 0, www: 80, uucp: 66 };
const GROUPS: Readonly<Record<string, number>> = { wheel: 0, operator: 5, dialer: 68 };

const RUNTIME: TreeFiles = {
  "bin/sh": { text: "sh\n", mode: 0o555 },
  "bin/[": { text: "test\n", mode: 0o555 },
  "sbin/shutdown": { text: "shutdown\n", mode: 0o4550, owner: [0, 5] },
  "etc/master.passwd": {
    text: "# users\nroot:*:0:0::0:0:Charlie &:/root:/bin/sh\nuucp:*:66:66::0:0::/:/bin/sh\nwww:*:80:80::0:0::/:/bin/sh\n",
    mode: 0o600,
  },
  "etc/group": { text: "wheel:*:0:root\noperator:*:5:root\ndialer:*:68:\n", mode: 0o644 },
  "etc/termcap": { target: "../usr/share/misc/termcap" },
  "tmp/": { mode: 0o1777 },
  "var/spool/lock/": { mode: 0o775, owner: [66, 68] },
  "var/empty/": { mode: 0o555 },
};
const UTILITIES: TreeFiles = {
  "usr/share/misc/termcap": { text: "vt100\n", mode: 0o444 },
  "var/www/": { mode: 0o750, owner: [80, 5] },
};
const KERNEL: TreeFiles = {
  "boot/kernel/kernel": { text: "kernel\n", mode: 0o555 },
  "boot/kernel/größe mit leer.ko": { text: "module\n", mode: 0o555 },
};

/** Packages as base/ makes them, with the owners by their names. */
function base(name: string, tree: TreeFiles, change: Partial<Manifest> = {}): string {
  const nameIn = (names: Readonly<Record<string, number>>, number = 0): string =>
    Object.keys(names).find((each) => names[each] === number) ?? `number-${number}`;
  const files: PackageFile[] = [];
  const directories: PackageDirectory[] = [];
  const texts: Record<string, string> = {};
  for (const [path, what] of Object.entries(tree)) {
    const { text = "", target, mode = 0o644, owner = [] } = typeof what === "string" ? { text: what } : what;
    const own = { uname: nameIn(USERS, owner[0]), gname: nameIn(GROUPS, owner[1]), mode };
    if (path.endsWith("/")) directories.push({ path: `/${path.slice(0, -1)}`, ...own });
    else if (target !== undefined)
      files.push({ path: `/${path}`, type: "symlink", sum: `1$${sha256(target)}`, sizeBytes: target.length, target, ...own });
    else {
      files.push({ path: `/${path}`, type: "file", sum: `1$${sha256(text)}`, sizeBytes: Buffer.byteLength(text), ...own });
      texts[`/${path}`] = text;
    }
  }
  return shop.pack({ name: `FreeBSD-${name}`, origin: `base/FreeBSD-${name}`, files, directories, ...change }, texts);
}

const needing = (...names: readonly string[]): Manifest["deps"] =>
  Object.fromEntries(names.map((name) => [`FreeBSD-${name}`, { origin: `base/FreeBSD-${name}`, version: "1.0" }]));

let count = 0;
async function published(...add: readonly string[]): Promise<(...names: readonly string[]) => WorldDeclaration> {
  const directory = shop.directory(`base-${(count += 1)}`);
  await publish(host, { directory, add, keyFile: shop.keyFile, nowMs: Date.UTC(2026, 0, 2) });
  const repository = { kind: "remote-repository", url: directory, trust: { publicKey: shop.publicPem } } as const;
  return (...names) => world({ name: "w", packages: { repository, names: names.map((name) => `FreeBSD-${name}`) } });
}

const isEmpty = ({ store }: Workplace): boolean =>
  store.all().length === 0 && fs.readdirSync(store.temporaryDirectory).length === 0;

describe("a world of FreeBSD's packages", () => {
  test("is the same as the tree that they come to, with the owners of its own accounts", async () => {
    using place = workplace();
    const of = await published(
      base("runtime", RUNTIME, { scripts: { "post-install": "exit 1\n" } }),
      base("utilities", UTILITIES),
      base("kernel-generic", KERNEL),
      base("set-base", {}, { deps: needing("utilities", "runtime") }),
      base("games", { "usr/bin/fortune": { text: "fortune\n", mode: 0o555 } }),
    );
    const found = await importWorld(place.context, of("set-base", "kernel-generic"));
    const tree = fill(place.directory(), { ...RUNTIME, ...UTILITIES, ...KERNEL });
    expect(found).toBe(await importWorld(place.context, world({ name: "w", directory: tree })));
    const attributes = fs.readFileSync(`${place.store.physical(found)}/.garth/attributes`, "utf8");
    expect(attributes).toContain("./sbin/shutdown type=file mode=04550 uid=0 gid=5\n");
    expect(attributes).toContain("./var/spool/lock type=dir mode=0775 uid=66 gid=68\n");
    expect(await importWorld(place.context, of("kernel-generic", "runtime", "utilities"))).toBe(found);
    expect(fs.readdirSync(place.store.temporaryDirectory)).toEqual([]);
  });

  test("is not made of packages that both have a file, or of one that leads another out of the tree", async () => {
    using place = workplace();
    const outside = place.directory();
    const of = await published(
      base("runtime", RUNTIME),
      base("again", { "bin/sh": "sh\n" }),
      base("link", { "usr/share/misc": { target: outside } }),
      base("misc", { "usr/share/misc/magic": "magic\n" }),
    );
    const problem = async (...names: readonly string[]) => problemOf(importWorld(place.context, of(...names)));
    expect(await problem("runtime", "again")).toMatchObject({
      code: "E_FILE_CONFLICT",
      message: "the packages FreeBSD-runtime and FreeBSD-again both have /bin/sh",
    });
    expect((await problem("link", "misc")).message).toBe("the packages FreeBSD-link and FreeBSD-misc both have /usr/share/misc");
    expect((await problem("misc", "link")).code).toBe("E_FILE_CONFLICT");
    expect(fs.readdirSync(outside)).toEqual([]);
    expect(isEmpty(place)).toBe(true);
  });

  test("takes no accounts through a link, and none from this machine", async () => {
    using place = workplace();
    const spool = { "var/spool/": { mode: 0o775, owner: [66, 68] } } as const;
    const of = await published(
      base("spool", spool),
      base("link", { "etc/master.passwd": { target: "/etc/passwd" } }),
      base("users", { "etc/master.passwd": "uucp:*:66:66::0:0::/:/bin/sh\n" }),
    );
    for (const [names, who] of [
      [["spool"], "user uucp"],
      [["link", "spool"], "user uucp"],
      [["users", "spool"], "group dialer"],
    ] as const) {
      const { code, message } = await problemOf(importWorld(place.context, of(...names)));
      expect([code, message]).toEqual([
        "E_WORLD_OWNER",
        `the world w: /var/spool of the package FreeBSD-spool belongs to the ${who}, which none of its packages knows`,
      ]);
    }
    expect(isEmpty(place)).toBe(true);
  });

  test("is not made of what is not there, not needed whole, damaged, or signed by another", async () => {
    using place = workplace();
    const of = await published(base("runtime", RUNTIME), base("set-base", {}, { deps: needing("runtime", "clang") }));
    const codeOf = async (declared: WorldDeclaration): Promise<string> =>
      (await problemOf(importWorld(place.context, declared))).code;
    expect(await codeOf(of("runtimes"))).toBe("E_PACKAGE_NOT_FOUND");
    expect(await codeOf(of("set-base"))).toBe("E_PACKAGE_NEEDS");
    const declared = of("runtime");
    if (declared.origin.kind !== "packages") throw new Error("a world of another kind");
    const { repository } = declared.origin;
    const other = { ...repository, trust: { fingerprints: ["0".repeat(64)] } };
    expect(await codeOf({ ...declared, origin: { ...declared.origin, repository: other } })).toBe("E_KEY_UNTRUSTED");
    const names = fs.readdirSync(repository.url, { recursive: true, encoding: "utf8" });
    const file = `${repository.url}/${names.find((name) => /FreeBSD-runtime-.*\.pkg$/.test(name)) ?? ""}`;
    const bytes = fs.readFileSync(file);
    const middle = bytes.length >> 1;
    bytes[middle] = (bytes[middle] ?? 0) ^ 1;
    fs.writeFileSync(file, bytes);
    expect(await codeOf(declared)).toBe("E_PACKAGE_SUM");
    fs.truncateSync(file, middle);
    expect(await codeOf(declared)).toBe("E_PACKAGE_SIZE");
    for (const name of names) if (/FreeBSD-runtime-.*\.pkg$/.test(name)) fs.rmSync(`${repository.url}/${name}`);
    expect(await codeOf(declared)).toBe("E_PACKAGE_MISSING");
    expect(isEmpty(place)).toBe(true);
  });

  test("of another release with the same label is another world", async () => {
    using place = workplace();
    const first = await published(base("runtime", RUNTIME));
    const second = await published(base("runtime", { ...RUNTIME, "bin/sh": { text: "another\n", mode: 0o555 } }));
    expect(await importWorld(place.context, first("runtime"))).not.toBe(await importWorld(place.context, second("runtime")));
  });
});
