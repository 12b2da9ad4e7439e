/**
 * The system item of a Linux system: boot, etc, activation, metadata. Pure.
 *
 *     system-<name>/
 *       activate              run as root in the new root, before process 1
 *       boot/kernel           -> the kernel slice;  boot/initrd: made here;  boot/parameters: one a line
 *       etc/                  everything of /etc, as files: the base's, less what starts services nobody declared, and what is generated
 *       generations           which systems the machine has been given (generations.ts)
 *       init                  -> process 1
 *       metadata/             the declaration, what it came to, owners of what is in etc
 *       profile               -> profile-<name>: what /usr stands for; put there when its path is known
 */
import { Problem } from "../base/index.ts";
import { type Attributes, matcher } from "../world/index.ts";
import { type Accounts, renderGroup, renderPasswd, renderShadow, resolveAccounts } from "./accounts.ts";
import { checkAgainstParts, nobody } from "./against-base.ts";
import { baseEtc, metadata, ownerLines, treeBuilder } from "./closure.ts";
import { GENERATIONS_PROGRAM } from "./generations.ts";
import { linuxGenerations } from "./generations-linux.ts";
import { generationsProgram } from "./generations-program.ts";
import { linuxActivation } from "./linux-activate.ts";
import { busyboxIn, kernelRelease, moduleTexts, planInitrd } from "./linux-initrd.ts";
import { busyboxTree } from "./linux-busybox.ts";
import { type EtcTree } from "./linux-services.ts";
import { systemdTree, unitFiles } from "./linux-systemd.ts";
import type { ClosurePlan, Composition, SystemSpec } from "./types.ts";

/** Of the base's etc, what is another system's: its name, its keys, its accounts (rendered anew), and what starts at its boot. */
const NOT_TAKEN = matcher([
  "etc/.garth-system",
  "etc/fstab",
  "etc/group",
  "etc/group-",
  "etc/gshadow",
  "etc/gshadow-",
  "etc/hostname",
  "etc/hosts",
  "etc/inittab",
  "etc/localtime",
  "etc/machine-id",
  "etc/mtab",
  "etc/passwd",
  "etc/passwd-",
  "etc/rc?.d",
  "etc/resolv.conf",
  "etc/shadow",
  "etc/shadow-",
  "etc/ssh/ssh_host_*",
  "etc/systemd/system",
  "etc/timezone",
]);

/** Texts of the base and the kernel slice that `planLinux` reads. */
export function linuxTexts(composition: Pick<Composition, "kernel" | "spec">): {
  readonly base: readonly string[];
  readonly kernel: readonly string[];
} {
  const { spec } = composition;
  const kernel = spec.rootModules.length === 0 ? [] : Object.values(moduleTexts(kernelRelease(composition.kernel)));
  // Units that are enabled as they are say themselves what wants them.
  const enabled = spec.init === "systemd" ? spec.services.filter(({ command }) => command === undefined) : [];
  const units = enabled.map(({ name }) => unitFiles(name)[1].slice(1));
  return { base: ["etc/passwd", "etc/group", "etc/shadow", ...units], kernel };
}

/** The base's users and groups, and the declared ones. @throws Problem E_SYSTEM_INVALID */
export function linuxAccounts({ spec, baseTexts }: Pick<Composition, "spec" | "baseTexts">): Accounts {
  return resolveAccounts(spec, baseTexts.get("etc/passwd") ?? "", baseTexts.get("etc/group") ?? "");
}

/** @throws Problem E_SYSTEM_INVALID, E_SERVICE_WITHOUT_PACKAGE, E_BOOT_SLICE, E_KERNEL_SLICE, E_KERNEL_MODULE */
export function planLinux(composition: Composition): ClosurePlan {
  const { spec, kernel, bootloader } = composition;
  const accounts = linuxAccounts(composition);
  checkAgainstParts(composition, accounts);
  const busybox = `${bootloader.path}/${busyboxIn(bootloader)}`;
  const generated = generatedEtc(composition, accounts, busybox);
  const { put, text: file, link, tree } = treeBuilder();
  const owners = new Map<string, Attributes>();
  const parameters = commandLine(spec);
  file("activate", linuxActivation(spec, accounts, busybox), true);
  put("boot/initrd", { type: "file", executable: false, content: { kind: "initrd", tree: planInitrd(composition) } });
  link("boot/kernel", `${kernel.path}/${kernelImage(composition)}`);
  file("boot/parameters", parameters.map((each) => `${each}\n`).join(""));
  for (const [path, entry, owner] of baseEtc(composition, NOT_TAKEN)) {
    put(path, entry);
    if (owner !== undefined) owners.set(path.slice("etc/".length), owner);
  }
  for (const [path, entry] of generated) {
    if ("link" in entry) link(`etc/${path}`, entry.link);
    else file(`etc/${path}`, entry.text, entry.executable);
    owners.delete(path);
  }
  declaredEtc(spec, accounts, generated).forEach(([path, content, owner]) => {
    file(`etc/${path}`, content);
    owners.set(path, owner);
  });
  owners.set("shadow", { mode: 0o640, uid: 0, gid: gidOf(accounts, "shadow") });
  file(GENERATIONS_PROGRAM, generationsProgram(linuxGenerations(busybox, spec.disk.espLabel)), true);
  link("init", initProgram(spec, busybox));
  file("metadata/etc-owners", ownerLines(owners));
  file("metadata/system.json", metadata(composition));
  return { tree: tree(), etcOwners: owners, commandLine: parameters };
}

