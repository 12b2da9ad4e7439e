import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { Problem } from "../base/index.ts";
import { localHost } from "../host/index.ts";
import { loadSettings, type Settings } from "./index.ts";

const host = localHost();
const defaults: Settings = { jobs: 2, keepGoing: false, repositoryKey: "/k", gcOlderThanMs: 0 };
let directory = "";
beforeAll(() => {
  directory = mkdtempSync(`${tmpdir()}/garth-config-`);
});
afterAll(() => host.files.removeTree(directory));

async function refusal(text: string, env: Record<string, string> = {}): Promise<string> {
  writeFileSync(`${directory}/bad.toml`, text);
  try {
    await loadSettings(host, `${directory}/bad.toml`, defaults, env);
  } catch (error) {
    if (error instanceof Problem) return `${error.message} (${error.where?.replace(directory, "")})`;
    throw error;
  }
  return "accepted";
}

test("the environment goes before the file, the file before the default, and each says so", async () => {
  const file = `${directory}/garth.toml`;
  writeFileSync(file, "[build]\njobs = 8\nkeep_going = true\n[gc]\nolder_than_days = 30\n");
  const effective = await loadSettings(host, file, defaults, { GARTH_JOBS: "3" });
  expect(effective.settings).toEqual({ jobs: 3, keepGoing: true, repositoryKey: "/k", gcOlderThanMs: 30 * 86_400_000 });
  expect(effective.origins).toEqual({
    jobs: "environment GARTH_JOBS",
    keepGoing: `${file} build.keep_going`,
    repositoryKey: "default",
    gcOlderThanMs: `${file} gc.older_than_days`,
  });
});

test("no file is no error", async () => {
  expect((await loadSettings(host, `${directory}/none.toml`, defaults, {})).settings).toEqual(defaults);
});

test("a misspelt key, a wrong value and broken TOML are refused with the place", async () => {
  expect(await refusal("[build]\njob = 2\n")).toContain('no setting "build.job"');
  expect(await refusal("[build]\njobs = 0\n")).toContain("expected a whole number from 1");
  expect(await refusal("[build\n")).toContain("(/bad.toml:1:");
  expect(await refusal("", { GARTH_KEEP_GOING: "maybe" })).toContain("(environment GARTH_KEEP_GOING)");
});
