/** A system as a project file says it: checked field by field at once, defaults filled in. */
import { parseSize } from "../base/index.ts";
import { isPackageName, type RepositoryDeclaration } from "../pkg/index.ts";
import {
  type Buildable,
  type Check,
  checked,
  Fault,
  filledText,
  flag,
  here,
  isBuildable,
  isRecord,
  list,
  matching,
  oneOf,
  recordOf,
  secretIn,
  shape,
  type Site,
  text,
} from "../recipe/index.ts";
import { isSlice, locatedRepository, remoteRepository, type SliceDeclaration } from "../world/index.ts";
import { checkTogether } from "./consistent.ts";
import { fillIn } from "./defaults.ts";
import type { InstallSource, SystemDeclaration } from "./types.ts";

export interface UserOptions {
  readonly name: string;
  readonly uid?: number;
  readonly group?: string;
  readonly groups?: readonly string[];
  readonly home?: string;
  readonly shell?: string;
  readonly comment?: string;
  /** Public keys, as lines of authorized_keys. */
  readonly authorizedKeys?: readonly string[];
  /** Name of a secret that holds a crypt(3) hash. Without it the password is locked. */
  readonly passwordSecret?: string;
}

export interface ServiceOptions {
  readonly name: string;
  /** What runs, in the foreground. Without it the service is one the base or a package brings, and is only enabled. */
  readonly command?: readonly string[];
  /** Run before `command`, one after the other, as root. */
  readonly prepare?: readonly (readonly string[])[];
  readonly user?: string;
  readonly environment?: Readonly<Record<string, string>>;
  readonly after?: readonly string[];
  /** Default "always"; "never" for a one-shot. */
  readonly restart?: "always" | "on-failure" | "never";
  readonly oneShot?: boolean;
  /** TCP port it answers at when it is up. Without one a service is up when it runs. */
  readonly listens?: number;
}

export interface FileSystemOptions {
  readonly mountPoint: string;
  readonly type: string;
  /** A partition by its GPT label. */
  readonly label?: string;
  /** Or a device by its name: "tmpfs", "/dev/vdb1". */
  readonly device?: string;
  readonly options?: readonly string[];
}

export interface SystemOptions {
  readonly name: string;
  readonly family?: "linux" | "freebsd";
  /** Default: the name. */
  readonly hostName?: string;
  readonly timeZone?: string;
  /** The slice with the kernel and its modules. */
  readonly kernel: SliceDeclaration;
  /** The slice with the loader, and on Linux the program of the initial RAM disk. */
  readonly bootloader: SliceDeclaration;
  /** What the system runs: at least a runtime slice. */
  readonly base: readonly SliceDeclaration[];
  /** Recipes; what they build appears under /usr/local. */
  readonly packages?: readonly Buildable[];
  /** Packages out of signed repositories, with all they need. */
  readonly install?: readonly { readonly repository: InstallSource; readonly packages: readonly string[] }[];
  /** A profile beside the running system, which does not refer to it. */
  readonly development?: readonly SliceDeclaration[];
  /**
   * Linux: "systemd" (default), "busybox". FreeBSD: "rc". Or a program that becomes process 1: it says itself that the system is ready, by
   * `/run/current-system/generations confirm`, or a switch to it is taken back.
   */
  readonly init?: "systemd" | "busybox" | "rc" | { readonly exec: string };
  readonly users?: readonly UserOptions[];
  readonly groups?: readonly { readonly name: string; readonly gid?: number; readonly members?: readonly string[] }[];
  /** Default: the root by its label, and what the family needs. Given ones are added; one for "/" replaces the root's. */
  readonly fileSystems?: readonly FileSystemOptions[];
  readonly services?: readonly (string | ServiceOptions)[];
  /** Services that must run before the system says that it is ready. Default: all. */
  readonly readiness?: readonly string[];
  /** Default: DHCP on the first interface. */
  readonly network?: readonly {
    readonly interface?: string;
    readonly address: "dhcp" | { readonly cidr: string; readonly gateway?: string };
  }[];
  readonly nameServers?: readonly string[];
  /** Linux: takes name, address and keys from the disk labelled CIDATA of its machine, where there is one. See `poolGuest`. */
  readonly seed?: boolean;
  /** By reference: where a secret is to be. Its value comes to the running machine and is in no store. */
  readonly secrets?: readonly {
    readonly name: string;
    readonly path?: string;
    readonly user?: string;
    readonly group?: string;
    readonly mode?: number;
  }[];
  /** Files below /etc: a text, or one with owner and mode. */
  readonly etc?: Readonly<
    Record<string, string | { readonly text: string; readonly mode?: number; readonly user?: string; readonly group?: string }>
  >;
  readonly console?: string;
  readonly kernelParameters?: readonly string[];
  readonly rootModules?: readonly string[];
  /** Linux, under busybox: false where `rootModules` names all there is to load, which saves a second of each start. Default true. */
  readonly coldplug?: boolean;
  readonly loaderSettings?: Readonly<Record<string, string>>;
  readonly rcSettings?: Readonly<Record<string, string>>;
  /** Sizes as "512M" or "2G". Without them a disk is as large as its contents need, and some room. */
  readonly disk?: {
    readonly size?: string;
    readonly esp?: string;
    readonly root?: string;
    readonly rootFree?: string;
    readonly rootLabel?: string;
    readonly espLabel?: string;
    /** Default: "ext4" of Linux, "ufs" of FreeBSD, whose root can also be "zfs" where makefs(8) of the host makes that. */
    readonly rootType?: "ext4" | "ufs" | "zfs";
    /** Of a ZFS root. Default "zroot". */
    readonly pool?: string;
  };
}

