/**
 * system: an operating system as a value, from its declaration to every path of its root file system. Pure.
 *
 *     SystemDeclaration ──(parts made: compose)──► Composition ──planProfile──► profile ─┐
 *                                                      └──planLinux, planFreebsd──► system item ──planRoot──► RootPlan ──(image)
 *
 * A declaration is checked field by field when it is made; what depends on the base's own files (its users, what its packages bring) is
 * checked when they are known and before anything is written. A secret has a name and a place and never a value.
 *
 * The running system reaches its profile through `/run/current-system`, and never refers to its development profile: with and without
 * one it is the same item, byte for byte.
 *
 * Limits: one kernel a system; one root partition beside the EFI system partition; packages appear under /usr/local.
 */
export type { Accounts } from "./accounts.ts";
export { isOfProject, type ServiceOptions, system, type SystemOptions } from "./declare.ts";
export { diffSystems, type SystemDifference, type SystemFacts } from "./diff.ts";
export { freebsdAccounts, freebsdTexts, planFreebsd } from "./freebsd.ts";
export { rootDataset } from "./freebsd-conf.ts";
export { renderRootMtree } from "./freebsd-mtree.ts";
export { firstGeneration, type GenerationEntry } from "./generations.ts";
export {
  type EspFile,
  INITRD_ON_ESP,
  type InstallChoices,
  installerScript,
  type InstallerWish,
  installTarget,
  type InstallThen,
  planLinuxInstaller,
} from "./installer.ts";
export { planFreebsdInstaller } from "./installer-freebsd.ts";
export { kernelRelease, moduleTexts } from "./linux-initrd.ts";
export { linuxAccounts, linuxTexts, planLinux } from "./linux.ts";
export { planProfile } from "./profile.ts";
export { isOutsideProfile } from "./places.ts";
export { planRoot, type RootFacts, type RootItem } from "./root.ts";
export { poolGuest, type PoolGuestOptions, sshd } from "./stock.ts";
export { CLOUD_CONFIG, CLOUD_CONFIG_PATH, SEED_SCRIPT, SEED_UNIT, seedUnit } from "./seed-files.ts";
export type * from "./types.ts";
