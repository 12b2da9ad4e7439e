/**
 * FreeBSD's installer medium, whole, of a world that is as small as one can be: read by others, and its script run with stand-ins for
 * FreeBSD's tools on disks that are files.
 */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import { tmpdir } from "node:os";
import { golden, problemOf } from "../base/testing.ts";
import { renderInitrd } from "../compose/index.ts";
import { composed, fill, type TreeFiles, type Workplace, workplace } from "../compose/testing.ts";
import { readFat, readGpt, readUfs } from "../formats/index.ts";
import { readAtFile } from "../formats/testing.ts";
import { slice, world } from "../world/index.ts";
import { inspectImage, makeImage, makeIso, type MadeIso, verifyImage } from "./index.ts";
import { INSTALLER_PROGRAMS, sha256Of, tool, wishOf } from "./testing.ts";

setDefaultTimeout(60_000);

const BASE: TreeFiles = {
  ...INSTALLER_PROGRAMS,
  "boot/kernel/kernel": { text: `kernel ${"k".repeat(100_000)} cd9660_mount\n`, mode: 0o555 },
  "boot/kernel/nullfs.ko": "module\n",
  "boot/loader.efi": "the loader\n",
  "boot/lua/loader.lua": "lua\n",
  "boot/lua/a-name-that-is-longer-than-eight-letters.lua": "lua, too\n",
  "boot/defaults/loader.conf": "defaults\n",
  "boot/device.hints": "hints\n",
  "lib/libc.so.7": "libc\n",
  "usr/lib/größe mit leer": "ü\n",
  "etc/rc": { text: "#!/bin/sh\n", mode: 0o555 },
  "etc/rc.subr": "#\n",
  "etc/master.passwd": { text: "root:*:0:0::0:0:Charlie &:/root:/bin/sh\n", mode: 0o600 },
  "etc/group": "wheel:*:0:root\n",
  "etc/login.conf": "default:\n",
  "var/log/": {},
  "var/large": "x".repeat(700_000),
  "tmp/": { mode: 0o1777 },
  "root/": { mode: 0o700 },
};

let place: Workplace;
let scratch = "";
let iso: MadeIso;
let again: MadeIso;
let image = "";
let make: (name: string) => Promise<MadeIso>;
beforeAll(async () => {
  place = workplace();
  scratch = fs.mkdtempSync(`${tmpdir()}/garth-freebsd-iso-`);
  const of = world({ name: "freebsd", directory: fill(place.directory(), BASE) });
  const system = await composed(place, {
    name: "beastie",
    family: "freebsd",
    kernel: slice(of, { role: "kernel", keep: ["boot/kernel"] }),
    bootloader: slice(of, { role: "boot", keep: ["boot/loader.efi", "boot/lua", "boot/defaults", "boot/device.hints"] }),
    base: [slice(of, { role: "runtime", prune: ["boot"] })],
    init: "rc",
    disk: { esp: "34M", root: "32M" },
  });
  const { store, context } = place;
  const wish = {
    image: wishOf(system),
    composition: system.composition,
    kernelFile: system.kernelFile,
    choices: { target: "vtbd1", afterwards: "poweroff", force: true },
  } as const;
  const options = {
    renderInitrd: (tree: Parameters<typeof renderInitrd>[1]) => renderInitrd({ host: context.host, store }, tree),
  };
  make = (name) => makeIso(context.host, store, wish, `${scratch}/${name}`, options);
  iso = await make("beastie.iso");
  again = await make("again.iso");
  image = store.physical((await makeImage(context.host, store, "beastie", wish.image)).path);
});
afterAll(() => {
  place[Symbol.dispose]();
  fs.rmSync(scratch, { recursive: true });
});

/** The label and the digests change with every rendering, and say nothing that is not in the files. */
const named = (text: string): string => text.replaceAll(iso.label, "LABEL").replaceAll(iso.medium, "MEDIUM");

