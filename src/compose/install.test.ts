import { afterAll, describe, expect, test } from "bun:test";
import * as fs from "node:fs";
import type { StorePath } from "../base/index.ts";
import { problemOf } from "../base/testing.ts";
import { localHost } from "../host/index.ts";
import { describePackage, type Manifest } from "../pkg/index.ts";
import { abiOfSystem, createPackages, publish, type Trust } from "../repository/index.ts";
import { smallManifest, packageBytes, workshop, writeKey } from "../repository/testing.ts";
import { installPackages } from "./index.ts";
import { type Workplace, workplace } from "./testing.ts";

const host = localHost();
const NOW = Date.UTC(2026, 0, 2);
const shop = workshop();
const { keyFile, pack, publicPem } = shop;
const trust: Trust = { mode: "pubkey", publicPem };
/** Where packages with store items come from. */
const origin = workplace();
afterAll(() => {
  origin[Symbol.dispose]();
  shop[Symbol.dispose]();
});

let count = 0;
async function published(...add: readonly string[]): Promise<string> {
  const directory = shop.directory(`repository-${(count += 1)}`);
  await publish(host, { directory, add, keyFile, nowMs: NOW });
  return directory;
}

const needing = (...names: readonly string[]): Manifest["deps"] =>
  Object.fromEntries(names.map((name) => [name, { origin: `misc/${name}`, version: "1.0" }]));
const file = (name: string, text = `${name}\n`): Readonly<Record<string, string>> => ({ [`/usr/local/share/${name}`]: text });

const install = ({ context }: Workplace, location: string, ...packages: readonly string[]) =>
  installPackages(context, { location, trust, packages });
const textOf = ({ store }: Workplace, path: StorePath | undefined, name: string): string =>
  fs.readFileSync(`${store.physical(path ?? "/frx/store/none")}/usr/local/share/${name}`, "utf8");
const isEmpty = ({ store }: Workplace): boolean =>
  store.all().length === 0 && fs.readdirSync(store.temporaryDirectory).length === 0;

/** An output with a reference to itself, one to another item, and an item that is nothing but an empty directory. */
async function greeter(): Promise<{ readonly output: StorePath; readonly files: readonly string[] }> {
  const { context, opened } = origin;
  const { store } = context;
  const directory = opened.directory();
  fs.mkdirSync(`${directory}/void`);
  fs.writeFileSync(`${directory}/data`, "data\n");
  const [nothing, data] = [await store.add(`${directory}/void`, "void"), await store.add(`${directory}/data`, "data")];
  const drv = store.addText("greet.drv", "drv", []).path;
  const physical = opened.built({
    "bin/greet": `#!/bin/sh\ncat ${data.path}; ls ${nothing.path}\n`,
    "etc/greet.conf": "greeting=hello\n",
  });
  fs.chmodSync(`${physical}/bin/greet`, 0o755);
  const { out } = await store.register({
    drv,
    outputs: { out: { physical, name: "greet-1.0", referenceCandidates: [nothing.path, data.path] } },
  });
  if (out === undefined) throw new Error("nothing was made");
  const about = {
    comment: "Greets",
    description: "Greets.",
    homepage: "",
    maintainer: "m@example.org",
    licenses: ["MIT"],
    categories: ["misc"],
    origin: "misc/greet",
  };
  const description = describePackage({}, { name: "greet", version: "1.0", metadata: about });
  const made = await createPackages(host, store, {
    description,
    output: out.path,
    abi: abiOfSystem(host, "/"),
    directory: opened.directory(),
  });
  return { output: out.path, files: made.map((each) => each.file) };
}

