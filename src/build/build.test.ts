import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { execFileSync } from "node:child_process";
import * as fs from "node:fs";
import { problemOf } from "../base/testing.ts";
import { alternatives, fetchurl, hostView, instantiate, localTree, script } from "../recipe/index.ts";
import { buildReceipt } from "./index.ts";
import { type Bench, openBench, tiny } from "./testing.ts";

let bench: Bench;
beforeAll(() => {
  bench = openBench();
});
beforeEach(() => {
  bench.forget();
});
afterAll(() => bench.remove());

function only<T>(values: Iterable<T>): T {
  const [first, ...more] = values;
  if (first === undefined || more.length > 0) throw new Error("exactly one was expected");
  return first;
}

async function outOf(...args: Parameters<Bench["build"]>) {
  const goal = only((await bench.build(...args)).goals.values());
  return {
    goal,
    path: goal.outputs["out"] ?? "",
    read: (file: string) => fs.readFileSync(`${bench.store.physical(goal.outputs["out"] ?? "/frx/store/")}/${file}`, "utf8"),
  };
}

/** Nothing of a build is left but what a person asked to keep. */
function scratchLeft(): readonly string[] {
  const temporary = `${bench.root}/frx/var/garth/tmp`;
  return fs
    .readdirSync(temporary, { recursive: true })
    .map(String)
    .filter((name) => name.startsWith("build-") && name.split("/").length > 2);
}

describe("building", () => {
  test("an output, its references, its log, its receipt", async () => {
    const lib = tiny("lib", "echo library > $out/lib");
    const app = tiny("app", 'echo "@garth phase link"; echo building app; echo "$lib/lib" > $out/uses', {
      version: "1.0",
      inputs: [lib],
      check: true,
    });
    const { goal, read } = await outOf(app);
    const libPath = read("uses").slice(0, -"/lib\n".length);
    expect(bench.store.references(goal.outputs["out"] ?? "/frx/store/")).toEqual([
      only(bench.store.find("lib").filter((path) => path.endsWith("-lib"))),
    ]);
    expect(bench.started()).toEqual(["lib", "app-1.0"]);
    expect(bench.events.flatMap((event) => (event.kind === "phase" ? [event.phase] : []))).toEqual(["link"]);
    expect(bench.builder.readLog(goal.drv)).toContain("\nbuilding app\n# garth: ended with status 0 after ");
    const receipt = buildReceipt(goal, bench.store);
    expect(receipt).toMatchObject({
      drv_path: goal.drv,
      build_uid: "35001",
      build_gid: "35001",
      build_mode: "linux-bubblewrap",
      network: "none",
      tests: "passed",
      references: libPath,
      how: "built",
    });
    expect(receipt["out_nar_sha256"]).toMatch(/^[0-9a-f]{64}$/);
    expect(Number(receipt["host_base_store_count"])).toBeGreaterThan(0);
    expect(scratchLeft()).toEqual([]);
  });

  test("nothing changed: nothing runs, and the receipt still knows who built it", async () => {
    const recipe = tiny("again", "echo once > $out/file");
    const first = await outOf(recipe);
    bench.forget();
    const second = await outOf(recipe);
    expect(bench.started()).toEqual([]);
    expect(second.goal.how).toBe("cutoff");
    expect(second.goal.outputs).toEqual(first.goal.outputs);
    const plain = (fields: Readonly<Record<string, string>>) => ({ ...fields, how: "" });
    expect(plain(buildReceipt(second.goal, bench.store))).toEqual(plain(buildReceipt(first.goal, bench.store)));
  });

  test("a diamond is built once at each corner, its sides at the same time", async () => {
    const bottom = tiny("bottom", "echo b > $out/b");
    const wait = (own: string) => `cat $bottom/b > $out/${own}; sleep 0.2`;
    const top = tiny("top", "cat $left/l $right/r > $out/t", {
      inputs: [tiny("left", wait("l"), { inputs: [bottom] }), tiny("right", wait("r"), { inputs: [bottom] })],
    });
    const { read } = await outOf(top);
    expect(read("t")).toBe("b\nb\n");
    const started = bench.started();
    expect([started[0], started.slice(1, 3).toSorted(), started[3], started.length]).toEqual([
      "bottom",
      ["left", "right"],
      "top",
      4,
    ]);
    const order = bench.events.flatMap((event) => (event.kind === "started" || event.kind === "built" ? [event.kind] : []));
    expect(order).toEqual(["started", "built", "started", "started", "built", "built", "started", "built"]);
  });

  test("two steps that come to the same derivation are built once", async () => {
    const same = (comment: string) => tiny("twin", "echo t > $out/t; sleep 0.1", { metadata: { comment } });
    const goals = [same("one"), same("two")];
    const result = await bench.build(goals);
    expect(bench.started()).toEqual(["twin"]);
    expect(new Set([...result.goals.values()].map(({ outputs }) => outputs["out"])).size).toBe(1);
  });

  test("several outputs may refer to each other and to themselves", async () => {
    const recipe = tiny("parts", 'echo "$dev" > $out/dev; echo "$dev" > $dev/self; echo plain > $dev/plain', {
      outputs: ["out", "dev"],
    });
    const { goal, read } = await outOf(recipe);
    expect(read("dev").trim()).toBe(goal.outputs["dev"] ?? "");
    expect(buildReceipt(goal, bench.store)["dev_path"]).toBe(goal.outputs["dev"] ?? "");
  });

  test("a source from beside the project is read anew each time", async () => {
    fs.mkdirSync(`${bench.root}/tree`, { recursive: true });
    fs.writeFileSync(`${bench.root}/tree/file`, "one");
    const recipe = tiny("reads", "cat $src/file > $out/file", { source: localTree({ path: `${bench.root}/tree` }) });
    expect((await outOf(recipe)).read("file")).toBe("one");
    fs.writeFileSync(`${bench.root}/tree/file`, "two");
    const again = await outOf(recipe);
    expect(again.read("file")).toBe("two");
    expect(bench.started()).toEqual(["reads", "reads"]);
    const planned = await bench.builder.plan(instantiate(recipe, { system: bench.host.system, directory: bench.root }));
    expect(planned.map(({ state }) => state)).toEqual(["present"]);
  });
});

