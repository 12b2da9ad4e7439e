/**
 * The system item of a Linux system: boot, etc, activation, metadata. Pure.
 *
 *     system-<name>/
 *       activate              run as root in the new root, before process 1
 *       boot/kernel           -> the kernel slice;  boot/initrd: made here;  boot/parameters: one a line
 *       etc/                  everything of /etc, as files: the base's, less what starts services nobody declared, and what is generated
 *       init                  -> process 1
 *       metadata/             the declaration, what it came to, owners of what is in etc
 *       profile               -> profile-<name>: what /usr stands for; put there when its path is known
 */
import { canonicalJson, type JsonValue, Problem } from "../base/index.ts";
import { type Attributes, attributesOf, matcher } from "../world/index.ts";
import { type Accounts, renderGroup, renderPasswd, renderShadow, resolveAccounts } from "./accounts.ts";
import { checkAgainstParts, nobody } from "./against-base.ts";
import { CREDENTIALS, linuxActivation } from "./linux-activate.ts";
import { busyboxIn, kernelRelease, moduleTexts, planInitrd } from "./linux-initrd.ts";
import { busyboxTree, type EtcTree, systemdTree } from "./linux-services.ts";
import type { ClosurePlan, Composition, PlannedEntry, SystemSpec } from "./types.ts";

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
export function linuxTexts(composition: Pick<Composition, "kernel" | "spec">): { readonly base: readonly string[]; readonly kernel: readonly string[] } {
  const kernel = composition.spec.rootModules.length === 0 ? [] : Object.values(moduleTexts(kernelRelease(composition.kernel)));
  return { base: ["etc/passwd", "etc/group", "etc/shadow"], kernel };
}

/** @throws Problem E_SYSTEM_INVALID, E_SERVICE_WITHOUT_PACKAGE, E_BOOT_SLICE, E_KERNEL_SLICE, E_KERNEL_MODULE */
export function planLinux(composition: Composition): ClosurePlan {
  const { spec, kernel, bootloader, baseTexts } = composition;
  const text = (path: string): string => baseTexts.get(path) ?? "";
  const accounts = resolveAccounts(spec, text("etc/passwd"), text("etc/group"));
  checkAgainstParts(composition, accounts);
  const busybox = `${bootloader.path}/${busyboxIn(bootloader)}`;
  const generated = generatedEtc(spec, accounts, text, busybox);
  const tree = new Map<string, PlannedEntry>();
  const owners = new Map<string, Attributes>();
  const put = (path: string, entry: PlannedEntry): void => {
    for (let end = path.indexOf("/"); end > 0; end = path.indexOf("/", end + 1)) {
      const above = path.slice(0, end);
      if (!tree.has(above)) tree.set(above, { type: "directory" });
    }
    tree.set(path, entry);
  };
  const parameters = commandLine(spec);
  put("activate", file(linuxActivation(spec, accounts, busybox), true));
  put("boot/initrd", { type: "file", executable: false, content: { kind: "initrd", tree: planInitrd(composition) } });
  put("boot/kernel", { type: "symlink", target: `${kernel.path}/${kernelImage(composition)}` });
  put("boot/parameters", file(parameters.map((each) => `${each}\n`).join("")));
  for (const [path, entry, owner] of baseEtc(composition)) {
    put(path, entry);
    if (owner !== undefined) owners.set(path.slice("etc/".length), owner);
  }
  for (const [path, entry] of generated) put(`etc/${path}`, "link" in entry ? { type: "symlink", target: entry.link } : file(entry.text, entry.executable));
  declaredEtc(spec, accounts, generated).forEach(([path, content, owner]) => {
    put(`etc/${path}`, file(content));
    owners.set(path, owner);
  });
  owners.set("shadow", { mode: 0o640, uid: 0, gid: gidOf(accounts, "shadow") });
  put("init", { type: "symlink", target: initProgram(spec, busybox) });
  put("metadata/etc-owners", file(ownerLines(owners)));
  put("metadata/system.json", file(`${metadata(composition)}\n`));
  const sorted = new Map([...tree].toSorted(([left], [right]) => (left < right ? -1 : 1)));
  return { tree: sorted, etcOwners: owners, commandLine: parameters };
}

