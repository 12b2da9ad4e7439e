/**
 * One piece of work with a large system as a whole process, as a command would do it: `bun image-child.ts ROOT FAMILY VERB ARGUMENT...`.
 * Prints a line of JSON: what came out, and how long each part took (milliseconds, without the start of the process).
 *
 *     import TREE                the world, held against gc
 *     rootfs WORLD FILE          the system's root as an ext4 file system; all items are in the store
 *     stage WORLD DIRECTORY      the same root as a tree
 *     image WORLD SALT VERSION   slices, profile, system and image; another salt gives other slices of the same content, another
 *                                version one package that differs in one file
 *     clean                      everything but the world is removed
 */
import { isStorePath, type StorePath } from "../src/base/index.ts";
import {
  type ComposeContext,
  type ComposedSystem,
  composeSystem,
  importWorld,
  Listings,
  realiseSlices,
  writeRoot,
} from "../src/compose/index.ts";
import { contentBytes, planExt4 } from "../src/formats/index.ts";
import { localHost } from "../src/host/index.ts";
import { derivedUuid, locateIn, imageWishOf, makeImage, writeBlocks } from "../src/image/index.ts";
import { openLedger } from "../src/ledger/index.ts";
import { openStore, STORE_MIGRATION } from "../src/store/index.ts";
import { sshd, system } from "../src/system/index.ts";
import { slice, slices, world } from "../src/world/index.ts";

const [root = "", named = "", verb = "", first = "", second = "", third = ""] = process.argv.slice(2);
const family = named === "freebsd" ? "freebsd" : "linux";
const host = localHost();
const stateDirectory = `${root}/frx/var/garth`;
host.files.makeDirectory(stateDirectory, { parents: true });
const ledger = openLedger(`${stateDirectory}/garth.db`, [STORE_MIGRATION]);
const store = openStore({ host, ledger, storeDirectory: `${root}/frx/store`, stateDirectory, now: Date.now });
store.recover();

const tookMs: Record<string, number> = {};
async function timed<Result>(name: string, work: () => Result | Promise<Result>): Promise<Result> {
  const begin = performance.now();
  const result = await work();
  tookMs[name] = Math.round(performance.now() - begin);
  return result;
}

function inStore(text: string): StorePath {
  if (!isStorePath(text)) throw new Error(`${text} is no store path`);
  return text;
}

const none = (): never => {
  throw new Error("everything is in the store");
};
const context: ComposeContext = {
  host,
  store,
  system: "x86_64-linux",
  now: Date.now,
  fetch: none,
  makeWorld: none,
  outputOf: none,
};

/** Almost all of the tree: documentation and headers stay, so that the system is a large one. */
async function composed(worldPath: StorePath, salt: string, version: string): Promise<ComposedSystem> {
  // Declared as packages, because a directory would be read again; they were unpacked before.
  const declared = world({ name: "stock", debian: { suite: "bookworm", packages: ["init"] } });
  const { kernel, boot } = slices(declared, family);
  const salted = <Part extends typeof kernel>(part: Part): Part => ({ ...part, prune: [...part.prune, `no-such-path-${salt}`] });
  const parts = [
    salted(kernel),
    salted(boot),
    salted(slice(declared, { role: "runtime", prune: ["boot", "usr/lib/modules", "usr/lib/systemd/boot"] })),
  ] as const;
  const listings = new Listings(host, store);
  const { slices: made } = await timed("slices", () =>
    realiseSlices({ ...context, makeWorld: async () => worldPath }, listings, parts),
  );
  const [kernelPath, bootPath, runtimePath] = parts.map((part) => made.get(part));
  if (kernelPath === undefined || bootPath === undefined || runtimePath === undefined) throw new Error("a slice was not made");
  const tool = await changedPackage(version);
  const [declaredKernel, bootloader, runtime] = parts;
  const services = family === "freebsd" ? [{ name: "sshd", listens: 22 }] : [sshd()];
  const { spec } = system({ name: "stock", family, kernel: declaredKernel, bootloader, base: [runtime], services });
  return timed("compose", () =>
    composeSystem(context, listings, spec, {
      kernel: kernelPath,
      bootloader: bootPath,
      base: [runtimePath],
      packages: [tool],
      installed: [],
      development: [],
      unpinned: new Set(),
    }),
  );
}

/** A program, its manual and its version. */
async function changedPackage(version: string): Promise<StorePath> {
  const directory = host.files.makeTemporaryDirectory(`${store.temporaryDirectory}/tool-`);
  try {
    for (const [path, text] of [
      ["bin/tool", "#!/bin/sh\necho tool\n"],
      ["share/man/man1/tool.1", ".TH TOOL 1\n"],
      ["share/tool/version", `${version}\n`],
    ] as const) {
      host.files.makeDirectory(`${directory}/${path.slice(0, path.lastIndexOf("/"))}`, { parents: true });
      host.files.writeFile(`${directory}/${path}`, text, 0o755);
    }
    return (await store.add(directory, "tool")).path;
  } finally {
    host.files.removeTree(directory);
  }
}

async function work(): Promise<Readonly<Record<string, unknown>>> {
  switch (verb) {
    case "import": {
      // What is left of a run that was interrupted.
      await store.gc({});
      const { path } = store.all().find(({ path: each }) => each.endsWith("-world-stock-local")) ?? {
        path: await importWorld(context, world({ name: "stock", directory: first })),
      };
      store.addRoot("bench-world", path);
      return { path };
    }
    case "rootfs": {
      const { root: plan } = await composed(inStore(first), "", "0");
      const { image } = await timed("planExt4", () =>
        planExt4(plan.entries, { label: "root", uuid: derivedUuid("root"), hashSeed: derivedUuid("hash"), timeSeconds: 1 }),
      );
      await timed("write", () => writeBlocks(host, image, second, { locate: locateIn(store), digest: false }));
      const contentSum = plan.entries.reduce((sum, entry) => sum + (entry.type === "file" ? contentBytes(entry.content) : 0), 0);
      return { entries: plan.entries.length, contentBytes: contentSum, sizeBytes: image.sizeBytes };
    }
    case "stage": {
      const { root: plan } = await composed(inStore(first), "", "0");
      return { ...writeRoot(context, plan, second) };
    }
    case "image": {
      const made = await composed(inStore(first), second, third);
      const { path, sizeBytes } = await timed("image", () => makeImage(host, store, "stock", imageWishOf(made, context.system)));
      return { file: store.physical(path), sizeBytes };
    }
    case "clean":
      return { freedBytes: (await store.gc({})).freedBytes };
    default:
      throw new Error(`unknown verb ${verb}`);
  }
}

const result = await work();
store.close();
ledger.close();
process.stdout.write(`${JSON.stringify({ ...result, tookMs })}\n`);
