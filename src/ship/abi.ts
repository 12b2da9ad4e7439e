/** The system a package is for is that of the root it was built in. */
import type { Builder, StepResult } from "../build/index.ts";
import type { Host } from "../host/index.ts";
import type { Ledger } from "../ledger/index.ts";
import type { Abi } from "../pkg/index.ts";
import { abiOfHostView, abiOfSystem } from "../repository/index.ts";
import { noteResult, readAbi, resultOf } from "./records.ts";

interface AbiContext {
  readonly host: Host;
  readonly ledger: Ledger;
  readonly now: () => number;
}

/** Of a world it is remembered, because that may be collected. */
export async function abiOf(
  { host, ledger, now }: AbiContext,
  built: StepResult,
  builder: Builder,
  signal: AbortSignal | undefined,
): Promise<Abi> {
  const { buildRoot, system } = built.derivation;
  if (buildRoot.kind === "host") return abiOfHostView(host, system, built.use?.on);
  const key = `abi ${buildRoot.path}`;
  const known = readAbi(resultOf(ledger, key));
  if (known !== undefined) return known;
  const abi = abiOfSystem(host, await builder.buildRoot(built, signal));
  noteResult(ledger, key, abi, now());
  return abi;
}
