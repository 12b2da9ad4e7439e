/** What the program `generations` does on Linux: systemd-boot and the EFI system partition (generations-linux.sh). Pure. */
import functions from "./generations-linux.sh" with { type: "text" };
import type { FamilyPart } from "./generations-program.ts";
import { shellWord } from "./sh.ts";

/** `busybox`: of the boot slice. In its shell its programs are called by their bare names: it runs where /usr is not there yet. */
export function linuxGenerations(busybox: string, espLabel: string): FamilyPart {
  return { shebang: `${busybox} sh`, functions: functions.replace("@ESP_LABEL@", () => shellWord(espLabel)) };
}
