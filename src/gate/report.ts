/** What came of a gate: as a receipt, and as an error for people. */
import { Problem } from "../base/index.ts";
import { renderReason } from "./reasons.ts";
import type { GateReport, Reason } from "./types.ts";

/** The keys of a boot receipt that a gate alone knows; seconds since the machine's start. */
export function gateReceipt(report: GateReport): Readonly<Record<string, string>> {
  const probes = report.probes.flatMap((probe, index) => [
    [`probe_${index + 1}_command`, probe.command] as const,
    [`probe_${index + 1}_output`, (probe.output ?? "").trim().replaceAll("\n", " ")] as const,
  ]);
  return {
    // What the guest says is told, and never in the place of what was seen.
    ...report.facts,
    verdict: report.verdict,
    verdict_path: report.path,
    vm_id: report.machineName,
    boot_backend: "qemu",
    accelerator: report.accelerator.accelerator,
    accelerator_reason: report.accelerator.reason,
    boot_seconds: report.bootMs === undefined ? "" : (report.bootMs / 1000).toFixed(1),
    ready_marker: report.markers.find(({ line }) => line !== undefined)?.line ?? "",
    gate_sha256: report.gateSha256,
    image_sha256: report.image.sha256,
    public_key_sha256: report.publicKeySha256,
    ...Object.fromEntries(probes),
  };
}

function hintFor(reason: Reason | undefined): string {
  switch (reason?.kind) {
    case "probe-failed":
      return "`garth gate show` prints all of the console; a longer timeout_s of the probe helps where the guest was only slow";
    case "timed-out":
    case "missing-marker":
      return "`garth gate show` prints all of the console; a slow host needs a longer timeout_s, and without KVM everything is slow";
    case "forbidden-line":
      return "`garth gate show` prints all of the console; `except` takes a built-in rule out of a gate";
    case "restart-loop":
    case "machine-exited":
    case "out-of-order":
    case undefined:
      return "`garth gate show` prints all of the console; `garth machine run` starts the image by hand";
  }
}

/** E_GATE_FAILED with every reason and the end of the console; undefined when the gate passed. */
export function gateProblem(report: GateReport): Problem | undefined {
  if (report.verdict === "pass") return undefined;
  const [first, ...others] = report.reasons.map(renderReason);
  const { accelerator, reason } = report.accelerator;
  return new Problem({
    code: "E_GATE_FAILED",
    message: `${report.image.storePath ?? report.image.file} did not pass its gate: ${first}`,
    details: [
      ...others,
      `accelerator: ${accelerator} (${reason})`,
      ...(report.consoleTail.length === 0 ? ["the console stayed silent"] : ["the console's last lines:"]),
      ...report.consoleTail.map((line) => `  ${line}`),
    ],
    where: report.path,
    hint: hintFor(report.reasons[0]),
    exit: 1,
  });
}
