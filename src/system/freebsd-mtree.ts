/** The manifest of a root file system, from which makefs(8) of FreeBSD makes one without the tree, and without root. Pure. */
import { contentBytes, type FileSystemEntry, type MtreeEntry, renderMtree } from "../formats/index.ts";

/**
 * mtree(5) with `contents=` where a file's bytes are, as `fileOf` says; where it says nothing makefs looks at the path of the entry.
 * A hard link is a second entry with the contents of the first: makefs joins what is one file on the machine that it runs on.
 *
 * @throws Problem E_BAD_MTREE for contents whose path makefs cannot be told; Error for devices and fifos, which it does not know
 */
export function renderRootMtree(
  entries: readonly FileSystemEntry[],
  fileOf: (entry: FileSystemEntry & { readonly type: "file" }) => string | undefined = namedFile,
): string {
  const files = new Map(entries.flatMap((entry) => (entry.type === "file" ? [[entry.path, entry] as const] : [])));
  const asFile = (entry: FileSystemEntry & { readonly type: "file" }, path: string): MtreeEntry => {
    const { mode, uid, gid, timeSeconds, content } = entry;
    const sizeBytes = contentBytes(content);
    const contents = fileOf(entry);
    const about = { path, type: "file", mode, uid, gid, sizeBytes, timeSeconds } as const;
    return contents === undefined ? about : { ...about, contents };
  };
  const lines = entries.map((entry): MtreeEntry => {
    const { path, mode, uid, gid, timeSeconds } = entry;
    const about = { path, mode, uid, gid, timeSeconds };
    switch (entry.type) {
      case "directory":
        return { ...about, type: "dir" };
      case "file":
        return asFile(entry, path);
      case "symlink":
        return { ...about, type: "link", link: entry.target };
      case "hardlink": {
        const target = files.get(entry.target);
        if (target === undefined) throw new Error(`${path} is a hard link to ${entry.target}, which is no file`);
        return asFile(target, path);
      }
      default:
        throw new Error(`${path} is a ${entry.type}, which makefs makes none of`);
    }
  });
  // makefs wants the root first.
  const root: MtreeEntry = lines.find(({ path }) => path === "") ?? { path: "", type: "dir", mode: 0o755, uid: 0, gid: 0 };
  return renderMtree([root, ...lines.filter(({ path }) => path !== "")]);
}

function namedFile({ content }: FileSystemEntry & { readonly type: "file" }): string | undefined {
  return content.kind === "file" ? content.file : undefined;
}
