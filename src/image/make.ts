/** An image as a store item: planned, written in scratch, taken in under its digest. */
import type { StorePath } from "../base/index.ts";
import type { Host } from "../host/index.ts";
import type { Store } from "../store/index.ts";
import { explained, type ImagePlan, type ImageWish, planImage, roomLeft } from "./plan.ts";
import { writeBlocks } from "./write.ts";
import { type MadeRoot, makeZfsRoot } from "./zfs.ts";

export interface MadeImage {
  readonly path: StorePath;
  readonly sha256: string;
  readonly sizeBytes: number;
  readonly plan: ImagePlan;
}

/** @throws Problem E_IMAGE_TOO_SMALL, E_IMAGE_SOURCE, E_NO_SPACE, E_INTERRUPTED */
export async function makeImage(
  host: Host,
  store: Store,
  name: string,
  wish: ImageWish,
  signal?: AbortSignal,
): Promise<MadeImage> {
  const early = wish.disk.pool === undefined ? planImage(wish) : undefined;
  const directory = host.files.makeTemporaryDirectory(`${store.temporaryDirectory}/image-`);
  try {
    const file = `${directory}/disk.raw`;
    const madeRoot = await zfsRootOf(host, store, wish, directory, signal);
    const plan = early ?? planImage({ ...wish, ...(madeRoot && { madeRoot }) });
    const inStore = locateIn(store);
    const { sha256 } = await writeBlocks(host, plan.image, file, {
      locate: (each) => (each === madeRoot?.file ? each : inStore(each)),
      ...(signal && { signal }),
    });
    const item = await store.addWritten(file, `image-${name}.raw`, sha256);
    return { path: item.path, sha256, sizeBytes: plan.image.sizeBytes, plan };
  } finally {
    host.files.removeTree(directory);
  }
}

/** Beside the image: it is gone with its directory. */
async function zfsRootOf(
  host: Host,
  store: Store,
  { system, root, disk, timeSeconds }: ImageWish,
  above: string,
  signal?: AbortSignal,
): Promise<MadeRoot | undefined> {
  const { pool } = disk;
  if (pool === undefined) return undefined;
  const directory = `${above}/zfs`;
  host.files.makeDirectory(directory);
  const sizeBytes = disk.rootBytes ?? roomLeft(disk);
  const wish = { system, entries: root.entries, pool, sizeBytes, freeBytes: disk.rootFreeBytes, timeSeconds };
  try {
    return await makeZfsRoot(host, wish, { directory, locate: locateIn(store), ...(signal && { signal }) });
  } catch (error) {
    throw explained(root, error);
  }
}

/** `/frx/store/<item>/path` to where the item lies. */
export function locateIn(store: Pick<Store, "directory">): (file: string) => string {
  return (file) => `${store.directory}${file.slice("/frx/store".length)}`;
}
