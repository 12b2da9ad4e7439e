/** garth ship: the whole line of a project, one line a stage. */
import { formatDuration } from "../../base/index.ts";
import { receiptFile } from "../receipts.ts";
import type { Handler } from "../command.ts";
import type { StageReport } from "../../ship/index.ts";
import { jobsOf } from "./build.ts";

function stageLine({ stage, how, summary, receipts, durationMs }: StageReport): string {
  const took = how === "unchanged" ? "unchanged" : formatDuration(durationMs);
  const proof = receipts.length === 0 ? "" : `  [${receipts.join(" ")}]`;
  return `${stage.padEnd(10)}  ${took.padEnd(9)}  ${summary}${proof}`;
}

export const ship: Handler = async (context, given) => {
  const garth = await context.garth();
  const { settings } = await garth.settings();
  const report = await garth.ship(await context.progress()).run({
    file: given.arguments[0],
    jobs: jobsOf(given, settings.jobs),
    keepGoing: given.flag("keep-going") || settings.keepGoing,
    keepFailed: given.flag("keep-failed"),
    keyFile: given.text("key") ?? settings.repositoryKey,
    signal: context.signal,
    onStage: (stage) => context.line(stageLine(stage)),
  });
  const copy = receiptFile(context, given);
  if (copy !== undefined) garth.writeReceipt(copy, report.final);
  return { data: report, text: () => "", pass: nameOf(report.project) };
};

/** A project is called as its directory: ".../examples/hello/garth.ts" is "hello". */
function nameOf(file: string): string {
  return file.split("/").at(-2) ?? file;
}
