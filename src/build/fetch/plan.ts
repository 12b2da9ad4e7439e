/** What is known about a fetch before it runs. Pure. */
import { canonicalJson, sha256, storePath, type StorePath } from "../../base/index.ts";
import type { Fetch } from "../../recipe/index.ts";

/** The store path that a fetch will have; undefined where only the content can tell (no SHA-256 was given). */
export function expectedFetchPath(fetch: Fetch): StorePath | undefined {
  switch (fetch.fetcher) {
    case "fetchurl":
    case "debianSource":
      return storePath({ kind: "flat", sha256: fetch.sha256, references: [] }, fetch.name);
    case "fetchGit":
      return fetch.sha256 === undefined
        ? undefined
        : storePath({ kind: "tree", narSha256: fetch.sha256, references: [] }, fetch.name);
    case "npmTarball":
    case "localTree":
      return undefined;
  }
}

/** Names a fetch by all that it says, for what is remembered about it. */
export function fetchKey(fetch: Fetch): string {
  return sha256(canonicalJson({ ...fetch }));
}

/**
 * Whether a path of a tree is left out. A pattern without `/` matches the name of a file or directory anywhere, one with `/`
 * the path from the top (a leading `/` only says so). `*` and `?` stop at `/`, `**` does not. A directory goes with all it holds.
 */
export function excludes(patterns: readonly string[]): (relative: string) => boolean {
  const tests = patterns.map((pattern) => {
    const trimmed = pattern.replace(/\/+$/, "");
    const anchored = trimmed.includes("/");
    return { anchored, test: globTest(trimmed.replace(/^\//, "")) };
  });
  return (relative) => {
    const name = relative.slice(relative.lastIndexOf("/") + 1);
    return tests.some(({ anchored, test }) => test.test(anchored ? relative : name));
  };
}

function globTest(pattern: string): RegExp {
  const source = pattern.replaceAll(/\*\*\/|\*\*|\*|\?|[^*?]+/g, (part) => {
    switch (part) {
      case "**/":
        return "(?:.*/)?";
      case "**":
        return ".*";
      case "*":
        return "[^/]*";
      case "?":
        return "[^/]";
      default:
        return part.replaceAll(/[\\^$.|+()[\]{}]/g, "\\$&");
    }
  });
  return new RegExp(`^${source}$`, "s");
}
