/**
 * NAR, the Nix archive: one byte string for a tree of files, with nothing in it that depends on where or when.
 *
 * Format (Dolstra, "The Purely Functional Software Deployment Model", figure 5.2; Nix manual, "Nix Archive Format"):
 *
 *     nar     = str("nix-archive-1") node
 *     node    = str("(") str("type") ( regular | symlink | directory ) str(")")
 *     regular = str("regular") [ str("executable") str("") ] str("contents") str(bytes)
 *     symlink = str("symlink") str("target") str(target)
 *     directory = str("directory") { str("entry") str("(") str("name") str(name) str("node") node str(")") }
 *     str(s)  = length as 64 bits, little endian; the bytes; zeros up to a multiple of 8
 *
 * Entries are sorted by the bytes of their names. Names and targets are bytes, not text.
 *
 * This file holds the values; nar-write.ts and nar-read.ts stream, and never hold a file's contents whole.
 */
import { NarWriter } from "./nar-write.ts";
import { readNar } from "./nar-read.ts";

export type NarNode =
  | { readonly type: "regular"; readonly executable: boolean; readonly contents: Uint8Array }
  | { readonly type: "symlink"; readonly target: Uint8Array }
  | { readonly type: "directory"; readonly entries: readonly NarEntry[] };

export interface NarEntry {
  readonly name: Uint8Array;
  readonly node: NarNode;
}

/** @throws Problem E_BAD_NAR for a name that an archive cannot hold, or entries out of order */
export function encodeNar(node: NarNode): Uint8Array {
  const pieces: Uint8Array[] = [];
  const writer = new NarWriter((bytes) => pieces.push(new Uint8Array(bytes)));
  const write = (node: NarNode): void => {
    switch (node.type) {
      case "regular":
        writer.regular(node.executable, node.contents.byteLength);
        pieces.push(node.contents);
        writer.endRegular();
        return;
      case "symlink":
        writer.symlink(node.target);
        return;
      case "directory":
        writer.directory();
        for (const entry of node.entries) {
          writer.entry(entry.name);
          write(entry.node);
        }
        writer.endDirectory();
    }
  };
  write(node);
  writer.end();
  return Buffer.concat(pieces);
}

/** The whole archive as a value; for archives that fit in memory. @throws Problem E_BAD_NAR */
export function decodeNar(archive: Uint8Array): NarNode {
  const open: { name: Uint8Array; entries: NarEntry[] }[] = [];
  let name: Uint8Array = new Uint8Array();
  let contents: Uint8Array[] = [];
  let executable = false;
  let root: NarNode | undefined;
  const place = (at: Uint8Array, node: NarNode): void => {
    const parent = open.at(-1);
    if (parent === undefined) root = node;
    else parent.entries.push({ name: at, node });
  };
  for (const event of readNar([archive])) {
    switch (event.type) {
      case "entry":
        name = event.name;
        break;
      case "directory":
        open.push({ name, entries: [] });
        break;
      case "directory-end": {
        const closed = open.pop();
        if (closed !== undefined) place(closed.name, { type: "directory", entries: closed.entries });
        break;
      }
      case "symlink":
        place(name, { type: "symlink", target: event.target });
        break;
      case "regular":
        executable = event.executable;
        contents = [];
        break;
      case "contents":
        contents.push(event.bytes);
        break;
      case "regular-end":
        place(name, { type: "regular", executable, contents: Buffer.concat(contents) });
    }
  }
  if (root === undefined) throw new Error("the reader ended without a node");
  return root;
}
