/**
 * The four shapes of a thing to be built, each its own type, so that an unresolved one cannot reach a sandbox:
 *
 *   Declaration   what a person writes; for every system at once (options.ts).
 *   Recipe        a declaration lowered for one system; inputs are other recipes, sources are fetches.
 *   Step          a node of the graph: a recipe flattened, its inputs named by the key of their step.
 *   Derivation    resolved against the *content* of its inputs: canonical JSON, a store item, what is built.
 */
import type { StorePath, System } from "../base/index.ts";

/** Text with holes that are filled when the content of inputs is known. */
export type Text = string | readonly TextPart[];
export type TextPart =
  | string
  /** The store path of an input's output ("out" unless named). */
  | { readonly input: string; readonly output?: string }
  /** The store path of a source. */
  | { readonly source: string };

/** How a source is obtained. Each is a fixed-output derivation, or (localTree) hashed where it lies. */
export type Fetch =
  | { readonly fetcher: "fetchurl"; readonly name: string; readonly urls: readonly string[]; readonly sha256: string }
  | {
      readonly fetcher: "fetchGit";
      readonly name: string;
      readonly url: string;
      readonly commit: string;
      readonly sha256: string | undefined;
    }
  | { readonly fetcher: "localTree"; readonly name: string; readonly path: string; readonly exclude: readonly string[] }
  | {
      readonly fetcher: "debianSource";
      readonly name: string;
      readonly package: string;
      readonly version: string;
      readonly sha256: string;
      readonly file: string | undefined;
    }
  | {
      readonly fetcher: "npmTarball";
      readonly name: string;
      readonly package: string;
      readonly version: string;
      readonly integrity: string;
    };

/** The build root of a lowered recipe. */
export type BuildRootChoice =
  | { readonly kind: "world"; readonly world: WorldSource }
  | { readonly kind: "host"; readonly paths: readonly string[] };

/** A world as a recipe names it: packages pinned by a lock file. Made by the room `world`. */
export interface WorldSource {
  readonly kind: "debian-world";
  /**
   * "build": what nobody builds with is left out, and owners and special modes are forgotten. "system": everything stays, and what a
   * store item cannot say of a file lies beside the tree (`world`, attributes).
   */
  readonly purpose?: "build" | "system";
  readonly name: string;
  readonly suite: string;
  readonly packages: readonly string[];
  /** Absolute path of the lock file. */
  readonly lock: string;
  readonly policy: "strict" | "refresh";
}

export interface ResourceLimits {
  readonly wallClockMs: number;
  readonly silenceMs: number;
  readonly memoryBytes: number;
  readonly processes: number;
  readonly openFiles: number;
  readonly outputBytes: number;
  readonly logBytes: number;
}

/** What a package made from the output says about itself. Not part of the derivation: changing it rebuilds nothing. */
export interface PackageMetadata {
  readonly comment: string;
  readonly description: string;
  readonly homepage: string;
  readonly maintainer: string;
  readonly licenses: readonly string[];
  readonly categories: readonly string[];
  readonly origin: string;
}

export interface SourceLocation {
  readonly file: string;
  readonly line: number;
}

export interface Recipe {
  readonly kind: "recipe";
  readonly name: string;
  readonly version: string;
  readonly system: System;
  readonly buildSystem: "autotools" | "cmake" | "cargo" | "make" | "script";
  readonly builder: { readonly argv: readonly Text[]; readonly env: Readonly<Record<string, Text>>; readonly cwd: string };
  readonly inputs: Readonly<Record<string, Recipe | Alternatives>>;
  readonly sources: Readonly<Record<string, Fetch>>;
  readonly outputs: readonly string[];
  readonly buildRoot: BuildRootChoice;
  readonly limits: ResourceLimits;
  /** Its own test suite is part of the build. */
  readonly check: boolean;
  /** Run in a fresh sandbox after the build, with nothing but the output's closure: argv[0] is relative to the output. */
  readonly probe: { readonly argv: readonly string[]; readonly expect: string | undefined } | undefined;
  readonly metadata: PackageMetadata;
  readonly location: SourceLocation | undefined;
}

/** The first whose sources can be had; the ledger remembers which, and the receipt says it. */
export interface Alternatives {
  readonly kind: "alternatives";
  readonly name: string;
  readonly choices: readonly Recipe[];
  readonly location: SourceLocation | undefined;
}

/** A node of the graph. `key` is the digest of everything that is known before anything is built. */
export interface Step {
  readonly key: string;
  readonly recipe: Recipe;
  /** Input name -> key of the step that makes it. */
  readonly inputs: Readonly<Record<string, string>>;
  /**
   * Of `alternatives`: the choices after the first, in order; `recipe` and `inputs` are those of the first. They are not in
   * `Graph.steps` (the steps of their inputs are), and every user of the group refers to the group's key. When the sources of one
   * choice cannot be had, the next takes its place.
   */
  readonly fallbacks?: readonly Step[];
}

/** Dependencies first; the inputs of fallbacks are among them. */
export interface Graph {
  /** What it is lowered for: all of it. */
  readonly system: System;
  readonly steps: readonly Step[];
  readonly byKey: ReadonlyMap<string, Step>;
  /** What was asked for. */
  readonly goals: readonly string[];
}

/**
 * What a fetch must bring, and thereby why it may use the network. With sha256 the output's path is known beforehand:
 * of the file's bytes, or of the tree's NAR when `recursive`. The others are checked by the fetcher, and the path is known once
 * the bytes are there: sha512 is npm's integrity of the file, git-commit the 40 or 64 digits that git itself verifies.
 */
export interface FixedOutput {
  readonly algorithm: "sha256" | "sha512" | "git-commit";
  /** Lowercase hexadecimal. */
  readonly hash: string;
  readonly recursive: boolean;
}

/** Canonical JSON (RFC 8785); the store item `<hash>-<name>-<version>.drv`. */
export interface Derivation {
  readonly scheme: string;
  readonly name: string;
  readonly version: string;
  readonly system: System;
  readonly builder: { readonly argv: readonly string[]; readonly env: Readonly<Record<string, string>>; readonly cwd: string };
  readonly inputs: readonly StorePath[];
  readonly sources: readonly StorePath[];
  readonly outputs: readonly string[];
  readonly buildRoot:
    | { readonly kind: "world"; readonly path: StorePath }
    | { readonly kind: "host"; readonly paths: readonly string[] };
  readonly network: boolean;
  readonly fixedOutput?: FixedOutput;
  readonly limits: ResourceLimits;
}

/** What `resolve` needs to know about the world: the paths of inputs, sources and build root. */
export interface Resolution {
  readonly inputs: Readonly<Record<string, Readonly<Record<string, StorePath>>>>;
  readonly sources: Readonly<Record<string, StorePath>>;
  readonly world: StorePath | undefined;
}

/** Why does this step have to be built? Fields and inputs that differ from the last derivation of the same name. */
export interface Reason {
  /** `builder.env.CFLAGS`, `inputs.zlib`, `sources.src`, `limits.memoryBytes`. */
  readonly field: string;
  readonly before: string | undefined;
  readonly after: string | undefined;
  /** For a text of several lines: what changed in it, as lines that start with "-", "+" or " ". */
  readonly diff?: readonly string[];
}
