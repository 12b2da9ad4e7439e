/**
 * A builder is one POSIX sh script: a function for each phase, then the phases in order.
 *
 * It runs with `set -eu` in /build, under whatever sh, make and tar the build root has: GNU's on Linux, the base system's on
 * FreeBSD, where GNU make is `gmake`. Each phase announces itself with the line `@garth phase NAME`. What differs from run to run and
 * must not change the derivation comes from the executor: `out` (and a variable for each further output), TMPDIR, GARTH_BUILD_CORES.
 * The script's own variables start with an underscore, so that none has the name of an input: GNU make may be one.
 */
import { type PhasedOptions, PHASES, type PhaseName } from "./options.ts";
import { quote } from "./sh.ts";

export type Bodies = Readonly<Partial<Record<PhaseName, string>>>;

export interface ScriptParts {
  readonly options: PhasedOptions;
  readonly outputs: readonly string[];
  /** Variables that hold the patches. */
  readonly patches: readonly string[];
  /** What the build system does in each phase. */
  readonly bodies: Bodies;
  /** Lines before the phases. */
  readonly prologue?: string;
}

export function renderPhases({ options, outputs, patches, bodies, prologue }: ScriptParts): string {
  const defaults: Bodies = {
    ...(options.source === undefined ? {} : { unpack: unpack(options.sourceRoot) }),
    ...(patches.length === 0 ? {} : { patch: patch(patches) }),
    ...bodies,
    fixup: fixup(outputs, options.keepSource === true && options.source !== undefined),
  };
  const functions: string[] = [];
  const calls: string[] = [];
  for (const phase of PHASES) {
    if (phase === "check" && options.check !== true) continue;
    const body = [
      options[`pre${capitalize(phase)}`],
      options.phases?.[phase] ?? defaults[phase],
      options[`post${capitalize(phase)}`],
    ]
      .filter((part) => part !== undefined && part !== "")
      .join("\n");
    if (body === "") continue;
    functions.push(`do_${phase}() {\n${body}\n}\n`);
    calls.push(`phase ${phase}\n`);
  }
  return `${HEAD}${prologue ?? ""}\n${functions.join("\n")}\n${calls.join("")}`;
}

const HEAD = `set -eu
_cores=\${GARTH_BUILD_CORES:-1}
_top=$PWD
phase() { printf '@garth phase %s\\n' "$1"; "do_$1"; }
`;

/** For the prologue of what needs GNU make. */
export const FIND_MAKE = `if command -v gmake >/dev/null 2>&1; then _make=gmake; else _make=make; fi\n`;

/** A tree keeps the times it has in the store, all the same: make finds nothing out of date that is not. */
function unpack(sourceRoot: string | undefined): string {
  const enter = sourceRoot === undefined ? "" : `\n  cd ${quote(`./${sourceRoot}`)}`;
  return `  mkdir source
  cd source
  if [ -d "$src" ]; then
    cp -Rp "$src/." .
    chmod -R u+w .
  else
    case $src in
      *.zip) if command -v unzip >/dev/null 2>&1; then unzip -q "$src"; else tar -xf "$src"; fi ;;
      *) tar -xof "$src" ;;
    esac
    set -- *
    if [ "$#" -eq 1 ] && [ -d "$1" ]; then cd "./$1"; fi
  fi${enter}`;
}

function patch(variables: readonly string[]): string {
  return `  for _patch in ${variables.map((variable) => `"$${variable}"`).join(" ")}; do
    if [ -d "$_patch" ]; then set -- "$_patch"/*.patch; else set -- "$_patch"; fi
    for _file; do
      printf 'applying %s\\n' "\${_file##*/}"
      patch -p1 <"$_file"
    done
  done`;
}

/**
 * What would differ from build to build goes: the shared index of info pages, libtool's archives (they hold paths of the build),
 * and the times in gzip headers (RFC 1952: four bytes from the fifth on).
 */
function fixup(outputs: readonly string[], keepSource: boolean): string {
  const keep = `
  mkdir -p "$out/share/garth"
  printf '%s\\n' "$src" >"$out/share/garth/source"`;
  return `  for _output in ${outputs.map((output) => `"$${output}"`).join(" ")}; do
    rm -f "$_output/share/info/dir"
    find "$_output" -type f -name '*.la' -exec rm -f {} +
    find "$_output" -type f -name '*.gz' -exec sh -c \\
      'for _file; do printf "\\0\\0\\0\\0" | dd of="$_file" bs=1 seek=4 conv=notrunc 2>/dev/null; done' sh {} +
  done${keepSource ? keep : ""}`;
}

function capitalize<Text extends string>(text: Text): Capitalize<Text>;
function capitalize(text: string): string {
  return text.slice(0, 1).toUpperCase() + text.slice(1);
}