describe("early cutoff", () => {
  const chain = (comment: string) => {
    const low = tiny("low", `# ${comment}\necho same > $out/file`);
    const middle = tiny("middle", "cat $low/file > $out/file", { inputs: [low] });
    return tiny("high", "cat $middle/file > $out/file", { inputs: [middle] });
  };

  test("a dependency rebuilt to the same content rebuilds nothing above it", async () => {
    await bench.build(chain("first"));
    expect(bench.started()).toEqual(["low", "middle", "high"]);
    bench.forget();
    const { goal } = await outOf(chain("second"));
    expect(bench.started()).toEqual(["low"]);
    expect(goal.how).toBe("cutoff");
  });

  test("inputs that were collected are not built again while their user is there", async () => {
    const recipe = chain("collected");
    const { goal } = await outOf(recipe);
    const { root } = bench;
    await bench.close();
    bench = openBench({ root });
    bench.store.addRoot(`${root}/keep`, goal.outputs["out"] ?? "/frx/store/");
    const { removed } = await bench.store.gc({});
    expect(removed.length).toBeGreaterThan(2);
    await bench.build(recipe);
    expect(bench.started()).toEqual([]);
    const above = tiny("above", "cat $high/file $low/file > $out/f", {
      inputs: { high: recipe, low: tiny("low", "# collected\necho same > $out/file") },
    });
    await bench.build(above);
    expect(bench.started()).toEqual(["low", "above"]);
  });
});

