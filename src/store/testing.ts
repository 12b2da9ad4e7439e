/** A real store in a directory of its own, for tests. */
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { sha256, storePath, type StorePath } from "../base/index.ts";
import { encodeNar, type NarNode } from "../formats/index.ts";
import { type Host, localHost } from "../host/index.ts";
import { type Ledger, openLedger } from "../ledger/index.ts";
import { openStore, type OpenStoreOptions, STORE_MIGRATION } from "./index.ts";
import type { Candidate, Store } from "./types.ts";

export interface TestStore extends Disposable {
  readonly root: string;
  readonly store: Store;
  readonly ledger: Ledger;
  /** Moves the store's clock. */
  setClock(ms: number): void;
  /** A fresh directory beside the store, or a file in it with this content. */
  directory(): string;
  /** A directory in the store's scratch, filled by the caller: what a builder leaves. */
  built(files: Readonly<Record<string, string>>): string;
}

export interface TestStoreOptions extends Partial<Pick<OpenStoreOptions, "onStep">> {
  readonly root?: string;
  readonly host?: Host;
}

export function openTestStore(options: TestStoreOptions = {}): TestStore {
  const root = options.root ?? fs.mkdtempSync(`${tmpdir()}/garth-store-`);
  const stateDirectory = `${root}/frx/var/garth`;
  fs.mkdirSync(stateDirectory, { recursive: true });
  const host = options.host ?? localHost();
  const ledger = openLedger(`${stateDirectory}/garth.db`, [STORE_MIGRATION]);
  let clock = Date.UTC(2026, 0, 1);
  const store = openStore({
    host,
    ledger,
    storeDirectory: `${root}/frx/store`,
    stateDirectory,
    now: () => clock,
    ...(options.onStep === undefined ? {} : { onStep: options.onStep }),
  });
  let count = 0;
  return {
    root,
    store,
    ledger,
    setClock: (ms) => {
      clock = ms;
    },
    directory: () => fs.mkdtempSync(`${root}/dir-`),
    built: (files) => {
      count += 1;
      const directory = `${store.temporaryDirectory}/built-${count}`;
      fs.mkdirSync(directory);
      for (const [name, text] of Object.entries(files)) {
        fs.mkdirSync(`${directory}/${name}`.replace(/\/[^/]*$/, ""), { recursive: true });
        fs.writeFileSync(`${directory}/${name}`, text);
      }
      return directory;
    },
    [Symbol.dispose]: () => {
      store.close();
      ledger.close();
      if (options.root === undefined) host.files.removeTree(root);
    },
  };
}

export function scratchPath(drv: StorePath, output: string, name: string, round = 0): StorePath {
  return storePath({ kind: "scratch", drv, output, round }, name);
}

/** A candidate that its builder called by the scratch path. */
export function candidate(physical: string, scratch: StorePath, referenceCandidates: readonly StorePath[] = []): Candidate {
  return { physical, name: scratch.slice("/frx/store/".length + 65), scratch, referenceCandidates };
}

/** A root that outlives the stores opened on it. */
export function disposableDirectory(): Disposable & { readonly root: string } {
  const root = fs.mkdtempSync(`${tmpdir()}/garth-store-`);
  return { root, [Symbol.dispose]: () => localHost().files.removeTree(root) };
}

function nodeOf(path: string | Buffer): NarNode {
  const stat = fs.lstatSync(path);
  if (stat.isSymbolicLink()) return { type: "symlink", target: fs.readlinkSync(path, { encoding: "buffer" }) };
  if (stat.isFile()) return { type: "regular", executable: (stat.mode & 0o100) !== 0, contents: fs.readFileSync(path) };
  const names = fs.readdirSync(path, { encoding: "buffer" }).toSorted((a, b) => Buffer.compare(a, b));
  const entries = names.map((name) => ({ name, node: nodeOf(Buffer.concat([Buffer.from(path), Buffer.from("/"), name])) }));
  return { type: "directory", entries };
}

/** A tree's archive, the simple way: everything in memory. The slow tests hold the store against Nix. */
export function archiveOf(path: string): Uint8Array {
  return encodeNar(nodeOf(path));
}

export function narSha256Of(path: string): string {
  return sha256(archiveOf(path));
}

/** Everything odd that a tree can hold. */
export function oddTree(root: string): void {
  fs.mkdirSync(`${root}/empty`, { recursive: true });
  fs.mkdirSync(`${root}/${"deep/".repeat(200)}`, { recursive: true });
  fs.writeFileSync(`${root}/${"deep/".repeat(200)}bottom`, "down here");
  fs.writeFileSync(`${root}/nothing`, "");
  for (const name of ["a", "a-", "a.b", "a0", "aa"]) fs.writeFileSync(`${root}/${name}`, name);
  fs.mkdirSync(`${root}/A`);
  fs.writeFileSync(`${root}/A/run`, "#!/bin/sh\n", { mode: 0o755 });
  fs.writeFileSync(`${root}/A/group-only`, "x", { mode: 0o610 });
  fs.writeFileSync(`${root}/größe-日本`, "utf-8");
  fs.mkdirSync(Buffer.from(`${root}/raw\xff\xfe`, "latin1"));
  fs.writeFileSync(Buffer.from(`${root}/raw\xff\xfe/in\x80side\n`, "latin1"), "bytes");
  fs.symlinkSync("/nowhere", `${root}/dangling`);
  fs.symlinkSync(Buffer.from("odd\xff target", "latin1"), Buffer.from(`${root}/odd\xfflink`, "latin1"));
  for (const [name, size] of [
    ["seven", 7],
    ["eight", 8],
    ["nine", 9],
    ["half", 524_288],
    ["over", 524_289],
    ["mega", 5_000_001],
  ] as const) {
    fs.writeFileSync(`${root}/${name}`, Buffer.alloc(size, name));
  }
  fs.truncateSync(`${root}/nothing`, 0);
  const sparse = fs.openSync(`${root}/sparse`, "w");
  fs.writeSync(sparse, "end", 3_000_000);
  fs.closeSync(sparse);
}
