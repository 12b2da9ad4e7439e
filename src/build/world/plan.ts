/** The commands and rules by which packages become a tree. Pure. */
import type { WorldSource } from "../../recipe/index.ts";
import type { LockedPackage, WorldLock } from "../../world/index.ts";
import { sha256 } from "../../base/index.ts";

export type Purpose = NonNullable<WorldSource["purpose"]>;

export interface DebianTreePlan {
  /** Directory of the local repository that `repositoryFiles` and the packages lie in. */
  readonly repository: string;
  /** The tree (as root), or the archive of it (without). */
  readonly target: string;
  readonly isRoot: boolean;
  readonly purpose: Purpose;
}

/**
 * Kept out while the bulk is unpacked; what the essential packages brought before is removed afterwards. mmdebstrap has an option
 * for this, which sends every archive through a filter and costs half the time again.
 */
const UNPACKED_WITHOUT = ["/usr/share/man/*", "/usr/share/doc/*", "/usr/share/info/*", "/usr/share/locale/*/LC_MESSAGES/*"];
const DPKG_SETTINGS = "etc/dpkg/dpkg.cfg.d/garth";

/** What says where and when the tree was made, or is a secret of the machine that made it. */
const OF_THE_MAKER = `
  var/lib/apt var/lib/systemd var/lib/dpkg/lock var/lib/dpkg/lock-frontend
  var/lib/dpkg/triggers/Lock var/lib/shells.state var/backups
  etc/apt ${DPKG_SETTINGS} etc/dpkg/dpkg.cfg.d/99mmdebstrap etc/machine-id etc/.pwd.lock etc/mtab
  etc/passwd- etc/group- etc/shadow- etc/gshadow- etc/subuid- etc/subgid-
`
  .trim()
  .split(/\s+/);

/** What nobody builds with. */
const OF_NO_BUILD = `
  usr/share/man usr/share/doc usr/share/info usr/share/lintian usr/share/bug usr/share/bash-completion var/lib/dpkg/info var/spool
`
  .trim()
  .split(/\s+/);

/** Made by kernels' and loaders' scripts for the machine they think they are on. A system makes its own. */
const OF_THE_BOOT = ["initrd.img", "initrd.img.old", "vmlinuz", "vmlinuz.old"];

/** Removed with all that is below. */
export const REMOVED: Readonly<Record<Purpose, readonly string[]>> = {
  build: [...OF_NO_BUILD, ...OF_THE_MAKER],
  system: [...OF_THE_MAKER, ...OF_THE_BOOT],
};

/** Of these a system keeps the directories with their owners: programs write there and do not make them. Files are the maker's. */
export const WITHOUT_FILES: readonly string[] = ["var/cache", "var/log", "var/spool"];

/** Emptied, and there for a sandbox to mount on. */
export const EMPTIED: readonly string[] = ["dev", "proc", "sys", "run", "tmp", "var/tmp", "var/log", "var/cache", "home", "root"];

/** Made: where sandboxes mount what the world does not have. */
export const MOUNT_POINTS: readonly string[] = ["build", "frx", "frx/store", "dev", "proc", "sys", "tmp", "run"];

/** Written: the same on every machine, where mmdebstrap copied the host's. */
export const WRITTEN: Readonly<Record<string, string>> = {
  "etc/hostname": "localhost\n",
  "etc/hosts": "127.0.0.1 localhost\n::1 localhost\n",
  "etc/resolv.conf": "",
};

/** Files that dpkg and debconf leave as the state before the last. */
export function isLeftOver(relative: string): boolean {
  return relative.startsWith("var/lib/dpkg/") && relative.endsWith("-old");
}

/** Of a system: keys that a package made for the machine, and its initial RAM disk. */
export function isOfOneMachine(relative: string): boolean {
  return /^(?:etc\/ssh\/ssh_host_[^/]*|boot\/initrd\.img-[^/]*)$/.test(relative);
}

export function isTranslation(relative: string): boolean {
  return /^usr\/share\/locale\/[^/]+\/LC_MESSAGES$/.test(relative);
}

/** Named by its digest: a version may hold a colon or a percent sign, and a URI has its own mind about both. */
export function debFileName(each: Pick<LockedPackage, "sha256">): string {
  return `${each.sha256}.deb`;
}

/**
 * The index of a local repository of exactly these packages. `controls` are the packages' own control files, in the order of the
 * lock. The Release file gives the suite a name, by which mmdebstrap looks for essential packages.
 */
export function repositoryFiles(lock: WorldLock, controls: readonly string[]): Readonly<Record<string, string>> {
  const packages = lock.packages
    .map((each, index) => {
      return `${(controls[index] ?? "").trimEnd()}\nFilename: ./${debFileName(each)}\nSize: ${each.sizeBytes}\nSHA256: ${each.sha256}\n`;
    })
    .join("\n");
  const release = [
    "Origin: garth",
    "Label: garth",
    `Suite: ${lock.suite}`,
    `Codename: ${lock.suite}`,
    `Architectures: ${lock.architecture} all`,
    "Date: Thu, 01 Jan 1970 00:00:00 UTC",
    "SHA256:",
    ` ${sha256(packages)} ${Buffer.byteLength(packages)} Packages`,
    "",
  ].join("\n");
  return { Packages: packages, Release: release };
}

/**
 * mmdebstrap with nothing but the local repository: the essential packages first, then the rest inside the chroot.
 *
 * As root it runs in namespaces of its own for mounts and processes, and dies with its parent: whatever it mounted or started is
 * gone with it. Without root it does the same by itself in a user namespace (newuidmap(1) and a range in subuid(5)).
 */
export function debianTreeCommand(plan: DebianTreePlan, lock: WorldLock): readonly [string, ...string[]] {
  const without = plan.purpose === "build" ? UNPACKED_WITHOUT : [];
  const settings = without.map((pattern) => `path-exclude=${pattern}\\n`).join("");
  const own: readonly string[] = plan.isRoot ? ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"] : [];
  return [
    "setpriv",
    "--pdeathsig",
    "KILL",
    ...own,
    "mmdebstrap",
    `--mode=${plan.isRoot ? "root" : "unshare"}`,
    `--format=${plan.isRoot ? "directory" : "tar"}`,
    "--variant=essential",
    `--architectures=${lock.architecture}`,
    `--include=${lock.packages.map((each) => each.name).join(",")}`,
    `--aptopt=APT::Install-Recommends "false"`,
    "--dpkgopt=force-unsafe-io",
    ...(settings === "" ? [] : [`--essential-hook=printf '${settings}' > "$1"/${DPKG_SETTINGS}`]),
    "--skip=check/empty",
    lock.suite,
    plan.target,
    // Each package was checked against the lock; apt's part is to sort them.
    `deb [trusted=yes] copy:${plan.repository} ./`,
  ];
}
