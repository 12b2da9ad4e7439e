/**
 * fetch: sources from outside, as store items. Part of the build room, entered by it alone.
 *
 *     Fetch ──► in the store? ──► in distfiles? ──► mirrors, in order ──► digest right? ──► distfiles ──► store
 *                   │ yes              │ yes             │ each failure is kept     │ no: reported, nothing kept
 *                   ▼                  ▼                 ▼                          ▼
 *                 path               store         E_FETCH_FAILED             the next mirror; in the end E_HASH_MISMATCH
 *
 * Order of steps: what is on its way lies under `.part-…` in distfiles and is swept when its process is dead; it gets its name
 * there by one rename after its digest was checked; the store copies it and names it by its bytes. So a kill at any point leaves
 * either nothing or a whole, checked file.
 *
 * Limits: http, https, file, git, apt and npm; one file at a time per call; a `localTree` that is written to while it is looked at may be read twice.
 */
import type { StorePath } from "../../base/index.ts";
import type { Fetch } from "../../recipe/index.ts";
import { rememberedPath, sweepParts } from "./distfiles.ts";
import { expectedFetchPath, fetchKey } from "./plan.ts";
import { localTreePath } from "./tree.ts";
import type { FetchContext, Fetched } from "./types.ts";

export { localTreePath } from "./tree.ts";
export type { FetchContext, Fetched, FetchEvent, Timeouts } from "./types.ts";

/**
 * The path a fetch is known to come to without fetching: by its SHA-256, or because it was fetched before. The item may be gone
 * from the store. undefined: only fetching can tell, or it is a local tree.
 */
export function knownFetchPath(context: Pick<FetchContext, "host" | "distfiles">, fetch: Fetch): StorePath | undefined {
  if (fetch.fetcher === "localTree") return undefined;
  return expectedFetchPath(fetch) ?? rememberedPath(context, fetchKey(fetch));
}

/**
 * Makes the source a valid store item. Emits fetch-started, fetch-failed per place that failed, fetch-finished.
 *
 * @throws Problem E_FETCH_FAILED with every place and its reason, E_HASH_MISMATCH with both digests (nothing is kept),
 *   E_TOOL_MISSING (exit 3), E_NO_SPACE, E_INTERRUPTED (exit 130)
 */
export async function realiseFetch(context: FetchContext, fetch: Fetch): Promise<Fetched> {
  if (fetch.fetcher === "localTree") return { path: await localTreePath(context, fetch), from: fetch.path };
  const known = knownFetchPath(context, fetch);
  if (known !== undefined && context.store.isValid(known)) return { path: known, from: "store" };
  context.host.files.makeDirectory(context.distfiles, { parents: true });
  sweepParts(context);
  // A command that finds everything in the store loads none of these.
  switch (fetch.fetcher) {
    case "fetchurl":
      return (await import("./url.ts")).fetchUrl(context, fetch);
    case "fetchGit":
      return (await import("./git.ts")).fetchGit(context, fetch);
    case "debianSource":
      return (await import("./debian.ts")).debianSource(context, fetch);
    case "npmTarball":
      return (await import("./npm.ts")).npmTarball(context, fetch);
  }
}
