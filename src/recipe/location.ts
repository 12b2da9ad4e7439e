/**
 * Where in a project file something was declared.
 *
 * A thousand recipes are declared in every run and almost none of them is ever asked where. So a constructor keeps the error
 * object it makes, which costs a microsecond, and its stack is turned into text only when the location is wanted.
 */
import type { SourceLocation } from "./types.ts";

export type Site = Error;

export function here(): Site {
  return new Error("declared");
}

const FRAME = /(?:\(|at )((?:file:\/\/)?\/[^()]*?):(\d+)(?::(\d+))?\)?$/;

/** The innermost frame that is not Garth's own. */
export function locationOf(site: Site): SourceLocation | undefined {
  for (const line of (site.stack ?? "").split("\n")) {
    const frame = FRAME.exec(line.trimEnd());
    if (frame?.[1] === undefined) continue;
    const file = decodeFile(frame[1]);
    if (!isOwn(file)) return { file, line: Number(frame[2]) };
  }
  return undefined;
}

export function renderLocation(location: SourceLocation): string {
  return `${location.file}:${location.line}`;
}

function decodeFile(text: string): string {
  return text.startsWith("file://") ? decodeURIComponent(text.slice("file://".length)) : text;
}

const OWN_FILE = decodeFile(import.meta.url);
/** Garth's `src`; undefined when the program is one bundled file: then that file is all there is. */
const OWN_DIRECTORY = OWN_FILE.endsWith("/recipe/location.ts") ? OWN_FILE.slice(0, -"recipe/location.ts".length) : undefined;

function isOwn(file: string): boolean {
  if (file === OWN_FILE) return true;
  return OWN_DIRECTORY !== undefined && file.startsWith(OWN_DIRECTORY) && !file.endsWith(".test.ts");
}
