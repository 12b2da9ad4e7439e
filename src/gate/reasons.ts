/** Why a gate failed, as values and in words. */
import { formatDuration } from "../base/index.ts";
import type { GateProbe, ProbeAnswer, Reason } from "./types.ts";

const LINE_MAX = 500;
const GOT_MAX = 2000;

function cut(text: string, most: number): string {
  return text.length <= most ? text : `${text.slice(0, most).toWellFormed()}...`;
}

export function lineOfReason(text: string): string {
  return cut(text, LINE_MAX);
}

function expectation(probe: GateProbe): string {
  const parts: string[] = [];
  if (probe.expect !== undefined) parts.push(`the text ${JSON.stringify(probe.expect)}`);
  if (probe.expectPattern !== undefined) parts.push(`something like /${probe.expectPattern}/`);
  if (probe.expectStatus !== undefined) parts.push(`status ${probe.expectStatus}`);
  return parts.length === 0 ? "status 0" : parts.join(" and ");
}

function fits(probe: GateProbe, output: string, status: number): boolean {
  if (probe.expect !== undefined && output.trim() !== probe.expect) return false;
  if (probe.expectPattern !== undefined && !new RegExp(probe.expectPattern, "um").test(output.trim())) return false;
  if (probe.expectStatus !== undefined) return status === probe.expectStatus;
  return probe.expect !== undefined || probe.expectPattern !== undefined || status === 0;
}

/** undefined when the answer is what the probe expects. */
export function probeFault(probe: GateProbe, answer: ProbeAnswer, atMs: number): Reason | undefined {
  if (answer.kind === "answered" && fits(probe, answer.output, answer.status)) return undefined;
  return {
    kind: "probe-failed",
    probe: probe.name,
    command: probe.command,
    expected: expectation(probe),
    got: answer.kind === "answered" ? cut(answer.output.trim(), GOT_MAX) : undefined,
    status: answer.kind === "answered" ? answer.status : undefined,
    detail: answer.kind === "silent" ? answer.detail : undefined,
    atMs,
  };
}

const ENDS: Readonly<Record<Extract<Reason, { kind: "machine-exited" }>["end"], string>> = {
  "powered-off": "the machine switched itself off",
  rebooted: "the machine reset itself",
  panicked: "the guest reported a panic",
  stopped: "the machine was stopped from outside",
  died: "the hypervisor ended",
};

const at = (ms: number): string => `at ${(ms / 1000).toFixed(1)} s`;
const named = (name: string, pattern: string): string => (name === pattern ? `/${pattern}/` : `${name} /${pattern}/`);

/** One sentence without its full stop. */
export function renderReason(reason: Reason): string {
  switch (reason.kind) {
    case "forbidden-line":
      return `a forbidden line came ${at(reason.atMs)} (${named(reason.rule, reason.pattern)}): ${reason.line}`;
    case "missing-marker":
      return `${named(reason.marker, reason.pattern)} was not seen within ${formatDuration(reason.deadlineMs)}`;
    case "out-of-order":
      return `${reason.marker} came ${at(reason.atMs)}, before ${reason.after}: ${reason.line}`;
    case "restart-loop":
      return (
        `something starts again and again (${named(reason.rule, reason.pattern)}): ${reason.count} times ` +
        `within ${formatDuration(reason.windowMs)}, ${reason.max} are fine: ${reason.line}`
      );
    case "timed-out":
      return reason.state === "booting"
        ? `the machine was not ready within ${formatDuration(reason.timeoutMs)}`
        : `the machine was ready, but the probes did not end within ${formatDuration(reason.timeoutMs)} of its start`;
    case "machine-exited":
      return `${ENDS[reason.end]} ${at(reason.atMs)}${reason.detail === "" ? "" : ` (${reason.detail})`}`;
    case "probe-failed": {
      const got =
        reason.got === undefined
          ? (reason.detail ?? "there was no answer")
          : `it printed ${JSON.stringify(reason.got)} and ended with status ${reason.status}`;
      return `the probe ${JSON.stringify(reason.probe)} expected ${reason.expected}; ${got}`;
    }
  }
}
