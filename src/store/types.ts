/** What the store keeps and what it promises. See index.ts for the states of an item and the order of writes. */
import type { StorePath } from "../base/index.ts";

export interface StoreItem {
  readonly path: StorePath;
  /** SHA-256 of the item's NAR as it lies in the store. undefined: a flat item of `addWritten`, which only its name vouches for. */
  readonly narSha256: string | undefined;
  readonly narSizeBytes: number;
  /** Sorted; contains `path` itself when the item refers to itself. */
  readonly references: readonly StorePath[];
  readonly deriver: StorePath | undefined;
  readonly registeredAtMs: number;
  /** Last time a build or a command asked for it (to the hour), for `gc --older-than`. */
  readonly lastUsedAtMs: number;
}

/** A tree on the store's own file system that is to become an item. */
export interface Candidate {
  /** Physical path. It is moved, not copied: afterwards there is nothing there. */
  readonly physical: string;
  readonly name: string;
  /** The builder's name for it while it was built; absent for sources. Its hash is looked for, and rewritten. */
  readonly scratch?: StorePath;
  /** The store paths whose hashes are looked for: the closure of the inputs, the sources, and sibling outputs' scratch paths. */
  readonly referenceCandidates: readonly StorePath[];
  readonly deriver?: StorePath;
}

/** What one build made: its outputs (which may refer to each other without a cycle) and its derivation, in one transaction. */
export interface Registration {
  readonly outputs: Readonly<Record<string, Candidate>>;
  readonly drv: StorePath;
}

export interface RootInfo {
  /** The symlink in `roots/`, or the outer link it points through. */
  readonly link: string;
  readonly target: StorePath;
  readonly kind: "permanent" | "indirect" | "temporary";
}

export interface GcOptions {
  /** Keeps what was used within this time. */
  readonly olderThanMs?: number;
  /** Stops once so many bytes are free on the store's file system; removes nothing if they already are. */
  readonly keepFreeBytes?: number;
  /** Stops after freeing so many. */
  readonly maxFreedBytes?: number;
  readonly dryRun?: boolean;
}

export interface GcReport {
  readonly removed: readonly { readonly path: StorePath; readonly freedBytes: number }[];
  readonly freedBytes: number;
  /** Unregistered directories in the store that no living process owns. */
  readonly orphans: readonly string[];
  readonly kept: number;
  readonly dryRun: boolean;
}

export type Damage =
  | { readonly kind: "missing"; readonly path: StorePath }
  | { readonly kind: "modified"; readonly path: StorePath; readonly expected: string; readonly found: string }
  | { readonly kind: "unregistered"; readonly physical: string }
  | { readonly kind: "reference-missing"; readonly path: StorePath; readonly reference: StorePath }
  | { readonly kind: "metadata"; readonly path: StorePath; readonly detail: string }
  | { readonly kind: "database"; readonly detail: string };

export interface VerifyOptions {
  readonly repair: boolean;
  /** Read every byte; otherwise names and metadata only. */
  readonly contents: boolean;
  /** First register again every directory whose content gives its own name: after the database was lost. */
  readonly adopt?: boolean;
}

export interface VerifyReport {
  readonly checked: number;
  readonly damage: readonly Damage[];
  readonly repaired: readonly { readonly path: StorePath | string; readonly how: string }[];
}

export interface FileDifference {
  readonly file: string;
  readonly kind: "added" | "removed" | "changed" | "type" | "mode" | "target";
  readonly detail: string;
}

export interface Store {
  /** The directory that holds the items physically; sandboxes mount it as /frx/store piece by piece. */
  readonly directory: string;
  /** Scratch space on the same file system, for what will be moved into the store. */
  readonly temporaryDirectory: string;
  physical(path: StorePath): string;

  query(path: StorePath): StoreItem | undefined;
  isValid(path: StorePath): boolean;
  all(): readonly StoreItem[];
  /** Paths that begin with the text: a full path, a hash or a part of one, or a name. */
  find(text: string): readonly StorePath[];

