/** garth system switch, rollback, generations: systems of machines that run, over SSH. */
import type { Garth } from "../../app/index.ts";
import { formatDuration, formatSize, namePart, parseDuration, type StorePath } from "../../base/index.ts";
import type { Machine, MachineStatus, RebootReport, RollbackReport, SwitchPlan, SwitchReport } from "../../deploy/index.ts";
import type { ReceiptFields } from "../../receipt/index.ts";
import type { Answer, Context, Given, Handler } from "../command.ts";
import { usageProblem } from "../parse.ts";
import { absolute } from "../paths.ts";
import { receiptFile } from "../receipts.ts";
import { table } from "../render/text.ts";
import { systemItem } from "./system.ts";

async function onMachine<Result>(
  context: Context,
  given: Given,
  word: string,
  work: (machine: Machine) => Promise<Result>,
): Promise<Result> {
  const garth = await context.garth();
  const [identity, hostKey] = [given.text("identity"), given.text("host-key")];
  const machine = await garth.systemMachine({
    machine: word,
    hostKey,
    identityFile: identity === undefined ? undefined : absolute(context, identity),
  });
  try {
    return await work(machine);
  } finally {
    await machine.close();
  }
}

interface Change {
  readonly trialSeconds: number;
  readonly dryRun: boolean;
  readonly reboot: boolean;
  readonly signal: AbortSignal;
  readonly onProgress: (text: string) => void;
}

async function changeOf(context: Context, given: Given): Promise<Change> {
  const { TRIAL_SECONDS, TRIAL_SECONDS_MAX, TRIAL_SECONDS_MIN } = await (await context.garth()).deploy();
  const trial = given.text("trial");
  const trialSeconds = trial === undefined ? TRIAL_SECONDS : Math.ceil(parseDuration(trial) / 1000);
  if (trialSeconds < TRIAL_SECONDS_MIN || trialSeconds > TRIAL_SECONDS_MAX)
    throw usageProblem(
      `--trial ${trial ?? ""}: a system has from ${TRIAL_SECONDS_MIN} s to 24 h to be ready`,
      "15m is what it has without the option",
    );
  const [dryRun, reboot] = [given.flag("dry-run"), given.flag("reboot")];
  if (dryRun && reboot)
    throw usageProblem("--dry-run and --reboot: one does nothing, the other starts the machine anew", "choose one");
  return { trialSeconds, dryRun, reboot, signal: context.signal, onProgress: (text) => context.note(text) };
}

export const switchSystem: Handler = async (context, given) => {
  const garth = await context.garth();
  const change = await changeOf(context, given);
  // Whether it is there and lets us in is known before anything is made.
  const report = await onMachine(context, given, given.arguments[1] ?? "", async (machine) => {
    await machine.status(context.signal);
    const system = await systemItem(context, given, garth, 0);
    return await machine.switchTo(system, { ...change, onPlan: (plan) => showPlan(context, plan) });
  });
  const fields = switchReceipt(report);
  if (report.done) garth.receipts.keep("switch", nameOf(report.system), fields);
  return answer(garth, receiptFile(context, given), { report, fields, text: switchText(report) });
};

export const rollback: Handler = async (context, given) => {
  const garth = await context.garth();
  const change = await changeOf(context, given);
  const [word = "", number] = given.arguments;
  const wanted = number === undefined ? undefined : generationNumber(number);
  const report = await onMachine(context, given, word, (machine) =>
    machine.rollback(wanted, { ...change, onPlan: (plan) => showDifference(context, plan) }),
  );
  const fields = rollbackReceipt(report);
  if (report.done) garth.receipts.keep("rollback", nameOf(report.system), fields);
  return answer(garth, receiptFile(context, given), { report, fields, text: rollbackText(report) });
};

export const generations: Handler = async (context, given) => {
  const [word = ""] = given.arguments;
  const remove = given.text("remove")?.split(",").map(generationNumber);
  return await onMachine(context, given, word, async (machine): Promise<Answer> => {
    if (remove === undefined) {
      const status = await machine.status(context.signal);
      return { data: { machine: word, ...status }, text: () => statusText(status) };
    }
    const { removed, collected } = await machine.remove(remove, { signal: context.signal });
    const text = () =>
      `removed generation${removed.length === 1 ? "" : "s"} ${removed.join(", ")}, and ${collected.length} items of the store there`;
    return { data: { machine: word, removed, collected }, text };
  });
};

/** @throws Problem E_USAGE */
function generationNumber(word: string): number {
  if (/^[1-9][0-9]{0,9}$/.test(word)) return Number(word);
  throw usageProblem(`${JSON.stringify(word)} is no generation`, "generations have numbers: garth system generations MACHINE");
}

function nameOf(system: StorePath): string {
  return namePart(system).replace(/^system-/, "");
}

function answer(
  garth: Garth,
  copy: string | undefined,
  said: { readonly report: SwitchReport | RollbackReport; readonly fields: ReceiptFields; readonly text: readonly string[] },
): Answer {
  const { report, fields, text } = said;
  if (copy !== undefined) garth.writeReceipt(copy, fields);
  const { reboot } = report;
  const failed = reboot !== undefined && (reboot.result === "fell-back" || reboot.result === "unconfirmed");
  const data = { ...report, fields };
  return failed
    ? { data, text: () => text.join("\n"), exit: 1 }
    : { data, text: () => text.join("\n"), pass: nameOf(report.system) };
}

