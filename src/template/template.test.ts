/** Templates of images that passed: made, found, held against what was signed, refused by the name of the file that differs. */
import { afterAll, beforeEach, describe, expect, test } from "bun:test";
import { execFileSync } from "node:child_process";
import { generateKeyPairSync } from "node:crypto";
import * as fs from "node:fs";
import { sha256, storePath } from "../base/index.ts";
import { problemOf, thrownProblem } from "../base/testing.ts";
import { openHostSigner } from "../gate/index.ts";
import { verdictOf } from "../gate/testing.ts";
import { type Host, localHost } from "../host/index.ts";
import { openTestStore } from "../store/testing.ts";
import { openTemplates, parseSidecar, sidecarOf } from "./index.ts";
import { type DiskWish, writeDisk } from "./testing.ts";
import type { Sidecar, TemplateBuild, TemplateStore } from "./types.ts";

const host = localHost();
const stores = openTestStore();
afterAll(() => stores[Symbol.dispose]());
const { store } = stores;
const keyFile = `${stores.root}/keys/host.pem`;
const digestOf = (file: string): string =>
  execFileSync("openssl", ["dgst", "-sha256", "-r", file], { encoding: "utf8" }).slice(0, 64);

const disk = `${stores.directory()}/disk.raw`;
writeDisk(disk);
const image = await store.add(disk, "image-web.raw", { form: "flat" });
const imageSha256 = digestOf(disk);
const verdict = await verdictOf({ host, store, keyFile }, { path: image.path, sha256: imageSha256 });
const system = storePath({ kind: "flat", sha256: sha256("a closure"), references: [] }, "system-web");
const sidecar: Sidecar = await sidecarOf({ shell: "/bin/bash", shellArgs: "-i" }, "web");

let directory = "";
beforeEach(() => {
  directory = `${stores.directory()}/templates`;
});

/** How many large files were read: each takes a thread. */
let reads = 0;
const counting: Host = {
  ...host,
  hashBeside: () => {
    reads += 1;
    return host.hashBeside();
  },
};
const noFetch = (): never => {
  throw new Error("nothing is fetched");
};
const open = (): Promise<TemplateStore> => openTemplates({ host: counting, store, directory, keyFile, fetch: noFetch });
const request = (change: Partial<TemplateBuild> = {}): TemplateBuild => ({
  name: "web",
  system,
  verdict,
  sidecar,
  description: "A web server.",
  ...change,
});
const made = async (change: Partial<TemplateBuild> = {}) => (await (await open()).build(request(change))).template;
const at = (suffix: string): string => `${directory}/web${suffix}`;
const there = (): readonly string[] => (fs.existsSync(directory) ? fs.readdirSync(directory).toSorted() : []);

