/** Makes a ZFS root with the makefs(8) of this host, which has to be FreeBSD's: nobody else's knows ZFS. */
import { Problem } from "../base/index.ts";
import type { Host } from "../host/index.ts";
import { writeBlocks } from "./write.ts";
import { type FileEntry, planZfsRoot, type ZfsRootPlan, type ZfsWish } from "./zfs-plan.ts";

export interface MadeRoot {
  /** Of this host: the bytes of the partition. */
  readonly file: string;
  readonly sizeBytes: number;
  /** At most. */
  readonly usedBytes: number;
}

const ELSEWHERE =
  'FreeBSD (14 and later) has it in its base: make the image there, or give the system a UFS root, which is made anywhere: disk: { rootType: "ufs" }';
/** What it ends with when it only says how it is used. */
const USAGE_STATUSES = [0, 1, 2, 64];

/**
 * `directory` is an empty one, and the caller's to remove.
 *
 * @throws Problem E_TOOL_MISSING (exit 3), E_NO_ZFS (exit 3), those of planZfsRoot, E_COMMAND_FAILED, E_IMAGE_SOURCE, E_INTERRUPTED
 */
export async function makeZfsRoot(
  host: Host,
  wish: ZfsWish,
  places: { readonly directory: string; readonly locate: (file: string) => string; readonly signal?: AbortSignal },
): Promise<MadeRoot> {
  await checkMakefs(host, wish);
  const { directory, signal } = places;
  const contents = await staged(host, wish, places);
  const image = `${directory}/root.zfs`;
  const manifest = `${directory}/root.mtree`;
  const plan: ZfsRootPlan = planZfsRoot(wish, { image, manifest, contentsOf: (entry) => contents.get(entry) ?? entry.path });
  host.files.writeFile(manifest, plan.manifest);
  signal?.throwIfAborted();
  await host.run({ argv: plan.argv, cwd: directory, doing: `making the ZFS root of the pool ${wish.pool}` });
  const { sizeBytes } = host.files.lstat(image);
  if (sizeBytes !== plan.sizeBytes) throw otherSize(wish, plan.sizeBytes, sizeBytes);
  return { file: image, sizeBytes, usedBytes: plan.usedBytes };
}

async function checkMakefs(host: Host, { pool }: ZfsWish): Promise<void> {
  const doing = `making the ZFS root of the pool ${pool}`;
  const program = host.which("makefs");
  if (program === undefined) {
    throw new Problem({
      code: "E_TOOL_MISSING",
      message: `${doing}: there is no program makefs on this machine`,
      hint: ELSEWHERE,
      exit: 3,
    });
  }
  const { stderr } = await host.run({ argv: [program, "-t", "zfs"], okStatuses: USAGE_STATUSES, doing });
  if (!/unknown (?:fs|file system) type/i.test(stderr)) return;
  throw new Problem({
    code: "E_NO_ZFS",
    message: `${doing}: the makefs of this machine (${program}) knows no ZFS`,
    details: [stderr.trim()],
    hint: ELSEWHERE,
    exit: 3,
  });
}

/**
 * Where makefs finds the bytes of each file. It makes one file of two whose contents are one file here, with the owner and mode of the first: in
 * the store that saves room where they agree, anywhere else a file would change with an item.
 */
async function staged(
  host: Host,
  { entries }: ZfsWish,
  {
    directory,
    locate,
    signal,
  }: { readonly directory: string; readonly locate: (file: string) => string; readonly signal?: AbortSignal },
): Promise<ReadonlyMap<FileEntry, string>> {
  const own = `${directory}/contents`;
  host.files.makeDirectory(own);
  const found = new Map<FileEntry, string>();
  const attributes = new Map<string, string>();
  let count = 0;
  const fresh = (): string => {
    count += 1;
    return `${own}/${count}`;
  };
  for (const entry of entries) {
    if (entry.type !== "file") continue;
    signal?.throwIfAborted();
    const { content } = entry;
    if (content.kind === "bytes") {
      const place = fresh();
      host.files.writeFile(place, content.bytes);
      found.set(entry, place);
      continue;
    }
    const place = locate(content.file);
    const { links, device, inode } = host.files.lstat(place);
    if (links > 1 && !joinable(entry, `${device} ${inode}`, attributes)) {
      const copy = fresh();
      const { sizeBytes, file } = content;
      const pieces = [{ at: 0, kind: "file", file, offset: 0, sizeBytes }] as const;
      await writeBlocks(host, { sizeBytes, pieces }, copy, { locate, digest: false, ...(signal && { signal }) });
      found.set(entry, copy);
    } else if (/[#'"`\\\n]/.test(place)) {
      // Names of which a manifest cannot say where their bytes are.
      const link = fresh();
      host.files.symlink(place, link);
      found.set(entry, link);
    } else found.set(entry, place);
  }
  return found;
}

function joinable({ path, mode, uid, gid }: FileEntry, inode: string, attributes: Map<string, string>): boolean {
  if (!path.startsWith("frx/store/")) return false;
  const wanted = `${mode} ${uid} ${gid}`;
  const known = attributes.get(inode) ?? wanted;
  attributes.set(inode, known);
  return known === wanted;
}

function otherSize({ pool }: ZfsWish, wanted: number, found: number): Problem {
  return new Problem({
    code: "E_ZFS_SIZE",
    message: `making the ZFS root of the pool ${pool}: makefs wrote ${found} bytes where ${wanted} were asked for`,
  });
}
