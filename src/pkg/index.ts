/**
 * pkg: what a FreeBSD package is, as values. Pure: manifests and catalogue entries as pkg(8) writes and reads them, ABI strings,
 * the packages a store item becomes, and the layout of the archive. `repository` makes files of them.
 *
 *   declaration + recipe ──describePackage──► description ─┐
 *   store items ──(files, sums, ELF)──► trees ─────────────┴─compose──► manifest ──planArchive──► members of the .pkg
 *
 * Limits: the file names of a package are UTF-8; flags, ACLs and setuid bits are not carried, since store items have none.
 */
export { ABI_FILES, type Abi, abiOfElf, abiString, isAbi, legacyArch, shlibSuffix } from "./abi.ts";
export {
  type ComposedPackage,
  composeGoal,
  composeItem,
  isItemPackage,
  isPackagedMark,
  itemPackageName,
  type ItemTree,
  type TreeEntry,
} from "./compose.ts";
export {
  declaredAbi,
  describePackage,
  package_,
  type PackageDeclaration,
  type PackageDescription,
  type PackageFields,
  type RecipeFacts,
  repository,
  type RepositoryDeclaration,
} from "./declaration.ts";
export { planArchive, type PlannedMember } from "./layout.ts";
export { renderCatalogueEntry, renderCompactManifest, renderManifest } from "./manifest.ts";
export { parseCatalogueEntry, parseCompactManifest, parseManifest } from "./manifest-read.ts";
export type * from "./types.ts";
export {
  type Finding,
  isCleanPath,
  isPackageName,
  isPackageVersion,
  validateCompactManifest,
  validateManifest,
} from "./validate.ts";
