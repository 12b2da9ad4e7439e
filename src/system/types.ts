/**
 * The shapes of a system on its way to a disk:
 *
 *   SystemDeclaration   what a person declares: slices, recipes, repositories by reference; defaults not filled in.
 *   SystemSpec          the same as plain data, every default filled in, for one family; what is rendered and recorded.
 *   Composition         the spec with the store items that its parts came to, each with its listing.
 *   PlannedTree         every path of a profile or of the system item before anything is written.
 *   RootPlan            every path of the root file system with owner and mode; an image is made of it and nothing else.
 */
import type { StorePath } from "../base/index.ts";
import type { Content, FileSystemEntry } from "../formats/index.ts";
import type { RepositoryDeclaration } from "../pkg/index.ts";
import type { Buildable, Site } from "../recipe/index.ts";
import type { AttributeTable, ListedEntry, RemoteRepository, SliceDeclaration } from "../world/index.ts";

export type Family = "linux" | "freebsd";

export interface UserSpec {
  readonly name: string;
  /** Default: the one the base has for the name, or the first free from 1000. */
  readonly uid: number | undefined;
  /** Primary group. Default: a group of the user's name, with the user's number. */
  readonly group: string | undefined;
  /** Supplementary groups. */
  readonly groups: readonly string[];
  readonly home: string;
  readonly shell: string;
  readonly comment: string;
  /** Public keys, as lines of authorized_keys(5). */
  readonly authorizedKeys: readonly string[];
  /** Name of a secret that holds a crypt(3) hash. Without it the password is locked. */
  readonly passwordSecret: string | undefined;
}

export interface GroupSpec {
  readonly name: string;
  readonly gid: number | undefined;
  readonly members: readonly string[];
}

export interface FileSystemSpec {
  readonly mountPoint: string;
  /** "ext4", "ufs", "tmpfs", "vfat", "msdosfs", "devfs" ... as mount(8) calls it. */
  readonly type: string;
  /** A partition by its label, or a device or pseudo device by its name. */
  readonly source: { readonly label: string } | { readonly device: string };
  readonly options: readonly string[];
}

export interface ServiceSpec {
  readonly name: string;
  /** What runs, in the foreground; absolute path first. undefined: the base or a package brings the service and it is only enabled. */
  readonly command: readonly string[] | undefined;
  /** Run before `command`, one after the other. */
  readonly prepare: readonly (readonly string[])[];
  readonly user: string;
  readonly environment: Readonly<Record<string, string>>;
  /** Services that are started before it. */
  readonly after: readonly string[];
  readonly restart: "always" | "on-failure" | "never";
  /** Ends by itself and counts as reached when it did so with status 0. */
  readonly oneShot: boolean;
  /** TCP port it answers at when it is reached. undefined: it is reached when it runs. */
  readonly listens: number | undefined;
}

export interface NetworkSpec {
  /** "vtnet0", "eth0"; "*" is the first there is. */
  readonly interface: string;
  readonly address: "dhcp" | { readonly cidr: string; readonly gateway: string | undefined };
}

/** A file under /etc that the declaration gives. */
export interface EtcFileSpec {
  readonly text: string;
  readonly mode: number;
  readonly user: string;
  readonly group: string;
}

/**
 * A secret is declared and never stored: the closure says where it is to be and whose it is, the value comes to the running machine as
 * a credential of that name.
 */
export interface SecretSpec {
  readonly name: string;
  readonly path: string;
  readonly user: string;
  readonly group: string;
  readonly mode: number;
}

/**
 * Who is process 1. Linux: "systemd", or "busybox" with an inittab. FreeBSD: "rc". `exec` is any other program, by its path in the
 * running system.
 */
export type InitSpec = "systemd" | "busybox" | "rc" | { readonly exec: string };

export interface DiskSpec {
  /** Of the whole disk; undefined: as large as its partitions need. */
  readonly sizeBytes: number | undefined;
  readonly espBytes: number;
  /** Of the root file system; undefined: its contents and `rootFreeBytes`. */
  readonly rootBytes: number | undefined;
  readonly rootFreeBytes: number | undefined;
  readonly rootLabel: string;
  readonly espLabel: string;
  /** FreeBSD: the root is a dataset of this ZFS pool, which makefs(8) makes (`rootDataset`). Absent: ext4 of Linux, UFS2 of FreeBSD. */
  readonly pool?: string;
}

