import { describe, expect, test } from "bun:test";
import { thrownProblem } from "../base/testing.ts";
import {
  alternatives,
  autotools,
  type Buildable,
  debianWorld,
  type Declaration,
  fetchurl,
  type Graph,
  hostView,
  instantiate,
  localTree,
  make,
  script,
  type ScriptOptions,
  stepLabel,
} from "./index.ts";

const on = { system: "x86_64-linux", directory: "/project" } as const;

function recipe(name: string, inputs: ScriptOptions["inputs"] = []): Declaration {
  return script({ name, version: "1", script: "echo $out\n", inputs, buildRoot: hostView({ paths: ["/bin"] }) });
}

const labels = (graph: Graph) => graph.steps.map(stepLabel);
const onlyStep = (declared: Buildable, system: typeof on.system | "x86_64-freebsd" = on.system) => {
  const graph = instantiate(declared, { ...on, system });
  const step = graph.byKey.get(graph.goals[0] ?? "");
  if (step === undefined) throw new Error("no goal");
  return step;
};

describe("a graph", () => {
  test("has dependencies first, and each recipe once", () => {
    const base = recipe("base");
    const left = recipe("left", [base]);
    const right = recipe("right", { under: base });
    const top = recipe("top", [left, right]);
    const graph = instantiate([top, left], on);
    expect(labels(graph)).toEqual(["base-1", "left-1", "right-1", "top-1"]);
    const [first, , third, last] = graph.steps;
    expect(graph.goals).toEqual([last?.key ?? "", graph.steps[1]?.key ?? ""]);
    expect(third?.inputs).toEqual({ under: first?.key ?? "" });
    for (const step of graph.steps) expect(graph.byKey.get(step.key)).toBe(step);
  });

  test("a diamond of a thousand recipes with a million million paths is walked once", () => {
    const layers: Declaration[][] = [[recipe("l0a"), recipe("l0b")]];
    for (let layer = 1; layer < 500; layer++) {
      const below = layers[layer - 1] ?? [];
      layers.push([recipe(`l${layer}a`, below), recipe(`l${layer}b`, below)]);
    }
    expect(instantiate(layers.at(-1) ?? [], on).steps).toHaveLength(1000);
  });

  test("a chain may be longer than the call stack", () => {
    let last = recipe("first");
    for (let count = 0; count < 50_000; count++) last = recipe("next", [last]);
    expect(instantiate(last, on).steps).toHaveLength(50_001);
  });

  test("names of the language are names like others", () => {
    const inputs = ["constructor", "toString", "hasOwnProperty"].map((name) => recipe(name));
    expect(labels(instantiate(recipe("valueOf", inputs), on))).toEqual([
      "constructor-1",
      "toString-1",
      "hasOwnProperty-1",
      "valueOf-1",
    ]);
    expect(thrownProblem(() => recipe("__proto__")).message).toStartWith("__proto__: name: expected a name");
  });

  test("inputs may be a function, for a recipe that is written further down", () => {
    const user = recipe("user", () => [library]);
    const library = recipe("library");
    expect(labels(instantiate(user, on))).toEqual(["library-1", "user-1"]);
  });

  test("a circle is shown as a path, with where each was declared", () => {
    const inputs: Declaration[] = [];
    const a = recipe("a", () => [b]);
    const b = recipe("b", { c: recipe("c", inputs) });
    inputs.push(a);
    const problem = thrownProblem(() => instantiate(recipe("top", [b]), on));
    expect(problem.code).toBe("E_CYCLE");
    expect(problem.message).toBe("recipes need each other in a circle: b -> c -> a -> b");
    expect(problem.details.map((line) => line.replace(/ at .*\/(graph\.test\.ts):\d+$/, " $1"))).toEqual([
      "b is declared graph.test.ts",
      "c is declared graph.test.ts",
      "a is declared graph.test.ts",
    ]);
    expect(problem.exit).toBe(2);
  });

  test("a recipe that is its own input", () => {
    const self = recipe("self", () => [self]);
    expect(thrownProblem(() => instantiate(self, on)).message).toEndWith("self -> self");
  });

  test("what a function of inputs returns is checked like inputs", () => {
    const wrong: unknown = Reflect.apply(recipe, undefined, ["wrong", () => [1]]);
    const problem = thrownProblem(() => Reflect.apply(instantiate, undefined, [wrong, on]));
    expect(problem.message).toBe("wrong: inputs[0]: expected a recipe, found the number 1");
  });
});