/** @throws Problem E_KERNEL_SLICE */
function kernelImage({ kernel }: Composition): string {
  const images = kernel.listing.filter(
    ({ path, type }) => type === "file" && /^boot\/(?:vmlinuz|Image|bzImage)(?:-[^/]*)?$/.test(path),
  );
  const [image, ...more] = images;
  if (image !== undefined && more.length === 0) return image.path;
  throw new Problem({
    code: "E_KERNEL_SLICE",
    message: `the slice ${kernel.name} has ${images.length === 0 ? "no kernel" : `${images.length} kernels`} at boot/vmlinuz-*`,
    details: images.map(({ path }) => path),
    hint: "keep exactly one",
    exit: 2,
  });
}

function initProgram({ init }: SystemSpec, busybox: string): string {
  if (typeof init !== "string") return init.exec;
  return init === "busybox" ? busybox : "/usr/lib/systemd/systemd";
}

function commandLine(spec: SystemSpec): readonly string[] {
  return [`garth.root=${spec.disk.rootLabel}`, `console=${spec.console}`, "panic=1", ...spec.kernelParameters];
}

function generatedEtc({ spec, base, baseTexts }: Composition, accounts: Accounts, busybox: string): EtcTree {
  const etc: EtcTree = new Map();
  const short = spec.hostName.split(".")[0] ?? spec.hostName;
  const names = short === spec.hostName ? short : `${spec.hostName} ${short}`;
  etc.set("fstab", { text: fstab(spec) });
  etc.set("group", { text: renderGroup(accounts) });
  etc.set("hostname", { text: `${spec.hostName}\n` });
  etc.set("hosts", { text: `127.0.0.1 localhost\n127.0.1.1 ${names}\n::1 localhost ip6-localhost ip6-loopback\n` });
  etc.set("localtime", { link: `/usr/share/zoneinfo/${spec.timeZone}` });
  // Empty: process 1 makes one at the first start. Two machines of one image are two machines.
  etc.set("machine-id", { text: "" });
  etc.set("mtab", { link: "../proc/self/mounts" });
  etc.set("passwd", { text: renderPasswd(accounts) });
  etc.set("resolv.conf", { text: spec.nameServers.map((server) => `nameserver ${server}\n`).join("") });
  etc.set("shadow", { text: renderShadow(accounts, baseTexts.get("etc/shadow") ?? "") });
  etc.set("timezone", { text: `${spec.timeZone}\n` });
  const hasLogin = base.some(({ listing }) => listing.some(({ path }) => path === "usr/bin/login" || path === "bin/login"));
  const services: EtcTree =
    spec.init === "systemd"
      ? systemdTree(spec, busybox, (path) => baseTexts.get(path.slice(1)))
      : spec.init === "busybox"
        ? busyboxTree(spec, busybox, hasLogin)
        : new Map();
  for (const [path, entry] of services) etc.set(path, entry);
  return etc;
}

/** fstab(5). By label: a partition may be called otherwise on the next machine. */
function fstab({ fileSystems }: SystemSpec): string {
  const lines = fileSystems.map(({ source, mountPoint, type, options }) => {
    const device = "label" in source ? `PARTLABEL=${source.label}` : source.device;
    const check = !("label" in source) || type === "vfat" ? 0 : mountPoint === "/" ? 1 : 2;
    return `${device} ${mountPoint.replaceAll("\\", "\\134").replaceAll(" ", "\\040").replaceAll("\t", "\\011")} ${type} ${options.length === 0 ? "defaults" : options.join(",")} 0 ${check}\n`;
  });
  return lines.join("");
}

/** @throws Problem E_SYSTEM_INVALID for a file that is generated, and for an owner nobody knows */
function declaredEtc(
  spec: SystemSpec,
  accounts: Accounts,
  generated: EtcTree,
): readonly (readonly [string, string, Attributes])[] {
  return Object.entries(spec.etc).map(([path, { text, mode, user, group }]) => {
    if (generated.has(path)) {
      throw new Problem({
        code: "E_SYSTEM_INVALID",
        message: `system ${spec.name}: etc[${JSON.stringify(path)}]: /etc/${path} follows from the rest of the declaration`,
        hint: "say it by the fields of the system: users, groups, fileSystems, services, network, hostName",
        exit: 2,
      });
    }
    return [path, text, { mode, uid: uidOf(accounts, user, spec, path), gid: gidOf(accounts, group, spec, path) }];
  });
}

function uidOf(accounts: Accounts, name: string, spec: SystemSpec, path: string): number {
  const found = accounts.users.find((each) => each.name === name);
  if (found === undefined) throw nobody(spec, `etc[${JSON.stringify(path)}].user`, name, "user");
  return found.uid;
}

function gidOf(accounts: Accounts, name: string, spec?: SystemSpec, path = ""): number {
  const found = accounts.groups.find((each) => each.name === name);
  if (found === undefined && spec !== undefined) throw nobody(spec, `etc[${JSON.stringify(path)}].group`, name, "group");
  return found?.gid ?? 0;
}
