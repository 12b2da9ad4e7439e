/** A real store in a directory of its own, for tests. */
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { Problem, storePath, type StorePath } from "../base/index.ts";
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

export async function problemOf(work: () => unknown): Promise<Problem> {
  try {
    await work();
  } catch (error) {
    if (error instanceof Problem) return error;
    throw error;
  }
  throw new Error("no problem came");
}

/** A root that outlives the stores opened on it. */
export function disposableDirectory(): Disposable & { readonly root: string } {
  const root = fs.mkdtempSync(`${tmpdir()}/garth-store-`);
  return { root, [Symbol.dispose]: () => localHost().files.removeTree(root) };
}
