/** The commands of templates: a system on its way through its gate into one, a disk that somebody else made, and what becomes of both. */
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { execFileSync } from "node:child_process";
import { appendFileSync, chmodSync, existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { problemOf } from "../base/testing.ts";
import { writeDisk } from "../template/testing.ts";
import { openContext } from "./context.ts";
import type { Answer } from "./command.ts";
import { checkArguments, given, GLOBAL_OPTIONS, readWords } from "./parse.ts";
import { type CommandPlace, commandPlace } from "./systems.testing.ts";
import { TEMPLATES } from "./table-template.ts";

// A machine goes through its firmware under emulation.
setDefaultTimeout(240_000);
let place: CommandPlace;
const at = (name: string): string => join(place.directory, name);
const state = (name: string): string => at(`root/frx/var/garth/templates/${name}`);
beforeAll(() => {
  place = commandPlace();
  writeFileSync(
    at("cloned.ts"),
    `import { template } from "garth";
import { firmware, web } from "./garth.ts";
export { firmware, web };
export const clone = template({ system: web, name: "clone", sidecar: { cpus: 2 }, description: "A clone." });
`,
  );
  writeFileSync(at("web.conf"), "# small\nTPL_MEMORY=64M\nTPL_PATCH_MODE=none\n");
  writeDisk(at("Cloud_12.raw"));
});
afterAll(() => place.remove());

async function call(verb: string, ...words: readonly string[]): Promise<Answer> {
  const row = TEMPLATES.find(({ path }) => path[1] === verb);
  if (row === undefined) throw new Error(`there is no template ${verb}`);
  const read = readWords([...words, "--root", at("root"), "--quiet"], [...row.options, ...GLOBAL_OPTIONS], "");
  checkArguments(row, read.positional, "");
  const options = given(read);
  const opened = openContext(options);
  try {
    return await (
      await row.load()
    )(opened.context, options);
  } finally {
    await opened.close();
  }
}
const receipt = (): Record<string, string> => Object(JSON.parse(readFileSync(at("receipt.json"), "utf8")));

test("a declared template is made as it is declared, of what passed its gate", async () => {
  const made = await call("build", `${at("cloned.ts")}#clone`, "--receipt", at("receipt"));
  expect(made.pass).toBe("clone");
  expect(made.data).toMatchObject({
    name: "clone",
    description: "A clone.",
    sidecar: { cpus: 2 },
    manifest: { origin: { kind: "system", verdict: receipt()["verdict_path"] } },
  });
  expect(receipt()).toMatchObject({ template: "clone", template_image: state("clone.img") });
  expect(made.text()).toMatch(/^template +clone\n[^]*\n\nA clone\.\n\nTPL_GATEWAY_MODE=ssh\n[^]*TPL_CPUS=2\n/);
  // By its system it is the same one, and so it is as the only one of its file.
  for (const reference of [`${at("cloned.ts")}#web`, at("cloned.ts")])
    expect((await call("build", reference)).data).toMatchObject({ name: "clone" });
});

test("a system without a template becomes one by its name and a sidecar", async () => {
  const word = `${at("garth.ts")}#web`;
  const made = await call("build", word, "--conf", at("web.conf"), "--description", "Small.", "--receipt", at("receipt"));
  expect(made).toMatchObject({
    pass: "web",
    data: { description: "Small.", sidecar: { memoryBytes: 64 << 20, patchMode: "none" } },
  });
  expect(receipt()).toMatchObject({ template: "web", image_sha256: expect.stringMatching(/^[0-9a-f]{64}$/) });
  expect(await problemOf(call("build", word, "--description", "Other."))).toMatchObject({ code: "E_TEMPLATE_EXISTS", exit: 2 });
  expect((await call("build", word, "--description", "Other.", "--replace")).data).toMatchObject({ description: "Other." });
  writeFileSync(at("bad.conf"), "\nTPL_CPU=2\n");
  expect(await problemOf(call("build", word, "--name", "bad", "--conf", at("bad.conf")))).toMatchObject({
    code: "E_BAD_SIDECAR",
    where: `${at("bad.conf")}:2`,
    hint: "did you mean TPL_CPUS?",
  });
  expect(existsSync(state("bad.manifest"))).toBe(false);
});

test("a system that fails its gate becomes none", async () => {
  const problem = await problemOf(call("build", `${at("garth.ts")}#other`, "--name", "other"));
  expect([problem.code, problem.exit]).toEqual(["E_GATE_FAILED", 1]);
  expect(existsSync(state("other.manifest"))).toBe(false);
});

test("a disk that somebody else made is imported under its name, its checksum first", async () => {
  const file = at("Cloud_12.raw");
  const sum = execFileSync("sha256sum", [file], { encoding: "utf8" }).slice(0, 64);
  expect(await problemOf(call("import", file))).toMatchObject({ code: "E_USAGE", exit: 2 });
  expect(
    (
      await problemOf(
        call(
          "import",
          file,
          "--sha256",
          sum.replace(/./, (digit) => (digit === "0" ? "1" : "0")),
        ),
      )
    ).code,
  ).toBe("E_HASH_MISMATCH");
  const made = await call("import", file, "--sha256", sum, "--receipt", at("receipt"));
  expect(made).toMatchObject({ pass: "cloud-12", data: { manifest: { origin: { kind: "import", source: file, sha256: sum } } } });
  expect(receipt()).toMatchObject({ template: "cloud-12", source: file, source_sha256: sum, source_format: "raw" });
  expect(made.text()).toContain(`made of    ${file}, raw, sha256 ${sum}`);
});

test("a disk is fetched from where it is published", async () => {
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    fetch: ({ url }) =>
      url.endsWith("/cloud.qcow2") ? new Response(Bun.file(at("cloud.qcow2"))) : new Response("", { status: 404 }),
  });
  try {
    execFileSync("qemu-img", ["convert", "-O", "qcow2", at("Cloud_12.raw"), at("cloud.qcow2")]);
    const sum = execFileSync("sha256sum", [at("cloud.qcow2")], { encoding: "utf8" }).slice(0, 64);
    const url = `http://127.0.0.1:${server.port}/cloud.qcow2`;
    const made = await call("import", url, "--sha256", sum, "--name", "fetched");
    expect(made.data).toMatchObject({ name: "fetched", manifest: { origin: { source: url, sha256: sum, format: "qcow2" } } });
    const missing = call(
      "import",
      `${url}.gone`,
      "--sha256",
      sum.replace(/^./, (digit) => (digit === "0" ? "1" : "0")),
      "--name",
      "gone",
    );
    expect((await problemOf(missing)).code).toBe("E_FETCH_FAILED");
    expect(existsSync(state("gone.manifest"))).toBe(false);
    expect((await call("rm", "fetched")).text()).toBe("removed fetched");
  } finally {
    await server.stop(true);
  }
});