describe("a template of an image that passed", () => {
  test("says where it came from, and holds the image that was judged", async () => {
    const { template, how } = await (await open()).build(request());
    expect(how).toBe("made");
    expect(template).toMatchObject({
      name: "web",
      digest: digestOf(at(".manifest")),
      sidecar,
      description: "A web server.",
      imageFile: at(".img"),
      direct: undefined,
      manifest: {
        image: { sha256: imageSha256, sizeBytes: fs.statSync(disk).size },
        sidecarSha256: digestOf(at(".conf")),
        descriptionSha256: digestOf(at(".img.DESCRIPTION")),
        origin: { kind: "system", system, verdict, verdictSha256: digestOf(`${store.physical(verdict)}/verdict.json`) },
      },
    });
    expect(digestOf(at(".img"))).toBe(imageSha256);
    expect(await parseSidecar(fs.readFileSync(at(".conf"), "utf8"), "web.conf")).toEqual(sidecar);
    for (const suffix of [".img", ".conf", ".manifest", ".sig", ".img.DESCRIPTION"])
      expect([suffix, fs.statSync(at(suffix)).mode & 0o777]).toEqual([suffix, 0o444]);
    expect(there()).toEqual(["web.checked", "web.conf", "web.img", "web.img.DESCRIPTION", "web.manifest", "web.sig"]);
    // Holes stay holes.
    expect(fs.statSync(at(".img")).blocks).toBeLessThanOrEqual(fs.statSync(disk).blocks + 8);
  });

  test("is signed, by the judgement of openssl too", async () => {
    await made();
    const [, fingerprint = "", base64 = ""] = fs.readFileSync(at(".sig"), "utf8").trim().split(" ");
    const { publicPem } = await openHostSigner(host, keyFile);
    expect(fingerprint).toBe(sha256(publicPem));
    const scratch = stores.directory();
    fs.writeFileSync(`${scratch}/key.pem`, publicPem);
    fs.writeFileSync(`${scratch}/signature`, Buffer.from(base64, "base64"));
    const words = ["-verify", "-pubin", "-inkey", `${scratch}/key.pem`, "-rawin", "-in", at(".manifest"), "-sigfile"];
    const said = execFileSync("openssl", ["pkeyutl", ...words, `${scratch}/signature`], { encoding: "utf8" });
    expect(said).toContain("Signature Verified Successfully");
  });

  test("is found and listed; what is not there is named beside what is", async () => {
    const templates = await open();
    expect([templates.list(), templates.broken()]).toEqual([[], []]);
    expect(thrownProblem(() => templates.find("web"))).toMatchObject({ code: "E_NO_TEMPLATE", exit: 2, details: [] });
    const one = await made();
    await made({ name: "a-b.c" });
    expect(templates.list().map(({ name }) => name)).toEqual(["a-b.c", "web"]);
    expect(templates.find("web")).toEqual(one);
    expect(thrownProblem(() => templates.find("wep"))).toMatchObject({
      code: "E_NO_TEMPLATE",
      details: ["there are a-b.c, web"],
      hint: "did you mean web?",
    });
    for (const name of ["../web", "", "web/", ".web"]) {
      expect(thrownProblem(() => templates.find(name)).code).toBe("E_NO_TEMPLATE");
      expect((await problemOf(templates.verify(name))).code).toBe("E_NO_TEMPLATE");
      expect(thrownProblem(() => templates.remove(name)).code).toBe("E_NO_TEMPLATE");
    }
    templates.remove("web");
    expect(there().filter((name) => name.startsWith("web"))).toEqual([]);
    expect(thrownProblem(() => templates.remove("web")).code).toBe("E_NO_TEMPLATE");
  });

  test("is not made again when it would be the same, and replaced only when that is said", async () => {
    const templates = await open();
    const one = await templates.build(request());
    const inode = fs.statSync(at(".img")).ino;
    expect(await templates.build(request())).toEqual({ template: one.template, how: "unchanged" });
    expect(fs.statSync(at(".img")).ino).toBe(inode);
    const other = request({ description: "Another." });
    expect(await problemOf(templates.build(other))).toMatchObject({ code: "E_TEMPLATE_EXISTS", exit: 2 });
    expect(templates.find("web")).toEqual(one.template);
    const two = await templates.build({ ...other, replace: true });
    expect([two.how, two.template.description, two.template.digest === one.template.digest]).toEqual(["made", "Another.", false]);
    expect(await templates.verify("web")).toEqual(two.template);
  });

  test("that boots directly has its kernel beside it", async () => {
    const scratch = stores.directory();
    fs.writeFileSync(`${scratch}/vmlinuz`, "a kernel");
    fs.writeFileSync(`${scratch}/initrd`, "a RAM disk");
    const item = await store.add(`${scratch}/initrd`, "initrd");
    const direct = { kernel: `${scratch}/vmlinuz`, initrd: item.path, commandLine: "root=/dev/vda2 quiet" };
    const template = await made({ sidecar: { ...sidecar, bootMode: "direct" }, direct });
    expect(template.direct).toEqual({ kernel: at(".kernel"), initrd: at(".initrd"), commandLine: "root=/dev/vda2 quiet" });
    expect(template.manifest.direct).toEqual({
      kernelSha256: sha256("a kernel"),
      initrdSha256: sha256("a RAM disk"),
      commandLine: "root=/dev/vda2 quiet",
    });
    expect(fs.readFileSync(at(".kernel"), "utf8")).toBe("a kernel");
    expect(await (await open()).verify("web")).toEqual(template);
    fs.chmodSync(at(".initrd"), 0o644);
    fs.writeFileSync(at(".initrd"), "a RAM DISK");
    expect((await problemOf((await open()).verify("web"))).message).toEndWith("web.initrd was changed");
  });

  test("in a container becomes raw", async () => {
    const qcow2 = `${stores.directory()}/disk.qcow2`;
    execFileSync("qemu-img", ["convert", "-O", "qcow2", disk, qcow2]);
    const judged = await verdictOf({ host, store, keyFile }, { path: qcow2, sha256: digestOf(qcow2) });
    const template = await made({ verdict: judged });
    expect(template.manifest.image.sha256).toBe(imageSha256);
    expect(digestOf(at(".img"))).toBe(imageSha256);
  });
});

