/**
 * The rooms and what each may import: the one place that says so. laws.test.ts holds the code and ARCHITECTURE.md to it.
 */

export interface Room {
  readonly stage: "words" | "declare" | "act, low" | "act, high" | "show";
  readonly room: string;
  /** Rooms whose doors it may import. */
  readonly imports: readonly string[];
  /** Rooms of which it may import types alone: the documents it shows, not their code. "*" is every room. */
  readonly types?: readonly string[];
  /** No clock, disk, network, process or random source; hashing and compressing excepted. */
  readonly pure?: true;
}

export const ROOMS: readonly Room[] = [
  { stage: "words", room: "base", imports: [], pure: true },
  { stage: "words", room: "formats", imports: ["base"], pure: true },
  { stage: "declare", room: "recipe", imports: ["base"], pure: true },
  { stage: "declare", room: "pkg", imports: ["base", "formats"], pure: true },
  { stage: "declare", room: "world", imports: ["base", "formats", "recipe"], pure: true },
  { stage: "declare", room: "system", imports: ["base", "formats", "pkg", "recipe", "world"], pure: true },
  { stage: "act, low", room: "host", imports: ["base"] },
  { stage: "act, low", room: "config", imports: ["base", "host"] },
  { stage: "act, low", room: "doctor", imports: ["base", "host"] },
  { stage: "act, low", room: "ledger", imports: ["base"] },
  { stage: "act, low", room: "guest", imports: ["base", "host"] },
  { stage: "act, low", room: "machine", imports: ["base", "host"] },
  { stage: "act, low", room: "network", imports: ["base", "host"] },
  {
    stage: "act, low",
    room: "project",
    imports: ["base", "host", "recipe"],
    types: ["gate", "pkg", "system", "template", "world"],
  },
  { stage: "act, low", room: "receipt", imports: ["base", "host"] },
  { stage: "act, low", room: "sandbox", imports: ["base", "host"] },
  { stage: "act, low", room: "store", imports: ["base", "formats", "host", "ledger"] },
  { stage: "act, high", room: "remote", imports: ["base", "formats", "host", "ledger", "sandbox", "store"] },
  { stage: "act, high", room: "build", imports: ["base", "host", "ledger", "recipe", "sandbox", "store", "world"] },
  { stage: "act, high", room: "repository", imports: ["base", "formats", "host", "pkg", "store"] },
  {
    stage: "act, high",
    room: "compose",
    imports: ["base", "build", "formats", "host", "ledger", "pkg", "recipe", "repository", "store", "system", "world"],
  },
  { stage: "act, high", room: "image", imports: ["base", "formats", "host", "store", "system"] },
  {
    stage: "act, high",
    room: "deploy",
    imports: ["base", "formats", "host", "image", "remote", "store", "system"],
  },
  { stage: "act, high", room: "gate", imports: ["base", "host", "machine", "store"] },
  {
    stage: "act, high",
    room: "template",
    imports: ["base", "formats", "gate", "host", "image", "machine", "recipe", "store", "system"],
  },
  {
    stage: "act, high",
    room: "pool",
    imports: ["base", "formats", "guest", "host", "ledger", "machine", "network", "template"],
  },
  {
    stage: "act, high",
    room: "ship",
    imports: [
      "base",
      "build",
      "compose",
      "gate",
      "host",
      "image",
      "ledger",
      "machine",
      "pkg",
      "pool",
      "project",
      "receipt",
      "recipe",
      "repository",
      "store",
      "system",
      "template",
      "world",
    ],
  },
  { stage: "show", room: "api", imports: ["base"], types: ["build"] },
  {
    stage: "show",
    room: "app",
    imports: [
      "base",
      "build",
      "compose",
      "config",
      "deploy",
      "gate",
      "guest",
      "host",
      "image",
      "ledger",
      "machine",
      "pkg",
      "pool",
      "project",
      "receipt",
      "recipe",
      "remote",
      "repository",
      "sandbox",
      "ship",
      "store",
      "system",
      "template",
      "world",
    ],
  },
  { stage: "show", room: "gateway", imports: ["base", "guest", "host", "ledger", "pool"], types: ["network"] },
  { stage: "show", room: "daemon", imports: ["base", "api", "app", "gateway"] },
  { stage: "show", room: "cli", imports: ["base", "api", "app", "daemon", "doctor"], types: ["*"] },
];

