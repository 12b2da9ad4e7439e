/** A project file that was loaded: its exported values, by what they are. */
import type { PackageDeclaration, RepositoryDeclaration } from "../pkg/index.ts";
import type { Buildable, Fetch, WorldSource } from "../recipe/index.ts";
import type { GateDeclaration } from "../gate/index.ts";
import type { SystemDeclaration } from "../system/index.ts";
import type { TemplateDeclaration } from "../template/index.ts";
import type { SliceDeclaration, WorldDeclaration } from "../world/index.ts";

export type ProjectExport =
  | { readonly name: string; readonly kind: "recipe"; readonly value: Buildable }
  | { readonly name: string; readonly kind: "package"; readonly value: PackageDeclaration<Buildable> }
  | { readonly name: string; readonly kind: "repository"; readonly value: RepositoryDeclaration<Buildable> }
  | { readonly name: string; readonly kind: "world"; readonly value: WorldSource | WorldDeclaration }
  | { readonly name: string; readonly kind: "slice"; readonly value: SliceDeclaration }
  | { readonly name: string; readonly kind: "system"; readonly value: SystemDeclaration }
  | { readonly name: string; readonly kind: "gate"; readonly value: GateDeclaration }
  | { readonly name: string; readonly kind: "template"; readonly value: TemplateDeclaration }
  | { readonly name: string; readonly kind: "source"; readonly value: Fetch };

export interface Project {
  /** Absolute, with symlinks resolved. */
  readonly file: string;
  readonly directory: string;
  /** SHA-256 over the project file and everything it imports by a relative path. */
  readonly digest: string;
  /** In the order of their names. Values of other kinds are not here. */
  readonly exports: ReadonlyMap<string, ProjectExport>;
  /** "checked" by the compiler now; "known" from an earlier run; "absent": there is no compiler beside the program. */
  readonly typeCheck: "checked" | "known" | "absent";
}

/** `FILE#NAME` as it was typed. */
export interface Reference {
  readonly file: string | undefined;
  readonly name: string | undefined;
}

export interface LoadRequest {
  /** A file, or a directory that holds a garth.ts. Default "./garth.ts". */
  readonly file: string | undefined;
  /** What a relative `file` is relative to. */
  readonly workingDirectory: string;
  /** The checkout that holds Garth's own types and the compiler. Default: where this file is, which a compiled program cannot say. */
  readonly home?: string;
  /** Remembers which files were type-checked. Made when it is not there; may be removed at any time. */
  readonly cacheDirectory: string;
}