describe("the medium", () => {
  test("is the same, byte for byte, when it is made again", () => {
    expect(again.sha256).toBe(iso.sha256);
    expect(sha256Of(iso.file)).toBe(iso.sha256);
    expect(sha256Of(again.file)).toBe(iso.sha256);
  });

  test("is read by bsdtar, with files where the loader of a CD looks, and the parts of the disk", () => {
    const unpacked = `${scratch}/unpacked`;
    fs.mkdirSync(unpacked);
    tool("bsdtar", "-xpf", iso.file, "-C", unpacked);
    const text = (path: string): string => fs.readFileSync(`${unpacked}/${path}`, "utf8");
    for (const [path, content] of [
      ["boot/kernel/kernel", BASE["boot/kernel/kernel"]],
      ["boot/lua/a-name-that-is-longer-than-eight-letters.lua", "lua, too\n"],
      ["boot/defaults/loader.conf", "defaults\n"],
      ["usr/lib/größe mit leer", "ü\n"],
    ] as const) {
      expect(fs.lstatSync(`${unpacked}/${path}`).isFile()).toBe(true);
      expect(text(path)).toBe(typeof content === "string" ? content : (content?.text ?? ""));
    }
    for (const path of ["boot/loader.conf", "etc/fstab"]) {
      const found = named(text(path));
      expect(found).toBe(golden(`${import.meta.dir}/golden/freebsd-iso/${path.replace("/", "-")}`, found));
    }
    expect(fs.statSync(`${unpacked}/etc/rc`).mode & 0o777).toBe(0o555);
    expect(fs.existsSync(`${unpacked}/var/large`)).toBe(false);
    expect(fs.readdirSync(`${unpacked}/garth`).toSorted()).toEqual(["data", "gpt", "install", "map", "sums"]);
    const sums = text("garth/sums").trimEnd().split("\n");
    expect(sums.map((line) => line.split(" ")[0])).toEqual(
      fs
        .readdirSync(`${unpacked}/garth/data`)
        .toSorted()
        .map((name) => sha256Of(`${unpacked}/garth/data/${name}`)),
    );
    expect(sha256Of(`${unpacked}/garth/install`)).toBe(iso.medium);
  });

  test("is a disk as well, whose ESP has what the loader of a stick looks for", () => {
    const read = readAtFile(iso.file);
    const { partitions, findings } = readGpt(read, fs.statSync(iso.file).size);
    expect(findings).toEqual([]);
    const [esp] = partitions;
    const fat = readFat((offset, length) => read((esp?.firstByte ?? 0) + offset, length));
    expect(fat.entries.flatMap(({ path, type }) => (type === "file" ? [path] : [])).toSorted()).toEqual([
      "EFI/BOOT/BOOTX64.EFI",
      "boot/defaults/loader.conf",
      "boot/device.hints",
      "boot/kernel/kernel",
      "boot/loader.conf",
      "boot/lua/a-name-that-is-longer-than-eight-letters.lua",
      "boot/lua/loader.lua",
    ]);
  });

  test("is not written over anything", async () => {
    const before = sha256Of(iso.file);
    expect((await problemOf(make("beastie.iso"))).code).toBe("E_FILE_EXISTS");
    expect(sha256Of(iso.file)).toBe(before);
  });
});

/** What FreeBSD's tools say, as far as the script asks them. */
const TOOLS: Readonly<Record<string, string>> = {
  sysctl: 'case $2 in kern.console) echo "ttyu0,ttyv0,/ttyv0,ttyu0,gdb," ;; kern.disks) echo "cd0 vtbd1 vtbd0" ;; esac',
  kenv: 'sed -n "s/^$2=\\"\\(.*\\)\\"$/\\1/p" "$place/unpacked/boot/loader.conf"',
  geom: `case "$1 $2" in
"label status") sed -n 's|^/dev/\\(iso9660/[A-Z0-9_]*\\).*|\\1  N/A  cd0|p' "$place/unpacked/etc/fstab" ;;
"disk list") printf 'Geom name: %s\\nProviders:\\n1. Name: %s\\n   Mediasize: 1\\n   Mode: %s\\n   descr: A disk\\n' "$3" "$3" "$(cat "$place/mode")" ;;
esac`,
  diskinfo: '[ ! -f "$1" ] || printf "%s\\t512\\t%s\\t1\\t0\\t0\\n" "$1" "$(($(wc -c <"$1")))"',
  sha256: "sha256sum | cut -c 1-64",
  mount: ":",
  kldload: ":",
  devmatch: ":",
  halt: 'echo "halt $*" >>"$place/left"; kill -KILL "$PPID"',
  reboot: 'echo "reboot $*" >>"$place/left"; kill -KILL "$PPID"',
};