export interface SystemSpec {
  readonly name: string;
  readonly family: Family;
  readonly hostName: string;
  readonly timeZone: string;
  readonly init: InitSpec;
  readonly users: readonly UserSpec[];
  readonly groups: readonly GroupSpec[];
  readonly fileSystems: readonly FileSystemSpec[];
  readonly services: readonly ServiceSpec[];
  /** Services that must have been reached before the system says that it is ready. */
  readonly readiness: readonly string[];
  readonly network: readonly NetworkSpec[];
  readonly nameServers: readonly string[];
  /** Linux: name, address and keys are those of the seed disk, where there is one. */
  readonly seed: boolean;
  readonly secrets: readonly SecretSpec[];
  /** Path below /etc -> file. */
  readonly etc: Readonly<Record<string, EtcFileSpec>>;
  /** "ttyS0,115200" (Linux), "comconsole" (FreeBSD). */
  readonly console: string;
  readonly kernelParameters: readonly string[];
  /** Linux: modules the initial RAM disk loads before it looks for the root, besides what they need themselves. */
  readonly rootModules: readonly string[];
  /** Linux, under busybox: at each start every device is asked which module it wants. */
  readonly coldplug: boolean;
  /** FreeBSD: lines of loader.conf(5) and rc.conf(5) beside those that follow from the rest. */
  readonly loaderSettings: Readonly<Record<string, string>>;
  readonly rcSettings: Readonly<Record<string, string>>;
  readonly disk: DiskSpec;
}

/** A repository that packages are taken from: one of the project, or somebody's. */
export type InstallSource = RepositoryDeclaration<Buildable> | RemoteRepository;

export interface SystemDeclaration {
  readonly kind: "system";
  readonly spec: SystemSpec;
  readonly kernel: SliceDeclaration;
  readonly bootloader: SliceDeclaration;
  /** Merged in this order; two files at one path are an error. */
  readonly base: readonly SliceDeclaration[];
  readonly packages: readonly Buildable[];
  readonly install: readonly { readonly repository: InstallSource; readonly packages: readonly string[] }[];
  /** In the development profile, which the running system does not refer to. */
  readonly development: readonly SliceDeclaration[];
  readonly site: Site;
}

/** A store item that is part of a system. */
export interface Part {
  readonly path: StorePath;
  /** How people call it: "guest-runtime", "hello-2.10". */
  readonly name: string;
  /**
   * native: a slice of a world. host: directories of a machine that nobody pinned. store: what a recipe built. package: unpacked from
   * a signed repository.
   */
  readonly origin: "native" | "host" | "store" | "package";
  /** Where the item's root lies in the system: "" or "usr/local". */
  readonly prefix: string;
  readonly listing: readonly ListedEntry[];
  readonly attributes: AttributeTable;
}

export interface Composition {
  readonly spec: SystemSpec;
  readonly kernel: Part;
  readonly bootloader: Part;
  readonly base: readonly Part[];
  readonly packages: readonly Part[];
  readonly development: readonly Part[];
  /** Texts that others build on, by their path in the base or the kernel slice: "etc/passwd", "etc/group", modules.dep, ... */
  readonly baseTexts: ReadonlyMap<string, string>;
}

/** A file of the closure: made, or the same as in a part. */
export type PlannedContent =
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "part"; readonly part: StorePath; readonly path: string }
  /** An initial RAM disk: a cpio archive of the tree, with the device node for the console that process 1 opens. */
  | { readonly kind: "initrd"; readonly tree: PlannedTree };

export type PlannedEntry =
  | { readonly type: "directory" }
  | { readonly type: "symlink"; readonly target: string }
  | { readonly type: "file"; readonly executable: boolean; readonly content: PlannedContent };

/** A tree that is going to be an item: every path with what it is, directories before what is in them. */
export type PlannedTree = ReadonlyMap<string, PlannedEntry>;

/** The system item, before it is written. The profiles are items already. */
export interface ClosurePlan {
  readonly tree: PlannedTree;
  /** Paths below etc/ of the system item whose owner or mode is not root's 0644 (0755 for directories and programs). */
  readonly etcOwners: AttributeTable;
  /** Kernel parameters beside `garth.system=`, in order. */
  readonly commandLine: readonly string[];
}

/** The root file system: every path, in the order in which an image holds them. */
export interface RootPlan {
  readonly entries: readonly FileSystemEntry[];
  /** What goes on the EFI system partition. */
  readonly esp: readonly { readonly path: string; readonly content: Content }[];
  /** Store items in the image, sorted. */
  readonly items: readonly StorePath[];
}
