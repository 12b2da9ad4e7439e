/** Against a real repository, by file:. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import {
  chmodSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readlinkSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { localHost } from "../../host/index.ts";
import type { Fetch } from "../../recipe/index.ts";
import { knownFetchPath, realiseFetch } from "./index.ts";
import { openFetchBench } from "./testing.ts";

let root: string;
let url: string;
let first: string;
let second: string;

async function git(...words: readonly string[]): Promise<string> {
  const result = await localHost().run({
    argv: ["git", "-C", `${root}/work`, "-c", "user.name=n", "-c", "user.email=e@example.org", ...words],
  });
  return result.text().trim();
}

beforeAll(async () => {
  root = mkdtempSync(`${tmpdir()}/garth-git-`);
  mkdirSync(`${root}/work/sub`, { recursive: true });
  await git("init", "--quiet", "--initial-branch=main");
  writeFileSync(`${root}/work/hello.sh`, "#!/bin/sh\necho hello\n");
  chmodSync(`${root}/work/hello.sh`, 0o755);
  writeFileSync(`${root}/work/sub/crlf.txt`, "one\r\ntwo\r\n");
  writeFileSync(`${root}/work/.gitattributes`, "secret.txt export-ignore\nversion.txt export-subst\n");
  writeFileSync(`${root}/work/secret.txt`, "kept\n");
  writeFileSync(`${root}/work/version.txt`, "$Format:%H$\n");
  symlinkSync("hello.sh", `${root}/work/link`);
  await git("add", "--all");
  await git("commit", "--quiet", "--message=first");
  first = await git("rev-parse", "HEAD");
  writeFileSync(`${root}/work/new.txt`, "new\n");
  await git("add", "--all");
  await git("commit", "--quiet", "--message=second");
  second = await git("rev-parse", "HEAD");
  url = `file://${root}/work`;
});

afterAll(() => rmSync(root, { recursive: true, force: true }));

const fetchOf = (commit: string, sha256?: string): Fetch => ({ fetcher: "fetchGit", name: "tree", url, commit, sha256 });

describe("the tree of a commit", () => {
  test("is its files, as they were committed, without .git", async () => {
    using bench = openFetchBench();
    const { path, from } = await realiseFetch(bench.context(), fetchOf(first));
    expect(from).toBe(url);
    const tree = bench.store.physical(path);
    expect(readdirSync(tree).toSorted()).toEqual([".gitattributes", "hello.sh", "link", "secret.txt", "sub", "version.txt"]);
    expect(readFileSync(`${tree}/sub/crlf.txt`, "latin1")).toBe("one\r\ntwo\r\n");
    expect(readFileSync(`${tree}/version.txt`, "utf8")).toBe("$Format:%H$\n");
    expect(readlinkSync(`${tree}/link`)).toBe("hello.sh");
    expect(lstatSync(`${tree}/hello.sh`).mode & 0o777).toBe(0o555);
  });

  test("that is not the branch's last is had too, and the user's settings do not change it", async () => {
    using bench = openFetchBench();
    const home = `${bench.root}/home`;
    mkdirSync(home);
    writeFileSync(`${home}/.gitconfig`, "[core]\n\tautocrlf = input\n\tsymlinks = false\n[fetch]\n\tprune = true\n");
    const { path } = await realiseFetch(bench.context({ environment: { HOME: home } }), fetchOf(second));
    const plain = await realiseFetch(bench.context(), fetchOf(first));
    expect(readdirSync(bench.store.physical(path))).toContain("new.txt");
    expect(readdirSync(bench.store.physical(plain.path))).not.toContain("new.txt");
    expect(readlinkSync(`${bench.store.physical(path)}/link`)).toBe("hello.sh");
  });

  test("needs no repository a second time, nor git while the store has it", async () => {
    using bench = openFetchBench();
    const { path } = await realiseFetch(bench.context(), fetchOf(first));
    expect(knownFetchPath(bench.context(), fetchOf(first))).toBe(path);
    const host = localHost();
    const without = { ...host, processIdentity: host.processIdentity, which: () => undefined };
    expect(await realiseFetch(bench.context({ host: without }), fetchOf(first))).toEqual({ path, from: "store" });
    using other = openFetchBench();
    await expect(realiseFetch(other.context({ host: without }), fetchOf(first))).rejects.toMatchObject({
      code: "E_TOOL_MISSING",
      hint: "apt-get install git",
      exit: 3,
    });
    const again = await realiseFetch(other.context({ distfiles: bench.distfiles }), { ...fetchOf(first), name: "other" });
    expect(again.from).toBe("distfiles");
  });

  test("is checked against the SHA-256 of its NAR, where there is one", async () => {
    using bench = openFetchBench();
    const { path } = await realiseFetch(bench.context(), fetchOf(first));
    const narSha256 = bench.store.query(path)?.narSha256 ?? "";
    using other = openFetchBench();
    expect((await realiseFetch(other.context(), fetchOf(first, narSha256))).path).toBe(path);
    const wrong = "0".repeat(64);
    await expect(realiseFetch(other.context(), fetchOf(second, wrong))).rejects.toMatchObject({ code: "E_HASH_MISMATCH" });
    expect(other.store.all()).toHaveLength(1);
    const reasons = other.events.flatMap((event) => (event.kind === "fetch-failed" ? [event.reason] : []));
    expect(reasons.join("\n")).toContain(wrong);
  });
});

describe("a commit, when something is in the way,", () => {
  test("because nobody has it, is named with git's reason", async () => {
    using bench = openFetchBench();
    const failure = realiseFetch(bench.context(), fetchOf("12".repeat(20)));
    await expect(failure).rejects.toMatchObject({ code: "E_FETCH_FAILED" });
    await expect(failure).rejects.toThrow(/commit 1212/);
  });

  test("because there is no repository says so", async () => {
    using bench = openFetchBench();
    const fetch = { ...fetchOf(first), url: `file://${root}/nowhere` };
    await expect(realiseFetch(bench.context(), fetch)).rejects.toMatchObject({
      code: "E_FETCH_FAILED",
      details: [expect.stringContaining("nowhere")],
    });
  });

  test("because it is a branch is refused before anything runs", async () => {
    using bench = openFetchBench();
    await expect(realiseFetch(bench.context(), fetchOf("main"))).rejects.toMatchObject({ code: "E_BAD_COMMIT", exit: 2 });
    await expect(realiseFetch(bench.context(), fetchOf("--upload-pack=touch"))).rejects.toMatchObject({ code: "E_BAD_COMMIT" });
    expect(bench.events).toEqual([]);
  });

  test("at the moment leaves no clone behind that would be taken for one", async () => {
    using bench = openFetchBench();
    const fetch = { ...fetchOf(first), url: `file://${root}/not-yet` };
    await expect(realiseFetch(bench.context(), fetch)).rejects.toMatchObject({ code: "E_FETCH_FAILED" });
    expect(readdirSync(bench.distfiles)).toEqual([]);
  });

  test("out of a damaged clone is fetched again", async () => {
    using bench = openFetchBench();
    const { path } = await realiseFetch(bench.context(), fetchOf(first));
    for (const clone of readdirSync(`${bench.distfiles}/git`))
      rmSync(`${bench.distfiles}/git/${clone}/objects`, { recursive: true });
    const again = await realiseFetch(bench.context(), { ...fetchOf(first), name: "other" });
    expect(again.from).toBe(url);
    expect(readdirSync(bench.store.physical(again.path))).toEqual(readdirSync(bench.store.physical(path)));
  });

  test("twice at once is fetched, not in each other's way", async () => {
    using bench = openFetchBench();
    const both = await Promise.all(
      [first, second].flatMap((commit) =>
        [0, 1].map((n) => realiseFetch(bench.context(), { ...fetchOf(commit), name: `t${n}` })),
      ),
    );
    expect(new Set(both.map(({ path }) => path)).size).toBe(4);
    expect(readdirSync(`${bench.distfiles}/git`)).toHaveLength(2);
  });

  test("because of an interruption leaves nothing in scratch", async () => {
    using bench = openFetchBench();
    const controller = new AbortController();
    const context = bench.context({ signal: controller.signal, emit: () => controller.abort() });
    await expect(realiseFetch(context, fetchOf(first))).rejects.toMatchObject({ code: "E_INTERRUPTED", exit: 130 });
    expect(bench.store.all()).toEqual([]);
  });
});
