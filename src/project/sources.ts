/** The project file and what it imports by a relative path: the files that decide what it says. */
import { Problem, sha256 } from "../base/index.ts";
import type { Host } from "../host/index.ts";

/** @throws Problem E_PROJECT_NOT_FOUND */
export function findProjectFile(host: Host, file: string | undefined, workingDirectory: string): string {
  const given = file ?? "garth.ts";
  const absolute = given.startsWith("/") ? given : `${workingDirectory}/${given}`;
  const stat = statThrough(host, absolute);
  const found = stat === "directory" ? `${absolute.replace(/\/+$/, "")}/garth.ts` : absolute;
  if (stat === undefined || (stat === "directory" && statThrough(host, found) !== "file")) {
    throw new Problem({
      code: "E_PROJECT_NOT_FOUND",
      message: `there is no project file ${file === undefined ? "garth.ts in this directory" : given}`,
      hint: "name a file, or a directory with a garth.ts: `garth build ./examples/hello#hello`",
      where: found,
      exit: 2,
    });
  }
  return host.files.realPath(found);
}

function statThrough(host: Host, path: string): "file" | "directory" | undefined {
  try {
    return host.files.lstat(host.files.realPath(path)).type === "directory" ? "directory" : "file";
  } catch {
    return undefined;
  }
}

export interface SourceFiles {
  /** Absolute paths, the project file first. */
  readonly files: readonly string[];
  /** SHA-256 over names (relative to the project file) and contents. */
  readonly digest: string;
}

/**
 * Follows `from "./x"`, `import "./x"` and `import("./x")` in the text. A name that is only in a comment does no harm: the digest then
 * depends on one file more.
 */
export function readSources(host: Host, projectFile: string): SourceFiles {
  const directory = projectFile.slice(0, projectFile.lastIndexOf("/"));
  const texts = new Map<string, string>();
  const pending = [projectFile];
  for (let file = pending.pop(); file !== undefined; file = pending.pop()) {
    if (texts.has(file)) continue;
    const text = host.files.readText(file);
    texts.set(file, text);
    for (const [, specifier = ""] of text.matchAll(/(?:\bfrom|\bimport)\s*\(?\s*["'](\.{1,2}\/[^"'\n]+)["']/g)) {
      const imported = resolveImport(host, file, specifier);
      if (imported !== undefined) pending.push(imported);
    }
  }
  const parts = [...texts].map(([file, text]) => [relative(directory, file), sha256(text)]);
  return { files: [...texts.keys()], digest: sha256(JSON.stringify(parts.toSorted())) };
}

function resolveImport(host: Host, from: string, specifier: string): string | undefined {
  const base = normalize(`${from.slice(0, from.lastIndexOf("/"))}/${specifier}`);
  for (const ending of ["", ".ts", ".js", ".json", "/index.ts"]) {
    if (statThrough(host, base + ending) === "file") return base + ending;
  }
  return undefined;
}

/** Takes `.` and `..` out of an absolute path. */
export function normalize(path: string): string {
  const parts: string[] = [];
  for (const part of path.split("/")) {
    if (part === "..") parts.pop();
    else if (part !== "" && part !== ".") parts.push(part);
  }
  return `/${parts.join("/")}`;
}

/** The same wherever the project lies. */
function relative(directory: string, file: string): string {
  let shared = directory;
  let up = "";
  while (!file.startsWith(`${shared}/`)) {
    shared = shared.slice(0, shared.lastIndexOf("/"));
    up += "../";
  }
  return up + file.slice(shared.length + 1);
}
