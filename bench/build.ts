/**
 * Builds against Debian's Nix, and a sandbox against none: whole processes of the command line on both sides, alternating.
 *
 * Nix works in a store of its own as root without a daemon, with its sandbox on (`sandbox-fallback = false`) and the host's
 * programs in view, as ours has them by `hostView()`. Both have read their project once before anything is timed. Ours ends
 * with outputs, names and rows on disk.
 */
import * as fs from "node:fs";
import { localHost } from "../src/host/index.ts";
import { nixStore } from "./nix.ts";
import { type BenchRow, type Pair, ratioRow } from "./row.ts";

const RUNS = { one: 11, many: 5, nothing: 9, hello: 3 };
const MANY = 200;
const GRAPH = 1000;
const RUN_LIMIT_MS = 600_000;
const GARTH = new URL("../garth", import.meta.url).pathname;
const HELLO = {
  package: "hello",
  version: "2.10",
  file: "hello_2.10.orig.tar.gz",
  sha256: "31e066137a962676e89f69d1b65382de95a7ef7d914b8cb956f41ea72e0f516b",
};

const host = localHost();

async function timed(
  argv: readonly [string, ...string[]],
  env?: Readonly<Record<string, string>>,
  cwd?: string,
): Promise<number> {
  const begin = performance.now();
  await host.run({ argv, timeoutMs: RUN_LIMIT_MS, ...(env === undefined ? {} : { env }), ...(cwd === undefined ? {} : { cwd }) });
  return performance.now() - begin;
}

interface Sides {
  readonly directory: string;
  /** `garth build` of exports of the project file; of all of them when none is named. */
  ours(names: readonly string[], ...options: readonly string[]): Promise<number>;
  /** `nix-build` of an attribute of the expression. */
  nix(attribute: string, ...options: readonly string[]): Promise<number>;
}

/** A root and a Nix store, both empty; the same work written down for either. */
async function sides(scratch: string, project: string, expression: string): Promise<Sides> {
  const directory = fs.mkdtempSync(`${scratch}/run-`);
  const { root: nixRoot, env } = nixStore(directory);
  const settings = [
    "build-users-group =",
    "sandbox = true",
    "sandbox-fallback = false",
    "sandbox-paths = /bin /lib /lib64 /usr",
    "substitute = false",
  ];
  fs.writeFileSync(`${nixRoot}/etc/nix.conf`, `${settings.join("\n")}\n`);
  fs.writeFileSync(`${directory}/garth.ts`, `import { hostView, script } from "garth";\n${project}`);
  fs.writeFileSync(`${directory}/default.nix`, expression);
  const made: Sides = {
    directory,
    ours: (names, ...options) => {
      const file = `${directory}/garth.ts`;
      const refs = names.length === 0 ? [file] : names.map((name) => `${file}#${name}`);
      return timed([GARTH, "build", ...refs, "--root", `${directory}/garth`, ...options]);
    },
    nix: (attribute, ...options) =>
      timed(["nix-build", "--no-out-link", `${directory}/default.nix`, "-A", attribute, ...options], env),
  };
  await made.ours(["warm"]);
  await made.nix("warm");
  await timed(["sync"]);
  return made;
}

const OURS_HEAD =
  'const tiny = (name: string, inputs: Record<string, any> = {}) =>\n  script({ name, inputs, script: `echo ${name} > $out/name`, buildRoot: hostView() });\nexport const warm = tiny("warm");\n';
/** The inputs are in the environment: that makes them inputs. */
const NIX_HEAD = `let tiny = name: inputs: derivation {
  inherit name inputs; system = builtins.currentSystem; builder = "/bin/sh"; args = [ "-c" "echo \${name} > $out" ]; };
in rec {
warm = tiny "warm" [];
`;

async function alternate(
  runs: number,
  ours: (run: number) => Promise<number>,
  theirs: (run: number) => Promise<number>,
): Promise<readonly Pair[]> {
  const pairs: Pair[] = [];
  for (let run = 0; run < runs; run += 1) {
    if (run % 2 === 0) pairs.push({ oursMs: await ours(run), theirsMs: await theirs(run) });
    else pairs.push({ theirsMs: await theirs(run), oursMs: await ours(run) });
  }
  return pairs;
}

const numbered = (count: number): readonly number[] => Array.from({ length: count }, (_, at) => at);

async function oneRow(scratch: string): Promise<BenchRow> {
  const runs = numbered(RUNS.one);
  const { ours, nix } = await sides(
    scratch,
    OURS_HEAD + runs.map((at) => `export const one${at} = tiny("one${at}");\n`).join(""),
    `${NIX_HEAD}${runs.map((at) => `one${at} = tiny "one${at}" [];\n`).join("")}}`,
  );
  const pairs = await alternate(
    RUNS.one,
    (run) => ours([`one${run}`]),
    (run) => nix(`one${run}`),
  );
  return ratioRow("one trivial derivation, whole CLI process, sandboxed and durable", "nix-build", 0.5, pairs);
}