function showDifference(context: Context, { difference }: Pick<SwitchPlan, "difference">): void {
  for (const line of difference) context.line(line);
}

function showPlan(context: Context, plan: SwitchPlan): void {
  if (plan.action === "send") showDifference(context, plan);
}

const before = (trialSeconds: number): string => formatDuration(trialSeconds * 1000);

function switchText(report: SwitchReport): readonly string[] {
  const { machine, system, action, generation, current, done, missing, missingDiskBytes, trialSeconds } = report;
  if (action === "current") return [`${machine} starts ${system} already: generation ${generation ?? ""}`];
  if (action === "waiting" && report.onTrial)
    return [`${system} runs on ${machine} as generation ${generation ?? ""}, on trial; it is confirmed when it is ready`];
  const back = current === undefined ? "" : `, else the machine goes back to generation ${current}`;
  const trial = `is started once, at the next start; it has ${before(trialSeconds)} to be ready${back}`;
  if (action === "waiting") {
    const waits = `${system} is generation ${generation ?? ""} of ${machine} already, and waits for the next start`;
    return [waits, ...rebootText(machine, report.reboot)];
  }
  if (!done)
    return [`would send ${missing.length} items (${formatSize(missingDiskBytes)} there) to ${machine}, where ${system} ${trial}`];
  const sent = `sent ${report.sentItems} items, ${formatSize(report.sentBytes)}`;
  return [
    sent,
    `generation ${generation ?? ""} of ${machine}: ${system} ${report.reboot === undefined ? trial : ""}`.trimEnd(),
    ...rebootText(machine, report.reboot),
  ];
}

function rollbackText(report: RollbackReport): readonly string[] {
  const { machine, generation, system, action, onTrial, dropped, done, trialSeconds } = report;
  const drop = dropped === undefined ? [] : [`generation ${dropped} is not tried any more`];
  if (action === "current")
    return [`${machine} starts generation ${generation} already: ${system}`, ...rebootText(machine, report.reboot)];
  const next = onTrial
    ? `is started once, at the next start, and has ${before(trialSeconds)} to be ready`
    : "is started from the next start on";
  const would = done ? "" : "it would be told: ";
  return [...drop, `${would}generation ${generation} of ${machine} (${system}) ${next}`, ...rebootText(machine, report.reboot)];
}

function rebootText(machine: string, report: RebootReport | undefined): readonly string[] {
  if (report === undefined) return [];
  const { result, running, runningSystem, durationMs } = report;
  const what = `generation ${running ?? "?"} (${runningSystem ?? "?"})`;
  const took = formatDuration(durationMs);
  switch (result) {
    case "confirmed":
      return [`${machine} was started anew and was ready after ${took}: ${what} is confirmed`];
    case "started":
      return [`${machine} was started anew and let us in after ${took}: ${what} runs`];
    case "fell-back":
      return [`${machine} fell back after ${took}: ${what} runs, and what was tried has failed`];
    case "unconfirmed":
      return [`${machine} runs ${what} after ${took}, and was not ready; it will be given up at the next start`];
  }
}

function statusText({ generations: all, current, rollback: back, next, running, onTrial }: MachineStatus): string {
  const marks = (number: number): string =>
    [
      number === running ? (onTrial ? "running on trial" : "running") : "",
      number === current ? "current" : "",
      number === back ? "rollback" : "",
      number === next ? "next" : "",
    ]
      .filter((word) => word !== "")
      .join(", ");
  const rows = all.map(({ number, state, by, system }) => [String(number), state, marks(number), by, system]);
  return all.length === 0 ? "there are no generations" : table([["generation", "state", "is", "by", "system"], ...rows]);
}

function rebootFields(reboot: RebootReport | undefined): ReceiptFields {
  if (reboot === undefined) return { reboot_result: "none" };
  return {
    reboot_result: reboot.result,
    reboot_seconds: (reboot.durationMs / 1000).toFixed(1),
    running_generation: String(reboot.running ?? ""),
    run_current_system_target: reboot.runningSystem ?? "",
  };
}

function switchReceipt(report: SwitchReport): ReceiptFields {
  return {
    machine: report.machine,
    generation: String(report.generation ?? ""),
    closure_path: report.system,
    previous_generation: String(report.current ?? ""),
    previous_closure: report.previous ?? "",
    action: report.done ? "added" : report.action,
    sent_item_count: String(report.sentItems),
    sent_bytes: String(report.sentBytes),
    trial_seconds: String(report.trialSeconds),
    ...rebootFields(report.reboot),
  };
}

function rollbackReceipt(report: RollbackReport): ReceiptFields {
  return {
    machine: report.machine,
    generation: String(report.generation),
    closure_path: report.system,
    previous_generation: String(report.current ?? ""),
    previous_closure: report.previous ?? "",
    action: report.action,
    on_trial: report.onTrial ? "yes" : "no",
    ...rebootFields(report.reboot),
  };
}
