/** The constructor of project files: `gate({ timeoutS: 120, require: ["^login: "] })`. Pure, and nothing to load. */
import { Problem } from "../base/index.ts";
import { readGate, renderPath } from "./read.ts";
import type { BuiltinSet, GateDeclaration, ProbeWay } from "./types.ts";

/** See `Rule`, `RequiredMarker`, `RestartLoop` and `GateProbe` in types.ts for what each member means. */
export interface GateFields {
  /** What system({ ... }) returned. Without one the gate is run by its name alone. */
  readonly system?: object;
  readonly name?: string;
  /** Default: the set of the image's own system. */
  readonly extends?: BuiltinSet;
  readonly except?: readonly string[];
  /** For boot and probes together. Default 300. */
  readonly timeoutS?: number;
  /** Default: what the set requires. A bare string is a pattern. */
  readonly require?: readonly (
    | string
    | { readonly name?: string; readonly pattern: string; readonly withinS?: number; readonly ordered?: boolean }
  )[];
  readonly forbid?: readonly (string | { readonly name?: string; readonly pattern: string })[];
  readonly restartLoops?: readonly {
    readonly name?: string;
    readonly pattern: string;
    readonly max: number;
    readonly windowS: number;
  }[];
  readonly probes?: readonly {
    readonly name?: string;
    readonly command: string;
    readonly expect?: string;
    readonly expectPattern?: string;
    readonly expectStatus?: number;
    readonly via?: ProbeWay;
    readonly user?: string;
    readonly timeoutS?: number;
  }[];
  readonly screenshot?: boolean;
}

/** @throws Problem E_BAD_GATE, which names the field (exit 2) */
export function gate({ system, ...fields }: GateFields = {}): GateDeclaration {
  const fault = (path: readonly (string | number)[], message: string, hint?: string) =>
    new Problem({
      code: "E_BAD_GATE",
      message: `${path.length === 0 ? "gate" : `gate: ${renderPath(path)}`}: ${message}`,
      ...(hint === undefined ? {} : { hint }),
      exit: 2,
    });
  const declaration = readGate({ spelling: "typescript", fault }, fields, "gate");
  return system === undefined ? declaration : { ...declaration, system };
}
