/** A store, distfiles and scratch in a directory of their own, and what was emitted. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { type Host, localHost } from "../../host/index.ts";
import { openLedger } from "../../ledger/index.ts";
import { openStore, type Store, STORE_MIGRATION } from "../../store/index.ts";
import { BUILD_MIGRATION, openRecords } from "../records.ts";
import type { WorldContext, WorldEvent } from "../world/index.ts";
import type { FetchContext } from "./index.ts";

export type Changes = Partial<Omit<FetchContext, "emit" | "store">> & { readonly emit?: (event: WorldEvent) => void };

export interface FetchBench {
  readonly root: string;
  readonly distfiles: string;
  readonly store: Store;
  readonly events: WorldEvent[];
  /** Serves fetches and worlds alike. */
  context(changes?: Changes): FetchContext & WorldContext;
  [Symbol.dispose](): void;
}

export function openFetchBench(host: Host = localHost()): FetchBench {
  const root = mkdtempSync(`${tmpdir()}/garth-fetch-`);
  const state = `${root}/frx/var/garth`;
  host.files.makeDirectory(state, { parents: true });
  const ledger = openLedger(`${state}/garth.db`, [STORE_MIGRATION, BUILD_MIGRATION]);
  const store = openStore({ host, ledger, storeDirectory: `${root}/frx/store`, stateDirectory: state, now: Date.now });
  const events: WorldEvent[] = [];
  const distfiles = `${state}/distfiles`;
  return {
    root,
    distfiles,
    store,
    events,
    context: (changes = {}) => ({
      host,
      distfiles,
      system: host.system,
      emit: (event: WorldEvent) => events.push(event),
      environment: process.env,
      ...changes,
      store,
      records: openRecords(ledger),
    }),
    [Symbol.dispose]() {
      store.close();
      ledger.close();
      host.files.removeTree(root);
      rmSync(root, { recursive: true, force: true });
    },
  };
}
