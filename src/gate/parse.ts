/**
 * Gate files: TOML (v1.0.0), and back.
 *
 *     timeout_s = 300                     seconds for boot and probes together; default 300
 *     extends = "linux"                   or "freebsd", "none"; default: the set of the image's own system
 *     except = ["segfault"]               names of rules of that set that do not apply
 *     screenshot = true                   also of a machine that passes; needs a machine with a display
 *     [[require]]       pattern, within_s?, ordered?, name?
 *     [[forbid]]        pattern, name?
 *     [[restart_loop]]  pattern, max, window_s, name?
 *     [[probe]]         command, expect | expect_pattern, expect_status?, via?, user?, timeout_s?, name?
 */
import { Problem, sha256 } from "../base/index.ts";
import { type Path, readGate, renderPath } from "./read.ts";
import type { Gate, GateDeclaration } from "./types.ts";

/** @throws Problem E_BAD_GATE with file, line and field (exit 2) */
export async function parseGate(text: string, file: string): Promise<GateDeclaration> {
  const { parse, TomlError } = await import("smol-toml");
  const fault = (path: Path, message: string, hint?: string): Problem => {
    const line = lineOf(text, path);
    return new Problem({
      code: "E_BAD_GATE",
      message: `reading the gate file: ${path.length === 0 ? "" : `${renderPath(path)}: `}${message}`,
      ...(hint === undefined ? {} : { hint }),
      where: line === undefined ? file : `${file}:${line}`,
      exit: 2,
    });
  };
  let values: unknown;
  try {
    values = parse(text);
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    throw new Problem({
      code: "E_BAD_GATE",
      message: "reading the gate file: it is not TOML",
      details: [error.message],
      where: `${file}:${error.line}:${error.column}`,
      exit: 2,
    });
  }
  return readGate({ spelling: "toml", fault }, values, nameOf(file));
}

function nameOf(file: string): string {
  return file.slice(file.lastIndexOf("/") + 1).replace(/\.toml$/, "") || "gate";
}

/**
 * The line of a member, found by its header and key as people write them. The parser keeps no places; a file written in another
 * way (inline tables) gives the line of the table, or none.
 */
function lineOf(text: string, path: Path): number | undefined {
  const [table, index, key] = path;
  if (typeof table !== "string") return undefined;
  const lines = text.split("\n");
  const header = /^\s*\[\[?\s*"?([A-Za-z0-9_-]+)"?\s*\]\]?/;
  const keyed = (line: string, name: string) => line.match(/^\s*"?([A-Za-z0-9_-]+)"?\s*=/)?.[1] === name;
  let seen = -1;
  let current: string | undefined;
  let headerLine: number | undefined;
  for (const [at, line] of lines.entries()) {
    const found = header.exec(line)?.[1];
    if (found !== undefined) {
      current = found;
      if (found === table) seen += 1;
      if (found === table && (seen === index || index === undefined)) headerLine ??= at + 1;
      continue;
    }
    if (current === undefined && keyed(line, table)) return at + 1;
    if (current === table && seen === index && typeof key === "string" && keyed(line, key)) return at + 1;
  }
  return headerLine;
}

/**
 * The canonical form: a gate file that says everything and builds on nothing, so that reading it gives the same gate. Its digest
 * is the gate's.
 */
export function gateText(gate: Gate): string {
  const lines = [
    "# every rule that applied; written by garth",
    ...members({ name: gate.name, extends: "none", timeout_s: gate.timeoutS, screenshot: gate.screenshot }),
  ];
  const tables = (header: string, rows: readonly Readonly<Record<string, Scalar | undefined>>[]): void => {
    for (const row of rows) lines.push("", `[[${header}]]`, ...members(row));
  };
  tables(
    "require",
    gate.require.map(({ name, pattern, withinS, ordered }) => ({ name, pattern, within_s: withinS, ordered })),
  );
  tables(
    "forbid",
    gate.forbid.map(({ name, pattern }) => ({ name, pattern })),
  );
  tables(
    "restart_loop",
    gate.restartLoops.map(({ name, pattern, max, windowS }) => ({ name, pattern, max, window_s: windowS })),
  );
  tables(
    "probe",
    gate.probes.map((probe) => ({
      name: probe.name,
      command: probe.command,
      expect: probe.expect,
      expect_pattern: probe.expectPattern,
      expect_status: probe.expectStatus,
      via: probe.via,
      user: probe.user,
      timeout_s: probe.timeoutS,
    })),
  );
  return `${lines.join("\n")}\n`;
}

export function gateDigest(gate: Gate): string {
  return sha256(gateText(gate));
}

type Scalar = string | number | boolean;

function members(row: Readonly<Record<string, Scalar | undefined>>): readonly string[] {
  return Object.entries(row).flatMap(([key, value]) => (value === undefined ? [] : [`${key} = ${scalar(value)}`]));
}

/** A basic string of TOML escapes as JSON does, and DEL besides. Of JSON's numbers only 1e-7 and below are written otherwise. */
function scalar(value: Scalar): string {
  return JSON.stringify(value).replaceAll("\u007f", String.raw`\u007f`);
}
