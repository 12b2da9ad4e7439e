/**
 * The probe: the output's own program, run in a fresh sandbox that has nothing but the output's closure.
 *
 * What it printed is remembered by output and probe, so that an output is probed once. A probe that fails leaves the output in
 * the store and is not remembered: the next build probes again.
 */
import { canonicalJson, hashPart, sha256, type StorePath } from "../base/index.ts";
import { stepLabel } from "../recipe/index.ts";
import type { SandboxResult } from "../sandbox/index.ts";
import type { Resolved, Building } from "./context.ts";
import { probeFailure } from "./failure.ts";
import { buildRootOf } from "./leaves.ts";
import { plain } from "./log.ts";
import { elsewhere, mountsOf } from "./make.ts";
import type { StepNode } from "./nodes.ts";

const PRINTED_MAX_BYTES = 64 * 1024;

export function knownProbe({ shop }: Building, node: StepNode, out: StorePath): string | undefined {
  const { probe } = node.step.recipe;
  return probe === undefined ? undefined : shop.records.probe(out, probeKey(probe));
}

/** What it printed, without white space at its ends; undefined when the recipe has no probe. @throws Problem E_PROBE_FAILED */
export async function probeOutput(
  building: Building,
  node: StepNode,
  resolved: Resolved,
  out: StorePath,
): Promise<string | undefined> {
  const { shop, options } = building;
  const { probe } = node.step.recipe;
  if (probe === undefined) return undefined;
  const known = knownProbe(building, node, out);
  if (known !== undefined) return known;
  shop.emit({ kind: "probing", key: node.key });
  const { derivation } = resolved;
  const { buildRoot } = derivation;
  const [program, ...words] = probe.argv;
  const argv = [`${out}/${program ?? ""}`, ...words] as const;
  const physical = await buildRootOf(building, node.step, derivation);
  const { printed, result } = await elsewhere(building, node.key, "beside", async ({ site }): Promise<Answer> => {
    const slot = shop.slots.take();
    const scratch = shop.slots.fresh(slot, hashPart(out).slice(0, 8));
    const chunks: Uint8Array[] = [];
    let size = 0;
    try {
      const request = {
        hash: hashPart(out),
        name: derivation.name,
        system: derivation.system,
        root: buildRoot.kind === "world" ? { ...buildRoot, physical } : buildRoot,
        inputs: mountsOf(shop, [out]),
        outputs: {},
        scratch,
        identity: slot.identity,
        network: false,
        argv,
        env: {},
        limits: derivation.limits,
      };
      const { result } = await site.run(request, {
        onOutput: (chunk) => {
          if (size < PRINTED_MAX_BYTES) chunks.push(chunk.slice());
          size += chunk.byteLength;
        },
        ...(options.signal === undefined ? {} : { signal: options.signal }),
      });
      return { printed: plain(new TextDecoder().decode(Buffer.concat(chunks))).trim(), result };
    } finally {
      shop.slots.giveBack(slot, scratch);
    }
  });
  const isExpected = probe.expect === undefined || probe.expect.trim() === printed;
  if (result.kind !== "exited" || result.status !== 0 || !isExpected) {
    throw probeFailure({ label: stepLabel(node.step), out, argv, expect: probe.expect, printed, result });
  }
  shop.records.noteProbe(out, probeKey(probe), printed);
  return printed;
}

interface Answer {
  readonly printed: string;
  readonly result: SandboxResult;
}

function probeKey(probe: { readonly argv: readonly string[]; readonly expect: string | undefined }): string {
  return sha256(canonicalJson({ ...probe }));
}
