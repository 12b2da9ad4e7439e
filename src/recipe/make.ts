/** A Makefile alone. PREFIX is what the BSDs say, prefix what GNU says: both are given. */
import type { MakeFields } from "./options.ts";
import { type Bodies, FIND_MAKE } from "./phases.ts";
import { quote, words } from "./sh.ts";

export const makePrologue = FIND_MAKE;

export function makeBodies(options: MakeFields): Bodies {
  const flags = ` PREFIX="$out" prefix="$out"${words(options.makeFlags ?? [])}`;
  const target = options.buildTarget === undefined ? "" : ` ${quote(options.buildTarget)}`;
  return {
    build: `  "$_make" -j"$_cores"${flags}${target}`,
    check: `  "$_make" -j"$_cores"${flags} ${quote(options.checkTarget ?? "check")}`,
    install: `  "$_make"${flags} ${quote(options.installTarget ?? "install")}`,
  };
}
