/**
 * The system item of a FreeBSD system: boot, etc, services, activation, metadata. Pure.
 *
 *     system-<name>/
 *       activate                  run as root with the item's path, at every start and before a switch
 *       generations               what the machine has been given, and which the loader starts (generations-program.ts)
 *       boot/kernel, boot/lua ... -> the kernel slice and the boot slice;  boot/loader.conf: made here; boot/pid1: where rc(8) is not process 1's
 *       etc/                      everything of /etc, as files: the base's, less what is another machine's, and what is generated
 *       metadata/                 the declaration, what it came to, owners of what is in etc
 *       profile                   -> profile-<name>: what /usr, /bin ... stand for; put there when its path is known
 *       usr/local/etc/rc.d/       scripts of services, found by `local_startup` of rc.conf
 *
 * The root has /boot as a directory of links into the item (`freebsdBoot`), since the loader comes before any activation.
 *
 * Limits: UEFI, UFS or one dataset of ZFS; databases of accounts are made by the first activation, in the machine.
 */
import { Problem, type StorePath } from "../base/index.ts";
import { type Attributes, type ListedEntry, matcher } from "../world/index.ts";
import { type Accounts, renderGroup, renderMasterPasswd, renderPasswd, resolveAccounts } from "./accounts.ts";
import { checkAgainstParts, nobody } from "./against-base.ts";
import { baseEtc, metadata, ownerLines, treeBuilder } from "./closure.ts";
import { ETC_OWNERS, freebsdActivation } from "./freebsd-activate.ts";
import {
  invalid,
  generationLines,
  LOADER_CONF,
  LOADER_LOCAL,
  renderFstab,
  renderHosts,
  renderLoaderConf,
  renderRcConf,
  SSHD_CONFIG,
} from "./freebsd-conf.ts";
import { freebsdScripts } from "./freebsd-services.ts";
import { freebsdPid1 } from "./freebsd-pid1.ts";
import { GENERATION_ROOTS, type GenerationEntry, GENERATIONS_PROGRAM } from "./generations.ts";
import { freebsdGenerations } from "./generations-freebsd.ts";
import { generationsProgram } from "./generations-program.ts";
import type { ClosurePlan, Composition, Part, PlannedEntry, SystemSpec } from "./types.ts";

/**
 * Of the base's etc, what is generated, what is made of that in the machine (`*.db`: those of the base would let root in without a
 * password), and what is another machine's.
 */
const NOT_TAKEN = matcher([
  "etc/.garth-system",
  "etc/fstab",
  "etc/group",
  "etc/hostid",
  "etc/hosts",
  "etc/jail.conf",
  "etc/jail.conf.d",
  "etc/localtime",
  "etc/login.conf.db",
  "etc/machine-id",
  "etc/master.passwd",
  "etc/passwd",
  "etc/pwd.db",
  "etc/rc.conf",
  "etc/rc.conf.d",
  "etc/rc.conf.local",
  "etc/rc.local",
  "etc/rc.shutdown.local",
  "etc/resolv.conf",
  "etc/resolvconf.conf",
  "etc/spwd.db",
  "etc/ssh/ssh_host_*",
  "etc/start_if.*",
  "etc/sysctl.conf.local",
]);

/** Texts of the base that `planFreebsd` reads. */
export function freebsdTexts(): { readonly base: readonly string[]; readonly kernel: readonly string[] } {
  return { base: ["etc/master.passwd", "etc/group"], kernel: [] };
}

/** Users and groups: the base's, those without which nothing runs, and the declared ones. @throws Problem E_SYSTEM_INVALID */
export function freebsdAccounts({ spec, baseTexts }: Pick<Composition, "spec" | "baseTexts">): Accounts {
  const passwd = baseTexts.get("etc/master.passwd") ?? baseTexts.get("etc/passwd") ?? "";
  const group = baseTexts.get("etc/group") ?? "";
  const needed = ESSENTIAL.filter(({ isNeeded }) => isNeeded(spec));
  const missing = (text: string, name: string): boolean => !text.split("\n").some((line) => line.startsWith(`${name}:`));
  const append = (text: string, lines: readonly string[]): string =>
    [text.trimEnd(), ...lines].filter((line) => line !== "").join("\n");
  return resolveAccounts(
    spec,
    append(
      passwd,
      needed.flatMap(({ user }) => (missing(passwd, nameOf(user)) ? [user] : [])),
    ),
    append(
      group,
      needed.flatMap(({ groups }) => groups.filter((line) => missing(group, nameOf(line)))),
    ),
  );
}

