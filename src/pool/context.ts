/** What the parts of this room work with. */
import type { Host } from "../host/index.ts";
import type { Guest } from "../guest/index.ts";
import type { Ledger } from "../ledger/index.ts";
import type { BridgeNetwork } from "../network/index.ts";
import type { Template, Templates } from "../template/index.ts";
import type { EntryRow, Records } from "./records.ts";
import type { PoolRecord } from "./types.ts";

export interface PoolPlaces {
  /** `pools/` of the state directory: keys, snapshots, machines. */
  readonly pools: string;
  /** A short path for sockets of SSH connections, for this user alone: sun_path has room for 104 bytes. */
  readonly runtime: string;
  readonly acceleratorFile: string;
}

export interface PoolContext {
  readonly host: Host;
  readonly ledger: Ledger;
  readonly templates: Templates;
  readonly places: PoolPlaces;
  readonly records: Records;
  /** Milliseconds since 1970. */
  readonly now: () => number;
  /** Whom machines of bridge pools may ask for names. */
  readonly bridgeDns: readonly string[];
  /** Of a pool whose network is a bridge. */
  readonly bridgeOf: (pool: Pick<PoolRecord, "name" | "subnet">) => BridgeNetwork;
  /** One for each machine and process. */
  readonly guestOf: (row: EntryRow) => Promise<Guest>;
  /** Ends the connection to it, whoever opened that; the next `guestOf` begins anew. */
  readonly letGo: (row: EntryRow) => Promise<void>;
  readonly note: (pool: string, text: string) => void;
}

/** What a machine is made from, checked. */
export interface Making {
  readonly context: PoolContext;
  readonly pool: PoolRecord;
  readonly template: Template;
  readonly row: EntryRow;
  readonly signal: AbortSignal | undefined;
}
