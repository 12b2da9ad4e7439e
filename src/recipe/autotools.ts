/** GNU's build system: configure, make, make check, make install. */
import { operatingSystemOf, type System } from "../base/index.ts";
import type { AutotoolsFields } from "./options.ts";
import { type Bodies, FIND_MAKE } from "./phases.ts";
import { quote, words } from "./sh.ts";

export const autotoolsPrologue = FIND_MAKE;

/**
 * At the top of a package automake's `$(top_builddir)/lib/libname.a` is `./lib/libname.a`, which to GNU make is the file that a rule makes under
 * the name `lib/libname.a`, and to BSD make another one, which nothing makes. So each gets a rule by which it is made when the other is.
 */
const NAMES_FOR_BSD_MAKE = String.raw`  if [ "$_make" = make ] && [ -f Makefile ]; then
    for _name in $(tr ' \t' '\n\n' <Makefile | sed -n 's|^\$(top_builddir)/\([A-Za-z0-9_./$()-]*\.l*a\)$|\1|p' | sort -u); do
      printf './%s: %s\n' "$_name" "$_name"
    done >>Makefile
  fi
`;

/** VERBOSE=1 has automake's harness print the log of a suite that failed. */
export function autotoolsBodies(options: AutotoolsFields, system: System): Bodies {
  const makeFlags = words(options.makeFlags ?? []);
  const names = operatingSystemOf(system) === "freebsd" ? NAMES_FOR_BSD_MAKE : "";
  return {
    configure: `  ./configure --prefix="$out"${words(options.configureFlags ?? [])}`,
    build: `${names}  "$_make" -j"$_cores"${makeFlags}`,
    check: `  "$_make" -j"$_cores"${makeFlags} VERBOSE=1 ${quote(options.checkTarget ?? "check")}`,
    install: `  "$_make"${makeFlags}${words(options.installFlags ?? [])} install`,
  };
}
