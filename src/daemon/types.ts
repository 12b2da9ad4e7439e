/** What the daemon keeps running, as it needs to see it. */
import type { Garth } from "../app/index.ts";

export type Pools = Awaited<ReturnType<Garth["pools"]>>;
export type PoolEntry = ReturnType<Pools["entry"]>;
export type EntryState = PoolEntry["state"];
export type Settings = Awaited<ReturnType<Garth["settings"]>>["settings"];
