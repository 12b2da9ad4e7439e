/** Paths as text: nothing is looked up. */

export function lastComponent(path: string): string {
  const trimmed = path.replace(/\/+$/, "");
  return trimmed.slice(trimmed.lastIndexOf("/") + 1);
}

/** A relative path is relative to the directory of `file`; `.` and `..` are taken out. */
export function besides(file: string | undefined, path: string): string {
  if (path.startsWith("/") || file === undefined) return normalize(path);
  return normalize(`${file.slice(0, file.lastIndexOf("/"))}/${path}`);
}

function normalize(path: string): string {
  const parts: string[] = [];
  for (const part of path.split("/")) {
    if (part === "..") parts.pop();
    else if (part !== "" && part !== ".") parts.push(part);
  }
  return `${path.startsWith("/") ? "/" : ""}${parts.join("/")}`;
}
