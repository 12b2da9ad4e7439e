/**
 * What FreeBSD reads before and while it starts, as text: loader.conf(5), rc.conf(5), fstab(5), sshd_config(5). Pure.
 *
 * What the declaration sets by itself (`loaderSettings`, `rcSettings`) replaces what follows from the rest of it.
 */
import { Problem, type StorePath } from "../base/index.ts";
import { visText } from "../formats/index.ts";
import { freebsdBootLines } from "./generations.ts";
import type { SystemSpec } from "./types.ts";

export const LOADER_CONF = "boot/loader.conf";
/** Where the loader reads beside it: whoever keeps the machine may have settings of his own there. */
export const LOADER_LOCAL = "boot/loader.conf.local";
/** Scripts of the system item, beside those that packages bring. */
export const RC_DIRECTORY = "usr/local/etc/rc.d";

/** Of kenv(2), including the byte that ends it: what is longer is cut off. */
const KENV_BYTES = 128;

/** @throws Problem E_SYSTEM_INVALID for a value that the loader cannot read or must not have */
export function renderLoaderConf(spec: SystemSpec): string {
  const [consoles, speed] = consoleOf(spec.console);
  const isSerial = consoles.includes("comconsole");
  const settings = new Map<string, string>([
    ["autoboot_delay", "0"],
    ["beastie_disable", "YES"],
    ["console", consoles.join(",")],
    ...(isSerial ? ([["comconsole_speed", speed ?? "115200"]] as const) : []),
    ...(consoles[0] === "comconsole" ? ([["boot_serial", "YES"]] as const) : []),
    ...(consoles.length > 1 ? ([["boot_multicons", "YES"]] as const) : []),
    ...rootSettings(spec),
  ]);
  for (const [name, value] of Object.entries(spec.loaderSettings)) {
    const field = `loaderSettings[${JSON.stringify(name)}]`;
    // The EFI loader dies before it hands over to the kernel when one of these is a memory disk.
    if ((name === "rootdev" || name === "currdev") && /(?:^|\/)md\d/.test(value))
      throw invalid(
        spec,
        field,
        `the EFI loader crashes when it is ${value}`,
        'set "vfs.root.mountfrom" to "ufs:/dev/md0" instead',
      );
    // What the loader's expression for a value takes, in each of its languages.
    if (!/^[ !#-[\]-~]*$/.test(value))
      throw invalid(spec, field, "a value is of printable ASCII, without quotes and backslashes");
    settings.set(name, value);
  }
  const lines = [...settings].map(([name, value]) => `${name}="${value}"\n`);
  return `# loader.conf(5) of the system ${spec.name}\n${lines.join("")}`;
}

function rootSettings({ disk: { rootLabel, pool } }: SystemSpec): readonly (readonly [string, string])[] {
  if (pool === undefined) return [["vfs.root.mountfrom", `ufs:/dev/gpt/${rootLabel}`]];
  return [
    ["zfs_load", "YES"],
    ["vfs.root.mountfrom", `zfs:${rootDataset(pool)}`],
  ];
}

/** Of the pool of a ZFS root: where bsdinstall(8) and everybody else has it. */
export function rootDataset(pool: string): string {
  return `${pool}/ROOT/default`;
}

/**
 * What a generation adds to the settings of its system. Modules are looked for where its kernel's are, and process 1 where its own is.
 *
 * @throws Problem E_SYSTEM_INVALID for a path that the kernel would leave out
 */
export function generationLines(spec: SystemSpec, system: StorePath, generation: number): string {
  if (system.length >= KENV_BYTES)
    throw invalid(
      spec,
      "name",
      `${system} is longer than the ${KENV_BYTES - 1} bytes that kenv(1) keeps`,
      "choose a shorter name",
    );
  const boot = `/boot/garth/${generation}`;
  const [kernel, ...rest] = freebsdBootLines(system, generation).split(/(?<=\n)/);
  return [
    kernel,
    ...("module_path" in spec.loaderSettings ? [] : [`module_path="${boot}/modules;${boot}/firmware"\n`]),
    // init(8) executes it in its own place, before rc(8). kenv(1) has room for this path whatever the program's is.
    ...(typeof spec.init === "object" ? [`init_exec="${boot}/pid1"\n`] : []),
    ...rest,
  ].join("");
}

/** "comconsole,115200", "comconsole,efi": consoles in the loader's order, and the speed of a serial one. */
function consoleOf(text: string): readonly [readonly string[], string | undefined] {
  const words = text.split(",");
  return [words.filter((word) => !/^\d+$/.test(word)), words.find((word) => /^\d+$/.test(word))];
}

export function renderRcConf(spec: SystemSpec): string {
  const settings = new Map<string, string>([["hostname", spec.hostName], ...network(spec)]);
  settings.set("clear_tmp_enable", "YES");
  // A root that was not left in order is repaired, as far as it goes: nobody sits at the console to be asked.
  settings.set("fsck_y_enable", "YES");
  if (spec.disk.pool !== undefined) settings.set("zfs_enable", "YES");
  settings.set("local_startup", `/usr/local/etc/rc.d /run/current-system/${RC_DIRECTORY}`);
  for (const { name } of spec.services) settings.set(`${rcName(name)}_enable`, "YES");
  for (const [name, value] of Object.entries(spec.rcSettings)) settings.set(name, value);
  return `# rc.conf(5) of the system ${spec.name}\n${[...settings].map(([name, value]) => `${name}=${shellQuoted(value)}\n`).join("")}`;
}

/** How rc.subr(8) calls a service: it makes names of variables of it. */
export function rcName(service: string): string {
  return service.replaceAll(/[^A-Za-z0-9_]/g, "_");
}

/** In double quotes, as sysrc(8) reads and writes it. */
function shellQuoted(value: string): string {
  return `"${value.replaceAll(/["$`\\]/g, String.raw`\$&`)}"`;
}

