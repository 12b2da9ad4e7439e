/**
 * Judges a boot by its serial console. Decides, and does nothing: time is an argument, one timer at `nextDeadlineMs` is enough.
 *
 *     booting ── every marker seen ──► probing ── every probe passed ──► passed
 *        │         (no probes: at once)   │
 *        └── forbidden line, restart loop, time limit, machine's end ──┴──► failed
 *        └── marker missing at its own deadline, out of order               failed probe
 *
 * The first decision stands; what comes later changes nothing. On one line a forbidden pattern outweighs a marker. Whole lines
 * are looked at when they end. An unfinished line is looked at, for markers and forbidden patterns, once it has stood still for
 * QUIET_MS: a prompt never ends, and half a line must not match what the whole one does not. So neither the verdict nor its
 * reasons depend on how the text was cut into chunks. A guest that stops within a line for longer can at most have half of it
 * in the record, unless a pattern looks for the end of a line.
 *
 * All times are milliseconds since the machine's first instruction. What comes exactly at a deadline is in time.
 */
import type { MachineEnd } from "../machine/index.ts";
import { goesOn, repeatsCommandLine } from "./commandline.ts";
import { lineOfReason, probeFault } from "./reasons.ts";
import type { Gate, GateProbe, MarkerRecord, ProbeAnswer, Reason, RequiredMarker, RestartLoop } from "./types.ts";

/** How long an unfinished line has to stand still before it counts. */
export const QUIET_MS = 200;
/** Texts that one restart loop counts apart. Beyond, the one seen longest ago is forgotten. */
const LOOP_KEYS_MAX = 1000;

export type JudgeState = "booting" | "probing" | "passed" | "failed";

export interface Decision {
  readonly verdict: "pass" | "fail";
  /** Empty for a pass. The first is what decided. */
  readonly reasons: readonly Reason[];
  readonly atMs: number;
}

export interface Judge {
  readonly state: JudgeState;
  readonly decision: Decision | undefined;
  /** When `tick` has something to do next; undefined after the decision. */
  readonly nextDeadlineMs: number | undefined;
  /** When the last marker was seen. */
  readonly readyAtMs: number | undefined;
  /** In the order of the gate. */
  readonly markers: readonly MarkerRecord[];
  /** A line that ended now. */
  line(text: string, atMs: number): void;
  /** The line that has not ended yet, whenever it changed: "" when there is none. */
  partial(text: string, atMs: number): void;
  tick(atMs: number): void;
  machineExited(end: Pick<MachineEnd, "kind" | "detail">, atMs: number): void;
  /** Of the probe whose turn it is: they come in the order of the gate. */
  probeResult(answer: ProbeAnswer, atMs: number): void;
}

interface Marker {
  readonly rule: RequiredMarker;
  readonly regex: RegExp;
  readonly deadlineMs: number;
  seen: { readonly line: string; readonly atMs: number } | undefined;
}

