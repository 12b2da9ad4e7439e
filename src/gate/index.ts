/**
 * gate: boots an image, judges its serial console, and leaves a signed verdict.
 *
 *     gate({...}) or a file ──► GateDeclaration ──resolveGate──► Gate ──┐
 *     image ──► machine ──console──► lines ──► judge ◄──────────────────┘
 *                                     booting ─► probing ─► passed | failed ──► verdict, a store item ──► GateReport
 *
 * What has to come and what must not is data; the judge is a pure function of lines and times. The built-in rules know how Linux
 * and FreeBSD fail to boot. A verdict says what was booted (digest), by which rules (digest), when each marker was seen, and holds
 * the whole console; the host's key signs it, so that a verdict can be shown to somebody else.
 *
 * A machine that cannot be started is a Problem and leaves no verdict; a machine that fails is a verdict. A reboot is never a
 * pass, and neither is a line that only repeats the kernel's command line.
 *
 * Limits: of a console 8 MiB from its beginning and its end are kept, all of it is judged. SSH probes log in with a key that
 * systemd guests learn from their firmware; others need a root shell on the console. A pattern that takes exponential time
 * takes it.
 *
 * Project files import this module: what runs a gate is loaded when a gate runs.
 */
import type { StorePath } from "../base/index.ts";
import type { Host } from "../host/index.ts";
import type { Store } from "../store/index.ts";
import type { HostSigner } from "./key.ts";
import type { GateContext, GateRequest } from "./run.ts";
import type { GateReport } from "./types.ts";
import type { SignedVerdict } from "./verdict.ts";

export { builtinNames, resolveGate } from "./builtin.ts";
export { gate, type GateFields } from "./declare.ts";
export type { HostSigner } from "./key.ts";
export { gateDigest, gateText, parseGate } from "./parse.ts";
export { renderReason } from "./reasons.ts";
export { gateProblem, gateReceipt } from "./report.ts";
export type { GateContext, GateMachine, GateRequest } from "./run.ts";
export type * from "./types.ts";
export type { SignedVerdict } from "./verdict.ts";

/**
 * @throws Problem E_BAD_GATE, E_KEY_PERMISSIONS, E_KEY_TYPE, E_BAD_KEY (exit 2), E_TOOL_MISSING (exit 3), E_INTERRUPTED (exit
 * 130), and those of `Machines.start`; none of them leaves a verdict
 */
export async function runGate(context: GateContext, request: GateRequest): Promise<GateReport> {
  const { runGate: run } = await import("./run.ts");
  return await run(context, request);
}

/**
 * Reads a verdict whose digests and signature hold. `trusted` is the public key in PEM that must have signed it.
 *
 * @throws Problem E_NO_VERDICT (exit 2), E_VERDICT_FORGED (exit 1)
 */
export async function readVerdict(
  host: Host,
  store: Store,
  path: StorePath,
  options: { readonly trusted?: string } = {},
): Promise<SignedVerdict> {
  const { readVerdict: read } = await import("./verdict.ts");
  return read(host, store, path, options);
}

/**
 * The key of this host, made when it is not there: what is signed with it was made or judged here.
 *
 * @throws Problem E_KEY_PERMISSIONS, E_KEY_TYPE, E_BAD_KEY (exit 2)
 */
export async function openHostSigner(host: Host, keyFile: string): Promise<HostSigner> {
  const { hostSigner } = await import("./key.ts");
  return hostSigner(host, keyFile);
}
