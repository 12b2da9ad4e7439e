/** What a project file imports: `import { autotools, fetchurl } from "garth"`. */
import { package_ as packageOf, repository as repositoryOf } from "./pkg/index.ts";
import type { Buildable } from "./recipe/index.ts";

/** `pkg` packages whatever it is given; in a project file that is what a build system or `alternatives` returned. */
export const package_ = packageOf<Buildable>;
export const repository = repositoryOf<Buildable>;

export { gate, type GateDeclaration, type GateFields } from "./gate/index.ts";
export { poolGuest, sshd, system, type SystemDeclaration, type SystemOptions } from "./system/index.ts";
export { type SidecarFields, template, type TemplateDeclaration, type TemplateFields } from "./template/index.ts";
export {
  slice,
  type SliceDeclaration,
  type SliceOptions,
  slices,
  world,
  type WorldDeclaration,
  type WorldOptions,
} from "./world/index.ts";
export type { PackageDeclaration, PackageFields, RepositoryDeclaration } from "./pkg/index.ts";
export {
  alternatives,
  type AlternativesDeclaration,
  autotools,
  type AutotoolsOptions,
  type Buildable,
  cargo,
  type CargoOptions,
  cmake,
  type CmakeOptions,
  type CommonOptions,
  debianSource,
  type DebianSourceOptions,
  debianWorld,
  type DebianWorldOptions,
  type Declaration,
  type Fetch,
  fetchGit,
  type FetchGitOptions,
  fetchurl,
  type FetchurlOptions,
  hostView,
  type HostView,
  type Inputs,
  localTree,
  type LocalTreeOptions,
  make,
  type MakeOptions,
  npmTarball,
  type NpmTarballOptions,
  type PackageMetadata,
  type ResourceLimits,
  script,
  type ScriptOptions,
  type WorldSource,
} from "./recipe/index.ts";