function file(text: string, executable = false): PlannedEntry {
  return { type: "file", executable, content: { kind: "text", text } };
}

/** @throws Problem E_KERNEL_SLICE */
function kernelImage({ kernel }: Composition): string {
  const images = kernel.listing.filter(({ path, type }) => type === "file" && /^boot\/(?:vmlinuz|Image|bzImage)(?:-[^/]*)?$/.test(path));
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

function* baseEtc({ base }: Composition): Generator<readonly [string, PlannedEntry, Attributes | undefined]> {
  const seen = new Map<string, string>();
  for (const part of base) {
    for (const entry of part.listing) {
      const { path, type, executable, target = "" } = entry;
      if (!path.startsWith("etc/") || NOT_TAKEN(path)) continue;
      const other = seen.get(path);
      if (type !== "directory" && other !== undefined) throw etcConflict(path, other, part.name);
      seen.set(path, part.name);
      const owner = part.attributes.has(path) ? attributesOf(part.attributes, path, entry) : undefined;
      if (type === "directory") yield [path, { type }, owner];
      else if (type === "symlink") yield [path, { type, target }, owner];
      else yield [path, { type, executable, content: { kind: "part", part: part.path, path } }, owner];
    }
  }
}

function etcConflict(path: string, left: string, right: string): Problem {
  return new Problem({
    code: "E_FILE_CONFLICT",
    message: `${left} and ${right} both bring /${path}`,
    hint: "cut the path from one of the slices with `prune`",
    exit: 2,
  });
}

function generatedEtc(spec: SystemSpec, accounts: Accounts, text: (path: string) => string, busybox: string): EtcTree {
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
  etc.set("shadow", { text: renderShadow(accounts, text("etc/shadow")) });
  etc.set("timezone", { text: `${spec.timeZone}\n` });
  const services = spec.init === "systemd" ? systemdTree(spec) : spec.init === "busybox" ? busyboxTree(spec, busybox) : new Map();
  for (const [path, entry] of services) etc.set(path, entry);
  return etc;
}

/** fstab(5). By label: a partition may be called otherwise on the next machine. */
function fstab({ fileSystems }: SystemSpec): string {
  const lines = fileSystems.map(({ source, mountPoint, type, options }) => {
    const device = "label" in source ? `PARTLABEL=${source.label}` : source.device;
    const check = !("label" in source) || type === "vfat" ? 0 : mountPoint === "/" ? 1 : 2;
    return `${device} ${mountPoint} ${type} ${options.length === 0 ? "defaults" : options.join(",")} 0 ${check}\n`;
  });
  return lines.join("");
}

/** @throws Problem E_SYSTEM_INVALID for a file that is generated, and for an owner nobody knows */
function declaredEtc(spec: SystemSpec, accounts: Accounts, generated: EtcTree): readonly (readonly [string, string, Attributes])[] {
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

function ownerLines(owners: ReadonlyMap<string, Attributes>): string {
  return [...owners]
    .toSorted(([left], [right]) => (left < right ? -1 : 1))
    .map(([path, { mode, uid, gid }]) => `${mode.toString(8).padStart(4, "0")} ${uid} ${gid} ${path}\n`)
    .join("");
}

/** What the system was made of. The names of development slices are not here: the running system does not depend on them. */
function metadata({ spec, kernel, bootloader, base, packages }: Composition): string {
  const part = ({ path, name, origin, prefix }: Composition["kernel"]): JsonValue => ({ path, name, origin, prefix });
  const plain: JsonValue = JSON.parse(JSON.stringify(spec));
  return canonicalJson({
    schema: "garth-system-1",
    spec: plain,
    kernel: part(kernel),
    bootloader: part(bootloader),
    base: base.map(part),
    packages: packages.map(part),
    credentials: CREDENTIALS,
  });
}
