/** garth system install: a declared system onto a disk, or into a file that is one. */
import { formatSize, parseSize } from "../../base/index.ts";
import type { Installation, Installed } from "../../deploy/index.ts";
import type { DeviceEvent } from "../../image/index.ts";
import type { Context, Handler } from "../command.ts";
import { absolute } from "../paths.ts";
import { receiptFile } from "../receipts.ts";
import { shipSystem, systemReference } from "../system-of.ts";

export const install: Handler = async (context, given) => {
  const garth = await context.garth();
  const [word = "", target = ""] = given.arguments;
  const size = given.text("size");
  const sizeBytes = size === undefined ? undefined : parseSize(size);
  const deploy = await garth.deploy();
  // What cannot be installed onto is told before anything is built; what is there is looked at again when all is.
  const path = absolute(context, target);
  const force = given.flag("force");
  deploy.checkTarget(await deploy.lookAtTarget(garth.host, path), { force, sizeBytes });

  const { report, system } = await shipSystem(context, given, systemReference(word), { until: "system" });
  const { imageWishOf, locateIn } = await garth.image();
  const wish = { name: system.name, image: imageWishOf(system.composed, garth.system), force, sizeBytes };
  const plan = deploy.planInstallation(await deploy.lookAtTarget(garth.host, path), wish);
  const lines = deploy.installationLines(plan);
  const document = { project: report.project, stages: report.stages, installation: plainInstallation(plan) };
  if (given.flag("dry-run")) return { data: document, text: () => lines.join("\n") };

  for (const line of lines) context.note(line);
  const installed = await deploy.install(garth.host, plan, {
    locate: locateIn(garth.store),
    verify: !given.flag("no-verify"),
    signal: context.signal,
    onEvent: told(context),
  });
  const receipt = garth.receipts.keep("install", system.name, installed.fields);
  const copy = receiptFile(context, given);
  if (copy !== undefined) garth.writeReceipt(copy, installed.fields);
  return {
    data: { ...document, receipt, fields: installed.fields },
    text: () => installedText(plan, installed, receipt),
    pass: system.name,
  };
};

/** Without what only a program has a use for: every byte of it. */
function plainInstallation(plan: Installation): Omit<Installation, "image"> {
  const { image: _, ...plain } = plan;
  return plain;
}

function installedText(
  { name, target }: Installation,
  { writtenBytes, clearedBytes, writtenSha256, sha256, fields }: Installed,
  receipt: string,
): string {
  const digest = sha256 === undefined ? `sha256 of what was written ${writtenSha256}` : `sha256 ${sha256}`;
  const back = fields["read_back"] === "same" ? "read back and the same" : "not read back";
  return `${name} -> ${target.path}: ${formatSize(writtenBytes)} written, ${formatSize(clearedBytes)} cleared, ${back}; ${digest}  [${receipt}]`;
}

const STAGES = {
  clear: "clearing what has to be empty",
  write: "writing file systems",
  table: "writing the partition table",
  verify: "reading back",
} as const;
const STEP_PERCENT = 10;

/** A line at the beginning of each stage, and at every tenth of it that somebody may have waited for. */
function told(context: Context): (event: DeviceEvent) => void {
  let stage: DeviceEvent["stage"] | undefined;
  let next = 0;
  return (event) => {
    if (event.stage !== stage) [stage, next] = [event.stage, 0];
    const percent = event.totalBytes === 0 ? 100 : Math.floor((100 * event.doneBytes) / event.totalBytes);
    if (percent < next) return;
    next = percent - (percent % STEP_PERCENT) + STEP_PERCENT;
    context.note(`install    ${STAGES[event.stage]}: ${percent} % of ${formatSize(event.totalBytes)}`);
  };
}