  /** Copies a file or tree in. A regular non-executable file becomes a `flat` item, everything else a `tree`. `filter` gets paths relative to the root; false leaves it out. */
  add(
    source: string,
    name: string,
    options?: {
      readonly filter?: (relative: string, type: "file" | "directory" | "symlink") => boolean;
      readonly form?: "flat" | "tree";
    },
  ): Promise<StoreItem>;
  /** The path the same `add` would give, without copying anything. */
  pathOf(
    source: string,
    name: string,
    options?: {
      readonly filter?: (relative: string, type: "file" | "directory" | "symlink") => boolean;
      readonly form?: "flat" | "tree";
    },
  ): Promise<StorePath>;
  /** A flat item from text, with declared references. Used for derivations. */
  addText(name: string, text: string, references: readonly StorePath[]): StoreItem;
  /** Like addText for many, durable in one go. */
  addTexts(
    items: readonly { readonly name: string; readonly text: string; readonly references: readonly StorePath[] }[],
  ): readonly StoreItem[];
  /** Moves a flat or tree candidate in, whose digest somebody promised. @throws Problem E_HASH_MISMATCH with both, nothing kept */
  addFixed(
    physical: string,
    name: string,
    expected: { readonly form: "flat" | "tree"; readonly sha256: string },
  ): Promise<StoreItem>;
  /**
   * Moves a plain file in that the caller wrote in `temporaryDirectory` and digested while it did. For large files, where reading
   * them again would take as long as making them. No second digest is taken: the first is in the item's name.
   */
  addWritten(physical: string, name: string, sha256: string): Promise<StoreItem>;
  /** Scan, canonicalise, hash, rewrite, move and register what a build made. Concurrent calls share their fsyncs. */
  register(registration: Registration): Promise<Readonly<Record<string, StoreItem>>>;
  /**
   * Takes in trees that were brought from elsewhere under their names. Each must prove its name by its content, and what it refers to
   * must be valid or among them. Those that are valid already are left alone. @throws Problem E_ITEM_FORGED, nothing kept
   */
  adopt(trees: readonly { readonly path: StorePath; readonly physical: string }[]): Promise<void>;
  /** Like `register`, but moves nothing and records nothing: what would the items be? For `--check`. */
  examine(registration: Registration): Promise<Readonly<Record<string, StoreItem>>>;

  /** Early cutoff: which outputs did this derivation give before, all still valid? */
  realisation(drv: StorePath): Readonly<Record<string, StorePath>> | undefined;
  /** Many at once: derivation -> outputs, only where every output is valid. */
  realisations(drvs: readonly StorePath[]): ReadonlyMap<StorePath, Readonly<Record<string, StorePath>>>;

  /** Holds items against gc while this process lives. Returns those that are valid. */
  pin(paths: readonly StorePath[]): readonly StorePath[];
  addRoot(link: string, target: StorePath): void;
  removeRoot(link: string): void;
  roots(): readonly RootInfo[];

  references(path: StorePath): readonly StorePath[];
  referrers(path: StorePath): readonly StorePath[];
  /** References, transitively, the paths themselves included, dependencies first. */
  closure(paths: readonly StorePath[]): readonly StorePath[];
  /** Which files of `path` hold the reference: relative names, with the offset of the first occurrence. */
  why(path: StorePath, reference: StorePath): readonly { readonly file: string; readonly offset: number }[];
  /** References to themselves are no difference. */
  diff(left: StorePath, right: StorePath): readonly FileDifference[];
  /** The same against a tree that is no item, such as the second build of `--check`. `scratch` is its builder's name for it. */
  compare(left: StorePath, right: { readonly physical: string; readonly scratch?: StorePath }): readonly FileDifference[];

  /** The NAR of an item, in chunks. */
  dump(path: StorePath): AsyncIterable<Uint8Array>;
  gc(options: GcOptions): Promise<GcReport>;
  verify(options: VerifyOptions): Promise<VerifyReport>;
  /** Replaces identical regular files by hard links. */
  optimise(): Promise<{ readonly files: number; readonly linked: number; readonly savedBytes: number }>;
  /** Cleans up what dead processes left in `temporaryDirectory`. Cheap when there is nothing. */
  recover(): void;
  close(): void;
}
