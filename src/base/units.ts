/**
 * Sizes and durations as people type and read them.
 *
 * Sizes are powers of 1024 (`10G`, `10GiB` and `10g` are the same, as with truncate(1) of FreeBSD). Durations are one number
 * and one unit, or several in falling order: `30d`, `1h30m`, `250ms`.
 */
import { Problem } from "./problem.ts";

const SIZE_UNITS = ["", "K", "M", "G", "T", "P"] as const;
const SIZE = /^(\d+(?:\.\d+)?)([KMGTP]?)(?:iB|B)?$/i;

/** @throws Problem E_BAD_SIZE */
export function parseSize(text: string): number {
  const match = SIZE.exec(text);
  const power = SIZE_UNITS.findIndex((unit) => unit === (match?.[2] ?? "").toUpperCase());
  const bytes = Math.round(Number(match?.[1]) * 1024 ** power);
  if (match === null || !Number.isSafeInteger(bytes)) {
    throw new Problem({
      code: "E_BAD_SIZE",
      message: `${JSON.stringify(text)} is not a size`,
      hint: "a number with K, M, G or T: 500M, 10G, 1.5T",
      exit: 2,
    });
  }
  return bytes;
}

/** `0 B`, `512 B`, `1.5 KiB`, `10 GiB`: at most three digits that matter. */
export function formatSize(bytes: number): string {
  let value = bytes;
  let power = 0;
  // 1023.95 would print as "1024": it belongs to the next unit.
  while (Math.abs(value) >= 1023.95 && power < SIZE_UNITS.length - 1) {
    value /= 1024;
    power += 1;
  }
  if (power === 0) return `${bytes} B`;
  const digits = Math.abs(value) < 99.95 ? value.toFixed(1).replace(/\.0$/, "") : value.toFixed(0);
  return `${digits} ${SIZE_UNITS[power]}iB`;
}

const DURATION_UNITS = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000, w: 604_800_000 } as const;
type DurationUnit = keyof typeof DURATION_UNITS;
const DURATION_PART = /(\d+(?:\.\d+)?)(ms|[smhdw])/y;

function isDurationUnit(text: string | undefined): text is DurationUnit {
  return text !== undefined && text in DURATION_UNITS;
}

/** Milliseconds. @throws Problem E_BAD_DURATION */
export function parseDuration(text: string): number {
  let total = 0;
  let previous = Number.POSITIVE_INFINITY;
  DURATION_PART.lastIndex = 0;
  let end = 0;
  for (let part = DURATION_PART.exec(text); part !== null; part = DURATION_PART.exec(text)) {
    const unit = part[2];
    const unitMs = isDurationUnit(unit) ? DURATION_UNITS[unit] : Number.NaN;
    if (unitMs >= previous) break;
    previous = unitMs;
    total += Number(part[1]) * unitMs;
    end = DURATION_PART.lastIndex;
  }
  const rounded = Math.round(total);
  if (text === "" || end !== text.length || !Number.isSafeInteger(rounded)) {
    throw new Problem({
      code: "E_BAD_DURATION",
      message: `${JSON.stringify(text)} is not a duration`,
      hint: "a number with ms, s, m, h, d or w: 90s, 1h30m, 30d",
      exit: 2,
    });
  }
  return rounded;
}

/** `0ms`, `850ms`, `4.2s`, `59s`, `1m05s`, `2h03m`, `3d04h`. */
export function formatDuration(ms: number): string {
  if (ms < 1000) return `${Math.round(ms)}ms`;
  if (ms < 9950) return `${(ms / 1000).toFixed(1)}s`;
  const seconds = Math.round(ms / 1000);
  if (seconds < 60) return `${seconds}s`;
  const two = (value: number) => String(Math.floor(value)).padStart(2, "0");
  if (seconds < 3600) return `${Math.floor(seconds / 60)}m${two(seconds % 60)}s`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)}h${two((seconds % 3600) / 60)}m`;
  return `${Math.floor(seconds / 86_400)}d${two((seconds % 86_400) / 3600)}h`;
}
