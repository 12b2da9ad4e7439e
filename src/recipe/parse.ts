/** Reading a `.drv`. Only the canonical text is taken: what was read and written again is the same bytes. */
import { isStorePath, Problem, SCHEME, SYSTEMS } from "../base/index.ts";
import {
  type Check,
  Fault,
  filledText,
  flag,
  isRecord,
  list,
  matching,
  oneOf,
  positiveInteger,
  recordOf,
  renderPath,
  shape,
  text,
} from "./check.ts";
import { derivationText } from "./resolve.ts";
import type { Derivation } from "./types.ts";

const storePathValue: Check = (value) => {
  if (typeof value !== "string" || !isStorePath(value)) throw new Fault("a store path", value);
};

const sortedPaths: Check = (value) => {
  list(storePathValue)(value);
  if (!Array.isArray(value)) return;
  for (let index = 1; index < value.length; index++) {
    if (!(value[index - 1] < value[index])) throw new Fault("store paths in order and without doubles", value);
  }
};

const world = shape({ kind: oneOf("world"), path: storePathValue }, ["kind", "path"]);
const hostPaths = shape({ kind: oneOf("host"), paths: list(matching(/^\//, "an absolute path")) }, ["kind", "paths"]);

const buildRoot: Check = (value) => (isRecord(value) && value["kind"] === "world" ? world(value) : hostPaths(value));

const DIGITS: Readonly<Record<string, RegExp>> = {
  sha256: /^[0-9a-f]{64}$/,
  sha512: /^[0-9a-f]{128}$/,
  "git-commit": /^(?:[0-9a-f]{40}|[0-9a-f]{64})$/,
};

const fixedOutput: Check = (value) => {
  shape({ algorithm: oneOf(...Object.keys(DIGITS)), hash: text, recursive: flag }, ["algorithm", "hash", "recursive"])(value);
  if (!isRecord(value)) return;
  const { algorithm, hash } = value;
  const digits = typeof algorithm === "string" ? DIGITS[algorithm] : undefined;
  if (typeof hash !== "string" || digits?.test(hash) !== true) throw new Fault(`the digits of ${String(algorithm)}`, hash);
};

const LIMITS = ["wallClockMs", "silenceMs", "memoryBytes", "processes", "openFiles", "outputBytes", "logBytes"];

const derivationShape = shape(
  {
    scheme: oneOf(SCHEME),
    name: filledText,
    version: text,
    system: oneOf(...SYSTEMS),
    builder: shape({ argv: list(text, 1), env: recordOf(text), cwd: matching(/^\//, "an absolute path") }, [
      "argv",
      "env",
      "cwd",
    ]),
    inputs: sortedPaths,
    sources: sortedPaths,
    outputs: list(matching(/^[A-Za-z_][A-Za-z0-9_]*$/, "the name of an output"), 1),
    buildRoot,
    network: flag,
    fixedOutput,
    limits: shape(Object.fromEntries(LIMITS.map((limit) => [limit, positiveInteger])), LIMITS),
  },
  ["scheme", "name", "version", "system", "builder", "inputs", "sources", "outputs", "buildRoot", "network", "limits"],
);

/** `where` names the file in the error. @throws Problem E_BAD_DERIVATION */
export function parseDerivation(source: string, where?: string): Derivation {
  const value = parseJson(source, where);
  if (!isDerivation(value, where)) throw bad("it is no derivation", where);
  if (value.network && value.fixedOutput === undefined && value.builder.argv[0]?.startsWith("builtin:") !== true) {
    throw bad("network: only a fetch may use the network: there is no fixedOutput", where);
  }
  if (derivationText(value) !== source) throw bad("it is not in canonical form (RFC 8785), or has a field twice", where);
  return value;
}

function parseJson(source: string, where: string | undefined): unknown {
  try {
    return JSON.parse(source);
  } catch (error) {
    throw bad(`it is not JSON: ${error instanceof Error ? error.message : String(error)}`, where);
  }
}

function isDerivation(value: unknown, where: string | undefined): value is Derivation {
  try {
    derivationShape(value);
    return true;
  } catch (error) {
    if (!(error instanceof Fault)) throw error;
    throw bad(`${renderPath(error.path) || "document"}: expected ${error.expected}, found ${error.found}`, where);
  }
}

function bad(message: string, where: string | undefined): Problem {
  return new Problem({
    code: "E_BAD_DERIVATION",
    message: `reading a derivation: ${message}`,
    hint: "a .drv is written by garth and never edited; `garth store verify --repair` finds and repairs one that was changed",
    ...(where === undefined ? {} : { where }),
  });
}
