/**
 * fetchGit: the tree of one commit, without `.git`.
 *
 * What was fetched is kept as a bare clone under `distfiles/git/`, one per URL and commit, so a commit needs the network once. A clone
 * is made beside and gets its name when it holds the commit: two processes, or a kill, never leave half of one. The commit names its content; the NAR's SHA-256, where the recipe has one, is checked as well.
 *
 * Limits: no submodules, no Git LFS (a pointer stays a pointer).
 */
import { Problem, sha256, type StorePath } from "../../base/index.ts";
import { isErrno } from "../../host/index.ts";
import { newPart, rememberedPath, rememberPath } from "./distfiles.ts";
import { expectedFetchPath, fetchKey } from "./plan.ts";
import { nobodyHasIt, requireTool } from "./problems.ts";
import { withScratch } from "./scratch.ts";
import { networkEnvironment, runTool, tail } from "./tool.ts";
import type { FetchContext, Fetched, FetchOf } from "./types.ts";

const COMMIT = /^[0-9a-f]{40}(?:[0-9a-f]{24})?$/;

/** Neither the machine's nor the user's settings may change the files of a commit. */
const PLAIN = { GIT_CONFIG_NOSYSTEM: "1", GIT_CONFIG_GLOBAL: "/dev/null", GIT_ATTR_NOSYSTEM: "1" };
const PLAIN_OPTIONS = [
  "-c",
  "core.autocrlf=false",
  "-c",
  "core.symlinks=true",
  "-c",
  "core.fileMode=true",
  "-c",
  "safe.directory=*",
];

export async function fetchGit(context: FetchContext, fetch: FetchOf<"fetchGit">): Promise<Fetched> {
  const known = expectedFetchPath(fetch) ?? rememberedPath(context, fetchKey(fetch));
  if (known !== undefined && context.store.isValid(known)) return { path: known, from: "store" };
  if (!COMMIT.test(fetch.commit)) {
    throw new Problem({
      code: "E_BAD_COMMIT",
      message: `fetching ${fetch.name}: ${JSON.stringify(fetch.commit)} is not a commit`,
      hint: "a commit has 40 (or, with SHA-256, 64) hexadecimal digits; a branch or a tag may point somewhere else tomorrow",
      exit: 2,
    });
  }
  requireTool(context.host, "git", { doing: `fetching ${fetch.name}`, packageName: "git" });
  const clone = `${context.distfiles}/git/${sha256(fetch.url).slice(0, 32)}-${fetch.commit}.git`;
  const from = (await hasCommit(context, clone, fetch.commit)) ? "distfiles" : fetch.url;
  if (from !== "distfiles") await makeClone(context, fetch, clone);
  const path = await withScratch(context, async (scratch) => {
    const tree = `${scratch}/tree`;
    context.host.files.makeDirectory(tree);
    await git(context, clone, ["read-tree", `--index-output=${scratch}/index`, fetch.commit]);
    await git(context, clone, ["checkout-index", "--all"], { GIT_INDEX_FILE: `${scratch}/index`, GIT_WORK_TREE: tree });
    return addTree(context, fetch, tree, from);
  });
  rememberPath(context, fetchKey(fetch), path);
  context.emit({ kind: "fetch-finished", path, from });
  return { path, from };
}

async function addTree(context: FetchContext, fetch: FetchOf<"fetchGit">, tree: string, from: string): Promise<StorePath> {
  if (fetch.sha256 === undefined) return (await context.store.add(tree, fetch.name, { form: "tree" })).path;
  try {
    return (await context.store.addFixed(tree, fetch.name, { form: "tree", sha256: fetch.sha256 })).path;
  } catch (error) {
    if (error instanceof Problem && error.code === "E_HASH_MISMATCH") {
      context.emit({ kind: "fetch-failed", from, reason: [error.message, ...error.details].join("; ") });
    }
    throw error;
  }
}

async function makeClone(context: FetchContext, fetch: FetchOf<"fetchGit">, clone: string): Promise<void> {
  const { files } = context.host;
  // One that is there without its commit was damaged.
  files.removeTree(clone);
  const part = newPart(context);
  try {
    await fetchCommit(context, fetch, part);
    files.makeDirectory(`${context.distfiles}/git`, { parents: true });
    files.rename(part, clone);
  } catch (error) {
    // One that another put there meanwhile is as good as this.
    if (!isErrno(error, "ENOTEMPTY", "EEXIST")) throw error;
  } finally {
    files.removeTree(part);
  }
}

async function fetchCommit(context: FetchContext, fetch: FetchOf<"fetchGit">, clone: string): Promise<void> {
  const { host } = context;
  await runTool(host, {
    argv: ["git", "init", "--quiet", "--bare", clone],
    doing: "making a clone",
    env: { ...networkEnvironment({}), ...PLAIN },
    signal: context.signal,
  });
  context.emit({ kind: "fetch-started", what: fetch.name, from: fetch.url });
  const reasons: string[] = [];
  // A server may refuse to give a commit by its name; then all branches and tags are taken.
  for (const what of [
    ["--depth=1", fetch.url, fetch.commit],
    [fetch.url, "+refs/*:refs/garth/*"],
  ]) {
    const result = await runTool(host, {
      argv: ["git", "-C", clone, "fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--end-of-options", ...what],
      doing: `fetching ${fetch.name}`,
      // The user's own settings count here: proxies, credentials, `insteadOf`.
      env: { ...networkEnvironment(context.environment), GIT_TERMINAL_PROMPT: "0" },
      signal: context.signal,
      okStatuses: [0, 1, 128],
    });
    if (await hasCommit(context, clone, fetch.commit)) return;
    reasons.push(...(result.status === 0 ? ["it has no such commit"] : tail(result.stderr)));
  }
  const reason = [...new Set(reasons)].join("; ");
  context.emit({ kind: "fetch-failed", from: fetch.url, reason });
  throw nobodyHasIt(`${fetch.name} (commit ${fetch.commit})`, [{ from: fetch.url, reason }]);
}

async function hasCommit(context: FetchContext, clone: string, commit: string): Promise<boolean> {
  if (!context.host.files.exists(`${clone}/HEAD`)) return false;
  const result = await git(context, clone, ["cat-file", "-e", `${commit}^{tree}`], {}, [0, 1, 128]);
  return result.status === 0;
}

async function git(
  context: FetchContext,
  clone: string,
  words: readonly string[],
  env: Readonly<Record<string, string>> = {},
  okStatuses: readonly number[] = [0],
) {
  return runTool(context.host, {
    argv: ["git", ...PLAIN_OPTIONS, "--git-dir", clone, ...words],
    doing: `git ${words[0]}`,
    env: { ...networkEnvironment({}), ...PLAIN, GIT_NO_LAZY_FETCH: "1", ...env },
    signal: context.signal,
    okStatuses,
  });
}
