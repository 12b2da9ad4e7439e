import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { Problem } from "../base/index.ts";
import { localHost } from "../host/index.ts";
import { loadSettings } from "./index.ts";
import { COMMON_DEFAULTS, type OwnDefaults } from "./settings.ts";

const host = localHost();
const defaults: OwnDefaults = { jobs: 2, keepGoing: false, repositoryKey: "/k", gcOlderThanMs: 0 };
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
  expect(effective.settings).toEqual({
    ...COMMON_DEFAULTS,
    jobs: 3,
    keepGoing: true,
    repositoryKey: "/k",
    gcOlderThanMs: 30 * 86_400_000,
  });
  expect(effective.origins).toMatchObject({
    gatewayListen: "default",
    jobs: "environment GARTH_JOBS",
    keepGoing: `${file} build.keep_going`,
    repositoryKey: "default",
    gcOlderThanMs: `${file} gc.older_than_days`,
  });
});

test("no file is no error", async () => {
  const { settings } = await loadSettings(host, `${directory}/none.toml`, defaults, {});
  expect(settings).toEqual({ ...COMMON_DEFAULTS, ...defaults });
});

test("lists are lists in the file, and words in the environment", async () => {
  const file = `${directory}/lists.toml`;
  writeFileSync(
    file,
    `[gateway]\nlisten = "[::1]:3001"\ndomain = "sbx.localhost:3001"\naliases = ["base=micro", "code-interpreter-v1=debian-12"]\n` +
      `[network]\ndns = ["9.9.9.9", "1.1.1.1"]\nreachable = "10.1.2.0/24, 10.9.9.9"\n`,
  );
  const { settings, origins } = await loadSettings(host, file, defaults, { GARTH_DNS: "192.0.2.53" });
  expect(settings).toMatchObject({
    gatewayListen: "[::1]:3001",
    gatewayDomain: "sbx.localhost:3001",
    gatewayAliases: "base=micro,code-interpreter-v1=debian-12",
    networkDns: ["192.0.2.53"],
    networkReachable: ["10.1.2.0/24", "10.9.9.9"],
  });
  expect([origins.networkDns, origins.gatewayAliases]).toEqual(["environment GARTH_DNS", `${file} gateway.aliases`]);
  expect(await refusal('[gateway]\nlisten = "3000"\n')).toContain("expected ADDRESS:PORT");
  expect(await refusal('[gateway]\naliases = "base"\n')).toContain("expected NAME=POOL");
  expect(await refusal('[network]\ndns = ["dns.example"]\n')).toContain("expected addresses");
  expect(await refusal('[gateway]\nkeys_file = "keys"\n')).toContain("expected an absolute path");
});

test("a misspelt key, a wrong value and broken TOML are refused with the place", async () => {
  expect(await refusal("[build]\njob = 2\n")).toContain('no setting "build.job"');
  expect(await refusal("[build]\njobs = 0\n")).toContain("expected a whole number from 1");
  expect(await refusal("[build\n")).toContain("(/bad.toml:1:");
  expect(await refusal("", { GARTH_KEEP_GOING: "maybe" })).toContain("(environment GARTH_KEEP_GOING)");
});