describe("failure", () => {
  test("says the status, the end of the log, and where the rest is", async () => {
    const problem = await problemOf(bench.build(tiny("broken", "for i in $(seq 40); do echo line $i; done; exit 7")));
    expect([problem.code, problem.exit]).toEqual(["E_BUILD_FAILED", 1]);
    expect(problem.message).toBe("building broken: the builder ended with status 7");
    expect(problem.details).toHaveLength(25);
    expect(problem.details.at(-1)).toBe("line 40");
    expect(execFileSync("zstd", ["-dcq", problem.where ?? ""]).toString()).toContain("line 1\n");
    expect(problem.hint).toMatch(/^garth log \/frx\/store\/[0-9a-f]{64}-broken\.drv$/);
    expect(scratchLeft()).toEqual([]);
  });

  test("what stands above is not tried, what stands beside is with keepGoing", async () => {
    const bad = tiny("bad", "exit 1");
    const above = tiny("above-bad", "true", { inputs: [bad] });
    const beside = tiny("beside", "echo b > $out/b");
    const problem = await problemOf(
      bench.build([above, tiny("over", "true", { inputs: [beside] })], { keepGoing: true, jobs: 1 }),
    );
    expect(bench.started().toSorted()).toEqual(["bad", "beside", "over"]);
    expect(problem.details).toContain("not tried: above-bad");
  });

  test("a limit is named with its value and how to raise it", async () => {
    const problem = await problemOf(bench.build(tiny("silent", "sleep 60", { limits: { silenceMs: 300 } })));
    expect(problem.code).toBe("E_LIMIT_EXCEEDED");
    expect(problem.message).toContain("silenceMs=300");
    expect(problem.hint).toBeDefined();
    expect(bench.events.some((event) => event.kind === "limit" && event.limit === "silenceMs")).toBe(true);
  });

  test("--keep-failed leaves the scratch and a line that enters it", async () => {
    const problem = await problemOf(bench.build(tiny("kept", "echo state > /build/left; exit 1"), { keepFailed: true }));
    const kept = only(bench.events.filter((event) => event.kind === "kept"));
    if (kept.kind !== "kept" || kept.enter === undefined) throw new Error("unreachable");
    expect(problem.details.join("\n")).toContain(kept.enter);
    const printed = execFileSync("sh", ["-c", kept.enter], { input: "cat /build/left; echo $out; exit\n" }).toString();
    expect(printed).toContain("state\n/frx/store/");
    bench.host.files.removeTree(kept.directory);
    expect(scratchLeft()).toEqual([]);
  });
});

describe("an output that cannot be a store item", () => {
  test("is named as the recipe knows it, and nothing is left", async () => {
    const problem = await problemOf(bench.build(tiny("pipes", "mkdir $out/run; mkfifo $out/run/p")));
    expect([problem.code, problem.exit]).toEqual(["E_BAD_FILE_TYPE", 1]);
    expect(problem.message).toStartWith("putting what pipes built into the store: $out/run/p is a fifo");
    expect(problem.where).toEndWith("-pipes.drv.log.zst");
    expect(scratchLeft()).toEqual([]);
  });

  test("with a reference that is not declared says which file holds which item, and is kept when asked for", async () => {
    const { path } = await outOf(tiny("undeclared", "echo u > $out/u"));
    const recipe = tiny("leak", `mkdir $out/sub; echo ${path} > $out/sub/refers`);
    const problem = await problemOf(bench.build(recipe, { keepFailed: true }));
    expect(problem.code).toBe("E_REFERENCE_OUTSIDE_CLOSURE");
    expect(problem.details[0]).toBe(`sub/refers holds ${path}`);
    const kept = only(bench.events.filter((event) => event.kind === "kept"));
    if (kept.kind !== "kept") throw new Error("unreachable");
    expect(problem.details.slice(1)).toEqual([`kept: ${kept.directory}`, `enter it with: ${kept.enter}`]);
    expect(fs.readFileSync(`${problem.where}/sub/refers`, "utf8")).toBe(`${path}\n`);
    bench.host.files.removeTree(`${bench.root}/frx/var/garth/tmp/kept`);
  });
});