test("a function of inputs that throws is told with where", () => {
  const broken = recipe("broken", () => {
    throw new RangeError("too far");
  });
  const problem = thrownProblem(() => instantiate(broken, on));
  expect(problem.code).toBe("E_RECIPE_THREW");
  expect(problem.message).toBe("broken: inputs threw: RangeError: too far");
  expect(problem.where).toMatch(/graph\.test\.ts:\d+$/);
});

describe("alternatives", () => {
  const fast = recipe("tool", [recipe("fast")]);
  const slow = script({
    name: "tool",
    version: "0",
    script: "exit 1",
    inputs: [recipe("slow")],
    buildRoot: hostView({ paths: ["/bin"] }),
  });

  test("are one step, whose fallbacks are not steps; the inputs of every choice are", () => {
    const either = alternatives(fast, slow);
    const graph = instantiate(recipe("user", [either]), on);
    expect(labels(graph)).toEqual(["fast-1", "slow-1", "tool-1", "user-1"]);
    const group = graph.steps[2];
    expect(group?.recipe.version).toBe("1");
    expect(group?.fallbacks?.map(stepLabel)).toEqual(["tool-0"]);
    expect(group?.fallbacks?.[0]?.inputs).toEqual({ slow: graph.steps[1]?.key ?? "" });
    expect(graph.steps[3]?.inputs).toEqual({ tool: group?.key ?? "" });
  });

  test("a choice that is asked for by itself is a step of its own", () => {
    const graph = instantiate([alternatives(fast, slow), slow], on);
    expect(labels(graph)).toEqual(["fast-1", "slow-1", "tool-0", "tool-1"]);
  });

  test("must have the same outputs", () => {
    const other = script({ name: "tool", script: "true", outputs: ["out", "dev"] });
    const problem = thrownProblem(() => instantiate(alternatives(fast, other), on));
    expect(problem.message).toBe(`tool: expected the outputs of the first choice (out) in every one, found the text "out dev"`);
  });
});

describe("a key", () => {
  const source = fetchurl({ urls: ["https://example.org/a-1.tar.gz"], sha256: "0".repeat(64) });
  const options = {
    name: "a",
    version: "1",
    source,
    env: { A: "1", B: "2" },
    sources: { one: source, two: localTree("/two") },
    inputs: { x: recipe("x"), y: recipe("y") },
    limits: { processes: 5, openFiles: 6 },
    metadata: { comment: "c", homepage: "h" },
    buildRoot: hostView({ paths: ["/bin", "/usr"] }),
  };

  test("does not depend on the order in which fields are written", () => {
    const turned = Object.fromEntries(
      Object.entries(options)
        .toReversed()
        .map(([name, value]) =>
          name !== "source" && Object.getPrototypeOf(value) === Object.prototype && name !== "buildRoot"
            ? [name, Object.fromEntries(Object.entries(value).toReversed())]
            : [name, value],
        ),
    );
    const same: unknown = Reflect.apply(make, undefined, [turned]);
    const key: unknown = Reflect.apply(onlyStep, undefined, [same]);
    expect(key).toMatchObject({ key: onlyStep(make(options)).key });
    expect(Object.keys(turned)).not.toEqual(Object.keys(options));
  });

  const changes: Readonly<Record<string, Declaration>> = {
    name: make({ ...options, name: "b" }),
    version: make({ ...options, version: "2" }),
    "build system": autotools(options),
    source: make({ ...options, source: fetchurl({ urls: ["https://example.org/a-1.tar.gz"], sha256: "1".repeat(64) }) }),
    mirror: make({ ...options, source: fetchurl({ urls: ["https://example.net/a-1.tar.gz"], sha256: "0".repeat(64) }) }),
    "another source": make({ ...options, sources: { one: source, two: localTree("/three") } }),
    env: make({ ...options, env: { A: "1", B: "3" } }),
    input: make({ ...options, inputs: { x: recipe("x"), y: recipe("z") } }),
    "input's input": make({ ...options, inputs: { x: recipe("x"), y: recipe("y", [recipe("z")]) } }),
    "input's name": make({ ...options, inputs: { x: recipe("x"), z: recipe("y") } }),
    outputs: make({ ...options, outputs: ["out", "doc"] }),
    check: make({ ...options, check: true }),
    flags: make({ ...options, makeFlags: ["V=1"] }),
    hook: make({ ...options, preBuild: "true" }),
    phase: make({ ...options, phases: { build: "true" } }),
    patch: make({ ...options, patches: [localTree("/patch")] }),
    limits: make({ ...options, limits: { processes: 5, openFiles: 7 } }),
    probe: make({ ...options, probe: { argv: ["bin/a"] } }),
    metadata: make({ ...options, metadata: { comment: "c", homepage: "i" } }),
    "build root": make({ ...options, buildRoot: hostView({ paths: ["/bin"] }) }),
    world: make({ ...options, buildRoot: debianWorld({ name: "w", suite: "bookworm", packages: ["gcc"] }) }),
    "world's packages": make({ ...options, buildRoot: debianWorld({ name: "w", suite: "bookworm", packages: ["gcc", "make"] }) }),
    keepSource: make({ ...options, keepSource: true }),
  };

  test("changes with every field, and no two changes are alike", () => {
    const keys = [make(options), ...Object.values(changes)].map((declared) => onlyStep(declared).key);
    expect(new Set(keys).size).toBe(Object.keys(changes).length + 1);
  });

  test("changes with the system", () => {
    expect(onlyStep(make(options), "x86_64-freebsd").key).not.toBe(onlyStep(make(options)).key);
  });
});

