/** Worlds and slices as a project file says them. */
import { isStorePath } from "../base/index.ts";
import {
  besideCaller,
  type Buildable,
  type Check,
  checked,
  Fault,
  type Fetch,
  fetchValue,
  filledText,
  here,
  isBuildable,
  isRecord,
  list,
  matching,
  oneOf,
  recordOf,
  shape,
} from "../recipe/index.ts";
import { locatedRepository, remoteRepository } from "./remote.ts";
import type { RemoteRepository, Role, SliceDeclaration, Source, WorldDeclaration, WorldOrigin } from "./types.ts";

const SET = /^[A-Za-z0-9][A-Za-z0-9._-]*\.(?:txz|tar|tgz|tzst)$/;
const NAME = /^[A-Za-z0-9][A-Za-z0-9+._-]{0,63}$/;
const name = matching(NAME, "a name of letters, digits and + . _ -");

const pattern: Check = (value) => {
  filledText(value);
  if (typeof value !== "string") return;
  if (value.startsWith("/") || value.endsWith("/"))
    throw new Fault("a path relative to the root of the world, without slashes at its ends", value);
  if (value.split("/").some((part) => part === "" || part === "." || part === ".."))
    throw new Fault("a path without empty parts, . and ..", value);
};

export interface WorldOptions {
  readonly name: string;
  /** For people: "15.0-STABLE". Default: the suite of a Debian world, "local" otherwise. */
  readonly label?: string;
  /** Packages of Debian with everything they need, pinned by a lock file as in `debianWorld`. */
  readonly debian?: {
    readonly suite: string;
    readonly packages: readonly string[];
    readonly lock?: string;
    readonly policy?: "strict" | "refresh";
  };
  /** A tree of this machine, relative to the project file. */
  readonly directory?: string;
  /** A tar archive: fetched, or a file relative to the project file. */
  readonly archive?: Fetch | string;
  /** A world that `garth world import` has taken in: its store path. The store must keep it (`garth store roots`), or have it again by the same import. */
  readonly item?: string;
  /** FreeBSD's distribution sets, `base.txz` and `kernel.txz`, and the MANIFEST that lies beside them: sources, or files relative to the project file. */
  readonly sets?: { readonly manifest: Fetch | string; readonly archives: Readonly<Record<string, Fetch | string>> };
  /**
   * FreeBSD's base system as packages: a signed repository, and names of packages that come with all they need
   * ("FreeBSD-set-base", "FreeBSD-kernel-generic"). The repository is read again each time: what it has now is the world.
   */
  readonly packages?: { readonly repository: RemoteRepository; readonly names: readonly string[] };
  /**
   * What a recipe installs under its output, as under a DESTDIR. Files are root's, unless a METALOG at the top of the output says owners
   * and modes, as `make installworld -DNO_ROOT` of FreeBSD writes it.
   */
  readonly recipe?: Buildable;
}

const source: Check = (value) => (typeof value === "string" ? filledText(value) : fetchValue(value));

const buildable: Check = (value) => {
  if (!isBuildable(value)) throw new Fault("a recipe", value);
};

const worldShape = shape(
  {
    name,
    label: name,
    debian: shape(
      {
        suite: matching(/^[a-z][a-z0-9-]*$/, "the name of a Debian suite"),
        packages: list(matching(/^[a-z0-9][a-z0-9+.-]+$/, "the name of a Debian package"), 1),
        lock: filledText,
        policy: oneOf("strict", "refresh"),
      },
      ["suite", "packages"],
    ),
    directory: filledText,
    archive: source,
    item: (value) => {
      filledText(value);
      if (typeof value === "string" && !isStorePath(value)) throw new Fault("the store path of a world: /frx/store/...", value);
    },
    sets: shape(
      {
        manifest: source,
        archives: recordOf(source, matching(SET, "the name of a set, as the MANIFEST has it: base.txz")),
      },
      ["manifest", "archives"],
    ),
    packages: shape({ repository: remoteRepository, names: list(name, 1) }, ["repository", "names"]),
    recipe: buildable,
  },
  ["name"],
);

const ORIGINS = ["debian", "directory", "archive", "item", "sets", "packages", "recipe"] as const;

