/**
 * deploy: systems on disks and machines: installed, switched, rolled back.
 *
 *     closure ──looked at──► refused, or planned ──told──► items sent ──generations add──► on trial at the next start
 *                 │              (other kind, pending, full, broken)                          └─reboot──► confirmed │ fell back
 *                 └── status of the machine, by its own program
 *
 * A machine has sshd and what its system brought; the program `generations` of that system changes what the loader reads (system/generations.ts),
 * so a connection that is lost at any moment leaves the old or the new. What cannot be is refused before anything is sent.
 *
 * Limits: the store and /frx/var of a machine are on one file system, its root; items of a switch that failed after they were sent stay in
 * its store, and the next one finds them there.
 */
export {
  checkTarget,
  type Installation,
  installationLines,
  type Installed,
  type InstallOptions,
  install,
  type InstallWish,
  planInstallation,
} from "./install.ts";
export { lookAtTarget, type TargetFacts } from "./target.ts";
export { type ChangeOptions, type DeployParts, type Machine, openMachine } from "./machine.ts";
export { TRIAL_SECONDS, TRIAL_SECONDS_MAX, TRIAL_SECONDS_MIN } from "./plan.ts";
export type * from "./types.ts";
