/** An image of a FreeBSD system, made of a world that is as small as one can be, and read by others. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readdirSync, readFileSync, statSync } from "node:fs";
import { golden, problemOf } from "../base/testing.ts";
import { composed, type Workplace, workplace } from "../compose/testing.ts";
import { type MtreeEntry, readGpt, readUfs, renderMtree, type UfsReading } from "../formats/index.ts";
import { readAtFile } from "../formats/testing.ts";
import { type ImageWish, inspectImage, makeImage, type MadeImage, planImage, verifyImage } from "./index.ts";
import { beastie, sha256Of, tool, wishOf } from "./testing.ts";

function rootOf(file: string): UfsReading {
  const read = readAtFile(file);
  const { partitions } = readGpt(read, statSync(file).size);
  const at = partitions[1]?.firstByte ?? 0;
  return readUfs((offset, length) => read(at + offset, length));
}

/** Where the links of a path lead. */
function realPath(root: UfsReading, path: string): string {
  const targets = new Map(root.list().map((entry) => [entry.path, entry.target]));
  const real = (parts: readonly string[]): string => {
    let at = "";
    for (const part of parts) {
      const above = at;
      at = at === "" ? part : `${at}/${part}`;
      const target = targets.get(at);
      if (target !== undefined) at = real((target.startsWith("/") ? target.slice(1) : `${above}/${target}`).split("/"));
    }
    return at;
  };
  return real(path.split("/"));
}

describe("an image of a FreeBSD system", () => {
  let place: Workplace;
  let made: MadeImage;
  let again: MadeImage;
  let file: string;
  beforeAll(async () => {
    place = workplace();
    const system = await composed(place, beastie(place));
    made = await makeImage(place.context.host, place.store, "beastie", wishOf(system));
    again = await makeImage(place.context.host, place.store, "beastie", wishOf(system));
    file = place.store.physical(made.path);
  });
  afterAll(() => place[Symbol.dispose]());

  test("has an ESP with the loader, and a UFS2 root with the whole system", () => {
    const found = inspectImage(place.context.host, file);
    expect(found.findings).toEqual([]);
    expect(found.esp.map(({ path }) => path)).toEqual(["EFI/BOOT/BOOTX64.EFI"]);
    expect(found.partitions.map(({ fileSystem, label }) => [fileSystem, label])).toEqual([
      ["fat", "EFIBOOT"],
      ["ufs", "garth-root"],
    ]);
    expect(found.system).toStartWith("/frx/store/");
    expect(found.storeItems).toContain(found.system ?? "");
    expect(tool("sgdisk", "-p", file)).toMatch(/ A503 +garth-root/);
  });

  test("GRUB reads the kernel and the loader's settings where the links in /boot lead", () => {
    const root = rootOf(file);
    const cat = (path: string): string => {
      // GRUB's reader loses the last letter of a link's target, of FreeBSD's own file systems, too.
      const { stdout, stderr, exitCode } = Bun.spawnSync(["grub-fstest", file, "cat", `(loop0,gpt2)/${realPath(root, path)}`]);
      if (exitCode !== 0) throw new Error(stderr.toString());
      return stdout.toString();
    };
    expect(root.list().find(({ path }) => path === "boot/kernel")?.type).toBe("symlink");
    expect(cat("boot/kernel/kernel")).toBe("kernel\n");
    expect(cat("boot/loader.conf")).toContain('vfs.root.mountfrom="ufs:/dev/gpt/garth-root"');
    expect(cat("etc/fstab")).toMatch(/^\/dev\/gpt\/garth-root\s+\/\s+ufs\s+rw\s+1\s+1$/m);
    expect(cat("etc/rc.conf")).toContain('sshd_enable="YES"');
  });

  const GOLDEN = `${import.meta.dir}/golden/freebsd`;
  /** Names in the store change with every rendering, and say nothing that is not in the files. */
  const named = (text: string): string => text.replaceAll(/(?<=frx\/store\/)[0-9a-f]{64}(?=-)/g, "ITEM");

  test("holds a tree whose every owner, mode, size and link is known", () => {
    const types = { directory: "dir", symlink: "link", file: "file" } as const;
    const entries = rootOf(file)
      .list()
      .map(({ path, type, mode, uid, gid, timeSeconds, sizeBytes, target }): MtreeEntry => {
        if (type !== "directory" && type !== "symlink" && type !== "file") throw new Error(`${path} is a ${type}`);
        const own = { path: named(path), type: types[type], mode, uid, gid, timeSeconds };
        if (type === "symlink") return { ...own, link: named(target ?? "") };
        // The program of generations is held to by its own tests.
        return type === "file" && !path.endsWith("/generations") ? { ...own, sizeBytes } : own;
      })
      .toSorted((left, right) => (left.path < right.path ? -1 : 1));
    const text = renderMtree(entries);
    expect(text).toBe(golden(`${GOLDEN}/mtree`, text));
  });

  for (const path of [
    "boot/loader.conf",
    "etc/fstab",
    "etc/rc.conf",
    "etc/master.passwd",
    "etc/passwd",
    "etc/group",
    "etc/login.conf",
    "home/alice/.ssh/authorized_keys",
  ]) {
    test(`says in /${path} what it is to say`, () => {
      const root = rootOf(file);
      const bytes = root.readFile(realPath(root, path));
      if (bytes === undefined) throw new Error(`there is no /${path}`);
      const text = named(Buffer.from(bytes).toString());
      expect(text).toBe(golden(`${GOLDEN}/${path.slice(path.lastIndexOf("/") + 1)}`, text));
    });
  }

  test("comes out the same again, and nobody finds anything wrong", async () => {
    expect(again.sha256).toBe(made.sha256);
    expect(sha256Of(file)).toBe(made.sha256);
    expect(readFileSync(file).length).toBe(made.sizeBytes);
    const checks = await verifyImage(place.context.host, file, place.store.temporaryDirectory);
    expect(checks.filter(({ good }) => !good)).toEqual([]);
  });
});