describe("options for a system", () => {
  const declared = make({
    name: "a",
    version: "1",
    makeFlags: ["all"],
    perSystem: {
      freebsd: { makeFlags: ["bsd"], check: true },
      "aarch64-freebsd": { version: "2", check: false },
    },
  });

  test("replace the general ones, the very system's last", () => {
    const scriptOn = (system: "x86_64-linux" | "x86_64-freebsd" | "aarch64-freebsd") => {
      const [step] = instantiate(declared, { system, directory: "/project" }).steps;
      return [
        step?.recipe.version,
        step?.recipe.check,
        JSON.stringify(step?.recipe.builder.argv).match(/prefix=\\"\$out\\" (\w+)/)?.[1],
      ];
    };
    expect(scriptOn("x86_64-linux")).toEqual(["1", false, "all"]);
    expect(scriptOn("x86_64-freebsd")).toEqual(["1", true, "bsd"]);
    expect(scriptOn("aarch64-freebsd")).toEqual(["2", false, "bsd"]);
  });

  test("the build root when none is named: a locked world on Linux, the base system on FreeBSD", () => {
    expect(onlyStep(declared).recipe.buildRoot).toMatchObject({
      kind: "world",
      world: { suite: "bookworm", lock: "/project/debian.lock", policy: "strict" },
    });
    expect(onlyStep(declared, "x86_64-freebsd").recipe.buildRoot).toEqual({
      kind: "host",
      paths: [
        "/bin",
        "/lib",
        "/libexec",
        "/usr/bin",
        "/usr/include",
        "/usr/lib",
        "/usr/libdata",
        "/usr/libexec",
        "/usr/share/locale/C.UTF-8",
        "/usr/share/mk",
      ],
    });
  });
});

describe("names that cannot be told apart are refused", () => {
  const a = recipe("zlib");
  const b = recipe("zlib");
  const clash = (declared: Buildable) => thrownProblem(() => instantiate(declared, on)).message;

  test("two inputs of one name", () => {
    expect(clash(recipe("user", [a, b]))).toBe(`user: inputs[1]: expected inputs with different names, found the text "zlib"`);
    expect(labels(instantiate(recipe("user", [a, a]), on))).toEqual(["zlib-1", "user-1"]);
  });

  test("two inputs of one variable", () => {
    expect(clash(recipe("user", [recipe("a-b"), recipe("a.b")]))).toMatch(
      /^user: inputs\["a\.b"\]: expected a name that no output, .*\(a_b\)/,
    );
  });

  test("an input and an output, a source and the source", () => {
    expect(clash(recipe("user", { out: a }))).toStartWith("user: inputs.out: expected a name that no output");
    const source = localTree("/src");
    expect(clash(make({ name: "user", source, sources: { src: source } }))).toStartWith(
      "user: sources.src: expected a name that is not taken",
    );
  });

  test("a variable of the environment", () => {
    expect(clash(make({ name: "user", inputs: [a], env: { zlib: "x" } }))).toStartWith(
      "user: env.zlib: expected a variable that is not",
    );
  });

  test("a name after $ that means nothing, or an output's in the environment", () => {
    expect(clash(make({ name: "user", makeFlags: ["V=1", "X=$nothing"] }))).toStartWith(
      "user: makeFlags[1]: expected only names of outputs",
    );
    expect(clash(make({ name: "user", env: { X: "$nothing" } }))).toStartWith(
      "user: env.X: expected only names of inputs and sources",
    );
    expect(clash(make({ name: "user", env: { X: "$out/lib" } }))).toBe(
      `user: env.X: expected no output after $, found the text "$out/lib"`,
    );
  });
});
