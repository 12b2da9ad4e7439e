/** Disks that others made: their checksum, their container, how they boot, and what is put into their root, read back by debugfs. */
import { afterAll, beforeEach, describe, expect, test } from "bun:test";
import { execFileSync, spawnSync } from "node:child_process";
import * as fs from "node:fs";
import { sha256 } from "../base/index.ts";
import { problemOf } from "../base/testing.ts";
import { readGpt } from "../formats/index.ts";
import { readAtFile } from "../formats/testing.ts";
import { localHost } from "../host/index.ts";
import type { Fetch } from "../recipe/index.ts";
import { openTestStore } from "../store/testing.ts";
import { CLOUD_CONFIG, SEED_SCRIPT, seedUnit } from "../system/index.ts";
import { openTemplates, sidecarOf } from "./index.ts";
import { CLOUD_TREE, type DiskWish, writeDisk } from "./testing.ts";
import type { TemplateImport, TemplateStore } from "./types.ts";

const host = localHost();
const stores = openTestStore();
afterAll(() => stores[Symbol.dispose]());
const { store } = stores;
const keyFile = `${stores.root}/keys/host.pem`;
const digestOf = (file: string): string =>
  execFileSync("openssl", ["dgst", "-sha256", "-r", file], { encoding: "utf8" }).slice(0, 64);

const seeded = await sidecarOf({}, "cloud");
const plain = await sidecarOf({ patchMode: "none" }, "cloud");
const disk = `${stores.directory()}/cloud.raw`;
writeDisk(disk);
const diskSha256 = digestOf(disk);
const qcow2 = `${stores.directory()}/cloud.qcow2`;
execFileSync("qemu-img", ["convert", "-O", "qcow2", "-c", disk, qcow2]);

let directory = "";
const fetched: Fetch[] = [];
beforeEach(() => {
  // A name that debugfs would take apart.
  directory = `${stores.directory()}/te?mpl ates`;
  fetched.length = 0;
});
const open = (): Promise<TemplateStore> =>
  openTemplates({
    host,
    store,
    directory,
    keyFile,
    fetch: async (source) => {
      fetched.push(source);
      return (await store.add(qcow2, "cloud.qcow2", { form: "flat" })).path;
    },
  });
const request = (change: Partial<TemplateImport> = {}): TemplateImport => ({
  name: "cloud",
  source: disk,
  sha256: diskSha256,
  sidecar: seeded,
  description: "A cloud image.",
  ...change,
});
const imported = async (change: Partial<TemplateImport> = {}) => (await open()).import(request(change));
const there = (): readonly string[] => (fs.existsSync(directory) ? fs.readdirSync(directory).toSorted() : []);

/** The root of the template's image, cut out. */
function rootOf(image: string): string {
  const { partitions } = readGpt(readAtFile(image), fs.statSync(image).size);
  const root = partitions.at(-1);
  if (root === undefined) throw new Error("no partition");
  const file = `${stores.directory()}/root.img`;
  const range = [`skip=${root.firstByte}`, `count=${root.sizeBytes}`, "iflag=skip_bytes,count_bytes", "bs=1M", "status=none"];
  execFileSync("dd", [`if=${image}`, `of=${file}`, ...range]);
  return file;
}
const debugfs = (root: string, command: string): string =>
  spawnSync("debugfs", ["-R", command, root], { encoding: "utf8" }).stdout;

