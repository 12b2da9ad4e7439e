/**
 * What the scripts for a FreeBSD host have in common: how they tell what they do, how they fail, how they undo. Pure.
 *
 * Every step is one line on standard output (a supervisor's goes to a file), everything else is on standard error:
 *
 *     garth-pool: SUBJECT STEP [FACT...]          garth-pool: debian-12-17 ended 1 powered-off
 */
import { shellQuote } from "../host/index.ts";

export const EVENT_PREFIX = "garth-pool: ";

/**
 * Of a pool: template (there, made), network, ready, drained. Of a machine: disk, identity, port, prepared, started PID, rebooted COUNT,
 * answered, frozen PID, thawed PID, ended STATUS WORD, destroyed. Of either, when it fails: undone WHAT, left WHAT, failed VERB STATUS.
 */
export const EVENT_STEPS = [
  "answered",
  "destroyed",
  "disk",
  "drained",
  "ended",
  "failed",
  "frozen",
  "identity",
  "left",
  "network",
  "port",
  "prepared",
  "ready",
  "rebooted",
  "started",
  "template",
  "thawed",
  "undone",
] as const;
export type EventStep = (typeof EVENT_STEPS)[number];

export interface BhyvePoolEvent {
  /** A machine's id, or a pool's name. */
  readonly subject: string;
  readonly step: EventStep;
  readonly facts: readonly string[];
}

/** undefined for a line that tells of no step. */
export function readBhyvePoolEvent(line: string): BhyvePoolEvent | undefined {
  if (!line.startsWith(EVENT_PREFIX)) return undefined;
  const [subject, word, ...facts] = line.slice(EVENT_PREFIX.length).split(" ");
  const step = EVENT_STEPS.find((each) => each === word);
  return subject === undefined || subject === "" || step === undefined ? undefined : { subject, step, facts };
}

/** One option to a line. */
export function wrapped(argv: readonly string[], indent: string): string {
  return argv.map((word, index) => (index > 0 && /^-[slo]$/.test(word) ? `\\\n${indent}${word}` : shellQuote(word))).join(" ");
}

/** The beginning of a script: its comment, then what all of it is built with. `undo_by` is called before what is to be undone. */
export function scriptHead(comment: string, subject: string): string {
  return `#!/bin/sh
${comment.trimEnd().replaceAll(/^/gm, "# ")}
set -eu
PATH=/sbin:/bin:/usr/sbin:/usr/bin
export PATH
umask 077

subject=${shellQuote(subject)}

tell() {
  printf '${EVENT_PREFIX}%s %s\\n' "$subject" "$*"
}

fail() {
  printf '%s: %s\\n' "$subject" "$*" >&2
  exit 1
}

cannot() {
  printf '%s: %s\\n' "$subject" "$*" >&2
  exit 3
}

undos=
undo_by() {
  undos="$1 $undos"
}

finish() {
  status=$?
  trap - EXIT
  trap '' HUP INT TERM
  if [ "$status" -ne 0 ]; then
    for undo in $undos; do
      if ("$undo") >&2; then tell undone "$undo"; else tell left "$undo"; fi
    done
    tell failed "$verb" "$status"
  fi
  exit "$status"
}

begin() {
  [ "$(id -u)" -eq 0 ] || cannot "this needs root"
  trap finish EXIT
  trap 'exit 129' HUP
  trap 'exit 130' INT
  trap 'exit 143' TERM
}
`;
}

/** Whether there is a dataset or a snapshot. */
export const HAS_DATASET = `
has() {
  zfs list -H -o name "$1" >/dev/null 2>&1
}
`;
