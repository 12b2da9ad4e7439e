/** garth ship: the whole line of a project, one line a stage. */
import { closest, formatDuration } from "../../base/index.ts";
import { receiptFile } from "../receipts.ts";
import type { Handler } from "../command.ts";
import type { GateEvent } from "../../gate/index.ts";
import type { ShippedSystem, ShipReport, ShipRequest, StageName, StageReport } from "../../ship/index.ts";
import type { Context, Given } from "../command.ts";
import { usageProblem } from "../parse.ts";
import { whereOf } from "../where.ts";
import { jobsOf } from "./build.ts";

function stageLine({ stage, how, summary, receipts, durationMs }: StageReport): string {
  const took = how === "unchanged" ? "unchanged" : formatDuration(durationMs);
  const proof = receipts.length === 0 ? "" : `  [${receipts.join(" ")}]`;
  return `${stage.padEnd(10)}  ${took.padEnd(9)}  ${summary}${proof}`;
}

export const ship: Handler = async (context, given) => {
  const until = given.text("until");
  const report = await shipLine(context, given, {
    file: given.arguments[0],
    ...(until === undefined ? {} : { until: stageNamed(until) }),
    again: given.flag("again"),
  });
  return { data: { ...report, systems: report.systems.map(plainSystem) }, text: () => "", pass: nameOf(report.project) };
};

/** Without what only a program has a use for: every path of its root. */
export function plainSystem(system: ShippedSystem): Omit<ShippedSystem, "composed"> {
  const { composed: _, ...plain } = system;
  return plain;
}

/** The line with the options that its commands share; stages are told as they end, and what the gate sees as it comes. */
export async function shipLine(
  context: Context,
  given: Given,
  request: Pick<ShipRequest, "file" | "until" | "only" | "again">,
): Promise<ShipReport> {
  const garth = await context.garth();
  const { settings } = await garth.settings();
  const report = await garth.ship(await context.progress()).run({
    ...request,
    ...(await whereOf(garth, given)),
    jobs: jobsOf(given, settings.jobs),
    keepGoing: given.flag("keep-going") || settings.keepGoing,
    keepFailed: given.flag("keep-failed"),
    keyFile: given.text("key") ?? settings.repositoryKey,
    signal: context.signal,
    onStage: (stage) => context.line(stageLine(stage)),
    onGate: (event) => {
      const text = gateLine(event);
      if (text !== undefined) context.note(text);
    },
  });
  const copy = receiptFile(context, given);
  if (copy !== undefined) garth.writeReceipt(copy, report.final);
  return report;
}

/** What a person wants to know of a gate while it runs; its console is in the verdict. */
export function gateLine(event: GateEvent): string | undefined {
  const seconds = (ms: number): string => `${(ms / 1000).toFixed(1).padStart(6)} s`;
  switch (event.kind) {
    case "gate-started":
      return `gate       ${event.name} runs on ${event.accelerator.accelerator}: ${event.accelerator.reason}`;
    case "gate-marker":
      return `gate       ${seconds(event.atMs)}  seen: ${event.marker}`;
    case "gate-probe":
      return `gate       ${seconds(event.probe.endedMs)}  ${event.probe.passed ? "passed" : "FAILED"}: ${event.probe.command}`;
    case "gate-decided":
      return `gate       ${seconds(event.atMs)}  ${event.verdict}`;
    case "gate-line":
      return undefined;
  }
}

const STAGE_NAMES: readonly StageName[] = [
  "recipe",
  "build",
  "package",
  "repository",
  "world",
  "system",
  "image",
  "gate",
  "template",
  "pool",
];

function stageNamed(text: string): StageName {
  const found = STAGE_NAMES.find((name) => name === text);
  if (found !== undefined) return found;
  const meant = closest(text, STAGE_NAMES);
  throw usageProblem(
    `--until ${text}: there is no such stage`,
    meant === undefined ? `the stages are ${STAGE_NAMES.join(", ")}` : `did you mean ${meant}?`,
  );
}

/** A project is called as its directory: ".../examples/hello/garth.ts" is "hello". */
function nameOf(file: string): string {
  return file.split("/").at(-2) ?? file;
}
