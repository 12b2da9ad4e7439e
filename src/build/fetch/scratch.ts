/**
 * Scratch directories: gone when the work ends, however it ends.
 *
 * They lie in a directory named after their process, as the store's own scratch does: what a dead process left there is removed
 * by the store's `recover`, and what belongs to a living one is left alone.
 */
import type { FetchContext } from "./types.ts";

export async function withScratch<T>(
  { host, temporary }: Pick<FetchContext, "host" | "temporary">,
  work: (directory: string) => Promise<T>,
): Promise<T> {
  const own = `${temporary}/${host.processIdentity}`;
  host.files.makeDirectory(own, { parents: true });
  const directory = host.files.makeTemporaryDirectory(`${own}/source-`);
  try {
    return await work(directory);
  } finally {
    host.files.removeTree(directory);
  }
}
