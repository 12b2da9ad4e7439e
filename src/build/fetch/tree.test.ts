import { expect, test } from "bun:test";
import { mkdirSync, readdirSync, statSync, writeFileSync } from "node:fs";
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
