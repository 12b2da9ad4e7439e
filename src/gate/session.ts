/**
 * One machine under judgement: its console goes into the judge line by line, one timer waits for what is due next, and what the
 * judge and the console probe ask for is done. Holds no rule of its own.
 *
 * Times are milliseconds since the machine's first instruction, by the times of its console; before it said anything, since it
 * was started.
 */
import type { Emit } from "../base/index.ts";
import { boundedLog, consoleReader, formatStamp, type Machine, type MachineEnd } from "../machine/index.ts";
import { type ConsoleProbe, openConsoleProbe } from "./console-probe.ts";
import { type Judge, openJudge } from "./judge.ts";
import { probeFault } from "./reasons.ts";
import type { Gate, GateEvent, GateProbe, ProbeAnswer, ProbeRecord, ProbeWay } from "./types.ts";

/** Of the console log that a verdict keeps: so much from its beginning and from its end. */
const LOG_BYTES = 8 * 1024 * 1024;
const TAIL_LINES = 20;
/** A guest may say anything: so many facts are kept. */
const FACTS_MAX = 100;
const FACT = /^garth: ([a-z][a-z0-9_]{0,63})=(.{0,1000})/;

export interface Session {
  readonly judge: Judge;
  readonly probes: readonly ProbeRecord[];
  /** Settles when the judge has decided. */
  readonly decided: Promise<void>;
  /** Settles when it is the probes' turn, or everything is decided. */
  readonly ready: Promise<void>;
  /** For `StartOptions`. */
  onConsole(chunk: Uint8Array, atMs: number): void;
  /** The machine runs: from here on deadlines count and its end is noticed. */
  attach(machine: Machine): void;
  /** Milliseconds since the start. */
  now(): number;
  /** Runs a command in the root shell on the console; an answer also when everything is decided meanwhile. */
  askConsole(probe: GateProbe, nonce: string): Promise<ProbeAnswer>;
  answered(probe: GateProbe, via: ProbeWay, startedMs: number, answer: ProbeAnswer): void;
  /** Lines with their times; the console's last words too once the machine has ended. */
  consoleLog(): string;
  readonly consoleTail: readonly string[];
  /** What the guest said of itself: `garth: KEY=VALUE`. */
  readonly facts: Readonly<Record<string, string>>;
  /** No timer is left behind. */
  close(): void;
}