/** useradd(8), pw(8): what both take. */
const accountName = matching(
  /^[a-z_][a-z0-9_-]{0,30}$/,
  "a name of up to 31 lowercase letters, digits, - and _, not starting with a digit",
);
const id: Check = (value) => {
  if (typeof value !== "number" || !Number.isInteger(value) || value < 0 || value > 4_294_967_293)
    throw new Fault("a numeric id", value);
};
const absolutePath: Check = (value) => {
  matching(/^\/(?:[^/\0\n]+(?:\/[^/\0\n]+)*)?$/, "an absolute path without // and a slash at its end")(value);
  if (typeof value === "string" && hasDots(value)) throw new Fault("an absolute path without . and ..", value);
};
const filePath: Check = (value) => {
  absolutePath(value);
  if (value === "/") throw new Fault("the path of a file", value);
};
/** passwd(5) has its fields between colons. */
const accountPath: Check = (value) => {
  absolutePath(value);
  if (typeof value === "string" && value.includes(":")) throw new Fault("a path without :", value);
};
const relativePath: Check = (value) => {
  if (typeof value !== "string" || !/^[^/\0\n]+(?:\/[^/\0\n]+)*$/.test(value) || hasDots(value))
    throw new Fault("a path below /etc, without . and ..", value);
};
const mode: Check = (value) => {
  if (typeof value !== "number" || !Number.isInteger(value) || value < 0 || value > 0o777)
    throw new Fault("permission bits: 0o600", value);
};
/** A word of a file in which white space and # have a meaning. */
const word = matching(/^[^\s#"'\\\0]+$/, "one word, without spaces, quotes and #");
const size: Check = (value) => {
  filledText(value);
  if (typeof value === "string" && sizeOf(value) === undefined) throw new Fault('a size such as "512M" or "2G"', value);
};
const notSecret: Check = (value) => {
  text(value);
  const form = typeof value === "string" ? secretIn(value) : undefined;
  if (form !== undefined)
    throw new Fault("text that everybody may read", form, "the store is readable by all: use `secrets`, which are by reference");
};
const line: Check = (value) => {
  notSecret(value);
  matching(/^[^\n\0]*$/, "one line")(value);
};
/** sshd(8), "AUTHORIZED_KEYS FILE FORMAT": options between commas, some with a value in quotes; key type, key, comment. */
const publicKey = matching(
  /^(?:[A-Za-z0-9-]+(?:="(?:[^"\\\n]|\\[^\n])*")?(?:,[A-Za-z0-9-]+(?:="(?:[^"\\\n]|\\[^\n])*")?)* )?(?:ssh-(?:ed25519|rsa)|ecdsa-sha2-\S+|sk-\S+) [A-Za-z0-9+/=]+(?: [^\n]*)?$/,
  "a public key as in authorized_keys: ssh-ed25519 AAAA...",
);
const address: Check = (value) => {
  if (typeof value !== "string" || addressBits(value) === undefined) throw new Fault("an IPv4 or IPv6 address", value);
};
const cidr: Check = (value) => {
  const [host = "", prefix = "", ...more] = typeof value === "string" ? value.split("/") : [];
  const bits = addressBits(host);
  if (bits === undefined || more.length > 0 || !/^\d{1,3}$/.test(prefix) || Number(prefix) > bits)
    throw new Fault("an address with its prefix: 10.0.2.15/24", value);
};
const serviceName = matching(/^[A-Za-z0-9_][A-Za-z0-9_.@-]{0,63}$/, "the name of a service");
const variable = matching(/^[A-Za-z_][A-Za-z0-9_]*$/, "the name of a variable");
const command = list(line, 1);
const sliceValue: Check = (value) => {
  if (!isSlice(value)) throw new Fault("a slice: what slice(world, { ... }) returned", value);
};
const buildable: Check = (value) => {
  if (!isBuildable(value)) throw new Fault("a recipe", value);
};
const packageName: Check = (value) => {
  if (typeof value !== "string" || !isPackageName(value)) throw new Fault("the name of a package", value);
};

function hasDots(path: string): boolean {
  return path.split("/").some((part) => part === "." || part === "..");
}

/** 32, 128, or undefined where it is no address. */
function addressBits(text: string): 32 | 128 | undefined {
  const isByte = (part: string): boolean => /^(?:0|[1-9]\d{0,2})$/.test(part) && Number(part) < 256;
  const parts = text.split(".");
  if (parts.length === 4 && parts.every(isByte)) return 32;
  return /^[0-9a-fA-F:.]+$/.test(text) && text.includes(":") && URL.canParse(`http://[${text}]/`) ? 128 : undefined;
}

function sizeOf(value: string): number | undefined {
  try {
    return parseSize(value);
  } catch {
    return undefined;
  }
}

const repositoryValue: Check = (value) => {
  if (isRecord(value) && value["kind"] === "repository") return;
  remoteRepository(value);
};

const serviceShape = shape(
  {
    name: serviceName,
    command,
    prepare: list(command),
    user: accountName,
    environment: recordOf(notSecret, variable),
    after: list(serviceName),
    restart: oneOf("always", "on-failure", "never"),
    oneShot: flag,
    listens: (value) => {
      if (typeof value !== "number" || !Number.isInteger(value) || value < 1 || value > 65_535)
        throw new Fault("a TCP port", value);
    },
  },
  ["name"],
);

const systemShape = shape(
  {
    name: matching(/^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/, "a name of letters, digits and . _ -"),
    family: oneOf("linux", "freebsd"),
    hostName: matching(/^[A-Za-z0-9](?:[A-Za-z0-9-]{0,62})(?:\.[A-Za-z0-9-]{1,63})*$/, "a host name"),
    timeZone: matching(/^[A-Za-z0-9_+-]+(?:\/[A-Za-z0-9_+-]+)*$/, "the name of a time zone: Europe/Berlin, UTC"),
    kernel: sliceValue,
    bootloader: sliceValue,
    base: list(sliceValue, 1),
    packages: list(buildable),
    install: list(shape({ repository: repositoryValue, packages: list(packageName, 1) }, ["repository", "packages"])),
    development: list(sliceValue),
    init: (value) => {
      if (isRecord(value)) shape({ exec: filePath }, ["exec"])(value);
      else oneOf("systemd", "busybox", "rc")(value);
    },
    users: list(
      shape(
        {
          name: accountName,
          uid: id,
          group: accountName,
          groups: list(accountName),
          home: accountPath,
          shell: accountPath,
          comment: matching(/^[^:\n\0]*$/, "text without : and line breaks"),
          authorizedKeys: list(publicKey),
          passwordSecret: filledText,
        },
        ["name"],
      ),
    ),
    groups: list(shape({ name: accountName, gid: id, members: list(accountName) }, ["name"])),
    fileSystems: list(
      shape({ mountPoint: absolutePath, type: word, label: word, device: word, options: list(word) }, ["mountPoint", "type"]),
    ),
    services: list((value) => (typeof value === "string" ? serviceName(value) : serviceShape(value))),
    readiness: list(serviceName),
    network: list(
      shape(
        {
          interface: matching(/^(?:\*|[A-Za-z][A-Za-z0-9.]{0,14})$/, 'the name of an interface, or "*"'),
          address: (value) => {
            if (value === "dhcp") return;
            shape(
              {
                cidr,
                gateway: address,
              },
              ["cidr"],
            )(value);
          },
        },
        ["address"],
      ),
    ),
    nameServers: list(address),
    seed: flag,
    secrets: list(
      shape(
        {
          name: matching(/^[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}$/, "the name of a credential"),
          path: filePath,
          user: accountName,
          group: accountName,
          mode,
        },
        ["name"],
      ),
    ),
    etc: recordOf(
      (value) =>
        typeof value === "string"
          ? notSecret(value)
          : shape({ text: notSecret, mode, user: accountName, group: accountName }, ["text"])(value),
      relativePath,
    ),
    console: word,
    kernelParameters: list((value) => {
      notSecret(value);
      matching(/^[^\s\0]+$/, "one kernel parameter, without spaces")(value);
    }),
    rootModules: list(matching(/^[A-Za-z0-9_-]+$/, "the name of a kernel module")),
    coldplug: flag,
    loaderSettings: recordOf(line, matching(/^[A-Za-z0-9_.-]+$/, "the name of a loader variable")),
    rcSettings: recordOf(line, variable),
    disk: shape({
      size,
      esp: size,
      root: size,
      rootFree: size,
      rootLabel: partitionLabel,
      espLabel: partitionLabel,
      rootType: oneOf("ext4", "ufs", "zfs"),
      // What makefs(8) takes of what zpoolconcepts(7) allows.
      pool: matching(
        /^(?!mirror|raidz|draid|spare|log$)[A-Za-z][A-Za-z0-9_]{0,31}$/,
        "a name of up to 32 letters, digits and _ that begins with a letter, and is none of ZFS's own words",
      ),
    }),
  },
  ["name", "kernel", "bootloader", "base"],
);

function partitionLabel(value: unknown): void {
  // 16 bytes is what ext4 and UFS keep, 11 what FAT does; the GPT takes 36.
  matching(/^[A-Za-z0-9_-]{1,16}$/, "1 to 16 letters, digits, - and _")(value);
}

/** An operating system: from slices, recipes and packages to something that boots. @throws Problem E_RECIPE_INVALID with the field */
export function system(options: SystemOptions): SystemDeclaration {
  const site = here();
  const subject = isRecord(options) && typeof options.name === "string" ? `system ${options.name}` : "system";
  return checked("system", subject, site, () => {
    systemShape(options);
    const spec = fillIn(options);
    checkTogether(options, spec);
    return {
      kind: "system",
      spec,
      kernel: options.kernel,
      bootloader: options.bootloader,
      base: options.base,
      packages: options.packages ?? [],
      install: (options.install ?? []).map(({ repository, packages }) => ({ repository: located(repository, site), packages })),
      development: options.development ?? [],
      site,
    };
  });
}

function located(repository: InstallSource, site: Site): InstallSource {
  return isOfProject(repository) ? repository : locatedRepository("system", "install", site, repository);
}

export function isOfProject(repository: InstallSource): repository is RepositoryDeclaration<Buildable> {
  return repository.kind === "repository";
}
