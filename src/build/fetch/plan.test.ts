import { describe, expect, test } from "bun:test";
import { sha256, storePath } from "../../base/index.ts";
import {
  debianSource,
  fetchGit,
  fetchurl,
  fixedOutputDerivation,
  fixedOutputPath,
  localTree,
  npmTarball,
} from "../../recipe/index.ts";
import { excludes, expectedFetchPath, fetchKey } from "./plan.ts";

const digest = sha256("content");
const integrity = `sha512-${"A".repeat(86)}==`;

describe("the path of a fetch", () => {
  const known = [
    fetchurl({ urls: ["https://example.org/a.tar.gz"], sha256: digest }),
    fetchGit({ url: "https://example.org/a.git", commit: "1".repeat(40), sha256: digest }),
    debianSource({ package: "hello", version: "2.10", sha256: digest }),
  ];
  for (const fetch of known) {
    test(`of ${fetch.fetcher} is the one its derivation promises`, () => {
      if (fetch.fetcher === "localTree") throw new Error("not a remote fetch");
      const promised = fixedOutputPath(fixedOutputDerivation(fetch, "x86_64-linux"));
      expect(promised).toBeDefined();
      expect(expectedFetchPath(fetch)).toBe(promised);
    });
  }

  test("does not depend on where the bytes come from", () => {
    const there = fetchurl({ urls: ["https://example.net/mirror/a.tar.gz"], sha256: digest });
    expect(expectedFetchPath(there)).toBe(storePath({ kind: "flat", sha256: digest, references: [] }, "a.tar.gz"));
  });

  test("is unknown where no SHA-256 was given", () => {
    expect(expectedFetchPath(fetchGit({ url: "https://example.org/a.git", commit: "1".repeat(40) }))).toBeUndefined();
    expect(expectedFetchPath(npmTarball({ package: "ms", version: "2.1.3", integrity }))).toBeUndefined();
    expect(expectedFetchPath(localTree("."))).toBeUndefined();
  });
});

test("a fetch is remembered by all that it says", () => {
  const one = npmTarball({ package: "ms", version: "2.1.3", integrity });
  expect(fetchKey(one)).toBe(fetchKey({ ...one }));
  expect(fetchKey(one)).not.toBe(fetchKey(npmTarball({ package: "ms", version: "2.1.2", integrity })));
});

describe("what a tree leaves out", () => {
  const cases: readonly (readonly [pattern: string, out: readonly string[], kept: readonly string[]])[] = [
    [".git", [".git", "sub/.git"], [".gitignore", "a.git", ".git2"]],
    ["*.o", ["a.o", "deep/er/b.o", ".o"], ["a.os", "a.o.c"]],
    ["target/", ["target", "sub/target"], ["targets"]],
    ["/target", ["target"], ["sub/target"]],
    ["docs/*.pdf", ["docs/a.pdf"], ["docs/sub/a.pdf", "a.pdf", "x/docs/a.pdf"]],
    ["docs/**/*.pdf", ["docs/a.pdf", "docs/sub/deep/a.pdf"], ["a.pdf", "docs.pdf"]],
    ["build/**", ["build/a", "build/a/b"], ["build", "rebuild/a"]],
    ["?.c", ["a.c", "x/b.c"], ["ab.c", ".c"]],
    ["a+b(c)[d].$", ["a+b(c)[d].$"], ["aab(c)[d].x"]],
  ];
  for (const [pattern, out, kept] of cases) {
    test(pattern, () => {
      const isOut = excludes([pattern]);
      for (const path of out) expect([path, isOut(path)]).toEqual([path, true]);
      for (const path of kept) expect([path, isOut(path)]).toEqual([path, false]);
    });
  }

  test("nothing without patterns", () => expect(excludes([])("anything")).toBe(false));
});