describe("no template, and nothing left, of", () => {
  const refused = async (change: Partial<TemplateBuild>) => {
    const problem = await problemOf((await open()).build(request(change)));
    expect(there()).toEqual([]);
    return problem;
  };
  const judged = (file: string, digest: string, how: "pass" | "fail" = "pass") =>
    verdictOf({ host, store, keyFile }, { path: file, sha256: digest }, how);

  test("an image that failed its gate", async () => {
    const failed = await judged(image.path, imageSha256, "fail");
    expect(await refused({ verdict: failed })).toMatchObject({ code: "E_NOT_PASSED", exit: 1, where: failed });
  });

  test("an image that is not the one that was judged", async () => {
    const other = await judged(image.path, sha256("another"));
    expect(await refused({ verdict: other })).toMatchObject({
      code: "E_TEMPLATE_IMAGE",
      details: [`judged: ${sha256("another")}`, `found:  ${imageSha256}`],
    });
  });

  test("an image that is gone", async () => {
    const gone = await judged(`${stores.directory()}/gone.raw`, imageSha256);
    expect(await refused({ verdict: gone })).toMatchObject({ code: "E_NO_SUCH_FILE", exit: 2 });
  });

  test("a verdict that another host gave, or that is none", async () => {
    const foreign = await verdictOf(
      { host, store, keyFile: `${stores.directory()}/other.pem` },
      { path: image.path, sha256: imageSha256 },
    );
    expect(await refused({ verdict: foreign })).toMatchObject({ code: "E_VERDICT_FORGED" });
    expect(await refused({ verdict: image.path })).toMatchObject({ code: "E_NO_VERDICT", exit: 2 });
  });

  test.each<readonly [string, Partial<TemplateBuild>]>([
    ["a name with a slash", { name: "a/b" }],
    ["a name that begins with a dot", { name: ".web" }],
    ["a name that no host can have", { name: "Web_1" }],
    ["an empty name", { name: "" }],
    ["a description with a control character", { description: "a\u0007" }],
    ["a description without end", { description: "x".repeat(5000) }],
    ["a direct boot of nothing", { sidecar: { ...sidecar, bootMode: "direct" } }],
    ["a kernel that nothing loads", { direct: { kernel: "/k", initrd: undefined, commandLine: "" } }],
  ])("%s", async (_what, change) => {
    expect(await refused(change)).toMatchObject({ code: "E_BAD_TEMPLATE", exit: 2 });
  });

  test.each<readonly [string, DiskWish, string]>([
    ["without an EFI system partition", { esp: undefined }, "none of its 1 partitions is an EFI system partition"],
    ["whose EFI system partition is empty", { esp: {} }, "has no EFI/BOOT/BOOTX64.EFI"],
    ["whose loader is elsewhere", { esp: { "EFI/debian/grubx64.efi": "MZ" } }, "has no EFI/BOOT/BOOTX64.EFI"],
  ])("a disk %s, where firmware is to start it", async (_what, wish, why) => {
    const file = `${stores.directory()}/disk.raw`;
    writeDisk(file, wish);
    const problem = await refused({ verdict: await judged(file, digestOf(file)) });
    expect(problem).toMatchObject({ code: "E_NO_UEFI", exit: 2 });
    expect(problem.message).toContain(why);
  });

  test("what is no disk at all", async () => {
    const file = `${stores.directory()}/disk.raw`;
    fs.writeFileSync(file, new Uint8Array(1 << 20));
    const problem = await refused({ verdict: await judged(file, digestOf(file)) });
    expect(problem.message).toContain("it has no partitions");
  });

  test("a build that is interrupted", async () => {
    const controller = new AbortController();
    controller.abort(new Error("enough"));
    expect((await open()).build(request({ signal: controller.signal }))).rejects.toThrow("enough");
    expect(there()).toEqual([]);
  });
});

