/** GNU's build system: configure, make, make check, make install. */
import type { AutotoolsFields } from "./options.ts";
import { type Bodies, FIND_MAKE } from "./phases.ts";
import { quote, words } from "./sh.ts";

export const autotoolsPrologue = FIND_MAKE;

/** VERBOSE=1 has automake's harness print the log of a suite that failed. */
export function autotoolsBodies(options: AutotoolsFields): Bodies {
  const makeFlags = words(options.makeFlags ?? []);
  return {
    configure: `  ./configure --prefix="$out"${words(options.configureFlags ?? [])}`,
    build: `  "$_make" -j"$_cores"${makeFlags}`,
    check: `  "$_make" -j"$_cores"${makeFlags} VERBOSE=1 ${quote(options.checkTarget ?? "check")}`,
    install: `  "$_make"${makeFlags}${words(options.installFlags ?? [])} install`,
  };
}