export function openJudge(gate: Gate): Judge {
  const timeoutMs = gate.timeoutS * 1000;
  const forbidden = gate.forbid.map((rule) => ({ rule, regex: new RegExp(rule.pattern, "u") }));
  const loops = gate.restartLoops.map(openLoop);
  const markers: readonly Marker[] = gate.require.map((rule) => ({
    rule,
    regex: new RegExp(rule.pattern, "u"),
    deadlineMs: (rule.withinS ?? gate.timeoutS) * 1000,
    seen: undefined,
  }));
  let state: JudgeState = "booting";
  let decision: Decision | undefined;
  let readyAtMs: number | undefined;
  let probesPassed = 0;
  let unfinished: { readonly text: string; readonly atMs: number; readonly looked: boolean } | undefined;
  /** The line before was a command line that goes on in this one. */
  let continued = false;

  const decide = (verdict: Decision["verdict"], reasons: readonly Reason[], atMs: number): void => {
    decision ??= { verdict, reasons, atMs };
    state = decision.verdict === "pass" ? "passed" : "failed";
  };
  const missing = (): readonly Marker[] => markers.filter(({ seen }) => seen === undefined);
  const missingReasons = (late: readonly Marker[]): readonly Reason[] =>
    late.map(({ rule, deadlineMs }) => ({ kind: "missing-marker", marker: rule.name, pattern: rule.pattern, deadlineMs }));

  const advance = (atMs: number): void => {
    if (state === "booting" && missing().length === 0) {
      state = "probing";
      readyAtMs = atMs;
    }
    if (state === "probing" && probesPassed === gate.probes.length) decide("pass", [], atMs);
  };
  /** Everything that became due before a line that came at `atMs`. */
  const expire = (isDue: (deadlineMs: number) => boolean): void => {
    if (decision !== undefined) return;
    const late = state === "booting" ? missing().filter(({ deadlineMs }) => isDue(deadlineMs)) : [];
    const early = late.filter(({ deadlineMs }) => deadlineMs < timeoutMs);
    if (early.length > 0) {
      const deadlineMs = Math.min(...early.map((one) => one.deadlineMs));
      decide("fail", missingReasons(early.filter((one) => one.deadlineMs === deadlineMs)), deadlineMs);
    } else if (isDue(timeoutMs)) {
      const during = state === "probing" ? "probing" : "booting";
      decide("fail", [{ kind: "timed-out", state: during, timeoutMs }, ...missingReasons(late)], timeoutMs);
    }
  };
  const look = (text: string, atMs: number, whole: boolean): void => {
    if (decision !== undefined || text === "") return;
    const hit = forbidden.find(({ regex }) => regex.test(text));
    if (hit !== undefined) {
      const { name: rule, pattern } = hit.rule;
      return decide("fail", [{ kind: "forbidden-line", rule, pattern, line: lineOfReason(text), atMs }], atMs);
    }
    if (whole) {
      for (const loop of loops) {
        const reason = loop(text, atMs);
        if (reason !== undefined) return decide("fail", [reason], atMs);
      }
    }
    const repeated = continued || repeatsCommandLine(text);
    if (whole) continued = repeated && goesOn(text);
    if (state !== "booting" || repeated) return;
    for (const [index, marker] of markers.entries()) {
      if (marker.seen !== undefined || !marker.regex.test(text)) continue;
      const before = marker.rule.ordered
        ? markers.slice(0, index).find(({ rule, seen }) => rule.ordered && seen === undefined)
        : undefined;
      if (before !== undefined) {
        const { name } = marker.rule;
        const reason = { kind: "out-of-order", marker: name, after: before.rule.name, line: lineOfReason(text), atMs } as const;
        return decide("fail", [reason], atMs);
      }
      marker.seen = { line: lineOfReason(text), atMs };
    }
    advance(atMs);
  };
  /** What became due meanwhile. An unfinished line that was there before a deadline is not missed for not having stood still yet. */
  const bring = (isDue: (deadlineMs: number) => boolean): void => {
    if (unfinished?.looked === false) {
      const { text, atMs } = unfinished;
      const deadlines = [atMs + QUIET_MS, timeoutMs, ...missing().map(({ deadlineMs }) => deadlineMs)];
      if (deadlines.some((deadlineMs) => deadlineMs >= atMs && isDue(deadlineMs))) {
        unfinished = { text, atMs, looked: true };
        look(text, atMs, false);
      }
    }
    expire(isDue);
  };

  advance(0);
  return {
    get state() {
      return state;
    },
    get decision() {
      return decision;
    },
    get readyAtMs() {
      return readyAtMs;
    },
    get markers() {
      return markers.map(({ rule, seen }) => ({
        name: rule.name,
        pattern: rule.pattern,
        line: seen?.line,
        atMs: seen?.atMs,
      }));
    },
    get nextDeadlineMs() {
      if (decision !== undefined) return undefined;
      const due = state === "booting" ? missing().map(({ deadlineMs }) => deadlineMs) : [];
      const quiet = unfinished === undefined || unfinished.looked ? [] : [unfinished.atMs + QUIET_MS];
      return Math.min(timeoutMs, ...due, ...quiet);
    },
    line: (text, atMs) => {
      bring((deadlineMs) => deadlineMs < atMs);
      unfinished = undefined;
      look(text, atMs, true);
    },
    partial: (text, atMs) => {
      bring((deadlineMs) => deadlineMs < atMs);
      if (text === "") unfinished = undefined;
      else if (unfinished?.text !== text) unfinished = { text, atMs, looked: false };
    },
    tick: (atMs) => bring((deadlineMs) => deadlineMs <= atMs),
    machineExited: (end, atMs) => {
      bring((deadlineMs) => deadlineMs < atMs);
      // What it said last tells more than that it ended. It cannot pass any more: a machine that is gone is not up.
      if (decision === undefined && unfinished !== undefined) {
        const { text } = unfinished;
        const hit = forbidden.find(({ regex }) => regex.test(text));
        if (hit !== undefined) look(text, atMs, true);
      }
      const exited: Reason = { kind: "machine-exited", end: end.kind, detail: end.detail, atMs };
      decide("fail", [exited, ...(state === "booting" ? missingReasons(missing()) : [])], atMs);
    },
    probeResult: (answer, atMs) => {
      bring((deadlineMs) => deadlineMs < atMs);
      const probe: GateProbe | undefined = gate.probes[probesPassed];
      if (state !== "probing" || probe === undefined) return;
      const fault = probeFault(probe, answer, atMs);
      if (fault !== undefined) return decide("fail", [fault], atMs);
      probesPassed += 1;
      advance(atMs);
    },
  };
}

/** Counts the lines of one restart loop, apart for each text that its group captured. */
function openLoop(rule: RestartLoop): (text: string, atMs: number) => Reason | undefined {
  const regex = new RegExp(rule.pattern, "u");
  const windowMs = rule.windowS * 1000;
  const timesOf = new Map<string, readonly number[]>();
  return (text, atMs) => {
    const match = regex.exec(text);
    if (match === null) return undefined;
    const key = match[1] ?? "";
    const times = [...(timesOf.get(key) ?? []).filter((time) => time > atMs - windowMs), atMs];
    timesOf.delete(key);
    timesOf.set(key, times);
    const [oldest] = timesOf.keys();
    if (timesOf.size > LOOP_KEYS_MAX && oldest !== undefined) timesOf.delete(oldest);
    if (times.length <= rule.max) return undefined;
    const { name, pattern, max } = rule;
    const line = lineOfReason(text);
    return { kind: "restart-loop", rule: name, pattern, line, count: times.length, max, windowMs, atMs };
  };
}