describe("what a killed process left", () => {
  test("goes with the next template; what a living one does stays", async () => {
    const dead = host.processIdentity.replace(/:\d+:/, ":4194304:");
    for (const owner of [dead, host.processIdentity]) fs.mkdirSync(`${directory}/.making-${owner}-abcdef`, { recursive: true });
    // Renamed in part: no manifest, no template.
    for (const suffix of [".img", ".sig", ".conf"]) fs.writeFileSync(at(suffix), "half");
    const templates = await open();
    expect(templates.list()).toEqual([]);
    await made();
    expect(there().filter((name) => name.startsWith("."))).toEqual([`.making-${host.processIdentity}-abcdef`]);
    await templates.verify("web");
  });
});

describe("before a clone", () => {
  const differs = async (): Promise<string> => {
    const problem = await problemOf((await open()).verify("web"));
    expect([problem.code, problem.exit, problem.where]).toEqual(["E_TEMPLATE_FORGED", 1, at(".manifest")]);
    return problem.message.replace("the template web is not what this host signed: ", "");
  };
  const change = (suffix: string, edit: (text: string) => string): void => {
    const text = fs.readFileSync(at(suffix), "latin1");
    fs.chmodSync(at(suffix), 0o644);
    fs.writeFileSync(at(suffix), edit(text), "latin1");
    expect(edit(text)).not.toBe(text);
  };
  /** One byte of the image, its size and times as they were. */
  const changeImage = (): void => {
    const before = fs.statSync(at(".img"));
    fs.chmodSync(at(".img"), 0o644);
    const descriptor = fs.openSync(at(".img"), "r+");
    fs.writeSync(descriptor, "x", 3 << 20);
    fs.closeSync(descriptor);
    fs.chmodSync(at(".img"), 0o444);
    fs.utimesSync(at(".img"), before.atime, before.mtime);
  };

  test("an image is read once, and again when it is another file", async () => {
    await made();
    const templates = await open();
    reads = 0;
    await templates.verify("web");
    await (await open()).verify("web");
    expect(reads).toBe(0);
    // The same bytes in another file.
    fs.copyFileSync(at(".img"), at(".copy"));
    fs.renameSync(at(".copy"), at(".img"));
    await templates.verify("web");
    expect(reads).toBe(1);
    await templates.verify("web");
    expect(reads).toBe(1);
    fs.rmSync(at(".checked"));
    await templates.verify("web");
    expect(reads).toBe(2);
  });

  test("a changed byte of the image is seen, whatever its times say", async () => {
    await made();
    changeImage();
    expect(await differs()).toBe("web.img was changed");
  });

  test("what was read the last time cannot be written by others", async () => {
    await made();
    changeImage();
    const stat = fs.lstatSync(at(".img"));
    const stamp = [stat.dev, stat.ino, stat.size, stat.mtimeMs, stat.ctimeMs].join(" ");
    change(".checked", (text) => text.replace(/"stamp":"[^"]*"/, `"stamp":"${stamp}"`));
    expect(await differs()).toBe("web.img was changed");
  });

  test("what was read of another template says nothing", async () => {
    await made();
    await made({ name: "other" });
    changeImage();
    fs.copyFileSync(`${directory}/other.checked`, at(".checked"));
    expect(await differs()).toBe("web.img was changed");
  });

  test.each<readonly [string, (text: string) => string, string]>([
    [".conf", (text) => text.replace("root", "nobody"), "web.conf was changed"],
    [".conf", (text) => `${text}\n`, "web.conf was changed"],
    [".img.DESCRIPTION", (text) => `${text}x`, "web.img.DESCRIPTION was changed"],
    [".img", (text) => text.slice(0, -512), "web.img was changed"],
    [".manifest", (text) => text.replace(imageSha256, sha256("another")), "web.manifest or web.sig was changed"],
    [".manifest", (text) => `${text} `, "web.manifest or web.sig was changed"],
    [
      ".sig",
      (text) => text.replace(/ (.)(?=[A-Za-z0-9+/]{85}==)/, (_, first) => (first === "A" ? " B" : " A")),
      "web.manifest or web.sig was changed",
    ],
    [".sig", () => "", "web.sig was changed: it is no signature"],
  ])("%s that was changed is named: %#", async (suffix, edit, why) => {
    await made();
    change(suffix, edit);
    expect(await differs()).toBe(why);
  });

  test.each([".conf", ".img", ".img.DESCRIPTION", ".sig"])("%s that is missing is named", async (suffix) => {
    await made();
    fs.rmSync(at(suffix));
    expect(await differs()).toBe(`web${suffix} is missing`);
  });

  test("a link in place of the image is no image", async () => {
    await made();
    fs.renameSync(at(".img"), at(".elsewhere"));
    fs.symlinkSync(at(".elsewhere"), at(".img"));
    expect(await differs()).toBe("web.img is missing");
  });

  test("a template that another key signed is foreign", async () => {
    const { publicKeySha256 } = await openHostSigner(host, keyFile);
    const key = `${stores.directory()}/other.pem`;
    const { privateKey } = generateKeyPairSync("ed25519");
    fs.writeFileSync(key, privateKey.export({ type: "pkcs8", format: "pem" }), { mode: 0o600 });
    await made();
    const foreign = await openTemplates({ host, store, directory, keyFile: key, fetch: noFetch });
    const problem = await problemOf(foreign.verify("web"));
    expect(problem.code).toBe("E_TEMPLATE_FORGED");
    expect(problem.message).toContain(`it was signed with another key, ${publicKeySha256}, and not with `);
    // Signed with it, and called ours: the signature does not hold.
    const manifest = fs.readFileSync(at(".manifest"), "utf8");
    const signature = (await openHostSigner(host, key)).sign(manifest);
    change(".sig", () => `ed25519 ${publicKeySha256} ${Buffer.from(signature).toString("base64")}\n`);
    expect(await differs()).toBe("web.manifest or web.sig was changed");
  });

  test("the files of one template do not stand for another", async () => {
    await made({ name: "other" });
    for (const suffix of [".img", ".conf", ".img.DESCRIPTION", ".manifest", ".sig"])
      fs.copyFileSync(`${directory}/other${suffix}`, at(suffix));
    expect(await differs()).toBe("its manifest is that of other");
  });

  test("one that cannot be understood is left out of the list, and said to be broken", async () => {
    await made();
    await made({ name: "other" });
    change(".manifest", () => "{}");
    const templates = await open();
    expect(templates.list().map(({ name }) => name)).toEqual(["other"]);
    expect(templates.broken()).toMatchObject([{ name: "web", problem: { code: "E_TEMPLATE_FORGED" } }]);
    templates.remove("web");
    expect(templates.broken()).toEqual([]);
  });
});
