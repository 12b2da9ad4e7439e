import { afterAll, describe, expect, test } from "bun:test";
import { execFileSync } from "node:child_process";
import {
  chmodSync,
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { sha256, storePath, type StorePath } from "../base/index.ts";
import { abiString, describePackage, itemPackageName } from "../pkg/index.ts";
import { abiOfSystem, createPackages, inspectPackage, type ItemSource, publish, sourceOf, verifyRepository } from "./index.ts";
import { codeOf, workshop } from "./testing.ts";

const shop = workshop();
afterAll(() => shop[Symbol.dispose]());
const { host } = shop;
const ABI = abiOfSystem(host, "/");

/** Items as directories; what a store knows of them is written down here. */
function items(
  root: string,
): ItemSource & { readonly add: (name: string, references: readonly StorePath[], fill: (path: string) => void) => StorePath } {
  const known = new Map<StorePath, readonly StorePath[]>();
  const physical = (path: StorePath): string => join(root, path.slice("/frx/store/".length));
  return {
    physical,
    references: (path) => known.get(path) ?? [],
    closure: (paths) => {
      const found = new Set<StorePath>();
      const visit = (path: StorePath): void => {
        if (found.has(path)) return;
        for (const reference of known.get(path) ?? []) if (reference !== path) visit(reference);
        found.add(path);
      };
      for (const path of paths) visit(path);
      return [...found];
    },
    add: (name, references, fill) => {
      const path = storePath({ kind: "flat", sha256: sha256(name), references }, name);
      known.set(path, references);
      mkdirSync(dirname(physical(path)), { recursive: true });
      fill(physical(path));
      return path;
    },
  };
}

function build(root: string) {
  const store = items(root);
  const source = store.add("hello_1.0.tar.gz", [], (path) => writeFileSync(path, "source", { mode: 0o444 }));
  const library = store.add("greet-1.0", [], (path) => {
    mkdirSync(join(path, "lib"), { recursive: true });
    const code = join(shop.root, "greet.c");
    writeFileSync(code, 'const char *greet(void) { return "hello"; }\n');
    execFileSync("gcc", ["-shared", "-fPIC", "-Wl,-soname,libgreet.so.1", "-o", join(path, "lib/libgreet.so.1"), code]);
    symlinkSync("libgreet.so.1", join(path, "lib/libgreet.so"));
  });
  const program = store.add("hello-1.0", [source, library], (path) => {
    mkdirSync(join(path, "bin"), { recursive: true });
    mkdirSync(join(path, "share/empty"), { recursive: true });
    const code = join(shop.root, "hello.c");
    writeFileSync(code, "#include <stdio.h>\nconst char *greet(void);\nint main(void) { return puts(greet()) < 0; }\n");
    execFileSync("gcc", [
      "-o",
      join(path, "bin/hello"),
      code,
      `-L${store.physical(library)}/lib`,
      "-lgreet",
      `-Wl,-rpath,${library}/lib`,
    ]);
    chmodSync(join(path, "bin/hello"), 0o555);
    writeFileSync(join(path, "share/größe"), "x", { mode: 0o444 });
  });
  return { store, source, library, program };
}

const description = describePackage(
  {},
  {
    name: "hello",
    version: "1.0",
    metadata: {
      comment: "Greets",
      description: "Greets.",
      homepage: "",
      maintainer: "m@example.org",
      licenses: ["MIT"],
      categories: ["misc"],
      origin: "misc/hello",
    },
  },
);

describe("packages of a real program and its library", () => {
  const { store, source, library, program } = build(shop.directory("store"));
  const directory = shop.directory("packages");
  const request = { description, output: program, abi: ABI, directory };

  test("one for each item of the closure, dependencies first, and the goal last", async () => {
    const created = await createPackages(host, store, request);
    expect(created.map(({ manifest }) => manifest.name)).toEqual([source, library, program].map(itemPackageName).concat("hello"));
    expect(readdirSync(directory).toSorted()).toEqual(created.map(({ file }) => file.slice(directory.length + 1)).toSorted());
    for (const { file, sha256: digest, sizeBytes, manifest } of created) {
      const inspected = await inspectPackage(host, file);
      expect([inspected.sha256, inspected.sizeBytes, inspected.manifest.name]).toEqual([digest, sizeBytes, manifest.name]);
    }
    const [, greet, item, goal] = created.map(({ manifest }) => manifest);
    expect(item?.shlibsRequired).toEqual(["libc.so.6"]);
    expect(greet?.shlibsProvided).toEqual([]);
    expect(goal?.abi).toBe(abiString(ABI));
    expect(goal?.files.map(({ path, target }) => [path, target])).toEqual([
      ["/usr/local/bin/hello", `${program}/bin/hello`],
      ["/usr/local/share/größe", `${program}/share/größe`],
    ]);
  });
  test("unpacked by bsdtar over a root, the program runs there as installed", async () => {
    const root = shop.directory("installed");
    mkdirSync(root);
    for (const name of readdirSync(directory))
      execFileSync("bsdtar", ["-xpf", join(directory, name), "-C", root, "--exclude", "+*"], { stdio: "ignore" });
    expect(existsSync(join(root, program, "share/empty"))).toBe(true);
    const greeting = execFileSync(
      "bwrap",
      [
        ...["/usr", "/lib", "/lib64"].flatMap((path) => ["--ro-bind-try", path, path]),
        "--ro-bind",
        join(root, "frx/store"),
        "/frx/store",
        "--tmpfs",
        "/usr/local",
        "--ro-bind",
        join(root, "usr/local"),
        "/usr/local",
        "/usr/local/bin/hello",
      ],
      { encoding: "utf8" },
    );
    expect(greeting).toBe("hello\n");
  });
  test("are the same bytes in another place, also where files of the store are hard links", async () => {
    const other = build(shop.directory("another-store"));
    const twin = join(other.store.physical(other.program), "share/größe");
    rmSync(twin);
    writeFileSync(join(shop.root, "outside"), "x", { mode: 0o444 });
    linkSync(join(shop.root, "outside"), twin);
    const again = await createPackages(host, other.store, {
      ...request,
      output: other.program,
      directory: shop.directory("again"),
    });
    for (const { file, sha256: digest } of again)
      expect(sha256(readFileSync(join(directory, file.slice(file.lastIndexOf("/") + 1))))).toBe(digest);
  });
  test("make a repository that lints and verifies", async () => {
    const repository = shop.directory("repository");
    const add = readdirSync(directory).map((name) => join(directory, name));
    await publish(host, { directory: repository, add, keyFile: shop.keyFile, nowMs: 0 });
    const check = await verifyRepository(host, sourceOf(host, repository), {
      trust: { mode: "pubkey", publicPem: shop.publicPem },
      nowMs: 0,
    });
    expect(check).toMatchObject({ packageCount: 4, lint: [], bad: [] });
  });
});

describe("what cannot be packaged", () => {
  const refused = (name: string, fill: (path: string) => void): Promise<string> => {
    const store = items(shop.directory(`store-${name}`));
    const output = store.add(name, [], fill);
    const directory = shop.directory(`packages-${name}`);
    return codeOf(() => createPackages(host, store, { description, output, abi: ABI, directory }));
  };
  test("names that are not UTF-8, and what is no file, directory or symlink", async () => {
    expect(
      await refused("bytes", (path) => {
        mkdirSync(path);
        writeFileSync(Buffer.concat([Buffer.from(`${path}/`), Buffer.from([0xff])]), "");
      }),
    ).toBe("E_FILE_NAME");
    expect(
      await refused("fifo", (path) => {
        mkdirSync(path);
        execFileSync("mkfifo", [join(path, "pipe")]);
      }),
    ).toBe("E_BAD_PACKAGE");
  });
  test("a file that grows while it is read, and nothing is left of the attempt", async () => {
    const store = items(shop.directory("store-growing"));
    const output = store.add("growing", [], (path) => {
      mkdirSync(path);
      writeFileSync(join(path, "log"), "1234567");
    });
    const path = join(store.physical(output), "log");
    const lying = {
      ...host,
      processIdentity: host.processIdentity,
      files: {
        ...host.files,
        lstat: (p: string | Uint8Array) => ({ ...host.files.lstat(p), ...(p === path ? { sizeBytes: 3 } : {}) }),
      },
    };
    const directory = shop.directory("packages-growing");
    expect(await codeOf(() => createPackages(lying, store, { description, output, abi: ABI, directory }))).toBe("E_ITEM_CHANGED");
    expect(readdirSync(directory)).toEqual([]);
  });
});

describe("ABI of a system", () => {
  test("is that of its own programs, and links out of it do not count", async () => {
    const readelf = execFileSync("readelf", ["--notes", "/usr/bin/uname"], { encoding: "utf8" });
    const [, release] = /OS: Linux, ABI: (\d+\.\d+)/.exec(readelf) ?? [];
    expect(ABI).toMatchObject({ system: "Linux", release: release ?? "" });
    const root = shop.directory("world");
    mkdirSync(join(root, "bin"), { recursive: true });
    symlinkSync("/bin/sh", join(root, "bin/sh"));
    expect(await codeOf(() => abiOfSystem(host, root))).toBe("E_ABI_UNKNOWN");
    rmSync(join(root, "bin/sh"));
    writeFileSync(join(root, "bin/dash"), readFileSync("/bin/sh"));
    symlinkSync("dash", join(root, "bin/sh"));
    expect(abiOfSystem(host, root)).toEqual(ABI);
  });
});
