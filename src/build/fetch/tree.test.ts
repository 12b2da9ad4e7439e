import { describe, expect, test } from "bun:test";
import { chmodSync, mkdirSync, readdirSync, renameSync, statSync, utimesSync, writeFileSync } from "node:fs";
import type { Fetch } from "../../recipe/index.ts";
import { localTreePath, realiseFetch } from "./index.ts";
import { type FetchBench, openFetchBench } from "./testing.ts";

type LocalTree = Extract<Fetch, { readonly fetcher: "localTree" }>;

function treeIn(bench: FetchBench): LocalTree {
  const path = `${bench.root}/project`;
  mkdirSync(`${path}/.git`, { recursive: true });
  mkdirSync(`${path}/src`);
  writeFileSync(`${path}/.git/HEAD`, "ref");
  writeFileSync(`${path}/src/main.c`, "int main(void) { return 0; }\n");
  writeFileSync(`${path}/src/main.o`, "object");
  return { fetcher: "localTree", name: "project", path, exclude: [".git", "*.o"] };
}

test("a local tree is what is not left out", async () => {
  using bench = openFetchBench();
  const fetch = treeIn(bench);
  const path = await localTreePath(bench.context(), fetch);
  expect(readdirSync(bench.store.physical(path), { recursive: true }).map(String).toSorted()).toEqual(["src", "src/main.c"]);
});

test("what is left out does not count, what is in it does", async () => {
  using bench = openFetchBench();
  const fetch = treeIn(bench);
  const path = await localTreePath(bench.context(), fetch);
  writeFileSync(`${fetch.path}/src/main.o`, "another object");
  expect(await localTreePath(bench.context(), fetch)).toBe(path);
  writeFileSync(`${fetch.path}/src/main.c`, "int main(void) { return 1; }\n");
  expect(await localTreePath(bench.context(), fetch)).not.toBe(path);
});

test("a tree that the store has is not copied again", async () => {
  using bench = openFetchBench();
  const fetch = treeIn(bench);
  const context = bench.context();
  const path = await localTreePath(context, fetch);
  const refusing = {
    ...context.store,
    add: () => {
      throw new Error("copied");
    },
  };
  expect(await localTreePath({ ...context, store: refusing }, fetch)).toBe(path);
  writeFileSync(`${fetch.path}/src/new.c`, "");
  await expect(localTreePath({ ...context, store: refusing }, fetch)).rejects.toThrow("copied");
});

describe("what is remembered of a tree", () => {
  const HOUR_AGO = Date.now() / 1000 - 3600;

  /** The note says that it was written long after the last change, as it is on any day but the first. */
  function age(bench: FetchBench, at: number): void {
    for (const note of readdirSync(`${bench.distfiles}/.known`)) utimesSync(`${bench.distfiles}/.known/${note}`, at, at);
  }

  function unreadable(bench: FetchBench) {
    const context = bench.context();
    const pathOf = () => {
      throw new Error("read");
    };
    return { ...context, store: { ...context.store, isValid: bench.store.isValid, pathOf } };
  }

  test("saves reading it again", async () => {
    using bench = openFetchBench();
    const fetch = treeIn(bench);
    const path = await localTreePath(bench.context(), fetch);
    age(bench, HOUR_AGO + 7200);
    expect(await localTreePath(unreadable(bench), fetch)).toBe(path);
  });

  test("is not trusted in the tick of the clock in which it was written", async () => {
    using bench = openFetchBench();
    const fetch = treeIn(bench);
    await localTreePath(bench.context(), fetch);
    await expect(localTreePath(unreadable(bench), fetch)).rejects.toThrow("read");
  });

  test("does not outlive a change, a new name, a mode, or another list of what is left out", async () => {
    using bench = openFetchBench();
    const fetch = treeIn(bench);
    const changes: readonly (() => LocalTree)[] = [
      () => (writeFileSync(`${fetch.path}/src/main.c`, "int main(void) { return 2; }\n"), fetch),
      () => (renameSync(`${fetch.path}/src/main.c`, `${fetch.path}/src/other.c`), fetch),
      () => (chmodSync(`${fetch.path}/src/other.c`, 0o755), fetch),
      () => ({ ...fetch, exclude: ["*.o"] }),
    ];
    for (const change of changes) {
      await localTreePath(bench.context(), fetch);
      age(bench, HOUR_AGO + 7200);
      const after = change();
      await expect(localTreePath(unreadable(bench), after)).rejects.toThrow("read");
    }
  });

  test("does not outlive the item", async () => {
    using bench = openFetchBench();
    const fetch = treeIn(bench);
    await localTreePath(bench.context(), fetch);
    age(bench, HOUR_AGO + 7200);
    using other = openFetchBench();
    const path = await localTreePath(other.context({ distfiles: bench.distfiles }), fetch);
    expect(other.store.isValid(path)).toBe(true);
  });
});

test("a single file is a source as well", async () => {
  using bench = openFetchBench();
  const fetch = treeIn(bench);
  const file = { ...fetch, name: "main.c", path: `${fetch.path}/src/main.c` };
  const { path, from } = await realiseFetch(bench.context(), file);
  expect(from).toBe(file.path);
  expect(statSync(bench.store.physical(path)).isFile()).toBe(true);
});

test("a tree that is not there is named", async () => {
  using bench = openFetchBench();
  const fetch = { ...treeIn(bench), path: `${bench.root}/nowhere` };
  await expect(localTreePath(bench.context(), fetch)).rejects.toMatchObject({
    code: "E_NO_SUCH_SOURCE",
    where: `${bench.root}/nowhere`,
    exit: 2,
  });
});
