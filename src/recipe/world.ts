/** Build roots: a pinned world, or named directories of the host. The room `world` makes worlds real. */
import { operatingSystemOf, type System } from "../base/index.ts";
import { type Check, Fault, filledText, isRecord, list, matching, oneOf, shape } from "./check.ts";
import { besideCaller, checked } from "./errors.ts";
import { here } from "./location.ts";
import type { HostView } from "./options.ts";
import type { BuildRootChoice, WorldSource } from "./types.ts";

export interface DebianWorldOptions {
  readonly name: string;
  /** "bookworm". */
  readonly suite: string;
  /** Binary packages besides the essential ones. */
  readonly packages: readonly string[];
  /** Relative to the file that says it. Default "debian.lock". */
  readonly lock?: string;
  /**
   * When a mirror no longer has a version of the lock: "strict" refuses and names it; "refresh" takes the new versions, shows the
   * difference and writes the lock. Default "strict".
   */
  readonly policy?: "strict" | "refresh";
}

const debianWorldShape = shape(
  {
    name: matching(/^[A-Za-z0-9][A-Za-z0-9+._-]{0,99}$/, "a name of letters, digits and + . _ -"),
    suite: matching(/^[a-z][a-z0-9-]*$/, "the name of a Debian suite"),
    packages: list(matching(/^[a-z0-9][a-z0-9+.-]+$/, "the name of a Debian package")),
    lock: filledText,
    policy: oneOf("strict", "refresh"),
  },
  ["name", "suite", "packages"],
);

/** A tree of Debian packages, pinned by name, version and SHA-256 in a lock file. @throws Problem E_RECIPE_INVALID */
export function debianWorld(options: DebianWorldOptions): WorldSource {
  const site = here();
  checked("debianWorld", "debianWorld", site, () => debianWorldShape(options));
  return {
    kind: "debian-world",
    name: options.name,
    suite: options.suite,
    packages: [...new Set(options.packages)].toSorted(),
    lock: besideCaller("debianWorld", "lock", site, options.lock ?? "debian.lock"),
    policy: options.policy ?? "strict",
  };
}

const hostViewShape = shape({ paths: list(matching(/^\/[^\0]*$/, "an absolute path"), 1) });

/** Directories of the host, read-only; the receipt counts them. @throws Problem E_RECIPE_INVALID */
export function hostView(options: { readonly paths?: readonly string[] } = {}): HostView {
  const site = here();
  checked("hostView", "hostView", site, () => hostViewShape(options));
  return { kind: "host-view", paths: options.paths };
}

export const buildRootValue: Check = (value) => {
  const kind = isRecord(value) ? value["kind"] : undefined;
  if (kind !== "debian-world" && kind !== "host-view") throw new Fault("debianWorld(...) or hostView(...)", value);
};

/**
 * The base system's compiler, make and tools; why each is here, and what is not: notes/0026-freebsd-host-view.md. What a host does not
 * have (a compiler is a set of its own) is left out there.
 */
const FREEBSD_PATHS = [
  "/bin",
  "/lib",
  "/libexec",
  "/usr/bin",
  "/usr/include",
  "/usr/lib",
  "/usr/libdata",
  "/usr/libexec",
  "/usr/share/locale/C.UTF-8",
  "/usr/share/mk",
];

/** The directories of the system's own compiler and tools. FreeBSD: those of the base system. Linux: of a merged /usr. */
const HOST_PATHS: Readonly<Record<System, readonly string[]>> = {
  "x86_64-linux": ["/bin", "/etc/alternatives", "/lib", "/lib64", "/usr"],
  "aarch64-linux": ["/bin", "/etc/alternatives", "/lib", "/usr"],
  "x86_64-freebsd": FREEBSD_PATHS,
  "aarch64-freebsd": FREEBSD_PATHS,
};

/** Enough for every build system but cargo. */
const DEFAULT_PACKAGES = [
  "binutils",
  "bzip2",
  "cmake",
  "g++",
  "gcc",
  "libc6-dev",
  "make",
  "patch",
  "pkgconf",
  "unzip",
  "xz-utils",
];

/** `directory` is that of the project file: the default world's lock lies there. */
export function buildRootFor(choice: WorldSource | HostView | undefined, system: System, directory: string): BuildRootChoice {
  if (choice?.kind === "host-view") return { kind: "host", paths: choice.paths ?? HOST_PATHS[system] };
  if (choice !== undefined) return { kind: "world", world: choice };
  if (operatingSystemOf(system) === "freebsd") return { kind: "host", paths: HOST_PATHS[system] };
  return {
    kind: "world",
    world: {
      kind: "debian-world",
      name: "build",
      suite: "bookworm",
      packages: DEFAULT_PACKAGES,
      lock: `${directory}/debian.lock`,
      policy: "strict",
    },
  };
}

/** Where programs are in a build root. */
export function searchPath(system: System): string {
  return operatingSystemOf(system) === "freebsd" ? "/bin:/usr/bin:/usr/local/bin" : "/usr/bin:/bin";
}
