/**
 * repository: packages made of store items, and signed catalogues of them that pkg(8) installs from.
 *
 *   store items ──createPackages──► .pkg files ──publish──► directory ──repositoryHandler──► clients
 *                                                  │  ▲                         │
 *                                            prune, signRepository        readRepository, verifyRepository
 *
 * A catalogue is in one of two states for a reader: the old one or the new one. The switch is one rename(2); the order of writes is in
 * publish.ts, the places in layout.ts. One publisher works at a time. The bytes of packages and catalogue depend on the packages
 * and the key alone; when it was published stands in a signed statement beside it (freshness.ts).
 *
 * Limits: catalogue and manifests are held in memory (about 600 bytes a package); a catalogue is refused above 1 GiB, a package
 * above 64 GiB of contents. RSA is the only kind of key for signing. The files that the base system's pkg(7) bootstraps from are
 * not made: they concern a repository that carries pkg itself.
 */
export {
  type ClientSettings,
  clientConfiguration,
  fingerprintFile,
  nginxConfiguration,
  type ServerSettings,
} from "./configuration.ts";
export {
  abiOfSystem,
  createPackage,
  type CreatedPackage,
  createPackages,
  type CreateRequest,
  type ItemSource,
} from "./create.ts";
export { abiOfHostView, type BuiltOn } from "./host-view.ts";
export type { Freshness, FreshnessOptions, FreshnessRecord } from "./freshness.ts";
export { fingerprintOf, generateKey, loadKey, publicKeyFile } from "./keys.ts";
export { fingerprintOfPublicKey, planPruning, prune, type PruneRequest, signRepository } from "./maintain.ts";
export type { PublishPlan } from "./plan.ts";
export { initRepository, planPublish, publish } from "./publish.ts";
export { type InspectedPackage, inspectPackage, readManifest } from "./read-package.ts";
export { type RepositoryHandler, repositoryHandler } from "./serve.ts";
export { directorySource, httpSource, type RepositorySource, sourceOf } from "./source.ts";
export type * from "./types.ts";
export { unpackPackage, type UnpackRequest } from "./unpack.ts";
export {
  type ReadOptions,
  readRepository,
  type ReadResult,
  type RepositoryCheck,
  verifyPackage,
  verifyRepository,
} from "./verify.ts";
export { readSeen, seenFile, writeSeen } from "./seen.ts";