describe("--check and --rebuild", () => {
  test("the same bytes pass, also with a reference to itself", async () => {
    const recipe = tiny("steady", 'echo "$out" > $out/self');
    await bench.build(recipe, { check: true });
    expect(bench.started()).toEqual(["steady", "steady"]);
    expect(bench.events.filter((event) => event.kind === "checked")).toMatchObject([{ same: true }]);
    bench.forget();
    await bench.build(recipe, { check: true });
    expect(bench.started()).toEqual(["steady"]);
  });

  test("other bytes are shown file by file, and the first output stays", async () => {
    const recipe = tiny("random", "cat /proc/sys/kernel/random/uuid > $out/id; echo steady > $out/steady");
    const first = await outOf(recipe);
    const problem = await problemOf(bench.build(recipe, { check: true, keepFailed: true }));
    expect([problem.code, problem.exit]).toEqual(["E_NOT_REPRODUCIBLE", 1]);
    expect(problem.details).toEqual(["changed id: 37 bytes, contents differ"]);
    expect(fs.readFileSync(`${problem.where}/id`, "utf8")).not.toBe(first.read("id"));
    expect((await outOf(recipe)).path).toBe(first.path);
    bench.host.files.removeTree(`${bench.root}/frx/var/garth/tmp/kept`);
  });

  test("a reference to itself that hides in compressed data is found", async () => {
    const recipe = tiny("hidden", 'echo "$out" | gzip -n > $out/self.gz');
    const problem = await problemOf(bench.build(recipe, { check: true }));
    expect(problem.details[0]).toContain("self.gz");
    expect(scratchLeft()).toEqual([]);
  });

  test("--rebuild runs the goal again and nothing below it", async () => {
    const recipe = tiny("goal", "cat $base/f > $out/f", { inputs: [tiny("base", "echo f > $out/f")] });
    await bench.build(recipe);
    bench.forget();
    await bench.build(recipe, { rebuild: true });
    expect(bench.started()).toEqual(["goal"]);
  });
});

describe("the probe", () => {
  const program = (text: string, expect: string) =>
    tiny("prober", `mkdir $out/bin; printf '#!/bin/sh\\n${text}\\n' > $out/bin/p; chmod +x $out/bin/p`, {
      probe: { argv: ["bin/p"], expect },
    });

  test("sees the output alone; what it printed is in the receipt; an output is probed once", async () => {
    const recipe = program("echo Hello, world!", "Hello, world!");
    const { goal } = await outOf(recipe);
    expect(buildReceipt(goal, bench.store)["runtime_output"]).toBe("Hello, world!");
    bench.forget();
    await bench.build(recipe);
    expect(bench.events.filter((event) => event.kind === "probing")).toEqual([]);
  });

  test("another answer fails, again next time, and builds nothing again", async () => {
    const recipe = program("echo no", "yes");
    const problem = await problemOf(bench.build(recipe));
    expect([problem.code, problem.details]).toEqual(["E_PROBE_FAILED", ['expected "yes"', 'printed  "no"']]);
    bench.forget();
    expect((await problemOf(bench.build(recipe))).code).toBe("E_PROBE_FAILED");
    expect(bench.started()).toEqual([]);
  });
});

describe("alternatives", () => {
  const source = (file: string) =>
    fetchurl({ urls: [`file://${file}`], sha256: "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae" });
  const text = "cat $src > $out/src; echo $0 > $out/which";
  const choice = (version: string, file: string) =>
    script({ name: "either", version, script: text, source: source(file), buildRoot: hostView() });

  test("the first whose source can be had is taken and remembered", async () => {
    const file = `${bench.root}/foo`;
    const either = alternatives(choice("2", `${bench.root}/missing`), choice("1", file));
    fs.writeFileSync(file, "foo");
    const { goal } = await outOf(either);
    expect(goal.chosen).toBe("either-1");
    const event = bench.events.find((one) => one.kind === "alternative");
    const missing = `file://${bench.root}/missing`;
    const reasons = [`either-2: ${missing}: there is no such file`];
    expect(event).toMatchObject({ took: "either-1", insteadOf: ["either-2"], reasons, remembered: false });
    fs.writeFileSync(`${bench.root}/missing`, "foo");
    bench.forget();
    expect((await outOf(either)).goal.chosen).toBe("either-1");
    expect(bench.events.filter((one) => one.kind.startsWith("fetch"))).toEqual([]);
    expect(bench.events.find((one) => one.kind === "alternative")).toMatchObject({ reasons, remembered: true });
    const graph = instantiate(either, { system: bench.host.system, directory: bench.root });
    expect((await bench.builder.plan(graph)).map(({ key, drv }) => [key, drv])).toEqual([[graph.goals[0] ?? "", goal.drv]]);
    expect((await outOf(either, { retryAlternatives: true })).goal.chosen).toBe("either-2");
  });
});