function network(spec: SystemSpec): readonly (readonly [string, string])[] {
  const settings: (readonly [string, string])[] = [];
  const seen = new Map<string, number>();
  for (const { interface: device, address } of spec.network) {
    // DEFAULT is every interface without lines of its own, and never the loopback.
    const base = `ifconfig_${device === "*" ? "DEFAULT" : device.replaceAll(".", "_")}`;
    if (address === "dhcp") {
      settings.push([base, "DHCP"]);
      seen.set(base, 1);
      continue;
    }
    const isIpv6 = address.cidr.includes(":");
    const name = isIpv6 ? `${base}_ipv6` : base;
    const count = seen.get(name) ?? 0;
    seen.set(name, count + 1);
    // Aliases of both families are counted together.
    const aliases = seen.get(`${base}_alias`) ?? 0;
    if (count > 0) seen.set(`${base}_alias`, aliases + 1);
    settings.push([count === 0 ? name : `${base}_alias${aliases}`, `${isIpv6 ? "inet6" : "inet"} ${address.cidr}`]);
    if (address.gateway !== undefined) settings.push([isIpv6 ? "ipv6_defaultrouter" : "defaultrouter", address.gateway]);
  }
  return settings;
}

/**
 * fstab(5), partitions by their labels. Only UFS has a check: a number other than 0 for devfs and its like makes fsck(8) look for a
 * program that is not there, and rc(8) gives up the boot.
 *
 * @throws Problem E_SYSTEM_INVALID when nothing is mounted at /: rc(8) makes the root writable by its line, unless that is ZFS, which is
 * mounted by what the kernel knows of it
 */
export function renderFstab(spec: SystemSpec): string {
  if (spec.disk.pool === undefined && !spec.fileSystems.some(({ mountPoint }) => mountPoint === "/"))
    throw invalid(spec, "fileSystems", "none of them is mounted at /", "without one rc(8) leaves the root read-only");
  const lines = spec.fileSystems.map(({ mountPoint, type, source, options }) => {
    const device = "label" in source ? `/dev/gpt/${source.label}` : source.device;
    const pass = type !== "ufs" ? "0 0" : mountPoint === "/" ? "1 1" : "2 2";
    return `${[device, mountPoint].map(visText).join("\t")}\t${type}\t${options.join(",") || "rw"}\t${pass}\n`;
  });
  return `# Device\tMountpoint\tFStype\tOptions\tDump Pass\n${lines.join("")}`;
}

/**
 * Keys and nothing else. UsePAM is off: a small runtime slice lacks modules that PAM's rules for sshd name, and then no login at all
 * succeeds. UseDNS is on where nobody says otherwise, and then a login waits for name servers that may not answer.
 */
export const SSHD_CONFIG = `# sshd_config(5): keys alone
UsePAM no
PasswordAuthentication no
UseDNS no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
AuthorizedKeysFile .ssh/authorized_keys
Subsystem sftp /usr/libexec/sftp-server
`;

export function renderHosts({ hostName }: SystemSpec): string {
  const short = hostName.split(".")[0] ?? hostName;
  const names = short === hostName ? hostName : `${hostName} ${short}`;
  return `::1\tlocalhost ${names}\n127.0.0.1\tlocalhost ${names}\n`;
}

export function invalid(spec: SystemSpec, field: string, why: string, hint?: string): Problem {
  return new Problem({
    code: "E_SYSTEM_INVALID",
    message: `system ${spec.name}: ${field}: ${why}`,
    ...(hint === undefined ? {} : { hint }),
    exit: 2,
  });
}
