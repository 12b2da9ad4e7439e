/** Messages of filesystem.Filesystem in the JSON of proto3. Pure. */
import { posix } from "node:path";
import * as z from "zod";
import type { EntryKind, GuestEntry, WatchEvent, WatchKind } from "../../guest/index.ts";

const DEPTH_MAX = 1000;

export const pathRequest = z.object({ path: z.string().nullish() });
export const listRequest = z.object({
  path: z.string().nullish(),
  depth: z.union([z.number().int().min(0), z.string().regex(/^\d+$/).transform(Number)]).nullish(),
});
export const moveRequest = z.object({ source: z.string().nullish(), destination: z.string().nullish() });
export const watchRequest = z.object({
  path: z.string().nullish(),
  recursive: z.boolean().nullish(),
  includeEntry: z.boolean().nullish(),
});
export const watcherRequest = z.object({ watcherId: z.string().nullish() });

/** 0 is the default, and means what lies directly in it. */
export function depthOf(depth: number | null | undefined): number {
  return Math.min(depth || 1, DEPTH_MAX);
}

const FILE_TYPES: Readonly<Record<EntryKind, string | undefined>> = {
  file: "FILE_TYPE_FILE",
  directory: "FILE_TYPE_DIRECTORY",
  symlink: "FILE_TYPE_SYMLINK",
  // A device or a socket is of no type there is; clients leave it out of their lists.
  other: undefined,
};

const EVENT_TYPES: Readonly<Record<WatchKind, string>> = {
  create: "EVENT_TYPE_CREATE",
  write: "EVENT_TYPE_WRITE",
  remove: "EVENT_TYPE_REMOVE",
  rename: "EVENT_TYPE_RENAME",
  chmod: "EVENT_TYPE_CHMOD",
};

const SPECIAL_BITS = [
  [0o4000, "u"],
  [0o2000, "g"],
  [0o1000, "t"],
] as const;

/** As Go's fs.FileMode says it: what is special comes first ("dtrwxrwxrwx"), and a link is an L. */
export function permissionsText(entry: Pick<GuestEntry, "kind" | "mode" | "target">): string {
  const link = entry.target !== undefined || entry.kind === "symlink";
  if (link) return "Lrwxrwxrwx";
  const first =
    (entry.kind === "directory" ? "d" : "") +
    SPECIAL_BITS.map(([bit, letter]) => ((entry.mode & bit) === 0 ? "" : letter)).join("");
  const bits = [...("rwxrwxrwx" as const)].map((letter, index) => ((entry.mode & (0o400 >> index)) === 0 ? "-" : letter));
  return (first === "" ? "-" : first) + bits.join("");
}

/** proto3 JSON: 64-bit numbers are text, and what is zero or empty is left out. */
export function entryInfo(entry: GuestEntry): object {
  const type = FILE_TYPES[entry.kind];
  const mode = entry.mode & 0o777;
  return {
    name: entry.name,
    ...(type === undefined ? {} : { type }),
    path: entry.path,
    ...(entry.sizeBytes === 0 ? {} : { size: String(entry.sizeBytes) }),
    ...(mode === 0 ? {} : { mode }),
    permissions: permissionsText(entry),
    owner: entry.owner,
    group: entry.group,
    modifiedTime: new Date(entry.modifiedMs).toISOString(),
    ...(entry.target === undefined ? {} : { symlinkTarget: posix.resolve(posix.dirname(entry.path), entry.target) }),
  };
}

export function watchEvent(event: WatchEvent, entry: GuestEntry | undefined): object {
  return { name: event.name, type: EVENT_TYPES[event.kind], ...(entry === undefined ? {} : { entry: entryInfo(entry) }) };
}