// Not under busybox, whose shell has programs of its own for such names: the stand-ins would not be called.
describe.each([["dash"], ["bash", "--posix"]] as const)("its script, under %s with stand-ins for FreeBSD's tools", (...shell) => {
  interface Ran {
    readonly said: readonly string[];
    readonly left: string;
    readonly disk: string;
  }

  function run(sizeBytes: number, mode = "r0w0e0"): Ran {
    const directory = fs.mkdtempSync(`${scratch}/run-`);
    const at = (path: string): string => `${directory}/${path}`;
    for (const path of ["bin", "dev", "unpacked"]) fs.mkdirSync(at(path));
    tool("bsdtar", "-xpf", iso.file, "-C", at("unpacked"), "boot/loader.conf", "etc", "garth");
    for (const [name, body] of Object.entries(TOOLS))
      fs.writeFileSync(at(`bin/${name}`), `#!/bin/sh\n${body}\n`, { mode: 0o755 });
    for (const name of ["null", "zero", "ttyu0", "ttyv0"]) fs.writeFileSync(at(`dev/${name}`), "");
    fs.writeFileSync(at("dev/vtbd1"), Buffer.alloc(sizeBytes, 0x5a));
    fs.writeFileSync(at("mode"), `${mode}\n`);
    const script = fs
      .readFileSync(at("unpacked/etc/rc"), "utf8")
      .replace("PATH=/sbin:", `PATH=${at("bin")}:/sbin:`)
      .replace("\tmedium=\n", `\tmedium=${at("unpacked")}\n`)
      .replace("/garth/install ]", `${at("unpacked")}/garth/install ]`);
    fs.writeFileSync(at("rc"), script);
    const inside = `for each in null zero; do mount --bind /dev/$each ${at("dev")}/$each || exit 100; done
mount --rbind ${at("dev")} /dev || exit 101
${shell.join(" ")} ${at("rc")} autoboot
exit 0`;
    const { stderr } = spawnSync("unshare", ["--mount", "--pid", "--fork", "--kill-child", "sh", "-c", inside], {
      encoding: "utf8",
      env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", place: directory },
    });
    // The shell's word for how halt(8) ended the script here.
    expect(stderr.replace(/^Killed\n$/, "")).toBe("");
    const said = fs.readFileSync(at("dev/ttyu0"), "utf8");
    expect(fs.readFileSync(at("dev/ttyv0"), "utf8")).toBe(said);
    return { said: said.trimEnd().split("\n"), left: fs.readFileSync(at("left"), "utf8"), disk: at("dev/vtbd1") };
  }

  test("installs on a disk that was full: its partitions are those of an image, and its table is of its own size", async () => {
    const { said, left, disk } = run(iso.leastBytes + 9 * 2 ** 20);
    expect(left).toBe("halt -p\n");
    expect(said.slice(-2)).toEqual([
      expect.stringMatching(/^garth: installed \/frx\/store\/[0-9a-f]{64}-system-beastie on \/dev\/vtbd1$/),
      "garth: the disk is larger than the system was made for; when it runs: gpart resize -i 2 vtbd1 && growfs /",
    ]);
    const { host } = place.context;
    expect((await verifyImage(host, disk, scratch)).filter(({ good }) => !good)).toEqual([]);
    const [found, wanted] = [inspectImage(host, disk), inspectImage(host, image)];
    expect([found.findings, found.system, found.esp]).toEqual([[], wanted.system, wanted.esp]);
    const rootOf = (file: string) => {
      const read = readAtFile(file);
      const at = inspectImage(host, file).partitions[1]?.firstByte ?? 0;
      return readUfs((offset, length) => read(at + offset, length));
    };
    const [root, same] = [rootOf(disk), rootOf(image)];
    expect(root.list()).toEqual(same.list());
    for (const { path, type } of root.list()) if (type === "file") expect(root.readFile(path)).toEqual(same.readFile(path));
  });

  test("refuses a disk that is too small, and one that somebody has opened", () => {
    const small = run(iso.leastBytes - 512);
    expect(small.said.at(-1)).toBe(
      `garth: not installed: vtbd1 is too small: it has ${iso.leastBytes - 512} bytes, and ${iso.leastBytes} are needed`,
    );
    const mounted = run(iso.leastBytes, "r1w1e2");
    expect(mounted.said.at(-1)).toBe("garth: not installed: vtbd1 is in use: something of it is mounted");
    for (const { disk, left } of [small, mounted]) {
      expect(left).toBe("halt -p\n");
      const found = fs.readFileSync(disk);
      expect(Buffer.compare(found, Buffer.alloc(found.length, 0x5a))).toBe(0);
    }
  });
});