describe("an image of a FreeBSD system whose process 1 is another", () => {
  let place: Workplace;
  beforeAll(() => void (place = workplace()));
  afterAll(() => place[Symbol.dispose]());

  test("has its launcher where the loader says, comes out the same again, and nobody finds anything wrong", async () => {
    const program = "/usr/bin/one";
    const more = { "usr/bin/one": { text: "\u007fELF\n", mode: 0o555 } };
    const system = await composed(place, { ...beastie(place, more), services: [], init: { exec: program } });
    const make = (): Promise<MadeImage> => makeImage(place.context.host, place.store, "beastie", wishOf(system));
    const made = await make();
    expect((await make()).sha256).toBe(made.sha256);
    const file = place.store.physical(made.path);
    const root = rootOf(file);
    const text = (name: string): string => Buffer.from(root.readFile(realPath(root, name)) ?? []).toString();
    const launcher = /^init_exec="\/(.*)"$/m.exec(text("boot/loader.conf"))?.[1] ?? "";
    expect(launcher).toBe("boot/garth/1/pid1");
    expect(text(launcher)).toEndWith(`exec ${program}\n`);
    expect(root.list().find((entry) => entry.path === realPath(root, launcher))?.mode).toBe(0o555);
    // Nobody runs the scripts of rc(8), which are there for whoever wants them.
    expect(text("etc/rc.d/garth_activate")).toContain("PROVIDE: garth_activate");
    const checks = await verifyImage(place.context.host, file, place.store.temporaryDirectory);
    expect(checks.filter(({ good }) => !good)).toEqual([]);
  });

  test("refused: an ESP that is too small for the loader, by how much, and what takes the room", async () => {
    const loader = { "boot/loader.efi": "l".repeat(1 << 20) };
    const at = async (esp: string): Promise<ImageWish> =>
      wishOf(await composed(place, { ...beastie(place, loader), disk: { esp, root: "32M" } }));
    const small = await at("1M");
    const before = place.store.all();
    const problem = await problemOf(makeImage(place.context.host, place.store, "small", small));
    expect(problem).toMatchObject({ code: "E_IMAGE_TOO_SMALL", exit: 2 });
    expect(problem.message).toMatch(/^the image is too small: .* FAT .* need \d+ bytes more$/);
    expect(problem.details.slice(problem.details.indexOf("what takes the room:") + 1)).toEqual([
      "     1 MiB  EFI/BOOT/BOOTX64.EFI",
    ]);
    expect([place.store.all(), readdirSync(place.store.temporaryDirectory)]).toEqual([before, []]);
    // A partition is of whole MiB: the next one has room.
    const missing = Number(/(\d+) bytes more$/.exec(problem.message)?.[1]);
    expect([missing > 0, missing < 1 << 20]).toEqual([true, true]);
    expect(planImage(await at("2M")).esp.sizeBytes).toBe(2 << 20);
  });
});
