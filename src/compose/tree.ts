/** Carries a planned tree out into an empty directory. */
import { sha256Hasher } from "../base/index.ts";
import { cpioArchive, type CpioEntry } from "../formats/index.ts";
import type { PlannedContent, PlannedTree } from "../system/index.ts";
import type { ComposeContext } from "./context.ts";
import { copyFile } from "./copy.ts";

/**
 * What the tree will hold, as a digest: the argument of the item it becomes. A Garth that renders something else makes another item;
 * nobody has to remember to say so.
 */
export function treeDigest(tree: PlannedTree): string {
  const hash = sha256Hasher();
  for (const [path, entry] of tree) {
    const { type } = entry;
    if (type === "directory") hash.update(JSON.stringify([path, type]));
    else if (type === "symlink") hash.update(JSON.stringify([path, type, entry.target]));
    else hash.update(JSON.stringify([path, type, entry.executable, contentKey(entry.content)]));
  }
  return hash.digest("hex");
}

function contentKey(content: PlannedContent): readonly string[] {
  switch (content.kind) {
    case "text":
      return ["text", content.text];
    case "part":
      return ["part", content.part, content.path];
    case "initrd":
      return ["initrd", treeDigest(content.tree)];
  }
}

export function writeTree({ host, store }: ComposeContext, tree: PlannedTree, directory: string): void {
  const { files } = host;
  for (const [path, entry] of tree) {
    const to = `${directory}/${path}`;
    if (entry.type === "directory") files.makeDirectory(to, { parents: true });
    else if (entry.type === "symlink") files.symlink(entry.target, to);
    else if (entry.content.kind === "part") {
      copyFile(host, `${store.physical(entry.content.part)}/${entry.content.path}`, to);
      files.chmod(to, entry.executable ? 0o755 : 0o644);
    } else files.writeFile(to, bytesOf({ host, store }, entry.content), entry.executable ? 0o755 : 0o644);
  }
}

function bytesOf(context: Pick<ComposeContext, "host" | "store">, content: PlannedContent): Uint8Array | string {
  switch (content.kind) {
    case "text":
      return content.text;
    case "part":
      return context.host.files.readFile(`${context.store.physical(content.part)}/${content.path}`);
    case "initrd":
      return initrd(context, content.tree);
  }
}

/** What process 1 of the kernel opens as its terminal before /dev is mounted: character device 5, 1. */
const CONSOLE: CpioEntry = {
  type: "character",
  path: "dev/console",
  mode: 0o600,
  uid: 0,
  gid: 0,
  timeSeconds: 0,
  major: 5,
  minor: 1,
};

/** The archive that an initial RAM disk is. */
export function initrd(context: Pick<ComposeContext, "host" | "store">, tree: PlannedTree): Uint8Array {
  const about = { uid: 0, gid: 0, timeSeconds: 0 } as const;
  const entries: CpioEntry[] = [];
  for (const [path, entry] of tree) {
    if (entry.type === "directory") entries.push({ type: "directory", path, mode: 0o755, ...about });
    else if (entry.type === "symlink") entries.push({ type: "symlink", path, target: entry.target, mode: 0o777, ...about });
    else {
      const read = bytesOf(context, entry.content);
      const bytes = typeof read === "string" ? new TextEncoder().encode(read) : read;
      entries.push({ type: "file", path, content: { kind: "bytes", bytes }, mode: entry.executable ? 0o755 : 0o644, ...about });
    }
    if (path === "dev") entries.push(CONSOLE);
  }
  return cpioArchive(entries);
}