describe("packages out of a repository", () => {
  test("the newest of each, what is needed before what needs it, each an item of its own", async () => {
    using place = workplace();
    const location = await published(
      pack({ name: "app", version: "1.9", deps: needing("library") }, file("app", "old\n")),
      pack({ name: "app", version: "1.10", deps: needing("library") }, file("app")),
      pack({ name: "library", deps: needing("base") }, file("library")),
      pack({ name: "base" }, file("base")),
      pack({ name: "other" }, file("other")),
    );
    const { packages } = await install(place, location, "app");
    expect(packages.map(({ name, version, hasScripts }) => [name, version, hasScripts])).toEqual([
      ["base", "1.0", false],
      ["library", "1.0", false],
      ["app", "1.10", false],
    ]);
    expect(packages.map(({ path, name }) => [path.slice("/frx/store/".length + 65), textOf(place, path, name)])).toEqual([
      ["package-base-1.0", "base\n"],
      ["package-library-1.0", "library\n"],
      ["package-app-1.10", "app\n"],
    ]);
    const before = place.store.all().length;
    expect((await install(place, location, "app", "base")).packages.map(({ path }) => path)).toEqual([
      ...packages.slice(2).map(() => packages[0]?.path ?? "/frx/store/none"),
      ...packages.slice(1).map(({ path }) => path),
    ]);
    expect(place.store.all()).toHaveLength(before);
    using elsewhere = workplace();
    expect((await install(elsewhere, location, "app")).packages).toEqual(packages);
  });

  test("packages that need each other are each taken once", async () => {
    using place = workplace();
    const location = await published(
      pack({ name: "a", deps: needing("b") }, file("a")),
      pack({ name: "b", deps: needing("a") }, file("b")),
    );
    expect((await install(place, location, "a")).packages.map(({ name }) => name)).toEqual(["b", "a"]);
  });

  test("scripts are not run, and that there are some is told", async () => {
    using place = workplace();
    const location = await published(pack({ name: "a", scripts: { "post-install": "touch /tmp/it-ran" } }, file("a")));
    expect((await install(place, location, "a")).packages).toMatchObject([{ name: "a", hasScripts: true }]);
  });

  test("what is not there is refused before anything is fetched, with the name that was meant", async () => {
    using place = workplace();
    const location = await published(
      pack({ name: "hello" }, file("hello")),
      pack({ name: "lost", deps: needing("gone") }, file("lost")),
    );
    expect(await problemOf(install(place, location, "helo"))).toMatchObject({
      code: "E_PACKAGE_NOT_FOUND",
      exit: 2,
      message: "the repository has no package helo",
      details: ["it has hello, lost"],
      hint: "did you mean hello?",
      where: location,
    });
    expect(await problemOf(install(place, location, "hello", "lost"))).toMatchObject({
      code: "E_PACKAGE_NEEDS",
      message: "the package lost needs gone, which the repository does not have",
    });
    expect(isEmpty(place)).toBe(true);
  });

  test("signed by somebody else, changed, cut off or gone: refused, and nothing is kept", async () => {
    using place = workplace();
    const location = await published(pack({ name: "hello" }, file("hello", "x".repeat(5000))));
    const other = writeKey(shop.directory(`key-${(count += 1)}`));
    const codeWith = async (by: Trust): Promise<string> =>
      (await problemOf(installPackages(place.context, { location, trust: by, packages: ["hello"] }))).code;
    expect(await codeWith({ mode: "pubkey", publicPem: other })).toBe("E_SIGNATURE_INVALID");
    const name = fs.realpathSync(`${location}/All/hello-1.0.pkg`);
    const bytes = fs.readFileSync(name);
    const changed = Uint8Array.from(bytes, (byte, index) => (index === bytes.length - 9 ? byte ^ 1 : byte));
    for (const [content, code] of [
      [changed, "E_PACKAGE_SUM"],
      [bytes.subarray(0, -1), "E_PACKAGE_SIZE"],
      [Buffer.concat([bytes, Buffer.from("x")]), "E_PACKAGE_SIZE"],
      [undefined, "E_PACKAGE_MISSING"],
    ] as const) {
      fs.rmSync(name);
      if (content !== undefined) fs.writeFileSync(name, content);
      expect(await codeWith(trust)).toBe(code);
    }
    expect(isEmpty(place)).toBe(true);
  });
});

describe("packages with store items", () => {
  test("bring the items under their own names, whole, and refer to them", async () => {
    using place = workplace();
    const { output, files } = await greeter();
    const location = await published(...files);
    const { packages } = await install(place, location, "greet");
    expect(packages.map(({ name }) => name)).toEqual(["greet"]);
    const [{ path } = { path: output }] = packages;
    for (const item of origin.store.closure([output])) {
      expect(place.store.query(item)?.narSha256).toBe(origin.store.query(item)?.narSha256);
      expect(place.store.references(item)).toEqual(origin.store.references(item));
    }
    expect(place.store.references(path)).toEqual([output]);
    expect(fs.readlinkSync(`${place.store.physical(path)}/usr/local/bin/greet`)).toBe(`${output}/bin/greet`);
    expect((await place.store.verify({ repair: false, contents: true })).damage).toEqual([]);
    // What roots hold stays, with all it refers to.
    place.store.addRoot("greet", path);
    const kept = place.store.closure([path]);
    place.store.close();
    await place.store.gc({});
    expect(kept.every((item) => place.store.isValid(item))).toBe(true);
  });

  /** A package as somebody hostile would make it. */
  function forge(name: string, files: Readonly<Record<string, string>>, change: Partial<Manifest> = {}): string {
    const manifest = smallManifest({ name, ...change }, files);
    const path = `${shop.root}/${name}-1.0.pkg`;
    fs.writeFileSync(path, packageBytes(manifest, files));
    return path;
  }

  test("are refused where content and name do not agree, or a path is no item's", async () => {
    using place = workplace();
    const { output } = await greeter();
    for (const path of [`${output}/bin/greet`, "/frx/store/greet/bin/greet", "/frx/var/garth/garth.db"]) {
      const location = await published(forge("forged", { [path]: "#!/bin/sh\nrm -rf /\n" }));
      expect([path, (await problemOf(install(place, location, "forged"))).code]).toEqual([path, "E_ITEM_FORGED"]);
      expect(isEmpty(place)).toBe(true);
    }
  });

  test("are refused where they link to an item that nobody brings, whether this store has it or not", async () => {
    const { output } = await greeter();
    const link = { path: "/usr/local/bin/greet", type: "symlink", target: `${output}/bin/greet` } as const;
    const sum = `1$${new Bun.CryptoHasher("sha256").update(link.target).digest("hex")}`;
    const owner = { uname: "root", gname: "wheel", mode: 0o755, sizeBytes: 0, mtimeSeconds: 1 };
    const location = await published(forge("linked", {}, { files: [{ ...link, ...owner, sum }] }));
    for (const place of [workplace(), origin]) {
      const problem = await problemOf(install(place, location, "linked"));
      expect([problem.code, problem.message]).toEqual([
        "E_PACKAGE_NEEDS",
        `the package linked links /usr/local/bin/greet to ${output}/bin/greet, which neither it nor what it needs brings`,
      ]);
      if (place !== origin) place[Symbol.dispose]();
    }
  });
});
