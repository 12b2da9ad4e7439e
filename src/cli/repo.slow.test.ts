/** A repository from the command line: made, published to, served, and read back by a client that remembers. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { cpSync, mkdtempSync, readdirSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const garth = join(import.meta.dir, "../../garth");
let directory = "";

const PROJECT = (version: string) => `
import { hostView, package_, script } from "garth";
const metadata = { comment: "A thing", licenses: ["MIT"], categories: ["misc"] };
const thing = script({
  name: "thing", version: "${version}", metadata, buildRoot: hostView(), script: "mkdir $out/bin && echo ${version} >$out/bin/thing",
});
export const packaged = package_(thing, { origin: "misc/thing" });
`;

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "garth-cli-repo-"));
});
afterAll(() => {
  Bun.spawnSync(["chmod", "-R", "u+w", directory]);
  rmSync(directory, { recursive: true, force: true });
});

const options = () => ({ cwd: directory, env: { PATH: process.env["PATH"] ?? "", GARTH_ROOT: join(directory, "root") } });

function call(...words: readonly string[]) {
  const child = Bun.spawnSync([garth, ...words], { ...options(), stdin: "ignore" });
  return { status: child.exitCode, stdout: child.stdout.toString(), stderr: child.stderr.toString() };
}

function publish(version: string): void {
  writeFileSync(join(directory, `v${version}.ts`), PROJECT(version));
  expect(call("pkg", "create", `v${version}.ts#packaged`, "-o", `made-${version}`)).toMatchObject({ status: 0 });
  const made = readdirSync(join(directory, `made-${version}`)).map((name) => `made-${version}/${name}`);
  expect(made).toHaveLength(2);
  expect(call("repo", "publish", "./repo", ...made)).toMatchObject({ status: 0 });
}

test("an older catalogue is refused once a newer one was seen, until it is allowed", () => {
  expect(call("repo", "init", "./repo")).toMatchObject({ status: 0 });
  publish("1");
  expect(call("repo", "verify", "./repo")).toMatchObject({ status: 0 });
  cpSync(join(directory, "repo"), join(directory, "old"), { recursive: true, verbatimSymlinks: true });
  publish("2");
  expect(call("repo", "verify", "./repo").stdout).toContain("4 packages");
  rmSync(join(directory, "repo"), { recursive: true });
  cpSync(join(directory, "old"), join(directory, "repo"), { recursive: true, verbatimSymlinks: true });
  const refused = call("repo", "verify", "./repo", "--json");
  expect(refused.status).toBe(1);
  expect(JSON.parse(refused.stdout)).toMatchObject({ error: { code: "E_CATALOGUE_ROLLED_BACK" } });
  expect(call("repo", "verify", "./repo", "--allow-rollback")).toMatchObject({ status: 0 });
  expect(call("repo", "verify", "./repo")).toMatchObject({ status: 0 });
});

test("serves it, in parts and on condition, until it is interrupted", async () => {
  const server = Bun.spawn([garth, "repo", "serve", "./repo", "--listen", "127.0.0.1:0"], {
    ...options(),
    stdout: "pipe",
    stderr: "pipe",
  });
  let said = "";
  for await (const chunk of server.stdout) {
    said += new TextDecoder().decode(chunk);
    if (said.includes("\n")) break;
  }
  const url = /http:\S+\//.exec(said)?.[0] ?? "";
  const whole = await fetch(`${url}data.pkg`);
  const bytes = new Uint8Array(await whole.arrayBuffer());
  const part = await fetch(`${url}data.pkg`, { headers: { range: "bytes=2-5" } });
  expect([part.status, new Uint8Array(await part.arrayBuffer())]).toEqual([206, bytes.slice(2, 6)]);
  const same = await fetch(`${url}data.pkg`, { headers: { "if-none-match": whole.headers.get("etag") ?? "" } });
  expect(same.status).toBe(304);
  expect(call("repo", "verify", url)).toMatchObject({ status: 0, stderr: "" });
  server.kill("SIGINT");
  expect(await server.exited).toBe(130);
});

test("a package that was damaged is named, and is neither shown nor published", () => {
  const [first = ""] = readdirSync(join(directory, "made-1"));
  const short = join(directory, "short.pkg");
  cpSync(join(directory, "made-1", first), short);
  truncateSync(short, 200);
  for (const words of [
    ["pkg", "info", short],
    ["pkg", "ls", short],
    ["repo", "publish", "./repo", short],
  ]) {
    const said = call(...words);
    expect(said).toMatchObject({ status: 1, stdout: "" });
    expect(said.stderr).toStartWith(`error E_ARCHIVE_TRUNCATED: ${short} ends in the middle`);
  }
  expect(call("repo", "verify", "./repo")).toMatchObject({ status: 0 });
});
