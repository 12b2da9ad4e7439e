/** A step resolved against the content of its inputs: the derivation, its text and its names. */
import { namePart, SCHEME, sha256, storePath, type StorePath } from "../base/index.ts";
import { refuseSecrets } from "./secrets.ts";
import type { Derivation, Resolution, Step, Text } from "./types.ts";

/** @throws Problem E_SECRET_IN_DERIVATION; Error when a path is missing from the resolution (a bug in the caller) */
export function resolve(step: Pick<Step, "recipe">, resolution: Resolution): Derivation {
  const { recipe } = step;
  const env: Record<string, string> = {};
  for (const name of Object.keys(recipe.builder.env)) env[name] = fill(recipe.builder.env[name] ?? "", resolution);
  const derivation: Derivation = {
    scheme: SCHEME,
    name: recipe.name,
    version: recipe.version,
    system: recipe.system,
    builder: { argv: recipe.builder.argv.map((text) => fill(text, resolution)), env, cwd: recipe.builder.cwd },
    inputs: inputPaths(step, resolution),
    sources: sortedUnique(Object.keys(recipe.sources).map((source) => sourcePath(source, resolution))),
    outputs: recipe.outputs,
    buildRoot: recipe.buildRoot.kind === "host" ? recipe.buildRoot : { kind: "world", path: worldPath(step, resolution) },
    network: false,
    limits: recipe.limits,
  };
  refuseSecrets(derivation, recipe);
  return derivation;
}

function fill(text: Text, resolution: Resolution): string {
  if (typeof text === "string") return text;
  let filled = "";
  for (const part of text) {
    if (typeof part === "string") filled += part;
    else if ("source" in part) filled += sourcePath(part.source, resolution);
    else filled += inputPath(part.input, part.output ?? "out", resolution);
  }
  return filled;
}

function inputPath(input: string, output: string, resolution: Resolution): StorePath {
  const path = resolution.inputs[input]?.[output];
  if (path === undefined) throw new Error(`the resolution has no path for the output ${output} of the input ${input}`);
  return path;
}

function sourcePath(source: string, resolution: Resolution): StorePath {
  const path = resolution.sources[source];
  if (path === undefined) throw new Error(`the resolution has no path for the source ${source}`);
  return path;
}

function worldPath({ recipe }: Pick<Step, "recipe">, { world }: Resolution): StorePath {
  if (world === undefined) throw new Error(`the resolution has no path for the world of ${recipe.name}`);
  return world;
}

/** All outputs of each input. */
function inputPaths({ recipe }: Pick<Step, "recipe">, resolution: Resolution): readonly StorePath[] {
  const paths: StorePath[] = [];
  for (const name of Object.keys(recipe.inputs)) {
    const outputs = resolution.inputs[name];
    if (outputs === undefined) throw new Error(`the resolution has no path for the input ${name}`);
    paths.push(...Object.values(outputs));
  }
  return sortedUnique(paths);
}

function sortedUnique(paths: readonly StorePath[]): readonly StorePath[] {
  return paths.length < 2 ? paths : [...new Set(paths)].toSorted();
}

/**
 * The bytes of the `.drv`: canonical JSON (RFC 8785), without a newline at the end. Every object is written here with its keys in
 * order, which is all that `JSON.stringify` lacks; a thousand of them are made by a command that has nothing to do.
 */
export function derivationText(derivation: Derivation): string {
  const { builder, buildRoot, fixedOutput, inputs, limits, name, network, outputs, scheme, sources, system, version } =
    derivation;
  const env: Record<string, string | undefined> = {};
  for (const variable of Object.keys(builder.env).toSorted()) env[variable] = builder.env[variable];
  return JSON.stringify({
    buildRoot: buildRoot.kind === "host" ? { kind: "host", paths: buildRoot.paths } : { kind: "world", path: buildRoot.path },
    builder: { argv: builder.argv, cwd: builder.cwd, env },
    fixedOutput: fixedOutput && { algorithm: fixedOutput.algorithm, hash: fixedOutput.hash, recursive: fixedOutput.recursive },
    inputs,
    limits: {
      logBytes: limits.logBytes,
      memoryBytes: limits.memoryBytes,
      openFiles: limits.openFiles,
      outputBytes: limits.outputBytes,
      processes: limits.processes,
      silenceMs: limits.silenceMs,
      wallClockMs: limits.wallClockMs,
    },
    name,
    network,
    outputs,
    scheme,
    sources,
    system,
    version,
  });
}

/** What a `.drv` refers to: inputs, sources and world. Sorted. */
export function derivationReferences(derivation: Derivation): readonly StorePath[] {
  const { inputs, sources, buildRoot } = derivation;
  return sortedUnique([...inputs, ...sources, ...(buildRoot.kind === "world" ? [buildRoot.path] : [])]);
}

/** `text` is `derivationText(derivation)`, for a caller that has it already. */
export function derivationPath(derivation: Derivation, text: string = derivationText(derivation)): StorePath {
  const identity = { kind: "flat", sha256: sha256(text), references: derivationReferences(derivation) } as const;
  return storePath(identity, `${versioned(derivation)}.drv`);
}

/** `<name>-<version>`, or `<name>-<version>-<output>` for an output other than "out". */
export function outputName(derivation: Pick<Derivation, "name" | "version">, output: string): string {
  return withOutput(versioned(derivation), output);
}

function versioned({ name, version }: Pick<Derivation, "name" | "version">): string {
  return version === "" ? name : `${name}-${version}`;
}

function withOutput(name: string, output: string): string {
  return output === "out" ? name : `${name}-${output}`;
}

/** Where the builder writes: as long as the final path, and another one in each round of `--check`. */
export function scratchPath(drv: StorePath, output: string, round: number): StorePath {
  if (!drv.endsWith(".drv")) throw new Error(`${drv} is not the path of a derivation`);
  return storePath({ kind: "scratch", drv, output, round }, withOutput(namePart(drv).slice(0, -".drv".length), output));
}
