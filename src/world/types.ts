/** What the room hands around: locks of Debian packages, worlds as declared, slices of them, and listings of trees. */
import type { StorePath } from "../base/index.ts";
import type { Buildable, Fetch, Site, WorldSource } from "../recipe/index.ts";

/** What a lock file holds. No host and no URL: the same lock works with every mirror, and with none once the files are there. */
export interface LockedPackage {
  readonly name: string;
  /** Debian's version, with epoch and revision: `1:1.2.13.dfsg-1`. */
  readonly version: string;
  /** The world's own architecture, or `all`. */
  readonly architecture: string;
  /** Of the .deb file. */
  readonly sha256: string;
  readonly sizeBytes: number;
}

export interface WorldLock {
  readonly suite: string;
  /** Debian's name: `amd64`, `arm64`. */
  readonly architecture: string;
  /** The packages that were asked for, sorted. `packages` is what they came to with everything they need. */
  readonly requested: readonly string[];
  /** Sorted by name, then architecture; no name twice for one architecture. */
  readonly packages: readonly LockedPackage[];
}

/** Where the tree of a world comes from. */
export type WorldOrigin =
  | { readonly kind: "debian"; readonly source: WorldSource }
  /** A directory of this machine, read with its owners and modes. */
  | { readonly kind: "directory"; readonly path: string }
  /** An archive: fetched, or a file of this machine. */
  | { readonly kind: "archive"; readonly source: Source }
  /** Distribution sets of FreeBSD: archives that lie over each other in this order, each as the manifest says. */
  | {
      readonly kind: "sets";
      readonly manifest: Source;
      readonly archives: readonly { readonly name: string; readonly source: Source }[];
    }
  /** What `garth world import` has taken in already: an item of the store here. */
  | { readonly kind: "item"; readonly path: StorePath }
  /** FreeBSD's base system as packages (pkgbase): these with all they need, over each other, with the owners and modes that they say. */
  | { readonly kind: "packages"; readonly repository: RemoteRepository; readonly packages: readonly string[] }
  /** The tree that a recipe has as its output: root's, with the modes of a store item, but for what a METALOG in it says. */
  | { readonly kind: "recipe"; readonly recipe: Buildable };

/** Somebody's signed repository of FreeBSD packages. */
export interface RemoteRepository {
  readonly kind: "remote-repository";
  /** http, https or file URL, or a directory. */
  readonly url: string;
  readonly trust: { readonly publicKey: string } | { readonly fingerprints: readonly string[] };
}

/** Fetched, or a file of this machine. */
export type Source = Fetch | { readonly path: string };

/** The tree of a whole system under a name. */
export interface WorldDeclaration {
  readonly kind: "world";
  readonly name: string;
  /** "15.0-STABLE", "12": for people. Two worlds with one label and other content are two worlds. */
  readonly label: string;
  readonly origin: WorldOrigin;
  readonly site: Site;
}

export const ROLES = ["kernel", "boot", "runtime", "development"] as const;
export type Role = (typeof ROLES)[number];

/** A part of a world: `keep` (or everything where it is empty) less `prune`. Patterns as in select.ts. */
export interface SliceDeclaration {
  readonly kind: "slice";
  readonly world: WorldDeclaration;
  readonly role: Role;
  readonly name: string;
  readonly keep: readonly string[];
  readonly prune: readonly string[];
  readonly site: Site;
}

/** One path of a tree, as a store item has it. */
export interface ListedEntry {
  /** Without slashes at the ends; the root is not listed. */
  readonly path: string;
  readonly type: "file" | "directory" | "symlink";
  readonly executable: boolean;
  /** Of a file's content; of a symlink's target. */
  readonly sizeBytes: number;
  readonly target?: string;
}
