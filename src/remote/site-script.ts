/**
 * The script that begins a build on a host: the scratch, the files of the sandbox in it, and then it is run.sh. Pure.
 *
 *     scratch made ──► owner ──► files ──► exec sh run.sh serve (sandbox/job.ts)
 *          └── any of it fails: the scratch is removed, nothing ran
 *
 * printf(1) is the shell's own: a file costs no process, which on an emulated host is a hundredth of a second.
 */
import type { System } from "../base/index.ts";
import { SCRIPT_HEAD, shellQuote } from "../host/index.ts";
import { JOB_SCRIPT_NAME, OWNER_FILE, processFunctions } from "../sandbox/index.ts";

export interface StartingJob {
  readonly system: System;
  /** Absolute, directly in the host's directory of scratch; not there yet. */
  readonly scratch: string;
  /** As rendered: names of files -> text. */
  readonly files: Readonly<Record<string, string>>;
}

export function startScript({ system, scratch, files }: StartingJob): string {
  const written = Object.entries(files).map(
    ([name, text]) => `  printf %s ${shellQuote(text)} >"$scratch"/${shellQuote(name)}\n`,
  );
  return `${SCRIPT_HEAD}
${processFunctions(system)}
scratch=${shellQuote(scratch)}
own_identity
mkdir -m 700 "$scratch"
trap 'rm -rf "$scratch"' EXIT
trap 'exit 1' HUP INT TERM
echo "$owner" >"$scratch/${OWNER_FILE}"
# shellcheck disable=SC2016 # What is in a file is for whoever reads it.
{
${written.join("")}}
# The script that this one becomes need not ask again who it is.
GARTH_OWNER=$owner
export GARTH_OWNER
trap - HUP INT TERM
exec sh "$scratch/${JOB_SCRIPT_NAME}" serve
`;
}