test("all of them are listed, shown, held against what was signed, and removed", async () => {
  const listed = await call("ls");
  expect(listed.data).toMatchObject({ templates: [{ name: "clone" }, { name: "cloud-12" }, { name: "web" }], broken: [] });
  expect(listed.text()).toMatch(/^template +boots by +size +from\n *clone +uefi +\d+ MiB +system +A clone\.\n/);
  expect((await call("show", "web")).data).toMatchObject({ name: "web" });
  expect(await problemOf(call("show", "cloned"))).toMatchObject({ code: "E_NO_TEMPLATE", hint: "did you mean clone?" });
  expect((await call("verify")).exit).toBe(0);

  chmodSync(state("web.conf"), 0o644);
  appendFileSync(state("web.conf"), "TPL_CPUS=9\n");
  const verified = await call("verify");
  expect(verified.exit).toBe(1);
  expect(verified.text()).toMatch(
    /^sound {3}clone [0-9a-f]{64}\nsound {3}cloud-12 [0-9a-f]{64}\nFORGED {2}web: .*web\.conf was changed$/,
  );
  expect((await call("verify", "clone")).exit).toBe(0);

  expect((await call("rm", "web", "cloud-12")).text()).toBe("removed web\nremoved cloud-12");
  expect((await call("ls")).data).toMatchObject({ templates: [{ name: "clone" }], broken: [] });
  expect((await problemOf(call("rm", "web"))).code).toBe("E_NO_TEMPLATE");
});