export function openSession(gate: Gate, emit: Emit<GateEvent>): Session {
  const judge = openJudge(gate);
  const reader = consoleReader();
  const log = boundedLog({ headBytes: LOG_BYTES, tailBytes: LOG_BYTES });
  const decided = Promise.withResolvers<void>();
  const ready = Promise.withResolvers<void>();
  const probes: ProbeRecord[] = [];
  const facts = new Map<string, string>();
  const markersTold = new Set<string>();
  let tail: readonly string[] = [];
  /** When the machine's first instruction was, by this process's clock: the least delayed word of it counts. */
  let zero: number | undefined;
  let machine: Machine | undefined;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let asked: { readonly probe: ConsoleProbe; readonly settle: (answer: ProbeAnswer) => void } | undefined;
  let closed = false;

  const now = (): number => (zero === undefined ? 0 : performance.now() - zero);

  const tellMarkers = (): void => {
    const missing = judge.markers.filter((marker) => marker.atMs === undefined).length;
    for (const { name, atMs } of judge.markers) {
      if (atMs === undefined || markersTold.has(name)) continue;
      markersTold.add(name);
      emit({ kind: "gate-marker", marker: name, atMs, missing });
    }
  };
  const serveProbe = (): void => {
    const typing = asked?.probe.takeTyping();
    if (typing !== undefined) void machine?.write(typing);
    const answer: ProbeAnswer | undefined =
      asked?.probe.answer ??
      (judge.decision === undefined ? undefined : { kind: "silent", detail: "the gate was decided first" });
    if (asked === undefined || answer === undefined) return;
    const { settle } = asked;
    asked = undefined;
    settle(answer);
  };
  /** After each event: what it changed is told and done, and the timer waits for what is due next. */
  const settle = (): void => {
    tellMarkers();
    serveProbe();
    if (judge.state !== "booting") ready.resolve();
    if (judge.decision !== undefined) decided.resolve();
    clearTimeout(timer);
    if (closed || machine === undefined || judge.nextDeadlineMs === undefined) return;
    const dueMs = Math.min(judge.nextDeadlineMs, asked?.probe.nextDeadlineMs ?? Number.POSITIVE_INFINITY);
    timer = setTimeout(tick, Math.max(0, dueMs - now()));
  };
  const tick = (): void => {
    asked?.probe.tick(now());
    judge.tick(now());
    settle();
  };
  const keep = (lines: readonly { readonly text: string; readonly endedAtMs: number }[]): void => {
    if (lines.length === 0) return;
    log.add(new TextEncoder().encode(lines.map(({ text, endedAtMs }) => `${formatStamp(endedAtMs)} ${text}\n`).join("")));
    tail = [...tail, ...lines.slice(-TAIL_LINES).map(({ text }) => text)].slice(-TAIL_LINES);
    for (const { text, endedAtMs } of lines) {
      const [, name, value = ""] = FACT.exec(text) ?? [];
      if (name !== undefined && facts.size < FACTS_MAX) facts.set(name, value);
      emit({ kind: "gate-line", text, atMs: endedAtMs });
    }
  };

  return {
    judge,
    probes,
    get facts() {
      return Object.fromEntries(facts);
    },
    decided: decided.promise,
    ready: ready.promise,
    now,
    onConsole: (chunk, atMs) => {
      zero = Math.min(zero ?? Number.POSITIVE_INFINITY, performance.now() - atMs);
      const lines = reader.push(chunk, atMs);
      for (const { text, endedAtMs } of lines) {
        const echo = asked?.probe.echoing === true;
        asked?.probe.line(text, endedAtMs);
        if (!echo) judge.line(text, endedAtMs);
      }
      const { partial } = reader;
      const text = partial?.text ?? "";
      const changedMs = partial?.endedAtMs ?? atMs;
      asked?.probe.partial(text, changedMs);
      judge.partial(asked?.probe.echoing === true ? "" : text, changedMs);
      settle();
      keep(lines);
    },
    attach: (started) => {
      machine = started;
      zero ??= performance.now();
      void started.exited.then((end: MachineEnd) => {
        judge.machineExited(end, now());
        settle();
        keep(reader.end());
      });
      settle();
    },
    askConsole: async (probe, nonce) => {
      const answer = Promise.withResolvers<ProbeAnswer>();
      const { command } = probe;
      const opened = openConsoleProbe({ command, nonce, startedAtMs: now(), timeoutMs: probe.timeoutS * 1000 });
      asked = { probe: opened, settle: answer.resolve };
      settle();
      return await answer.promise;
    },
    answered: (probe, via, startedMs, answer) => {
      const endedMs = now();
      const record: ProbeRecord = {
        name: probe.name,
        command: probe.command,
        via,
        passed: probeFault(probe, answer, endedMs) === undefined,
        output: answer.kind === "answered" ? answer.output : undefined,
        status: answer.kind === "answered" ? answer.status : undefined,
        detail: answer.kind === "silent" ? answer.detail : undefined,
        startedMs,
        endedMs,
      };
      if (judge.decision === undefined) {
        probes.push(record);
        emit({ kind: "gate-probe", probe: record });
      }
      judge.probeResult(answer, endedMs);
      settle();
    },
    consoleLog: () => {
      const { partial } = reader;
      const rest = partial === undefined ? "" : `${formatStamp(partial.endedAtMs)} ${partial.text}\n`;
      return new TextDecoder().decode(log.bytes()) + rest;
    },
    get consoleTail() {
      const { partial } = reader;
      return partial === undefined ? tail : [...tail, partial.text].slice(-TAIL_LINES);
    },
    close: () => {
      closed = true;
      clearTimeout(timer);
    },
  };
}
