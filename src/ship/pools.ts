/** The last stages: a signed template of what passed its gate, and one machine of it taken, asked and given back. */
import { canonicalJson, Problem, sha256 } from "../base/index.ts";
import { isolated, type PoolSpec } from "../pool/index.ts";
import type { ReceiptFields } from "../receipt/index.ts";
import { sidecarOf, type Template, type TemplateDeclaration } from "../template/index.ts";
import { noteResult, readFields, resultOf } from "./records.ts";
import type { Outcome } from "./run.ts";
import { plain, storePathOf, type SystemLine, type SystemResult } from "./systems.ts";

/** Part of every key: raised when what the stage does with the same template changes. */
const POOLING = "pool-1";
const SUBNET = "10.77.0.0/24";
const BOOT_LIMIT_MS = 300_000;
const PROBE_LIMIT_MS = 120_000;

export interface TemplateResult {
  readonly fields: ReceiptFields;
  readonly template: Template;
}

export async function templateStage(
  line: SystemLine,
  made: SystemResult,
  declared: TemplateDeclaration,
  verdictPath: string,
): Promise<Outcome<TemplateResult>> {
  const { context, request } = line.shipping;
  const verdict = storePathOf(verdictPath);
  if (verdict === undefined) throw new Error("a verdict without a path");
  const sidecar = await sidecarOf(declared.sidecar, declared.name);
  const { composed } = made;
  const { kernelFile, initrdFile, commandLine } = composed;
  const templates = await context.templates();
  const { template, how } = await templates.build({
    name: declared.name,
    system: composed.system,
    verdict,
    sidecar,
    description: declared.description,
    // What is shipped now is what the project says now.
    replace: true,
    ...(sidecar.bootMode === "direct" && {
      direct: { kernel: kernelFile, initrd: initrdFile, commandLine: commandLine.join(" ") },
    }),
    ...(request.signal && { signal: request.signal }),
  });
  const fields = {
    template: template.name,
    template_digest: template.digest,
    template_image: template.imageFile,
    image_sha256: template.manifest.image.sha256,
    verdict_path: verdict,
    public_key_sha256: template.publicKeySha256,
  };
  return {
    how: how === "made" ? "done" : "unchanged",
    summary: `${template.name} -> ${template.imageFile}, signed`,
    receipts: [context.receipts.keep("template", template.name, fields)],
    result: { fields, template },
  };
}

/** A pool of one, what the gate asked asked again over SSH, the machine given back, nothing left. */
export async function poolStage(line: SystemLine, template: Template): Promise<Outcome<ReceiptFields>> {
  const { ledger, receipts, now } = line.shipping.context;
  const { request } = line.shipping;
  const probes = probesOf(line);
  const key = sha256(canonicalJson({ what: POOLING, template: template.digest, probes: plain(probes) }));
  const before = readFields(resultOf(ledger, key));
  const isThere = before !== undefined && request.again !== true;
  const fields = isThere ? before : await handOut(line, template, probes);
  if (!isThere) noteResult(ledger, key, fields, now());
  return {
    how: isThere ? "unchanged" : "done",
    summary: `${template.name}: warm after ${fields["warm_s"] ?? "?"} s, checkout ${fields["checkout_ms"] ?? "?"} ms, ${fields["probe_command"] ?? ""}: ${fields["probe_result"] ?? ""}`,
    receipts: [receipts.keep("pool", template.name, fields)],
    result: fields,
  };
}

interface Probe {
  readonly command: string;
  readonly expect: string | undefined;
}

function probesOf({ system }: SystemLine): readonly [Probe, ...Probe[]] {
  const [first, ...rest] = (system.gate?.probes ?? []).map(({ command, expect }) => ({ command, expect }));
  return first === undefined ? [{ command: "true", expect: undefined }] : [first, ...rest];
}

async function handOut(line: SystemLine, template: Template, probes: readonly [Probe, ...Probe[]]): Promise<ReceiptFields> {
  const { context, request } = line.shipping;
  const { signal } = request;
  const pools = await context.pools();
  const spec: PoolSpec = {
    name: `ship-${template.name}`.slice(0, 50).replace(/-+$/, ""),
    template: template.name,
    tier: "hot",
    size: 1,
    memoryBytes: undefined,
    cpus: undefined,
    network: "user",
    subnet: SUBNET,
    policy: isolated,
    density: "roomy",
    bootTimeoutMs: BOOT_LIMIT_MS,
  };
  await pools.init(spec);
  try {
    const warmed = await pools.warm(spec.name, signal === undefined ? {} : { signal });
    const holder = `ship ${line.shipping.project.file} ${context.now()}`;
    const { entry, how, durationMs } = await pools.checkout(spec.name, { holder, ...(signal && { signal }) });
    const guest = await pools.guest(entry.id);
    const answers: string[] = [];
    for (const { command, expect } of probes) {
      const { code, stdout, stderr } = await guest.run({ argv: ["/bin/sh", "-c", command], timeoutMs: PROBE_LIMIT_MS });
      const printed = Buffer.from(stdout).toString().trim();
      if (code !== 0 || (expect !== undefined && printed !== expect.trim()))
        throw failed(entry.id, command, code, printed, stderr);
      answers.push(printed);
    }
    await pools.return(entry.id);
    return {
      template: template.name,
      template_digest: template.digest,
      pool_size: String(spec.size),
      warm_s: (warmed.durationMs / 1000).toFixed(1),
      checkout_how: how,
      checkout_ms: durationMs.toFixed(1),
      probe_command: probes[0].command,
      probe_result: answers[0] ?? "",
    };
  } finally {
    await pools.drain(spec.name, { forget: true });
  }
}

function failed(machine: string, command: string, code: number, printed: string, stderr: string): Problem {
  return new Problem({
    code: "E_PROBE_FAILED",
    message: `asking the machine ${machine}: ${JSON.stringify(command)} ended with ${code} and did not print what was expected`,
    details: [`printed   ${printed}`, ...stderr.trim().split("\n").slice(-5)],
  });
}
