/** garth system iso: a medium that installs a declared system, without a network. */
import { formatSize } from "../../base/index.ts";
import type { MadeIso } from "../../image/index.ts";
import type { InstallThen } from "../../system/index.ts";
import type { Given, Handler } from "../command.ts";
import { usageProblem } from "../parse.ts";
import { absolute } from "../paths.ts";
import { receiptFile } from "../receipts.ts";
import { shipSystem, systemReference } from "../system-of.ts";

export const iso: Handler = async (context, given) => {
  const garth = await context.garth();
  const out = given.text("out");
  if (out === undefined)
    throw usageProblem("system iso: it is not said where the medium is to be written", "give it a name: -o FILE.iso");
  const { imageWishOf, installTarget, makeIso } = await garth.image();
  const target = given.text("target");
  const force = given.flag("force");
  if (force && target === undefined)
    throw usageProblem(
      "--force without --target: whoever is asked says it himself",
      "name the disk that is written over: --target",
    );
  const choices = { target: target === undefined ? undefined : installTarget(target), afterwards: afterwards(given), force };
  const { report, system } = await shipSystem(context, given, systemReference(given.arguments[0] ?? ""), { until: "system" });
  const { composed, kernel } = system;
  const { renderInitrd } = await garth.compose();
  const { host, store } = garth;
  const made = await makeIso(
    host,
    store,
    { image: imageWishOf(composed, garth.system), composition: composed.composition, kernelFile: kernel, choices },
    absolute(context, out),
    { renderInitrd: (tree) => renderInitrd({ host, store }, tree), signal: context.signal },
  );
  const fields = receiptFields(made, composed.system);
  const receipt = garth.receipts.keep("iso", system.name, fields);
  const copy = receiptFile(context, given);
  if (copy !== undefined) garth.writeReceipt(copy, fields);
  return {
    data: { project: report.project, stages: report.stages, ...made, closure: composed.system, receipt, fields },
    text: () =>
      [
        `${made.file}: ${formatSize(made.sizeBytes)} (${made.sizeBytes} bytes), sha256 ${made.sha256}`,
        `installs ${composed.system} on ${target ?? "a disk that it asks for"} of ${formatSize(made.leastBytes)} or more  [${receipt}]`,
      ].join("\n"),
    pass: system.name,
  };
};

/** @throws Problem E_USAGE */
function afterwards(given: Given): InstallThen | undefined {
  const text = given.text("then");
  if (text === undefined || text === "reboot" || text === "poweroff" || text === "shell") return text;
  throw usageProblem(`--then ${text}: there is no such end`, "reboot, poweroff or shell");
}

function receiptFields({ file, sizeBytes, sha256, label, medium, leastBytes, dataBytes }: MadeIso, closure: string) {
  return {
    iso_path: file,
    iso_sha256: sha256,
    iso_size_bytes: String(sizeBytes),
    iso_label: label,
    install_medium: medium,
    install_least_bytes: String(leastBytes),
    install_data_bytes: String(dataBytes),
    closure_path: closure,
  };
}
