/** Leaves of a fresh tree what its packages say, and nothing of the machine and the time it was made. */
import type { Host } from "../../host/index.ts";
import { EMPTIED, isLeftOver, isTranslation, MOUNT_POINTS, REMOVED, WRITTEN } from "./plan.ts";

const SPECIAL_BITS = 0o7000;

export function cleanTree(host: Host, tree: string): void {
  const { files } = host;
  for (const path of REMOVED) files.removeTree(`${tree}/${path}`);
  for (const path of EMPTIED) {
    if (files.lstatIfAny(`${tree}/${path}`)?.type !== "directory") continue;
    for (const entry of files.list(`${tree}/${path}`)) files.removeTree(child(`${tree}/${path}`, entry));
  }
  for (const path of MOUNT_POINTS) files.makeDirectory(`${tree}/${path}`, { parents: true });
  for (const [path, text] of Object.entries(WRITTEN)) {
    files.removeTree(`${tree}/${path}`);
    files.writeFile(`${tree}/${path}`, text);
  }
  walk(host, tree, "");
}

/** Debian's packages have names in UTF-8; one that has not is kept as it is, by its bytes. */
function child(directory: string, entry: Uint8Array): string | Uint8Array {
  const text = Buffer.from(entry).toString("utf8");
  if (!text.includes("\ufffd")) return `${directory}/${text}`;
  return Buffer.concat([Buffer.from(`${directory}/`), entry]);
}

function walk(host: Host, tree: string, relative: string): void {
  const { files } = host;
  const directory = relative === "" ? tree : `${tree}/${relative}`;
  for (const entry of files.list(directory)) {
    const path = child(directory, entry);
    const name = Buffer.from(entry).toString("utf8");
    const below = relative === "" ? name : `${relative}/${name}`;
    const stat = files.lstat(path);
    const isPlain = stat.type === "file" || stat.type === "directory" || stat.type === "symlink";
    if (!isPlain || isLeftOver(below) || isTranslation(below)) {
      files.removeTree(path);
      continue;
    }
    if (stat.type !== "symlink" && (stat.mode & SPECIAL_BITS) !== 0) files.chmod(path, stat.mode & ~SPECIAL_BITS);
    if (stat.type === "directory" && typeof path === "string") walk(host, tree, below);
  }
}
