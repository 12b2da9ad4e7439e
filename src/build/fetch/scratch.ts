/**
 * Scratch directories: gone when the work ends, however it ends.
 *
 * They lie in the store's own scratch of this process: what a dead process left there is removed by the store's `recover`, and
 * what belongs to a living one is left alone.
 */
import type { Host } from "../../host/index.ts";
import type { Store } from "../../store/index.ts";

export async function withScratch<T>(
  { host, store }: { readonly host: Host; readonly store: Pick<Store, "temporaryDirectory"> },
  work: (directory: string) => Promise<T>,
): Promise<T> {
  const directory = host.files.makeTemporaryDirectory(`${store.temporaryDirectory}/source-`);
  try {
    return await work(directory);
  } finally {
    host.files.removeTree(directory);
  }
}