async function manyRow(scratch: string): Promise<BenchRow> {
  const runs = numbered(RUNS.many);
  const { ours, nix } = await sides(
    scratch,
    OURS_HEAD +
      runs
        .map((run) =>
          numbered(MANY)
            .map((at) => `export const r${run}n${at} = tiny("r${run}n${at}");\n`)
            .join(""),
        )
        .join(""),
    `${NIX_HEAD}${runs.map((run) => `r${run} = builtins.genList (n: tiny "r${run}n\${toString n}" []) ${MANY};\n`).join("")}}`,
  );
  const pairs = await alternate(
    RUNS.many,
    (run) =>
      ours(
        numbered(MANY).map((at) => `r${run}n${at}`),
        "--jobs",
        "2",
      ),
    (run) => nix(`r${run}`, "-j2"),
  );
  return ratioRow(`${MANY} trivial derivations, 2 jobs`, "nix-build -j2", 0.5, pairs);
}

/** Each stands on up to three of those before it; the last one on all that nothing else stands on. */
function graphInputs(): readonly (readonly number[])[] {
  const used = new Set<number>();
  const inputs = numbered(GRAPH - 1).map((at) => {
    const own = [...new Set([at - 1 - ((at * 7) % 13), at >> 1, at - 20])].filter((other) => other >= 0 && other < at);
    for (const other of own) used.add(other);
    return own;
  });
  return [...inputs, numbered(GRAPH - 1).filter((at) => !used.has(at))];
}

/**
 * All thousand are asked for on both sides: asked for the last one alone, Nix looks at the name of its output and at nothing below.
 */
async function nothingRow(scratch: string): Promise<BenchRow> {
  const graph = graphInputs();
  const { ours, nix } = await sides(
    scratch,
    OURS_HEAD +
      graph
        .map((inputs, at) => `export const n${at} = tiny("n${at}", { ${inputs.map((other) => `n${other}`).join(", ")} });\n`)
        .join(""),
    `${NIX_HEAD}${graph.map((inputs, at) => `n${at} = tiny "n${at}" [ ${inputs.map((other) => `n${other}`).join(" ")} ];\n`).join("")}all = [ ${graph.map((_, at) => `n${at}`).join(" ")} ];\n}`,
  );
  await ours([], "--jobs", "2");
  await nix("all", "-j2");
  await timed(["sync"]);
  const pairs = await alternate(
    RUNS.nothing,
    () => ours([]),
    () => nix("all"),
  );
  return ratioRow(`nothing to do on a ${GRAPH.toLocaleString("en")}-derivation graph`, "nix-build", 0.2, pairs);
}

/** What the builder is given, from its derivation; the store paths are those of the physical store. */
interface Outside {
  readonly argv: readonly [string, ...string[]];
  readonly env: Readonly<Record<string, string>>;
}

function outside(directory: string): Outside {
  const store = `${directory}/garth/frx/store`;
  const drv = fs.readdirSync(store).find((name) => name.endsWith("-hello-2.10.drv"));
  if (drv === undefined) throw new Error("hello has no derivation");
  const { builder } = JSON.parse(fs.readFileSync(`${store}/${drv}`, "utf8")) as {
    builder: { argv: string[]; env: Record<string, string> };
  };
  const here = (text: string): string => text.replaceAll("/frx/store/", `${store}/`);
  const [program = "", ...words] = builder.argv.map(here);
  const env = Object.fromEntries(Object.entries(builder.env).map(([name, value]) => [name, here(value)]));
  return {
    argv: [program, ...words],
    env: { PATH: "/usr/bin:/bin", LC_ALL: "C.UTF-8", SOURCE_DATE_EPOCH: "1", HOME: "/homeless", ...env },
  };
}

async function helloRow(scratch: string): Promise<BenchRow> {
  const source = JSON.stringify(HELLO);
  const { directory, ours } = await sides(
    scratch,
    `import { autotools, debianSource } from "garth";\n${OURS_HEAD}export const hello = autotools({ name: "hello", version: "2.10", check: true, source: debianSource(${source}), buildRoot: hostView() });\n`,
    `${NIX_HEAD}}`,
  );
  await ours(["hello"]);
  const { argv, env } = outside(directory);
  let count = 0;
  const bare = async (): Promise<number> => {
    count += 1;
    const own = `${directory}/bare-${count}`;
    for (const name of ["build", "tmp", "out"]) fs.mkdirSync(`${own}/${name}`, { recursive: true });
    return timed(argv, { ...env, out: `${own}/out`, TMPDIR: `${own}/tmp` }, `${own}/build`);
  };
  const pairs = await alternate(RUNS.hello, () => ours(["hello"], "--rebuild"), bare);
  return ratioRow("GNU hello in the sandbox: configure, make, check, install", "the same commands outside", 1.1, pairs);
}

export async function buildRows(): Promise<readonly BenchRow[]> {
  const scratch = fs.mkdtempSync("/var/tmp/garth-bench-");
  try {
    const rows: BenchRow[] = [];
    for (const row of [oneRow, manyRow, nothingRow, helloRow]) rows.push(await row(scratch));
    return rows;
  } finally {
    host.files.removeTree(scratch);
  }
}