/** Programs of the base change to these; a slice may come without a passwd. As FreeBSD's own files have them. */
const ESSENTIAL: readonly {
  readonly user: string;
  readonly groups: readonly string[];
  readonly isNeeded: (spec: SystemSpec) => boolean;
}[] = [
  { user: "root:*:0:0::0:0:Charlie &:/root:/bin/sh", groups: ["wheel:*:0:root"], isNeeded: () => true },
  {
    user: "nobody:*:65534:65534::0:0:Unprivileged user:/nonexistent:/usr/sbin/nologin",
    groups: ["nogroup:*:65533:", "nobody:*:65534:"],
    isNeeded: () => true,
  },
  {
    user: "sshd:*:22:22::0:0:Secure Shell Daemon:/var/empty:/usr/sbin/nologin",
    groups: ["sshd:*:22:"],
    isNeeded: hasSshd,
  },
  {
    user: "_dhcp:*:65:65::0:0:dhcp programs:/var/empty:/usr/sbin/nologin",
    groups: ["_dhcp:*:65:"],
    isNeeded: ({ network }) => network.some(({ address }) => address === "dhcp"),
  },
];

function nameOf(line: string): string {
  return line.slice(0, line.indexOf(":"));
}

function hasSshd({ services }: SystemSpec): boolean {
  return services.some(({ name }) => name === "sshd");
}

