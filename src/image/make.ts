/** An image as a store item: planned, written in scratch, taken in under its digest. */
import type { StorePath } from "../base/index.ts";
import type { Host } from "../host/index.ts";
import type { Store } from "../store/index.ts";
import { type ImagePlan, type ImageWish, planImage } from "./plan.ts";
import { writeBlocks } from "./write.ts";

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
  const plan = planImage(wish);
  const directory = host.files.makeTemporaryDirectory(`${store.temporaryDirectory}/image-`);
  try {
    const file = `${directory}/disk.raw`;
    const { sha256 } = await writeBlocks(host, plan.image, file, {
      locate: locateIn(store),
      ...(signal && { signal }),
    });
    const item = await store.addWritten(file, `image-${name}.raw`, sha256);
    return { path: item.path, sha256, sizeBytes: plan.image.sizeBytes, plan };
  } finally {
    host.files.removeTree(directory);
  }
}

/** `/frx/store/<item>/path` to where the item lies. */
export function locateIn(store: Pick<Store, "directory">): (file: string) => string {
  return (file) => `${store.directory}${file.slice("/frx/store".length)}`;
}
