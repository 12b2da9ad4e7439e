/** What the daemon says of itself: one line for each thing, as text or as JSON. Pure. */

export type Level = "info" | "warning" | "error";

export interface LogLine {
  readonly level: Level;
  /** "listening", "entry", "fault": what happened, always in these words. */
  readonly event: string;
  readonly facts: Readonly<Record<string, string | number | boolean | undefined>>;
}

export type LogFormat = "text" | "json";
export type Log = (level: Level, event: string, facts?: LogLine["facts"]) => void;

const FACT_MAX_CHARACTERS = 2000;

/** A value that holds nothing a reader could take for the next one. */
function word(value: string | number | boolean): string {
  const text = String(value);
  return /^[^\s"=\p{Cc}]+$/u.test(text) ? text : JSON.stringify(text);
}

function shortened(value: string | number | boolean): string | number | boolean {
  return typeof value === "string" && value.length > FACT_MAX_CHARACTERS ? `${value.slice(0, FACT_MAX_CHARACTERS)}...` : value;
}

/** Without an end of line. */
export function formatLine({ level, event, facts }: LogLine, atMs: number, format: LogFormat): string {
  const time = new Date(atMs).toISOString();
  const said = Object.entries(facts).flatMap(([name, value]) => (value === undefined ? [] : [[name, shortened(value)] as const]));
  if (format === "json") return JSON.stringify({ time, level, event, ...Object.fromEntries(said) });
  return [time, level, event, ...said.map(([name, value]) => `${name}=${word(value)}`)].join(" ");
}
