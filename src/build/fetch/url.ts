/** fetchurl: one file, from distfiles or from the first mirror that has it. */
import type { StorePath } from "../../base/index.ts";
import { download } from "./download.ts";
import { findDistfile, keepDistfile, newPart } from "./distfiles.ts";
import { expectedFetchPath } from "./plan.ts";
import { type MirrorFailure, nobodyHasIt } from "./problems.ts";
import type { FetchContext, Fetched, FetchOf } from "./types.ts";

export async function fetchUrl(context: FetchContext, fetch: FetchOf<"fetchurl">): Promise<Fetched> {
  const failures: MirrorFailure[] = [];
  const fail = (failure: MirrorFailure) => {
    failures.push(failure);
    context.emit({ kind: "fetch-failed", from: failure.from, reason: failure.reason });
  };
  const there = lookInDistfiles(context, fetch.sha256, [fetch.name, ...fetch.urls.map(lastPart)], fail);
  if (there !== undefined) return finish(context, { file: there, name: fetch.name, sha256: fetch.sha256, from: "distfiles" });
  for (const url of fetch.urls) {
    context.emit({ kind: "fetch-started", what: fetch.name, from: url });
    const file = await fromMirror(context, url, { algorithm: "sha256", digest: fetch.sha256 }, fail);
    if (file !== undefined) return finish(context, { file, name: fetch.name, sha256: fetch.sha256, from: url });
  }
  throw nobodyHasIt(fetch.name, failures);
}

function lastPart(url: string): string {
  return decodeURIComponentOr(
    url
      .replace(/[?#].*$/, "")
      .split("/")
      .at(-1) ?? "",
  );
}

function decodeURIComponentOr(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** A damaged file under the digest is reported and left to be replaced. */
export function lookInDistfiles(
  context: FetchContext,
  sha256: string,
  names: readonly string[],
  fail: (failure: MirrorFailure) => void,
): string | undefined {
  let damaged = false;
  for (const name of new Set(names)) {
    const found = findDistfile(context, sha256, name, (path, actual) => {
      if (!damaged) fail(mismatchAt(path, "sha256", sha256, actual));
      damaged = true;
    });
    if (found !== undefined) return found;
  }
  return undefined;
}

export function mismatchAt(from: string, algorithm: string, expected: string, found: string): MirrorFailure {
  return { from, reason: `wrong ${algorithm}: ${found}`, mismatch: { algorithm, expected, found } };
}

export interface Promised {
  readonly algorithm: "sha256" | "sha512";
  /** Lowercase hexadecimal. */
  readonly digest: string;
}

/** Downloads into distfiles; undefined when the mirror did not have what was promised, which `fail` was told. */
export async function fromMirror(
  context: FetchContext,
  url: string,
  promised: Promised,
  fail: (failure: MirrorFailure) => void,
): Promise<string | undefined> {
  const part = newPart(context);
  try {
    const result = await download(context, url, part);
    if (result.kind === "failed") {
      fail({ from: url, reason: result.reason });
      return undefined;
    }
    const found = result[promised.algorithm];
    if (found !== promised.digest) {
      fail(mismatchAt(url, promised.algorithm, promised.digest, found));
      return undefined;
    }
    return keepDistfile(context, part, result.sha256);
  } finally {
    if (context.host.files.exists(part)) context.host.files.unlink(part);
  }
}

/** Copies a checked file into the store. */
export async function finish(
  context: FetchContext,
  found: { readonly file: string; readonly name: string; readonly sha256: string | undefined; readonly from: string },
): Promise<Fetched> {
  const path = await addFile(context, found.file, found.name);
  if (found.sha256 !== undefined) {
    const expected = expectedFetchPath({ fetcher: "fetchurl", name: found.name, urls: [], sha256: found.sha256 });
    // The file lies in a directory that others may write to; between the check and the copy it could have been replaced.
    if (path !== expected) throw nobodyHasIt(found.name, [{ from: found.file, reason: "it changed while it was being copied" }]);
  }
  context.emit({ kind: "fetch-finished", path, from: found.from });
  return { path, from: found.from };
}

async function addFile(context: FetchContext, file: string, name: string): Promise<StorePath> {
  const item = await context.store.add(file, name, { form: "flat" });
  return item.path;
}