/** Files of one tool each, chosen by name in their room's index.ts and imported nowhere else. */
export const VARIANTS = ["bhyve", "bubblewrap", "jail", "netns", "pf", "qemu", "xcp-ng"] as const;

/** Foreign modules and the rooms that may use them. A module that is in neither list here is free for all but pure rooms. */
export const MODULE_OWNERS: Readonly<Record<string, readonly string[]>> = {
  "node:child_process": ["host"],
  "node:cluster": [],
  "node:dgram": [],
  "node:dns": [],
  "node:fs": ["host"],
  "node:fs/promises": ["host"],
  "node:http": ["daemon", "gateway"],
  "node:http2": ["daemon", "gateway"],
  "node:https": ["daemon", "gateway"],
  "node:net": ["daemon", "gateway"],
  "node:readline": ["cli"],
  "node:sqlite": ["ledger"],
  "node:tls": ["daemon", "gateway"],
  "node:tty": ["cli"],
  "node:worker_threads": ["host"],
  "bun:ffi": ["host"],
  "bun:sqlite": ["ledger"],
};

/** What a pure room may import from outside the project. */
export const PURE_MODULES: readonly string[] = [
  "node:crypto",
  "node:buffer",
  "node:stream",
  "node:path/posix",
  "node:util",
  "node:zlib",
  "modern-tar",
];

/** Narrow doors through the lists above: one file, one module, these names. */
export const EXCEPTIONS: readonly { readonly file: string; readonly module: string; readonly names: readonly string[] }[] = [
  // Printing to a descriptor: process.stdout costs 7 ms at start-up, a write(2) costs none.
  { file: "cli/terminal.ts", module: "node:fs", names: ["fstatSync", "statSync", "writeSync"] },
  // A list of certificates, not a connection.
  { file: "build/fetch/download.ts", module: "node:tls", names: ["rootCertificates"] },
];

/** Members of `Bun` that only compute: hashing, compressing, measuring text. Pure rooms may use them. */
export const PURE_BUN: readonly string[] = [
  "CryptoHasher",
  "SHA1",
  "SHA256",
  "SHA512",
  "deflateSync",
  "gunzipSync",
  "gzipSync",
  "inflateSync",
  "stringWidth",
  "stripANSI",
  "zstdCompressSync",
  "zstdDecompressSync",
];

/** Members of globals and the rooms that may touch them. */
export const GLOBAL_OWNERS: readonly {
  readonly global: string;
  readonly members: readonly string[];
  readonly rooms: readonly string[];
}[] = [
  { global: "Bun", members: ["serve", "listen", "udpSocket"], rooms: ["daemon", "gateway"] },
  {
    global: "Bun",
    members: ["connect", "spawn", "spawnSync", "file", "write", "$", "mmap", "stdin", "stdout", "stderr"],
    rooms: ["host"],
  },
  { global: "Bun", members: ["sql", "SQL"], rooms: ["ledger"] },
  {
    global: "process",
    members: ["exit", "exitCode", "stdout", "stderr", "stdin", "on", "once", "argv"],
    rooms: ["cli", "daemon"],
  },
  { global: "process", members: ["platform", "arch", "chdir", "kill", "geteuid", "getuid", "umask"], rooms: ["host"] },
  { global: "process", members: ["env", "cwd"], rooms: ["cli", "daemon", "host"] },
];

/** Globals that print; only these rooms may. */
export const PRINTING_ROOMS: readonly string[] = ["cli", "daemon"];

/** Globals that a pure room and a plan.ts never touch. `Date` and `Math` are named with the member that is forbidden. */
export const AMBIENT_GLOBALS: readonly string[] = [
  "Bun",
  "process",
  "fetch",
  "performance",
  "crypto",
  "navigator",
  "setTimeout",
  "setInterval",
  "setImmediate",
  "queueMicrotask",
  "WebSocket",
  "XMLHttpRequest",
  "Worker",
];
export const AMBIENT_MEMBERS: readonly string[] = ["Date.now", "Math.random", "globalThis.process", "globalThis.Bun"];
/** Named imports of otherwise pure modules that are a source of randomness. */
export const AMBIENT_IMPORTS: readonly string[] = [
  "randomBytes",
  "randomFill",
  "randomFillSync",
  "randomInt",
  "randomUUID",
  "webcrypto",
];

export const LINES_MAX = 400;
export const TEST_LINES_MAX = 600;
