/** The whole line on a real sandbox: what is shipped, what a second run leaves alone, and that two roots hold the same bytes. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { Problem } from "../base/index.ts";
import type { ShipReport, StageReport } from "../ship/index.ts";
import { type Garth, openGarth } from "./index.ts";

const PROJECT = `
import { hostView, package_, repository, script } from "garth";
const root = { buildRoot: hostView() };
const metadata = { comment: "A thing", licenses: ["MIT"], categories: ["misc"] };
export const words = script({
  name: "words", version: "1.0", metadata, ...root,
  script: "mkdir -p $out/share/words && echo one two >$out/share/words/list # WORDS",
});
export const count = script({
  name: "count", version: "2.0", metadata, inputs: { words }, ...root,
  script: 'mkdir $out/bin && printf "#!/bin/sh\\nwc -w <%s/share/words/list\\n" "$words" >$out/bin/count && chmod +x $out/bin/count',
  probe: { argv: ["bin/count"], expect: "2" },
});
export const tools = repository({ name: "tools", packages: [package_(count, { origin: "misc/count" })] });
`;

let directory = "";
const opened: Garth[] = [];

beforeAll(() => {
  directory = mkdtempSync(`${tmpdir()}/garth-line-`);
  writeFileSync(`${directory}/garth.ts`, PROJECT);
});

afterAll(async () => {
  for (const garth of opened) await garth.close();
  for (const root of ["one", "two", "three"])
    if (existsSync(`${directory}/${root}`)) openGarth({ ...at(root) }).host.files.removeTree(`${directory}/${root}`);
  rmSync(directory, { recursive: true });
});

function at(root: string) {
  return { root: `${directory}/${root}`, env: {}, workingDirectory: directory };
}

function open(root: string): Garth {
  const garth = openGarth(at(root));
  opened.push(garth);
  return garth;
}

async function ship(garth: Garth): Promise<ShipReport> {
  return garth
    .ship(() => {})
    .run({
      file: undefined,
      jobs: 2,
      keepGoing: false,
      keepFailed: false,
      keyFile: `${directory}/key/repository.pem`,
      onStage: () => {},
    });
}

function hows(stages: readonly StageReport[]): readonly string[] {
  return stages.filter(({ stage }) => stage !== "recipe").map(({ stage, how }) => `${stage} ${how}`);
}

describe("the line", () => {
  test("does its work once, and again only what is gone", async () => {
    const garth = open("one");
    const first = await ship(garth);
    expect(hows(first.stages)).toEqual(["build done", "package done", "repository done"]);
    expect(first.final["package_count"]).toBe("3");
    expect(first.final["packages"]).toMatch(/ count-2\.0$/);
    expect(hows((await ship(garth)).stages)).toEqual(["build unchanged", "package unchanged", "repository unchanged"]);

    // Every stage left a receipt that can be shown.
    for (const name of first.stages.flatMap((stage) => stage.receipts)) expect(garth.receipts.show(name).name).toBe(name);

    // The catalogue is gone: only publishing is done again, and comes out as it was.
    rmSync(`${directory}/one/frx/var/garth/repos/tools`, { recursive: true });
    const again = await ship(garth);
    expect(hows(again.stages)).toEqual(["build unchanged", "package unchanged", "repository done"]);
    expect(again.final["catalogue_sha256"]).toBe(first.final["catalogue_sha256"] ?? "");
  });

  test("two roots hold the same bytes: store, packages, catalogue", async () => {
    const [one, two] = [open("one"), open("two")];
    const [left, right] = [await ship(one), await ship(two)];
    expect(right.final["catalogue_sha256"]).toBe(left.final["catalogue_sha256"] ?? "");
    const items = (garth: Garth) =>
      garth.store
        .all()
        .map(({ path, narSha256 }) => `${path} ${narSha256}`)
        .toSorted();
    expect(items(two)).toEqual(items(one));
    expect(items(two).filter((line) => line.includes(".pkg "))).toHaveLength(3);
    for (const file of ["data.pkg", "packagesite.pkg", "meta.conf"]) {
      const bytes = (root: string) => readFileSync(`${directory}/${root}/frx/var/garth/repos/tools/${file}`);
      expect(bytes("two").equals(bytes("one"))).toBe(true);
    }
  });

  test("a dependency that comes out the same rebuilds nothing above it; one that differs does", async () => {
    const garth = open("three");
    await ship(garth);
    const other = `${directory}/other`;
    const builtBy = async (text: string): Promise<readonly string[]> => {
      // A file is loaded once in a process; another text is another file.
      cpSync(`${directory}/garth.ts`, `${other}-${text.length}.ts`);
      writeFileSync(`${other}-${text.length}.ts`, text);
      const { graph } = await garth.goals([`${other}-${text.length}.ts#count`]);
      const options = { jobs: 2, keepFailed: false, rebuild: false, check: false, dryRun: false };
      const result = await garth.builder(() => {}).build(graph, options);
      return result.steps.map(({ step, how }) => `${step.recipe.name} ${how}`).toSorted();
    };
    expect(await builtBy(PROJECT.replace("# WORDS", "# another comment"))).toEqual(["count cutoff", "words built"]);
    expect(await builtBy(PROJECT.replace("echo one two", "echo two one"))).toEqual(["count built", "words built"]);
  });

  test("another Garth that starts leaves running builds and kept sandboxes alone", async () => {
    writeFileSync(
      `${directory}/slow.ts`,
      `import { hostView, script } from "garth";
       export const slow = script({ name: "slow", buildRoot: hostView(), script: "echo ready; sleep 2; echo done >$out/done" });`,
    );
    const garth = open("three");
    const { graph } = await garth.goals([`${directory}/slow.ts#slow`]);
    const ready = Promise.withResolvers<void>();
    const builder = garth.builder((event) => {
      if (event.kind === "output" && event.text.includes("ready")) ready.resolve();
    });
    const built = builder.build(graph, { jobs: 1, keepFailed: true, rebuild: false, check: false, dryRun: false });
    await Promise.race([ready.promise, built]);
    const other = Bun.spawnSync([`${import.meta.dir}/../../garth`, "store", "ls", "--root", at("three").root], { env: {} });
    expect(other.exitCode).toBe(0);
    expect((await built).steps.map(({ how }) => how)).toEqual(["built"]);
  });

  test("a project with nothing to ship says so", async () => {
    writeFileSync(`${directory}/empty.ts`, 'export const nothing = "here";\n');
    const garth = open("one");
    const failure = await garth
      .ship(() => {})
      .run({ file: `${directory}/empty.ts`, jobs: 1, keepGoing: false, keepFailed: false, keyFile: "", onStage: () => {} })
      .catch((error: unknown) => error);
    expect(failure instanceof Problem ? [failure.code, failure.exit] : failure).toEqual(["E_NOTHING_TO_SHIP", 2]);
  });
});
