/** What an installer medium is started by: plans, settings, scripts. The scripts run in image (installer.slow.test.ts) and in machines. */
import { describe, expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import { golden, thrownProblem } from "../base/testing.ts";
import type { Content } from "../formats/index.ts";
import { SAMPLE, SAMPLE_COMPOSITION, SAMPLE_SYSTEM as FREEBSD_SYSTEM } from "./freebsd-sample.ts";
import { planFreebsdInstaller } from "./installer-freebsd.ts";
import { type InstallChoices, installerScript, type InstallerWish, installTarget, planLinuxInstaller } from "./installer.ts";
import { composition, FULL, partOf, RELEASE, SAMPLE_SYSTEM } from "./linux.testing.ts";
import type { PlannedTree } from "./types.ts";

const GOLDEN = `${import.meta.dir}/golden`;
const ASKS: InstallChoices = { target: undefined, afterwards: undefined, force: false };
const medium = "0123456789abcdef".repeat(4);
/** Of the same kernel's modules.dep, what a drive of CDs takes. */
const DRIVE = `kernel/fs/isofs/isofs.ko: kernel/drivers/cdrom/cdrom.ko
kernel/drivers/cdrom/cdrom.ko:
kernel/drivers/scsi/sr_mod.ko: kernel/drivers/cdrom/cdrom.ko kernel/drivers/scsi/scsi_mod.ko kernel/drivers/scsi/scsi_common.ko
kernel/drivers/scsi/scsi_mod.ko: kernel/drivers/scsi/scsi_common.ko
kernel/drivers/scsi/scsi_common.ko:
`;
const textOf = (content: Content | undefined): string =>
  content?.kind === "bytes" ? new TextDecoder().decode(content.bytes) : `file ${content?.file ?? "that is not there"}`;

describe.each(["linux", "freebsd"] as const)("the script of %s", (family) => {
  const script = installerScript(family);
  test("is one that every shell reads, and nobody has a word against", () => {
    for (const [shell, ...words] of [
      ["dash", "-n"],
      ["busybox", "sh", "-n"],
      ["bash", "--posix", "-n"],
    ] as const)
      expect(spawnSync(shell, words, { input: script, encoding: "utf8" }).stderr).toBe("");
    const { stdout } = spawnSync("shellcheck", ["-s", "sh", "-"], { input: script, encoding: "utf8" });
    expect(stdout).toBe("");
  });
});

describe("the installer of a Linux system", () => {
  const KERNEL: Content = { kind: "file", file: "/frx/store/kernel", sizeBytes: 1 };
  const dependencies = `usr/lib/modules/${RELEASE}/modules.dep`;
  const modules = `${composition(FULL).baseTexts.get(dependencies) ?? ""}${DRIVE}`;
  const files = [...modules.matchAll(/^([^:]+):/gm)].map(([, path = ""]) => `usr/lib/modules/${RELEASE}/${path}`);
  const kernelWith = (paths: readonly string[]) => partOf("kernel", "c", [`boot/vmlinuz-${RELEASE}`, ...paths].join(" "));
  const from = composition(FULL, { kernel: kernelWith(files) });
  const wish = (choices: Partial<InstallChoices> = {}): InstallerWish => ({
    composition: from,
    system: SAMPLE_SYSTEM,
    medium,
    choices: { ...ASKS, ...choices },
  });
  const texts = new Map([...from.baseTexts, [dependencies, modules]]);
  const { initrd, esp } = planLinuxInstaller(wish(), KERNEL, texts);

  test("is an ESP with the loader, the kernel, and an entry that names the medium and both consoles", () => {
    expect(esp.map(({ path }) => path)).toEqual([
      "EFI/BOOT/BOOTX64.EFI",
      "garth/kernel",
      "loader/entries/install.conf",
      "loader/loader.conf",
    ]);
    const text = textOf(esp[2]?.content);
    expect(text).toBe(golden(`${GOLDEN}/linux/installer-entry.conf`, text));
    expect(textOf(esp[3]?.content)).toBe("timeout 5\n");
  });

  test("is told what was chosen when the medium was made", () => {
    const chosen = planLinuxInstaller(wish({ target: "vda", afterwards: "poweroff", force: true }), KERNEL, texts);
    expect(textOf(chosen.esp[2]?.content)).toContain(
      ` garth.install.target=vda garth.install.then=poweroff garth.install.force=yes console=tty0 `,
    );
  });

  const order = (tree: PlannedTree): readonly string[] => {
    const entry = tree.get("modules/order");
    return entry?.type === "file" && entry.content.kind === "text" ? entry.content.text.trimEnd().split("\n") : [];
  };

  test("has the drivers that the kernel slice has, each after what it needs, and every one of them is there", () => {
    const names = order(initrd);
    expect(names).toContain("isofs.ko");
    expect(names.indexOf("cdrom.ko")).toBeLessThan(names.indexOf("isofs.ko"));
    expect(names.indexOf("scsi_mod.ko")).toBeLessThan(names.indexOf("sr_mod.ko"));
    expect(names.filter((name) => !initrd.has(`modules/${name}`))).toEqual([]);
    expect(names.filter((name, index) => names.indexOf(name) !== index)).toEqual([]);
    // Debian's cloud kernel has no AHCI.
    expect(names).not.toContain("ahci.ko");
  });

  test("does without what was cut from the slice, and without what needs that", () => {
    const cut = { ...from, kernel: kernelWith(files.filter((path) => !path.endsWith("/scsi_common.ko"))) };
    const left = planLinuxInstaller({ ...wish(), composition: cut }, KERNEL, texts).initrd;
    expect(order(left)).toContain("isofs.ko");
    expect(order(left).filter((name) => /^(?:scsi|sr_mod|virtio_scsi)/.test(name))).toEqual([]);
  });

  test("calls nothing that its initial RAM disk lacks", () => {
    const builtin =
      "cd echo read printf test set trap wait eval exec exit return shift local export unset umask true false kill : [";
    const own = [...installerScript("linux").matchAll(/^(\w+)\(\) \{/gm)].map(([, name = ""]) => name);
    const known = new Set([
      ...builtin.split(" "),
      ...own,
      ...[...initrd.keys()].map((path) => path.slice(path.lastIndexOf("/") + 1)),
    ]);
    const called = [...installerScript("linux").matchAll(/(?:^\t*|\| |\$\(|then |&& |\|\| |! )([a-z0-9]+) (?=["$\-/a-z0-9])/gm)]
      .map(([, name = ""]) => name)
      .filter((name) => !/^(?:if|while|until|for|case|do|then|done|else|elif|not|or|is|was|in|on|from)$/.test(name));
    expect(called.length).toBeGreaterThan(60);
    expect([...new Set(called)].filter((name) => !known.has(name))).toEqual([]);
  });

  test("is refused where the slices lack what it is made of", () => {
    const { bootloader } = from;
    const without = (path: string) => ({ ...bootloader, listing: bootloader.listing.filter((entry) => entry.path !== path) });
    for (const path of ["usr/bin/busybox", "usr/lib/systemd/boot/efi/systemd-bootx64.efi"]) {
      const lacking = { ...wish(), composition: { ...from, bootloader: without(path) } };
      const problem = thrownProblem(() => planLinuxInstaller(lacking, KERNEL, texts));
      expect([problem.code, problem.exit, problem.message.includes(path)]).toEqual(["E_BOOT_SLICE", 2, true]);
    }
    expect(thrownProblem(() => planLinuxInstaller(wish(), KERNEL, from.baseTexts)).code).toBe("E_KERNEL_MODULE");
  });
});

describe("the installer of a FreeBSD system", () => {
  const base = partOf(
    "runtime",
    "d",
    `bin/cat* bin/dd* bin/kenv* bin/sh* bin/sleep* bin/sync* sbin/geom* sbin/halt* sbin/init* sbin/kldload* sbin/mount* sbin/reboot*
    sbin/sha256->md5 sbin/md5* sbin/sysctl* usr/bin/head* usr/bin/mkfifo* usr/bin/sed* usr/bin/sort* usr/bin/tr* usr/bin/wc*
    usr/bin/clang-19* usr/lib/libz.so.6 usr/lib/libz.a usr/sbin/diskinfo* usr/share/doc/much lib/libc.so.7 libexec/ld-elf.so.1*
    etc/rc* etc/fstab etc/ttys etc/login.conf etc/master.passwd etc/ssh/ssh_host_rsa_key rescue/sh* boot/of-nobody var/log/ root/.profile`,
  );
  const boot = partOf(
    "boot",
    "b",
    `boot/loader.efi boot/defaults/loader.conf boot/lua/loader.lua boot/lua/config.lua boot/device.hints boot/loader.conf
    boot/logo.lua->lua/loader.lua boot/efi/`,
  );
  const kernel = partOf("kernel", "c", "boot/kernel/kernel* boot/kernel/tmpfs.ko boot/kernel/cd9660.ko boot/kernel/linker.hints");
  const from = {
    ...SAMPLE_COMPOSITION,
    spec: { ...SAMPLE, console: "comconsole,115200" },
    base: [base],
    bootloader: boot,
    kernel,
  };
  const wish: InstallerWish = {
    composition: from,
    system: FREEBSD_SYSTEM,
    medium,
    choices: { target: "vtbd0", afterwards: "poweroff", force: false },
  };
  const label = "GARTH_0123456789ABCDEF";
  const { entries, esp } = planFreebsdInstaller(wish, { label, reads: true, timeSeconds: 1 });
  const at = (path: string) => entries.find((entry) => entry.path === path);
  const contentOf = (path: string): string => {
    const entry = at(path);
    return entry?.type === "file" ? textOf(entry.content) : `${entry?.type}`;
  };

  test("has a root with what the script calls, and nothing of another machine or of a compiler", () => {
    const paths = entries
      .filter(({ type }) => type !== "directory")
      .map(({ path }) => path)
      .toSorted();
    const text = `${paths.join("\n")}\n`;
    expect(text).toBe(golden(`${GOLDEN}/freebsd/installer-root`, text));
    expect(contentOf("etc/rc")).toBe(installerScript("freebsd"));
    expect(at("etc/rc")?.mode).toBe(0o555);
    expect(["dev", "tmp", "mnt", "garth"].map((path) => at(path)?.type)).toEqual(Array.from({ length: 4 }, () => "directory"));
  });

  test("has files where the loader looks, which follows no links", () => {
    expect(contentOf("boot/logo.lua")).toBe(`file ${boot.path}/boot/lua/loader.lua`);
    expect(entries.filter(({ path, type }) => path.startsWith("boot/") && type === "symlink")).toEqual([]);
    expect(at("sbin/sha256")?.type).toBe("symlink");
  });

  test("says in loader.conf and fstab what it is to say, on the CD and on the stick the same", () => {
    const settings = contentOf("boot/loader.conf");
    expect(settings).toBe(golden(`${GOLDEN}/freebsd/installer-loader.conf`, settings));
    expect(textOf(esp.find(({ path }) => path === "boot/loader.conf")?.content)).toBe(settings);
    const table = contentOf("etc/fstab");
    expect(table).toBe(golden(`${GOLDEN}/freebsd/installer-fstab`, table));
  });

  test("has on the ESP what the loader of a stick reads", () => {
    expect(esp.map(({ path }) => path)).toEqual([
      "EFI/BOOT/BOOTX64.EFI",
      "boot/defaults/loader.conf",
      "boot/device.hints",
      "boot/lua/config.lua",
      "boot/lua/loader.lua",
      "boot/kernel/kernel",
      "boot/loader.conf",
    ]);
  });

  test("brings a module for the volume where the kernel has none in itself, and is refused where there is neither", () => {
    const bare = planFreebsdInstaller(wish, { label, reads: false, timeSeconds: 1 });
    expect(bare.esp.map(({ path }) => path)).toContain("boot/kernel/cd9660.ko");
    expect(textOf(bare.esp.find(({ path }) => path === "boot/loader.conf")?.content)).toContain('cd9660_load="YES"\n');
    const small = { ...kernel, listing: kernel.listing.filter(({ path }) => !path.endsWith("cd9660.ko")) };
    const lacking = { ...wish, composition: { ...from, kernel: small } };
    expect(thrownProblem(() => planFreebsdInstaller(lacking, { label, reads: false, timeSeconds: 1 })).code).toBe(
      "E_KERNEL_SLICE",
    );
  });

  test("is refused where the base lacks a program, and all that are missing are named", () => {
    const listing = base.listing.filter(({ path }) => !["bin/dd", "usr/bin/wc"].includes(path));
    const lacking = { ...wish, composition: { ...from, base: [{ ...base, listing }] } };
    const problem = thrownProblem(() => planFreebsdInstaller(lacking, { label, reads: true, timeSeconds: 1 }));
    expect([problem.code, problem.exit, problem.details]).toEqual(["E_INSTALLER_BASE", 2, ["/bin/dd", "/usr/bin/wc"]]);
  });
});

test.each([
  ["/dev/vda", "vda"],
  ["nvme0n1", "nvme0n1"],
])("%s is the disk %s", (text, name) => expect(installTarget(text)).toBe(name));

test.each(["", "/dev/", "/dev/disk/by-id/x", "a b", "vda;reboot", "$(x)", "-x", "../vda", "v\nda"])("%j is no disk", (text) => {
  const problem = thrownProblem(() => installTarget(text));
  expect([problem.code, problem.exit]).toEqual(["E_INSTALL_TARGET", 2]);
});
