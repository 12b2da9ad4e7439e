/** For tests: a resolution of made-up paths, builders run without a sandbox, generators of derivations. */
import { spawnSync } from "node:child_process";
import { mkdtempSync } from "node:fs";
import fc from "fast-check";
import { SCHEME, storePath, type StorePath, SYSTEMS } from "../base/index.ts";
import type { Derivation, Graph, Resolution, Step, Text, TextPart } from "./types.ts";

/** A store path that depends on its words alone. */
export function pathOf(name: string, content = name): StorePath {
  const digest = new Bun.CryptoHasher("sha256").update(content).digest("hex");
  return storePath({ kind: "flat", sha256: digest, references: [] }, name);
}

/** Paths for everything a step asks for. `contents` says what differs from the name. */
export function resolutionFor(step: Step, contents: Readonly<Record<string, string>> = {}): Resolution {
  const { recipe } = step;
  const path = (name: string) => pathOf(name, contents[name] ?? name);
  return {
    inputs: Object.fromEntries(
      Object.entries(recipe.inputs).map(([name, input]) => {
        const outputs = input.kind === "recipe" ? input.outputs : (input.choices[0]?.outputs ?? []);
        return [name, Object.fromEntries(outputs.map((output) => [output, path(output === "out" ? name : `${name}-${output}`)]))];
      }),
    ),
    sources: Object.fromEntries(Object.keys(recipe.sources).map((name) => [name, path(name)])),
    world: recipe.buildRoot.kind === "world" ? path("world") : undefined,
  };
}

export interface Built {
  readonly status: number | null;
  readonly printed: string;
  /** As announced. */
  readonly phases: readonly string[];
  readonly out: string;
}

/**
 * Runs the builders of a graph on this machine, outside any sandbox, in new directories below `root`, up to the first that fails.
 * Local trees stand for themselves; other sources have no path. Returns what came of the last.
 */
export function buildOutside(graph: Graph, root: string): Built {
  const outs = new Map<string, string>();
  let built: Built | undefined;
  for (const step of graph.steps) {
    built = buildStep(step, outs, root);
    outs.set(step.key, built.out);
    if (built.status !== 0) break;
  }
  if (built === undefined) throw new Error("nothing was built");
  return built;
}

function buildStep({ recipe, inputs }: Step, outs: ReadonlyMap<string, string>, root: string): Built {
  const out = mkdtempSync(`${root}/out-`);
  const fillPart = (part: TextPart): string => {
    if (typeof part === "string") return part;
    if ("input" in part) return outs.get(inputs[part.input] ?? "") ?? "";
    const source = recipe.sources[part.source];
    return source?.fetcher === "localTree" ? source.path : "";
  };
  const fill = (text: Text): string => (typeof text === "string" ? text : text.map(fillPart).join(""));
  const [program = "", ...words] = recipe.builder.argv.map(fill);
  const env: Record<string, string> = { out, TMPDIR: "/tmp", HOME: "/homeless", GARTH_BUILD_CORES: "2" };
  for (const [name, text] of Object.entries(recipe.builder.env)) env[name] = fill(text);
  const { status, stdout, stderr } = spawnSync(program, words, { cwd: mkdtempSync(`${root}/build-`), env, encoding: "utf8" });
  const phases = [...stdout.matchAll(/^@garth phase (\w+)$/gm)].map((match) => match[1] ?? "");
  return { status, printed: stdout + stderr, phases, out };
}

const storeName = fc.stringMatching(/^[a-z][a-z0-9+._-]{0,12}$/);
const anyPath = fc.tuple(storeName, fc.string()).map(([name, content]) => pathOf(name, content));
const paths = fc.uniqueArray(anyPath, { maxLength: 4 }).map((list) => list.toSorted());
const variable = fc.stringMatching(/^[A-Za-z_][A-Za-z0-9_]{0,8}$/);
/** Whole characters only, and none of them NUL. */
const anyText = fc.string({ unit: "binary" }).map((text) => text.replaceAll("\0", ""));
const limit = fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER });

/** Derivations as `parseDerivation` takes them. */
export const derivations: fc.Arbitrary<Derivation> = fc.record(
  {
    scheme: fc.constant(SCHEME),
    name: storeName,
    version: fc.oneof(fc.constant(""), fc.stringMatching(/^[0-9][0-9.]{0,5}$/)),
    system: fc.constantFrom(...SYSTEMS),
    builder: fc.record({
      argv: fc.array(anyText, { minLength: 1, maxLength: 4 }),
      env: fc.dictionary(variable, anyText, { maxKeys: 5 }),
      cwd: fc.constant("/build"),
    }),
    inputs: paths,
    sources: paths,
    outputs: fc.uniqueArray(variable, { minLength: 1, maxLength: 3 }),
    buildRoot: fc.oneof(
      anyPath.map((path) => ({ kind: "world" as const, path })),
      fc.array(fc.constantFrom("/bin", "/usr", "/lib")).map((list) => ({ kind: "host" as const, paths: list })),
    ),
    network: fc.constant(false),
    limits: fc.record({
      wallClockMs: limit,
      silenceMs: limit,
      memoryBytes: limit,
      processes: limit,
      openFiles: limit,
      outputBytes: limit,
      logBytes: limit,
    }),
  },
  { noNullPrototype: true },
);
