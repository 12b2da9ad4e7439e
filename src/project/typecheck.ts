/**
 * Type checking a project file by the native TypeScript compiler that lies beside the program.
 *
 * It takes a third of a second, so it runs while the file is evaluated, and what passed once is remembered: an empty file named by the
 * digest of the project's sources and of what they are checked against. An unchanged project costs reading and hashing it.
 *
 * Without the compiler or without Garth's own sources (a program of one file, a system TypeScript has no binary for) nothing is
 * checked, and the project says so; constructors check their options themselves all the same.
 */
import { operatingSystemOf, Problem, sha256 } from "../base/index.ts";
import type { Host, Running } from "../host/index.ts";
import { normalize, type SourceFiles } from "./sources.ts";

export interface TypeCheck {
  readonly state: "checked" | "known" | "absent";
  /** @throws Problem E_TYPE_CHECK, with `file:line:column message` lines */
  readonly passed: Promise<void>;
  cancel(): void;
}

/** `program` is the directory that holds Garth's `src` and `node_modules`. */
export function startTypeCheck(host: Host, program: string, sources: SourceFiles, cacheDirectory: string): TypeCheck {
  const compiler = findCompiler(host, program);
  const declarations = `${program}/src/garth.ts`;
  if (compiler === undefined || !host.files.exists(declarations)) return nothingToDo("absent");
  const directory = `${cacheDirectory}/type-check`;
  const digest = sha256(JSON.stringify([sources.files[0], sources.digest, compiler, identityOf(host, program)]));
  const marker = `${directory}/${digest}`;
  if (host.files.exists(marker)) return nothingToDo("known");
  return run(host, { compiler, program, declarations, directory, marker, sources });
}

function nothingToDo(state: "known" | "absent"): TypeCheck {
  return { state, passed: Promise.resolve(), cancel: () => {} };
}

function findCompiler(host: Host, program: string): string | undefined {
  const machine = `${operatingSystemOf(host.system)}-${host.system.startsWith("x86_64") ? "x64" : "arm64"}`;
  const compiler = `${program}/node_modules/@typescript/typescript-${machine}/lib/tsc`;
  return host.files.exists(compiler) ? compiler : undefined;
}

/** Rooms a project file's types come from. Sizes and times of their files stand for what they say. */
const TYPE_ROOMS = ["src", "src/base", "src/recipe", "src/pkg"];

function identityOf(host: Host, program: string): string {
  const parts: string[] = [];
  for (const room of TYPE_ROOMS) {
    for (const name of host.files.list(`${program}/${room}`)) {
      const file = `${room}/${Buffer.from(name).toString()}`;
      if (!file.endsWith(".ts") || file.endsWith(".test.ts")) continue;
      const { sizeBytes, mtimeMs } = host.files.lstat(`${program}/${file}`);
      parts.push(`${file} ${sizeBytes} ${mtimeMs}`);
    }
  }
  return sha256(parts.toSorted().join("\n"));
}

interface Job {
  readonly compiler: string;
  readonly program: string;
  readonly declarations: string;
  readonly directory: string;
  readonly marker: string;
  readonly sources: SourceFiles;
}

function run(host: Host, job: Job): TypeCheck {
  const { files } = host;
  files.makeDirectory(job.directory, { parents: true });
  const settings = files.makeTemporaryDirectory(`${job.directory}/settings-`);
  const output: Uint8Array[] = [];
  let compiler: Running;
  try {
    files.writeFile(`${settings}/tsconfig.json`, JSON.stringify(configuration(host, job)));
    compiler = host.spawn(
      { argv: [job.compiler, "--project", `${settings}/tsconfig.json`, "--pretty", "false"], cwd: projectDirectory(job) },
      { onOutput: (chunk) => output.push(chunk) },
    );
  } catch (error) {
    files.removeTree(settings);
    throw error;
  }
  const passed = compiler.exited
    .finally(() => files.removeTree(settings))
    .then(({ status, signal }) => {
      const lines = problemLines(Buffer.concat(output).toString(), job);
      if (lines.length > 0) throw failed(job, lines);
      if (status === null || status > 2) throw brokenCompiler(job, `${signal ?? `status ${status}`}`, output);
      files.writeFile(job.marker, "");
    });
  // Whoever cancels it does not wait for it.
  passed.catch(() => {});
  return { state: "checked", passed, cancel: () => compiler.kill("SIGKILL") };
}

function projectDirectory({ sources }: Job): string {
  const [file = ""] = sources.files;
  return file.slice(0, file.lastIndexOf("/"));
}

/** As strict as a newcomer profits from, and no stricter. */
function configuration(host: Host, { program, declarations, sources }: Job): unknown {
  const types = `${program}/node_modules/@types`;
  const hasTypes = host.files.exists(`${types}/bun`);
  return {
    compilerOptions: {
      target: "ESNext",
      module: "Preserve",
      moduleResolution: "bundler",
      lib: ["ESNext"],
      ...(hasTypes ? { types: ["bun"], typeRoots: [types] } : { types: [] }),
      strict: true,
      noEmit: true,
      skipLibCheck: true,
      allowImportingTsExtensions: true,
      resolveJsonModule: true,
      paths: { garth: [declarations] },
    },
    files: [sources.files[0]],
  };
}

/** `garth.ts(4,3): error TS2561: text` -> `garth.ts:4:3 text`. Garth's own files are checked by its own settings, not here. */
function problemLines(printed: string, job: Job): readonly string[] {
  const { program } = job;
  const lines: string[] = [];
  let isOwn = false;
  for (const line of printed.split("\n")) {
    const found = /^(.+?)\((\d+),(\d+)\): error TS\d+: (.*)$/.exec(line);
    if (found !== null) {
      const [, file = "", row, column, message = ""] = found;
      isOwn = normalize(`${projectDirectory(job)}/${file}`).startsWith(`${program}/src/`);
      if (!isOwn) lines.push(`${file}:${row}:${column} ${message}`);
    } else if (/^\s+\S/.test(line) && !isOwn && lines.length > 0) {
      lines.push(line);
    } else if (/^error TS\d+: /.test(line)) {
      lines.push(line);
    }
  }
  return lines;
}

const SHOWN = 30;

function failed(job: Job, lines: readonly string[]): Problem {
  const [file] = job.sources.files;
  const [, name, row] = /^(.+?):(\d+):\d+ /.exec(lines[0] ?? "") ?? [];
  const more = lines.length - SHOWN;
  return new Problem({
    code: "E_TYPE_CHECK",
    message: `the types of ${file} do not fit`,
    details: more > 0 ? [...lines.slice(0, SHOWN), `and ${more} lines more`] : lines,
    where:
      name === undefined ? `${file}` : `${normalize(name.startsWith("/") ? name : `${projectDirectory(job)}/${name}`)}:${row}`,
    exit: 2,
  });
}

function brokenCompiler({ compiler, sources }: Job, ended: string, output: readonly Uint8Array[]): Problem {
  return new Problem({
    code: "E_TYPE_CHECK",
    message: `checking the types of ${sources.files[0]}: the compiler ended with ${ended}`,
    details: Buffer.concat([...output])
      .toString()
      .split("\n")
      .slice(-10),
    hint: `\`npm ci\` installs the compiler anew`,
    where: compiler,
    exit: 3,
  });
}
