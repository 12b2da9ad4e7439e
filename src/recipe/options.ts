/** What a person may write in a project file. Each build system takes the common options and a few of its own. */
import type { OperatingSystem, System } from "../base/index.ts";
import type { Site } from "./location.ts";
import type { Fetch, PackageMetadata, ResourceLimits, WorldSource } from "./types.ts";

export const PHASES = ["unpack", "patch", "configure", "build", "check", "install", "fixup"] as const;
export type PhaseName = (typeof PHASES)[number];

/** Named directories of the host as the build root. Without `paths`: the directories of the system's own compiler and tools. */
export interface HostView {
  readonly kind: "host-view";
  readonly paths: readonly string[] | undefined;
}

/** A list names each input after its recipe; a record gives it another name. Either may be a function, called when the graph is made. */
export type Inputs = readonly Buildable[] | Readonly<Record<string, Buildable>>;

export interface Probe {
  /** argv[0] is relative to the output: ["bin/hello"]. */
  readonly argv: readonly string[];
  /** Must be the whole output, without the last newline. */
  readonly expect?: string;
}

/** What every build system takes, apart from `name`, `version` and `perSystem`. */
export interface CommonOptions {
  /** Fetched, unpacked and entered before the first phase. Its store path is in the environment as `src`. */
  readonly source?: Fetch;
  /** Further sources by name; each store path is in the environment under that name. They are not unpacked. */
  readonly sources?: Readonly<Record<string, Fetch>>;
  /**
   * Recipes whose outputs the build may see. Each store path is in the environment under the input's name (`-` becomes `_`); the
   * compiler, the linker, pkg-config, CMake and PATH are pointed at them.
   */
  readonly inputs?: Inputs | (() => Inputs);
  /** Names of the outputs, "out" first. Each is a directory, named by the variable of that name. Default ["out"]. */
  readonly outputs?: readonly string[];
  /** Run the project's own test suite as part of the build. Default false. */
  readonly check?: boolean;
  /**
   * `$name` stands for the store path of an input or a source, `$$` for a dollar. CPPFLAGS and LDFLAGS come after those of the inputs,
   * PATH, PKG_CONFIG_PATH and CMAKE_PREFIX_PATH before; everything else replaces what the build system would set.
   */
  readonly env?: Readonly<Record<string, string>>;
  readonly limits?: Partial<ResourceLimits>;
  /** `debianWorld(...)` or `hostView(...)`. Default: on Linux a Debian world locked in `debian.lock` beside the project file, on FreeBSD `hostView()`. */
  readonly buildRoot?: WorldSource | HostView;
  readonly probe?: Probe;
  /** Leaves the source's store path in `$out/share/garth/source`, so that a binary and its source travel together. Default false. */
  readonly keepSource?: boolean;
  /** What a package of the output says about itself. Changing it rebuilds nothing. */
  readonly metadata?: Partial<PackageMetadata>;
}

type Hook<Name extends string> = `pre${Capitalize<Name>}` | `post${Capitalize<Name>}`;

/** Lines of POSIX sh put before and after a phase: preConfigure, postInstall, and so on. */
export type Hooks = { readonly [K in Hook<PhaseName>]?: string };

export interface PhasedOptions extends CommonOptions, Hooks {
  /** Applied in order with `patch -p1`. A patch is a file, or a directory of `*.patch` files taken in the order of their names. */
  readonly patches?: readonly Fetch[];
  /** Directory to work in, relative to the unpacked source. */
  readonly sourceRoot?: string;
  /** Another body for a phase, in POSIX sh. "" leaves the phase out. */
  readonly phases?: { readonly [K in PhaseName]?: string };
}

export interface AutotoolsFields extends PhasedOptions {
  /** In flags, `$name` stands for an output, an input or a source, `$$` for a dollar; everything else is taken as it is. */
  readonly configureFlags?: readonly string[];
  readonly makeFlags?: readonly string[];
  /** Default "check". */
  readonly checkTarget?: string;
  readonly installFlags?: readonly string[];
}

export interface MakeFields extends PhasedOptions {
  /** `PREFIX=$out` and `prefix=$out` are always given. */
  readonly makeFlags?: readonly string[];
  /** Default: what the Makefile builds when not told. */
  readonly buildTarget?: string;
  /** Default "check". */
  readonly checkTarget?: string;
  /** Default "install". */
  readonly installTarget?: string;
}

export interface CmakeFields extends PhasedOptions {
  readonly cmakeFlags?: readonly string[];
  /** Default "Release". */
  readonly buildType?: "Release" | "RelWithDebInfo" | "MinSizeRel" | "Debug";
}

export interface CargoFields extends PhasedOptions {
  readonly cargoFlags?: readonly string[];
  /** A directory of vendored crates, as `cargo vendor` writes it. Without it only crates without dependencies build: there is no network. */
  readonly vendor?: Fetch;
}

export interface ScriptFields extends CommonOptions {
  /** The whole build in POSIX sh, run with `set -eu` in /build. Nothing is unpacked. */
  readonly script: string;
}

interface Named<Fields> {
  readonly name: string;
  /** Part of the store path and of the package. Default: none. */
  readonly version?: string;
  /** Options for one operating system or one system; each replaces the general one of the same name. */
  readonly perSystem?: { readonly [K in System | OperatingSystem]?: Partial<Fields> & { readonly version?: string } };
}

export type AutotoolsOptions = AutotoolsFields & Named<AutotoolsFields>;
export type MakeOptions = MakeFields & Named<MakeFields>;
export type CmakeOptions = CmakeFields & Named<CmakeFields>;
export type CargoOptions = CargoFields & Named<CargoFields>;
export type ScriptOptions = ScriptFields & Named<ScriptFields>;

interface DeclarationOf<BuildSystem extends string, Options> {
  readonly kind: "declaration";
  readonly name: string;
  readonly version: string;
  readonly buildSystem: BuildSystem;
  readonly options: Options;
  readonly site: Site;
}

/** What a constructor returns: checked, for every system at once. `instantiate` lowers it for one. */
export type Declaration =
  | DeclarationOf<"autotools", AutotoolsOptions>
  | DeclarationOf<"cmake", CmakeOptions>
  | DeclarationOf<"cargo", CargoOptions>
  | DeclarationOf<"make", MakeOptions>
  | DeclarationOf<"script", ScriptOptions>;

export interface AlternativesDeclaration {
  readonly kind: "alternatives-declaration";
  readonly name: string;
  readonly version: string;
  readonly choices: readonly Declaration[];
  readonly site: Site;
}

/** What can be asked for, and what can be an input. */
export type Buildable = Declaration | AlternativesDeclaration;
