/**
 * recipe: what a person declares, and what it becomes before anything is built. Pure.
 *
 *    options ──constructor──► Declaration ──instantiate(system)──► Graph of Steps ──resolve(paths)──► Derivation
 *    checked at once,          for every       each lowered for        text with       canonical JSON; its path is
 *    faults name the field     system          one system, keyed       holes           made from its bytes
 *
 * A step's key is known before anything is built and names the step within one run. A derivation is known when its inputs' paths are,
 * and these are made from content: so a rebuilt input that came out the same changes no derivation above it (early cutoff).
 *
 * Everything is the same for every machine: the system is an argument, files and clocks are not looked at. Limits: a recipe sees the
 * outputs of its own inputs and of nothing behind them; an output's path is not known to a derivation, only to its builder.
 */
export {
  below,
  type Check,
  describe,
  Fault,
  filledText,
  flag,
  isRecord,
  list,
  matching,
  oneOf,
  recordOf,
  shape,
  text,
} from "./check.ts";
export { alternatives, autotools, cargo, cmake, isBuildable, make, script } from "./declare.ts";
export { besideCaller, checked, InvalidField } from "./errors.ts";
export {
  debianSource,
  type DebianSourceOptions,
  fetchGit,
  type FetchGitOptions,
  fetchurl,
  type FetchurlOptions,
  fetchValue,
  fixedOutputDerivation,
  fixedOutputPath,
  localTree,
  type LocalTreeOptions,
  npmTarball,
  type NpmTarballOptions,
  type RemoteFetch,
} from "./fetch.ts";
export { instantiate, type InstantiateOptions, stepLabel } from "./graph.ts";
export { here, locationOf, renderLocation, type Site } from "./location.ts";
export type * from "./options.ts";
export { parseDerivation } from "./parse.ts";
export { derivationPath, derivationReferences, derivationText, outputName, resolve, scratchPath } from "./resolve.ts";
export { secretIn } from "./secrets.ts";
export type * from "./types.ts";
export { type PathNames, whyRebuild } from "./why.ts";
export { debianWorld, type DebianWorldOptions, hostView } from "./world.ts";
