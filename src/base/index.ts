/**
 * base: the words every room shares. Digests, canonical JSON, store paths, problems, events, units, versions. Pure.
 */
export { canonicalJson, type JsonValue } from "./canonical.ts";
export { closest } from "./closest.ts";
export { type Hasher, isSha256, sha256, sha256Hasher } from "./digest.ts";
export type { Emit, Envelope } from "./events.ts";
export { type ExitStatus, Problem, problemDocument, type ProblemFields, renderProblem } from "./problem.ts";
export {
  baseName,
  hashPart,
  type Identity,
  isStorePath,
  namePart,
  parseStorePath,
  SCHEME,
  GENERATIONS_DIRECTORY,
  PACKAGED_DIRECTORY,
  STORE_DIRECTORY,
  storePath,
  type StorePath,
} from "./storepath.ts";
export { type OperatingSystem, operatingSystemOf, type System, SYSTEMS } from "./system.ts";
export { formatDuration, formatSize, parseDuration, parseSize } from "./units.ts";
export { compareVersions } from "./version.ts";
