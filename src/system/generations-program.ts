/**
 * The program `generations` of a system item: a shared POSIX sh text, into which a family's functions are put. Pure.
 *
 * The text of both families: `#!` line, GARTH_ROOT as $root, the family's functions, the verbs. Tools are called by their bare names:
 * those of FreeBSD's base, or of the busybox whose shell it runs in. What a family's functions are given and what they set:
 *
 *     $root  $state                    GARTH_ROOT; $root/var/lib/garth/system.   SYSTEM is /frx/store/..., without $root
 *     say WORD...                      `garth: WORD...` on stderr
 *
 *     running                          sets running (a number, "" for none) and trial (seconds, "" where what runs is not on trial)
 *     lock                             0 when it is ours until the process ends, however it ends; 1 when another has it. Does not wait
 *     durable PATH...                  what was written to these files and directories of one file system is on the disk
 *     replace FROM TO                  rename(2), which a link at TO does not lead elsewhere
 *     unprotect [-R] PATH              root can rename or remove it: flags, write permission
 *     boot_open read|write             what the loader reads can be looked at, or written; 1 (said) when not. Again without harm
 *     boot_close                       undoes it; harmless when nothing was open
 *     boot_truth                       sets boot_current and boot_next (numbers, "" for none), boot_tried (yes when the loader has
 *                                      used up, or lost, the try of boot_next: it would not start it; no otherwise)
 *     boot_room SYSTEM                 sets boot_needed and boot_free, bytes: what boot_put would add; 1 (said: broken TEXT) when SYSTEM
 *                                      has not what the loader needs. Without SYSTEM: boot_free alone
 *     boot_put N SYSTEM                everything that entries of N name, and N in the menu; nothing when it is there and whole
 *     boot_try N SYSTEM SECONDS        N is started once, the next time
 *     boot_keep N SYSTEM               N is started from now on
 *     boot_drop                        nothing is started once any more
 *     boot_forget N SYSTEM             N out of the menu, and what only it named ($state/generations/N may be there still or not)
 *     boot_sweep                       what killed calls left under temporary names, and what belongs to no directory in $state/generations
 *     reboot_now                       at once, what was written being on the disk
 *
 * Each that writes returns when it is durable, 1 when it failed. Variables of a family's functions begin with boot_ or _, which those of the shared
 * text do not, and are theirs for one call. Of the shared text they may use is_number, is_generation N (there is a directory), numbers (prints those of
 * all generations, in order).
 */
import shared from "./generations.sh" with { type: "text" };

export interface FamilyPart {
  /** Without `#!`. */
  readonly shebang: string;
  /** The functions above, and nothing that is run as the text is read but assignments. */
  readonly functions: string;
}

export function generationsProgram({ shebang, functions }: FamilyPart): string {
  const [head = "", verbs = ""] = shared.split("#@FAMILY@\n");
  return `#!${shebang}\n${head}${functions.trimEnd()}\n${verbs}`;
}
