/** The line: stages in order, each taking digests and leaving a receipt. */
import type { ReceiptFields } from "../receipt/index.ts";

export const STAGES = ["recipe", "build", "package", "repository"] as const;
export type StageName = (typeof STAGES)[number];

export interface StageReport {
  readonly stage: StageName;
  /** `done`: work was done now. `unchanged`: it had been done for the same input, and what it made is still there. */
  readonly how: "done" | "unchanged";
  /** One line for a person: "hello-2.10 -> /frx/store/...". */
  readonly summary: string;
  /** Names of the receipts, one for each thing the stage made. */
  readonly receipts: readonly string[];
  readonly durationMs: number;
}

export interface ShipRequest {
  readonly file: string | undefined;
  readonly jobs: number;
  readonly keepGoing: boolean;
  readonly keepFailed: boolean;
  readonly keyFile: string;
  readonly signal?: AbortSignal;
  readonly onStage: (report: StageReport) => void;
}

export interface ShipReport {
  readonly project: string;
  readonly stages: readonly StageReport[];
  /** Fields of the last stage's receipt. */
  readonly final: ReceiptFields;
}

export interface Ship {
  run(request: ShipRequest): Promise<ShipReport>;
}