describe("a cloud image", () => {
  test.each<readonly [string, Partial<TemplateImport>, string]>([
    ["raw", {}, "raw"],
    ["raw, by its URL", { source: `file://${encodeURI(disk)}` }, "raw"],
    ["qcow2", { source: qcow2, sha256: digestOf(qcow2) }, "qcow2"],
  ])("%s: its clones will read their seed", async (_what, change, format) => {
    const notes: string[] = [];
    const { template, how } = await imported({ ...change, onNote: (text) => notes.push(text) });
    expect(how).toBe("made");
    const { source, sha256: digest } = request(change);
    expect(template.manifest.origin).toMatchObject({ kind: "import", source, sha256: digest, format });
    expect(notes).toContain("cloud: putting in what reads its seed");
    const root = rootOf(template.imageFile);
    expect(spawnSync("e2fsck", ["-fn", root], { encoding: "utf8" })).toMatchObject({ status: 0 });
    for (const [path, text, mode] of [
      ["/etc/cloud/cloud.cfg.d/90_garth_nocloud.cfg", CLOUD_CONFIG, "0644"],
      ["/usr/local/sbin/garth-seed", SEED_SCRIPT, "0755"],
      ["/etc/systemd/system/garth-seed.service", seedUnit("/usr/local/sbin/garth-seed"), "0644"],
    ] as const) {
      expect(debugfs(root, `cat ${path}`)).toBe(text);
      expect(debugfs(root, `stat ${path}`)).toMatch(new RegExp(`Type: regular +Mode: +${mode} [^]*User: +0 +Group: +0 `));
    }
    const link = debugfs(root, "stat /etc/systemd/system/multi-user.target.wants/garth-seed.service");
    expect(link).toContain('Fast link dest: "../garth-seed.service"');
    expect(debugfs(root, "stat /etc/systemd/system/multi-user.target.wants")).toMatch(/Type: directory +Mode: +0755/);
    // What was there is there.
    expect(debugfs(root, "cat /etc/os-release")).toBe("ID=debian\n");
    expect(there()).toEqual(["checked", "conf", "img", "img.DESCRIPTION", "manifest", "sig"].map((suffix) => `cloud.${suffix}`));
    expect(digestOf(disk)).toBe(diskSha256);
    expect(await (await open()).verify("cloud")).toEqual(template);
  });

  test("is fetched from where it is published", async () => {
    const source = "https://cloud.debian.org/images/debian-12-generic-amd64.qcow2";
    const { template } = await imported({ source, sha256: digestOf(qcow2) });
    expect(fetched).toMatchObject([{ fetcher: "fetchurl", urls: [source], sha256: digestOf(qcow2) }]);
    expect(template.manifest.origin).toMatchObject({ source, format: "qcow2" });
  });

  test("whose journal was not played is played first", async () => {
    const file = `${stores.directory()}/cloud.raw`;
    writeDisk(file);
    const [root] = readGpt(readAtFile(file), fs.statSync(file).size).partitions.slice(-1);
    const cwd = file.replace(/\/[^/]*$/, "");
    const image = `cloud.raw?offset=${root?.firstByte}`;
    const tool = (program: string, ...words: readonly string[]): string =>
      spawnSync(program, [...words, image], { cwd, encoding: "utf8" }).stdout;
    // As a machine leaves it that was switched off: a block of a file stands in the journal, and not yet in its place.
    const [block = ""] = /\d+/.exec(tool("debugfs", "-R", "blocks /etc/os-release")) ?? [];
    fs.writeFileSync(`${cwd}/block`, "ID=played\n".padEnd(1024, "\0"));
    fs.writeFileSync(`${cwd}/journal`, `jo\njw -b ${block} block\njc\n`);
    tool("debugfs", "-w", "-f", "journal");
    expect(tool("dumpe2fs", "-h")).toContain("needs_recovery");
    const { template } = await imported({ source: file, sha256: digestOf(file) });
    const checked = rootOf(template.imageFile);
    expect(debugfs(checked, "cat /etc/os-release")).toBe("ID=played\n");
    expect(spawnSync("e2fsck", ["-fn", checked]).status).toBe(0);
    expect(debugfs(checked, "cat /usr/local/sbin/garth-seed")).toBe(SEED_SCRIPT);
  });

  test("that has them already gets those of now", async () => {
    const file = `${stores.directory()}/cloud.raw`;
    writeDisk(file, {
      tree: {
        ...CLOUD_TREE,
        "usr/local/sbin/garth-seed": "an older one",
        "etc/systemd/system/garth-seed.service": { link: "/dev/null" },
        "etc/systemd/system/multi-user.target.wants/garth-seed.service": { link: "../garth-seed.service" },
      },
    });
    const { template } = await imported({ source: file, sha256: digestOf(file) });
    const root = rootOf(template.imageFile);
    expect(debugfs(root, "cat /usr/local/sbin/garth-seed")).toBe(SEED_SCRIPT);
    expect(debugfs(root, "cat /etc/systemd/system/garth-seed.service")).toBe(seedUnit("/usr/local/sbin/garth-seed"));
    expect(spawnSync("e2fsck", ["-fn", root]).status).toBe(0);
  });

  test("without systemd gets what cloud-init needs, and one without cloud-init the rest", async () => {
    const rootWith = async (name: string, tree: DiskWish["tree"]) => {
      const file = `${stores.directory()}/cloud.raw`;
      writeDisk(file, { tree: { "etc/os-release": "", "usr/bin/env": "", ...tree } });
      return rootOf((await imported({ name, source: file, sha256: digestOf(file) })).template.imageFile);
    };
    const cloud = await rootWith("cloud-only", { "etc/cloud/cloud.cfg": "" });
    expect(debugfs(cloud, "cat /etc/cloud/cloud.cfg.d/90_garth_nocloud.cfg")).toBe(CLOUD_CONFIG);
    expect(debugfs(cloud, "cat /usr/local/sbin/garth-seed")).toBe("");
    const systemd = await rootWith("systemd-only", { "lib/systemd/systemd": "" });
    expect(debugfs(systemd, "cat /usr/local/sbin/garth-seed")).toBe(SEED_SCRIPT);
    expect(debugfs(systemd, "cat /etc/cloud/cloud.cfg.d/90_garth_nocloud.cfg")).toBe("");
  });

  test("that nobody is to change is taken as it is", async () => {
    const { template } = await imported({ sidecar: plain });
    expect(template.manifest.image.sha256).toBe(diskSha256);
    expect(digestOf(template.imageFile)).toBe(diskSha256);
  });

  test("is not imported twice; another in its place only when that is said", async () => {
    const one = await imported();
    expect(await imported()).toEqual({ template: one.template, how: "unchanged" });
    expect(await problemOf(imported({ description: "Another." }))).toMatchObject({ code: "E_TEMPLATE_EXISTS", exit: 2 });
    const other = await imported({ sidecar: plain, replace: true });
    expect([other.how, other.template.digest === one.template.digest]).toEqual(["made", false]);
    expect((await open()).find("cloud")).toEqual(other.template);
  });
});

