/** The manifest of a root file system, from which makefs(8) of FreeBSD makes one without the tree, and without root. Pure. */
import { type FileSystemEntry, type MtreeEntry, renderMtree } from "../formats/index.ts";

/**
 * mtree(5) with `contents=` where a file's bytes are, as `fileOf` says; where it says nothing makefs looks at the path of the entry.
 * A hard link is a second entry with the contents of the first: makefs joins what is one file on the machine that it runs on.
 */
export function renderRootMtree(
  entries: readonly FileSystemEntry[],
  fileOf: (entry: FileSystemEntry & { readonly type: "file" }) => string | undefined = namedFile,
): string {
  const files = new Map(entries.flatMap((entry) => (entry.type === "file" ? [[entry.path, entry] as const] : [])));
  const links = new Map<string, number>();
  for (const entry of entries) if (entry.type === "hardlink") links.set(entry.target, (links.get(entry.target) ?? 1) + 1);

  const asFile = (entry: FileSystemEntry & { readonly type: "file" }, path: string): MtreeEntry => {
    const contents = fileOf(entry);
    const nlink = links.get(entry.path);
    return {
      path,
      type: "file",
      mode: entry.mode,
      uid: entry.uid,
      gid: entry.gid,
      sizeBytes: entry.content.kind === "bytes" ? entry.content.bytes.length : entry.content.sizeBytes,
      timeSeconds: entry.timeSeconds,
      ...(nlink === undefined ? {} : { nlink }),
      ...(contents === undefined ? {} : { contents }),
    };
  };
  const lines = entries.map((entry): MtreeEntry => {
    const { path, mode, uid, gid, timeSeconds } = entry;
    const common = { path, mode, uid, gid, timeSeconds };
    switch (entry.type) {
      case "directory":
        return { ...common, type: "dir" };
      case "file":
        return asFile(entry, path);
      case "symlink":
        return { ...common, type: "link", link: entry.target };
      case "hardlink": {
        const target = files.get(entry.target);
        if (target === undefined) throw new Error(`${path} is a hard link to ${entry.target}, which is no file before it`);
        return asFile(target, path);
      }
      case "character":
      case "block":
        return {
          ...common,
          type: entry.type === "block" ? "block" : "char",
          device: { major: entry.major, minor: entry.minor },
        };
      case "fifo":
        return { ...common, type: "fifo" };
    }
  });
  // makefs wants the root first.
  const root: MtreeEntry = lines.find(({ path }) => path === "") ?? { path: "", type: "dir", mode: 0o755, uid: 0, gid: 0 };
  return renderMtree([root, ...lines.filter(({ path }) => path !== "")]);
}

function namedFile({ content }: FileSystemEntry & { readonly type: "file" }): string | undefined {
  return content.kind === "file" ? content.file : undefined;
}
