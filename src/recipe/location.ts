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

/** Where the files of a compiled program are; nothing else is there. */
const COMPILED = "/$bunfs/";

/** Garth's `src`, read from a stack: it is right however the program was started. */
let own: { readonly file: string; readonly directory: string | undefined } | undefined;

function ownPlace(): NonNullable<typeof own> {
  const [file = ""] = (new Error("here").stack ?? "").split("\n").flatMap((line) => FRAME.exec(line.trimEnd())?.[1] ?? []);
  const name = "recipe/location.ts";
  const path = decodeFile(file);
  return { file: path, directory: path.endsWith(`/${name}`) ? path.slice(0, -name.length) : undefined };
}

function isOwn(file: string): boolean {
  if (file.startsWith(COMPILED)) return true;
  own ??= ownPlace();
  if (file === own.file) return true;
  return own.directory !== undefined && file.startsWith(own.directory) && !file.endsWith(".test.ts");
}
