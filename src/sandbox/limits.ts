/** Limits in the words of a person: what was reached and how to raise it. Pure. */
import type { LimitName, SandboxResult } from "./types.ts";

const BINARY_UNITS = ["B", "KiB", "MiB", "GiB", "TiB"] as const;

function bytes(value: number): string {
  let unit = 0;
  let amount = value;
  while (amount >= 1024 && unit < BINARY_UNITS.length - 1) {
    amount /= 1024;
    unit += 1;
  }
  return `${Number.isInteger(amount) ? amount : amount.toFixed(1)} ${BINARY_UNITS[unit]}`;
}

function duration(ms: number): string {
  if (ms % 3_600_000 === 0) return `${ms / 3_600_000} h`;
  if (ms % 60_000 === 0) return `${ms / 60_000} min`;
  return `${ms / 1000} s`;
}

const REACHED: Readonly<Record<LimitName, (value: number) => string>> = {
  wallClockMs: (value) => `it ran for ${duration(value)}`,
  silenceMs: (value) => `it printed nothing for ${duration(value)}`,
  memoryBytes: (value) => `it wanted more than ${bytes(value)} of memory`,
  processes: (value) => `it wanted more than ${value} processes`,
  openFiles: (value) => `it wanted more than ${value} open files`,
  outputBytes: (value) => `it wrote ${bytes(value)} into its output, /build and /tmp`,
  logBytes: (value) => `it printed ${bytes(value)}`,
};

export function limitReached(limit: LimitName, value: number): SandboxResult & { readonly kind: "limit" } {
  return {
    kind: "limit",
    limit,
    value,
    raise: `${REACHED[limit](value)}; set \`limits: { ${limit}: ... }\` in the recipe to allow more`,
  };
}

/** The disk ran low before the declared limit was reached. */
export function diskNearlyFull(value: number): SandboxResult & { readonly kind: "limit" } {
  return {
    kind: "limit",
    limit: "outputBytes",
    value,
    raise: `${REACHED.outputBytes(value)}, and the disk is nearly full; free some space (\`garth store gc\`) or move the root to a larger disk`,
  };
}
