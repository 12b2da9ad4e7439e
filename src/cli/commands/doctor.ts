/** garth doctor: looks, says what it would do, and with --install does it. */
import { operatingSystemOf, Problem } from "../../base/index.ts";
import { type DoctorReport, examine, install, renderReport } from "../../doctor/index.ts";
import type { Handler } from "../command.ts";

export const doctor: Handler = async (context, given) => {
  const { host, places } = await context.garth();
  const look = () =>
    examine({ host, stateDirectory: places.state, home: context.home, withTests: given.flag("tests"), nowMs: context.now() });
  let report = await look();
  if (given.flag("install") && report.install.commands.length > 0) {
    await install(host, report.install, context.note);
    report = await look();
  }
  const system = operatingSystemOf(host.system);
  if (!report.healthy && !given.flag("json")) context.line(renderReport(report, system));
  if (!report.healthy) throw unfit(report);
  return { data: report, text: () => renderReport(report, system) };
};

function unfit(report: DoctorReport): Problem {
  const missing = report.tools.filter((state) => state.path === undefined && state.tool.need === "required");
  const broken = report.checks.filter((check) => check.state === "fail");
  const commands = report.install.commands.map((argv) => argv.join(" ")).join(" && ");
  return new Problem({
    code: missing.length > 0 ? "E_TOOL_MISSING" : "E_MACHINE_UNFIT",
    message: "this machine cannot build yet",
    details: [
      ...missing.map(({ tool }) => `${tool.proof} is missing: ${tool.why}`),
      ...broken.map((check) => `${check.name}: ${check.detail}`),
    ],
    ...(missing.length > 0 ? { hint: commands } : broken[0]?.hint === undefined ? {} : { hint: broken[0].hint }),
    exit: 3,
  });
}