describe("refused, and nothing left:", () => {
  const refused = async (change: Partial<TemplateImport>) => {
    const problem = await problemOf(imported(change));
    expect(there()).toEqual([]);
    return problem;
  };
  const written = (wish: DiskWish) => {
    const file = `${stores.directory()}/disk.raw`;
    writeDisk(file, wish);
    return { source: file, sha256: digestOf(file) };
  };
  const qemuImg = (...words: readonly string[]) => {
    const file = `${stores.directory()}/disk.qcow2`;
    execFileSync("qemu-img", ["create", "-q", ...words.map((word) => word.replace("@", file)), file, "16M"]);
    return { source: file, sha256: digestOf(file) };
  };

  test("a file that is not the one that was promised", async () => {
    expect(await refused({ sha256: sha256("another") })).toMatchObject({
      code: "E_HASH_MISMATCH",
      exit: 1,
      details: [`expected sha256 ${sha256("another")}`, `found    sha256 ${diskSha256}`],
    });
  });

  test.each<readonly [string, Partial<TemplateImport>, string]>([
    ["a checksum that is none", { sha256: "d41d8cd98f00b204e9800998ecf8427e" }, "E_BAD_TEMPLATE"],
    ["a relative path", { source: "cloud.raw" }, "E_BAD_TEMPLATE"],
    ["a URL that nobody fetches", { source: "ftp://example.org/cloud.raw" }, "E_BAD_TEMPLATE"],
    ["a file that is not there", { source: "/nonexistent/cloud.raw" }, "E_NO_SUCH_FILE"],
    ["a directory", { source: "/tmp" }, "E_NO_SUCH_FILE"],
    ["a direct boot", { sidecar: { ...seeded, bootMode: "direct" } }, "E_BAD_TEMPLATE"],
  ])("%s", async (_what, change, code) => {
    expect(await refused(change)).toMatchObject({ code, exit: 2 });
  });

  test("a disk that builds on another file", async () => {
    const problem = await refused({ ...qemuImg("-f", "qcow2", "-b", "/etc/shadow", "-F", "raw", "-u"), sidecar: plain });
    expect(problem).toMatchObject({ code: "E_IMAGE_REFUSED", exit: 1 });
    expect(problem.message).toContain('it builds on another file, "/etc/shadow"');
  });

  test("a disk whose data lies in another file", async () => {
    const options = "data_file=@.data,data_file_raw=on";
    expect((await refused(qemuImg("-f", "qcow2", "-o", options))).message).toContain("its data lies in another file");
  });

  test("a disk that is encrypted", async () => {
    const file = `${stores.directory()}/disk.qcow2`;
    const bytes = fs.readFileSync(qcow2);
    // LUKS (docs/interop/qcow2.txt, "crypt_method").
    bytes.writeUInt32BE(2, 32);
    fs.writeFileSync(file, bytes);
    expect((await refused({ source: file, sha256: digestOf(file) })).message).toContain("it is encrypted");
  });

  test("a disk that says that it is larger than disks are", async () => {
    const file = `${stores.directory()}/disk.qcow2`;
    execFileSync("qemu-img", ["create", "-q", "-f", "qcow2", file, "3T"]);
    expect((await refused({ source: file, sha256: digestOf(file) })).message).toContain(
      "it says that it has 3298534883328 bytes",
    );
  });

  test("a VHD", async () => {
    const file = `${stores.directory()}/disk.vhd`;
    execFileSync("qemu-img", ["convert", "-O", "vpc", disk, file]);
    expect(await refused({ source: file, sha256: digestOf(file) })).toMatchObject({ code: "E_NOT_AN_IMAGE", exit: 2 });
  });

  test("a qcow2 that is cut off", async () => {
    const file = `${stores.directory()}/disk.qcow2`;
    fs.writeFileSync(file, fs.readFileSync(qcow2).subarray(0, 60));
    expect((await refused({ source: file, sha256: digestOf(file) })).code).toBe("E_QCOW2_DAMAGED");
  });

  test.each<readonly [string, DiskWish]>([
    ["GPT", { esp: undefined }],
    ["MBR", { esp: undefined, table: "mbr" }],
  ])("a disk without UEFI, %s", async (_what, wish) => {
    expect(await refused(written(wish))).toMatchObject({ code: "E_NO_UEFI", exit: 2 });
  });

  test("a root that is no ext4", async () => {
    expect(await refused(written({ root: "vfat" }))).toMatchObject({
      code: "E_IMAGE_ROOT",
      exit: 2,
      details: ["partition 2: fat"],
      hint: expect.stringContaining("TPL_PATCH_MODE=none"),
    });
  });

  test("a root in which nobody reads a seed", async () => {
    const problem = await refused(written({ tree: { "etc/os-release": "", "usr/bin/env": "" } }));
    expect([problem.code, problem.message]).toEqual(["E_IMAGE_ROOT", expect.stringContaining("neither cloud-init nor systemd")]);
  });

  test("a root that is full", async () => {
    const wish = (filler: number): DiskWish => ({ rootBytes: 4 << 20, tree: { ...CLOUD_TREE, filler: "x".repeat(filler) } });
    const root = rootOf(written(wish(0)).source);
    const header = execFileSync("dumpe2fs", ["-h", root], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
    const free = Number(/^Free blocks: +(\d+)/m.exec(header)?.[1]) * 1024;
    const problem = await refused(written(wish(free - 8192)));
    expect([problem.code, problem.message]).toEqual(["E_IMAGE_ROOT", expect.stringContaining("its file system may be full")]);
  });
});

test("a disk with an MBR is taken, too", async () => {
  const file = `${stores.directory()}/disk.raw`;
  writeDisk(file, { table: "mbr" });
  const { template } = await imported({ source: file, sha256: digestOf(file) });
  const { partitions } = JSON.parse(execFileSync("sfdisk", ["--json", template.imageFile], { encoding: "utf8" })).partitiontable;
  const [, root] = partitions;
  const cwd = directory;
  const cat = ["-R", "cat /usr/local/sbin/garth-seed", `copy.img?offset=${root.start * 512}`];
  fs.copyFileSync(template.imageFile, `${cwd}/copy.img`);
  expect(spawnSync("debugfs", cat, { cwd, encoding: "utf8" }).stdout).toBe(SEED_SCRIPT);
});