/** @throws Problem E_SYSTEM_INVALID, E_SERVICE_WITHOUT_PACKAGE, E_BOOT_SLICE, E_KERNEL_SLICE, E_FILE_CONFLICT */
export function planFreebsd(composition: Composition): ClosurePlan {
  const { spec, baseTexts } = composition;
  const accounts = freebsdAccounts(composition);
  checkAgainstParts(composition, accounts);
  const { put, text, link, tree } = treeBuilder();
  const owners = new Map<string, Attributes>();

  text("activate", freebsdActivation(spec, accounts), true);
  text(GENERATIONS_PROGRAM, generationsProgram(freebsdGenerations()), true);
  for (const [path, target] of bootLinks(composition)) link(path, target);
  text(LOADER_CONF, renderLoaderConf(spec));
  if (typeof spec.init === "object") text(PID1, freebsdPid1(spec.init.exec), true);
  for (const [path, entry, owner] of baseEtc(composition, NOT_TAKEN)) {
    put(path, entry);
    if (owner !== undefined) owners.set(path.slice("etc/".length), owner);
  }
  const generated = generatedEtc(spec, accounts, baseTexts);
  for (const [path, entry] of generated) {
    put(`etc/${path}`, entry);
    owners.delete(path);
  }
  if (hasSshd(spec)) text("etc/ssh/sshd_config", SSHD_CONFIG);
  const scripts = freebsdScripts(spec, accounts);
  for (const [path, content] of scripts) text(path, content, true);
  const made = new Set([...generated.keys(), ...[...scripts.keys()].map((path) => path.replace(/^etc\//, ""))]);
  for (const [path, { text: content, mode, user, group }] of Object.entries(spec.etc)) {
    const field = `etc[${JSON.stringify(path)}]`;
    if (made.has(path)) {
      const hint = "say it by the fields of the system: users, groups, fileSystems, services, network, rcSettings";
      throw invalid(spec, field, `/etc/${path} follows from the rest of the declaration`, hint);
    }
    const uid = accounts.users.find(({ name }) => name === user)?.uid;
    const gid = accounts.groups.find(({ name }) => name === group)?.gid;
    if (uid === undefined) throw nobody(spec, `${field}.user`, user, "user");
    if (gid === undefined) throw nobody(spec, `${field}.group`, group, "group");
    text(`etc/${path}`, content);
    owners.set(path, { mode, uid, gid });
  }
  owners.set("master.passwd", { mode: 0o600, uid: 0, gid: 0 });
  text(ETC_OWNERS, ownerLines(owners));
  text("metadata/system.json", metadata(composition));
  return { tree: tree(), etcOwners: owners, commandLine: [] };
}

function file(text: string, executable = false): PlannedEntry {
  return { type: "file", executable, content: { kind: "text", text } };
}

/**
 * What /boot of the root is: links for the loader to what it reads, which stays as long as the root does and so has a root of its own, and
 * the settings of the first generation, which say to loader and kernel which item it is. `boot/kernel` and its like are for people: the
 * loader goes by the generation's own link.
 */
export function freebsdBoot(
  spec: SystemSpec,
  system: { readonly path: StorePath; readonly listing: readonly ListedEntry[] },
): readonly GenerationEntry[] {
  const children = system.listing.filter(({ path }) => /^boot\/[^/]+$/.test(path) && !OF_ITEM.has(path));
  const loader = children.find(({ path }) => path === LOADER_EFI)?.target ?? system.path;
  return [
    { path: "boot", kind: "directory" },
    ...children.map(({ path, target }) => {
      const own = OF_KERNEL.has(path) ? path.replace("boot/", "garth/1/") : (target ?? `${system.path}/${path}`);
      return { path, kind: "link", target: own } as const;
    }),
    { path: "boot/garth", kind: "directory" },
    { path: "boot/garth/1", kind: "link", target: `${system.path}/boot` },
    { path: LOADER_CONF, kind: "text", text: `${renderLoaderConf(spec)}${generationLines(spec, system.path, 1)}` },
    { path: "frx/var/garth", kind: "directory" },
    { path: GENERATION_ROOTS, kind: "directory" },
    { path: `${GENERATION_ROOTS}/loader`, kind: "link", target: loader.replace(`/${LOADER_EFI}`, "") },
  ];
}

/** Below boot of the system item, what is not linked in /boot. */
const PID1 = "boot/pid1";
const LOADER_EFI = "boot/loader.efi";
const OF_ITEM = new Set([LOADER_CONF, PID1]);
/** Of the kernel slice. */
const OF_KERNEL = new Set(["boot/kernel", "boot/modules", "boot/firmware"]);

/** The kernel with its modules by the kernel slice; the loader and what it reads by the boot slice, whose loader.conf is not ours. */
function bootLinks({ spec, kernel, bootloader }: Composition): readonly (readonly [string, string])[] {
  const has = (part: Part, wanted: string): boolean => part.listing.some(({ path, type }) => path === wanted && type === "file");
  if (!has(kernel, "boot/kernel/kernel")) throw incomplete("E_KERNEL_SLICE", kernel, "boot/kernel/kernel", "boot/kernel");
  if (spec.disk.pool !== undefined && !has(kernel, "boot/kernel/zfs.ko"))
    throw incomplete("E_KERNEL_SLICE", kernel, "boot/kernel/zfs.ko", "boot/kernel");
  if (!has(bootloader, LOADER_EFI)) throw incomplete("E_BOOT_SLICE", bootloader, LOADER_EFI, LOADER_EFI);
  const children = (part: Part): readonly string[] =>
    part.listing.flatMap(({ path }) => (/^boot\/[^/]+$/.test(path) ? [path] : []));
  const ofNobody = new Set([LOADER_CONF, LOADER_LOCAL, PID1, "boot/nextboot.conf", "boot/garth", "boot/efi"]);
  return [
    ...children(kernel)
      .filter((path) => OF_KERNEL.has(path))
      .map((path) => [path, `${kernel.path}/${path}`] as const),
    ...children(bootloader)
      .filter((path) => !OF_KERNEL.has(path) && !ofNobody.has(path))
      .map((path) => [path, `${bootloader.path}/${path}`] as const),
  ];
}

function incomplete(code: "E_KERNEL_SLICE" | "E_BOOT_SLICE", part: Part, path: string, keep: string): Problem {
  return new Problem({
    code,
    message: `the slice ${part.name} (${part.path}) has no ${path}`,
    hint: `keep ${JSON.stringify(keep)} in it, and have a world that brings it`,
    exit: 2,
  });
}

/** Path below etc -> entry. */
function generatedEtc(
  spec: SystemSpec,
  accounts: Accounts,
  baseTexts: Composition["baseTexts"],
): ReadonlyMap<string, PlannedEntry> {
  const texts: readonly (readonly [string, string])[] = [
    ["fstab", renderFstab(spec)],
    ["group", renderGroup(accounts)],
    ["hosts", renderHosts(spec)],
    ["master.passwd", renderMasterPasswd(accounts, baseTexts.get("etc/master.passwd") ?? "")],
    ["passwd", renderPasswd(accounts)],
    ["rc.conf", renderRcConf(spec)],
    // Otherwise a lease would replace the name servers of the declaration.
    ...(spec.nameServers.length === 0
      ? []
      : ([
          ["resolv.conf", spec.nameServers.map((server) => `nameserver ${server}\n`).join("")],
          ["resolvconf.conf", "resolvconf=NO\n"],
        ] as const)),
  ];
  return new Map<string, PlannedEntry>([
    ...texts.map(([path, content]) => [path, file(content)] as const),
    ["localtime", { type: "symlink", target: `/usr/share/zoneinfo/${spec.timeZone}` }],
  ]);
}
