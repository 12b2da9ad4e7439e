/** garth pool smoke: the receipt of a template: warm, checkout, a command over SSH, return, drain. */
import { formatDuration, Problem } from "../../base/index.ts";
import type { Pools } from "../../pool/index.ts";
import type { Context, Handler } from "../command.ts";
import { receiptFile } from "../receipts.ts";
import { table } from "../render/text.ts";
import { openedPools, poolSpecOf } from "./pool.ts";

const DEFAULT_PROBE = "python3 -c 'print(1+1)'";
const DEFAULT_EXPECT = "2";
/** A probe is one small command. */
const PROBE_LIMIT_MS = 120_000;

export const smoke: Handler = async (context, given) => {
  const pools = await openedPools(context, given);
  const [template = ""] = given.arguments;
  const name = `${template}-smoke`;
  const spec = poolSpecOf(given, name);
  const { env } = context;
  const fields = await smokePool(
    context,
    pools,
    { ...spec, template },
    {
      user: env["SSH_USER"],
      command: env["PROBE_CMD"] ?? DEFAULT_PROBE,
      expect: env["PROBE_EXPECT"] ?? DEFAULT_EXPECT,
    },
  );
  const garth = await context.garth();
  garth.receipts.keep("pool", template, fields);
  const copy = receiptFile(context, given);
  if (copy !== undefined) garth.writeReceipt(copy, fields);
  return {
    data: fields,
    text: () => table(Object.entries(fields).map(([key, value]) => [key, value])),
    pass: `pool-${template}`,
  };
};

interface Probe {
  readonly user: string | undefined;
  readonly command: string;
  readonly expect: string;
}

async function smokePool(
  context: Context,
  pools: Pools,
  spec: Parameters<Pools["init"]>[0],
  probe: Probe,
): Promise<Readonly<Record<string, string>>> {
  const { name, template } = spec;
  const { signal } = context;
  await pools.init(spec);
  try {
    const warmed = await pools.warm(name, { signal });
    context.line(`warm       ${warmed.available} available after ${formatDuration(warmed.durationMs)}`);
    const { entry, how, durationMs } = await pools.checkout(name, { holder: `smoke of ${template} ${context.now()}`, signal });
    context.line(`checkout   ${entry.id}, ${how}, in ${formatDuration(durationMs)}`);
    const guest = await pools.guest(entry.id);
    const { code, stdout, stderr } = await guest.run({
      argv: ["/bin/sh", "-c", probe.command],
      timeoutMs: PROBE_LIMIT_MS,
      ...(probe.user === undefined || probe.user === guest.address.user ? {} : { user: probe.user }),
    });
    const result = Buffer.from(stdout).toString().trim();
    if (code !== 0 || result !== probe.expect) throw failed(template, probe, result, code, stderr);
    context.line(`probe      ${probe.command}: ${result}`);
    await pools.return(entry.id);
    context.line(`return     ${entry.id}`);
    return {
      template,
      template_digest: pools.pool(name).templateDigest,
      pool_size: String(spec.size),
      pool_tier: spec.tier,
      warm_s: (warmed.durationMs / 1000).toFixed(1),
      checkout_how: how,
      checkout_ms: durationMs.toFixed(1),
      probe_command: probe.command,
      probe_result: result,
    };
  } finally {
    const { destroyed } = await pools.drain(name, { forget: true });
    context.line(`drain      ${destroyed} destroyed`);
  }
}

function failed(template: string, { command, expect }: Probe, result: string, code: number, stderr: string): Problem {
  return new Problem({
    code: "E_PROBE_FAILED",
    message: `smoke of ${template}: ${JSON.stringify(command)} ended with ${code} and did not print what was expected`,
    details: [`expected  ${expect}`, `printed   ${result}`, ...stderr.trim().split("\n").slice(-5)],
  });
}
