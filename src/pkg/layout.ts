/**
 * The archive of a package, as a plan: which members in which order. The manifests come first so that a reader can stop after
 * them, then files by path under absolute names, directories last, as pkg-create(8) writes them.
 */
import type { TarMember } from "../formats/index.ts";
import { renderCompactManifest, renderManifest } from "./manifest.ts";
import type { Manifest } from "./types.ts";

export interface PlannedMember {
  readonly member: TarMember;
  readonly content:
    | { readonly kind: "none" }
    | { readonly kind: "text"; readonly bytes: Uint8Array }
    /** The content of the installed path; the caller knows where it is. */
    | { readonly kind: "file"; readonly path: string };
}

export function planArchive(manifest: Manifest): readonly PlannedMember[] {
  return [
    metadata("+COMPACT_MANIFEST", renderCompactManifest(manifest)),
    metadata("+MANIFEST", renderManifest(manifest)),
    ...manifest.files.map((file): PlannedMember => {
      const { path, type, mode, uname, gname, mtimeSeconds = 0, target } = file;
      const member = { path, type, mode, uname, gname, mtimeSeconds };
      if (type === "file") return { member: { ...member, sizeBytes: file.sizeBytes }, content: { kind: "file", path } };
      return { member: { ...member, sizeBytes: 0, ...(target === undefined ? {} : { target }) }, content: { kind: "none" } };
    }),
    ...manifest.directories.map(({ path, mode, uname, gname }): PlannedMember => {
      const type = "directory" as const;
      return { member: { path, type, mode, uname, gname, sizeBytes: 0, mtimeSeconds: 1 }, content: { kind: "none" } };
    }),
  ];
}

function metadata(path: string, text: string): PlannedMember {
  const bytes = new TextEncoder().encode(text);
  const member = {
    path,
    type: "file",
    mode: 0o644,
    uname: "root",
    gname: "wheel",
    sizeBytes: bytes.length,
    mtimeSeconds: 0,
  } as const;
  return { member, content: { kind: "text", bytes } };
}