/** The tree of a whole system: from Debian packages, a directory, an archive, an item, FreeBSD's sets or packages, a recipe. @throws Problem E_RECIPE_INVALID */
export function world(options: WorldOptions): WorldDeclaration {
  const site = here();
  checked("world", isRecord(options) && typeof options.name === "string" ? `world ${options.name}` : "world", site, () => {
    worldShape(options);
    const given = ORIGINS.filter((each) => options[each] !== undefined);
    if (given.length !== 1)
      throw new Fault(
        "one of debian, directory, archive, item, sets, packages and recipe",
        given.length === 0 ? undefined : given.join(" and "),
      );
    if (options.sets !== undefined && Object.keys(options.sets.archives).length === 0)
      throw new Fault("at least one set in sets.archives", options.sets.archives);
  });
  const { debian, directory, archive, item, sets, packages, recipe } = options;
  const sourceOf = (field: string, given: Fetch | string): Source =>
    typeof given === "string" ? { path: besideCaller("world", field, site, given) } : given;
  const origin = (): WorldOrigin => {
    if (debian !== undefined) {
      const lock = besideCaller("world", "debian.lock", site, debian.lock ?? `${options.name}.lock`);
      const packages = [...new Set(debian.packages)].toSorted();
      const policy = debian.policy ?? "strict";
      return {
        kind: "debian",
        source: { kind: "debian-world", purpose: "system", name: options.name, suite: debian.suite, packages, lock, policy },
      };
    }
    if (directory !== undefined) return { kind: "directory", path: besideCaller("world", "directory", site, directory) };
    if (archive !== undefined) return { kind: "archive", source: sourceOf("archive", archive) };
    if (item !== undefined && isStorePath(item)) return { kind: "item", path: item };
    if (sets !== undefined) {
      const archives = Object.entries(sets.archives).map(([set, given]) => ({
        name: set,
        source: sourceOf("sets.archives", given),
      }));
      return { kind: "sets", manifest: sourceOf("sets.manifest", sets.manifest), archives };
    }
    if (packages !== undefined) {
      const repository = locatedRepository("world", "packages.repository", site, packages.repository);
      return { kind: "packages", repository, packages: [...new Set(packages.names)] };
    }
    if (recipe !== undefined) return { kind: "recipe", recipe };
    throw new Error("a world without an origin passed its check");
  };
  return { kind: "world", name: options.name, label: options.label ?? debian?.suite ?? "local", origin: origin(), site };
}

export interface SliceOptions {
  /** What the slice is for in a system. */
  readonly role: Role;
  /** Default: the world's name and the role. */
  readonly name?: string;
  /** Paths and patterns relative to the root. Default: everything. */
  readonly keep?: readonly string[];
  /** Less these. */
  readonly prune?: readonly string[];
}

const sliceShape = shape(
  { role: oneOf("kernel", "boot", "runtime", "development"), name, keep: list(pattern), prune: list(pattern) },
  ["role"],
);

/** A part of a world by the paths it keeps and those it leaves out; both lists are recorded in the item. @throws Problem E_RECIPE_INVALID */
export function slice(of: WorldDeclaration, options: SliceOptions): SliceDeclaration {
  const site = here();
  const subject = isRecord(options) && typeof options.role === "string" ? `slice ${options.role}` : "slice";
  checked("slice", subject, site, () => {
    if (!isWorldDeclaration(of)) throw new Fault("a world: what world({ ... }) returned", of);
    sliceShape(options);
  });
  const { role, keep = [], prune = [] } = options;
  return { kind: "slice", world: of, role, name: options.name ?? `${of.name}-${role}`, keep, prune, site };
}

export function isWorldDeclaration(value: unknown): value is WorldDeclaration {
  return isRecord(value) && value["kind"] === "world";
}

export function isSlice(value: unknown): value is SliceDeclaration {
  return isRecord(value) && value["kind"] === "slice";
}

/** What nobody needs to boot and to run: headers, documentation, tests, and what is in the slices below. */
const NOT_AT_RUN_TIME = [
  "boot",
  "rescue",
  "usr/include",
  "usr/lib/debug",
  "usr/lib32",
  "usr/obj",
  "usr/share/bug",
  "usr/share/doc",
  "usr/share/doc-base",
  "usr/share/examples",
  "usr/share/info",
  "usr/share/lintian",
  "usr/share/man",
  "usr/share/mk",
  "usr/src",
  "usr/tests",
];

/** Of a tree of Debian packages, and of FreeBSD's base system. */
const STANDARD: Readonly<Record<"linux" | "freebsd", Readonly<Record<Role, Omit<SliceOptions, "role" | "name">>>>> = {
  linux: {
    kernel: { keep: ["boot/vmlinuz-*", "boot/config-*", "boot/System.map-*", "usr/lib/modules"] },
    boot: { keep: ["usr/lib/systemd/boot", "usr/bin/busybox"] },
    runtime: { prune: [...NOT_AT_RUN_TIME, "usr/lib/modules", "usr/lib/systemd/boot"] },
    development: { keep: ["usr/include", "usr/lib/**/*.a", "usr/lib/**/pkgconfig", "usr/share/pkgconfig", "usr/share/aclocal"] },
  },
  freebsd: {
    kernel: { keep: ["boot/kernel"] },
    boot: { keep: ["boot/loader", "boot/loader.efi", "boot/device.hints", "boot/defaults", "boot/lua", "boot/fonts"] },
    runtime: { prune: [...NOT_AT_RUN_TIME, "usr/lib/*.a"] },
    development: { keep: ["usr/include", "usr/share/mk", "usr/lib/*.a"] },
  },
};

/** The four slices that a system is made of, by the lists that suit most. @throws Problem E_RECIPE_INVALID */
export function slices(of: WorldDeclaration, family: "linux" | "freebsd" = "linux"): Readonly<Record<Role, SliceDeclaration>> {
  const standard = STANDARD[family];
  return {
    kernel: slice(of, { role: "kernel", ...standard.kernel }),
    boot: slice(of, { role: "boot", ...standard.boot }),
    runtime: slice(of, { role: "runtime", ...standard.runtime }),
    development: slice(of, { role: "development", ...standard.development }),
  };
}
