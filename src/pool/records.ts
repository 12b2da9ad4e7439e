/**
 * Pools and entries in the ledger. A change of state is one statement that names the states it may come from: of two who want the same
 * entry, one gets it. Entries are in no need of the disk's word (they die with the host): transactions here are quick ones.
 */
import { Problem } from "../base/index.ts";
import type { Ledger, Row, SqlValue } from "../ledger/index.ts";
import { alreadyHeld } from "./errors.ts";
import { mayBecome } from "./plan.ts";
import type { EntryState, PoolEntry, PoolRecord, PoolSpec } from "./types.ts";

/** What a row knows beside what it shows: who works on it, and which process it is. */
export interface EntryRow extends PoolEntry {
  readonly number: number;
  /** The Garth that makes or undoes it. */
  readonly owner: string;
  /** Identity of the hypervisor's process. */
  readonly process: string | undefined;
  /** The machine snapshot it began from; undefined: the template, or the pool's own. */
  readonly snapshot: string | undefined;
}

export type NewEntry = Pick<
  EntryRow,
  "pool" | "template" | "generation" | "owner" | "from" | "snapshot" | "memoryBytes" | "cpus" | "policy" | "holder"
>;

export type EntryPatch = Partial<Pick<EntryRow, "ssh" | "process" | "holder" | "failure" | "owner" | "policy">>;

function text(row: Row, name: string): string {
  return String(row[name]);
}

function textIfAny(row: Row, name: string): string | undefined {
  const value = row[name];
  return typeof value === "string" ? value : undefined;
}

const STATES: readonly EntryState[] = ["preparing", "booting", "warming", "available", "in-use", "paused", "retiring", "failed"];

function entryOf(row: Row): EntryRow {
  const process = textIfAny(row, "process");
  const state = STATES.find((each) => each === row["state"]);
  if (state === undefined) throw new Error(`an entry in the state ${text(row, "state")}`);
  const port = row["ssh_port"];
  const address = textIfAny(row, "ssh_address");
  return {
    id: text(row, "id"),
    pool: text(row, "pool"),
    number: Number(row["number"]),
    template: text(row, "template"),
    generation: Number(row["generation"]),
    state,
    sinceMs: Number(row["since_ms"]),
    createdAtMs: Number(row["created_ms"]),
    owner: text(row, "owner"),
    address: text(row, "address"),
    mac: text(row, "mac"),
    directory: text(row, "directory"),
    ssh: address === undefined || typeof port !== "number" ? undefined : { address, port },
    process,
    pid: process === undefined ? undefined : Number(process.split(":")[1]),
    holder: textIfAny(row, "holder"),
    from: row["origin"] === "snapshot" ? "snapshot" : "boot",
    snapshot: textIfAny(row, "snapshot"),
    memoryBytes: Number(row["memory_bytes"]),
    cpus: Number(row["cpus"]),
    policy: JSON.parse(text(row, "policy")),
    failure: textIfAny(row, "failure"),
  };
}

/** An entry as others see it. */
export function shown(row: EntryRow): PoolEntry {
  const { number: _number, owner: _owner, process: _process, snapshot: _snapshot, ...entry } = row;
  return entry;
}

export class Records {
  readonly #ledger: Ledger;
  readonly #now: () => number;
  readonly #onChange: (row: EntryRow) => void;

  constructor(ledger: Ledger, now: () => number, onChange: (row: EntryRow) => void) {
    this.#ledger = ledger;
    this.#now = now;
    this.#onChange = onChange;
  }

  pools(): readonly PoolRecord[] {
    return this.#ledger.statement("SELECT * FROM pool ORDER BY name").all().map(poolOf);
  }

  pool(name: string): PoolRecord | undefined {
    const row = this.#ledger.statement("SELECT * FROM pool WHERE name = ?").get(name);
    return row === undefined ? undefined : poolOf(row);
  }

  /** Another generation where what its machines are made of has changed; the same for the same. */
  putPool(spec: PoolSpec, templateDigest: string): PoolRecord {
    const json = JSON.stringify(spec);
    return this.#ledger.transaction(() => {
      const before = this.pool(spec.name);
      if (before !== undefined) {
        const remade = before.templateDigest !== templateDigest || machineKey(before) !== machineKey(spec);
        const generation = before.generation + (remade ? 1 : 0);
        this.#ledger
          .statement("UPDATE pool SET spec = ?, template_digest = ?, generation = ? WHERE name = ?")
          .run(json, templateDigest, generation, spec.name);
      } else {
        this.#ledger
          .statement(
            "INSERT INTO pool(name, spec, template_digest, generation, next_number, created_ms) VALUES (?, ?, ?, 1, 1, ?)",
          )
          .run(spec.name, json, templateDigest, Math.trunc(this.#now()));
      }
      const after = this.pool(spec.name);
      if (after === undefined) throw new Error("a pool that was just written");
      return after;
    });
  }

  removePool(name: string): void {
    this.#ledger.statement("DELETE FROM pool WHERE name = ?").run(name);
  }

  list(pool?: string): readonly EntryRow[] {
    const rows =
      pool === undefined
        ? this.#ledger.statement("SELECT * FROM pool_entry ORDER BY pool, number").all()
        : this.#ledger.statement("SELECT * FROM pool_entry WHERE pool = ? ORDER BY number").all(pool);
    return rows.map(entryOf);
  }

  entry(id: string): EntryRow | undefined {
    const row = this.#ledger.statement("SELECT * FROM pool_entry WHERE id = ?").get(id);
    return row === undefined ? undefined : entryOf(row);
  }

  held(holder: string): EntryRow | undefined {
    const row = this.#ledger.statement("SELECT * FROM pool_entry WHERE holder = ?").get(holder);
    return row === undefined ? undefined : entryOf(row);
  }

  /**
   * The row of a machine that is going to be made: a number never used before, an address that nobody has.
   * @throws Problem E_ADDRESSES_EXHAUSTED, E_ALREADY_HELD
   */
  add(
    fresh: NewEntry,
    place: { readonly addresses: readonly string[]; readonly subnet: string; directoryOf(id: string): string },
  ): EntryRow {
    const row = this.#ledger.quickTransaction(() => {
      const { pool } = fresh;
      this.#refuseSecond(fresh.holder);
      const taken = new Set(
        this.#ledger
          .statement("SELECT address FROM pool_entry WHERE pool = ?")
          .all(pool)
          .map((each) => text(each, "address")),
      );
      const next = this.#ledger
        .statement("UPDATE pool SET next_number = next_number + 1 WHERE name = ? RETURNING next_number")
        .get(pool);
      if (next === undefined) throw new Error(`the pool ${pool} went away`);
      const number = Number(next["next_number"]) - 1;
      // The one after the last that was given out: an address rests as long as it can.
      const { addresses } = place;
      const order = addresses.map((_, index) => addresses[(number - 1 + index) % addresses.length] ?? "");
      const address = order.find((each) => !taken.has(each));
      if (address === undefined) {
        throw new Problem({
          code: "E_ADDRESSES_EXHAUSTED",
          message: `making a machine of the pool ${pool}: all ${addresses.length} addresses of ${place.subnet} are taken`,
          hint: "return machines, or give the pool a larger subnet: garth pool init --subnet 10.77.0.0/22",
          exit: 3,
        });
      }
      const id = `${pool}-${number}`;
      const now = Math.trunc(this.#now());
      const { template, generation, owner, holder, from, snapshot, memoryBytes, cpus, policy } = fresh;
      const made: readonly SqlValue[] = [id, pool, number, template, generation, now, now, owner, address, macOf(address)];
      const values = [
        ...made,
        place.directoryOf(id),
        holder ?? null,
        from,
        snapshot ?? null,
        memoryBytes,
        cpus,
        JSON.stringify(policy),
      ];
      this.#ledger
        .statement(
          `INSERT INTO pool_entry(id, pool, number, template, generation, state, since_ms, created_ms, owner, address, mac, directory,
             holder, origin, snapshot, memory_bytes, cpus, policy) VALUES (?, ?, ?, ?, ?, 'preparing', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
        )
        .run(...values);
      return this.entry(id);
    });
    if (row === undefined) throw new Error("an entry that was just written");
    this.#onChange(row);
    return row;
  }

  /** undefined: it was not in one of these states any more. */
  move(id: string, from: readonly EntryState[], to: EntryState, patch: EntryPatch = {}): EntryRow | undefined {
    for (const each of from) if (each !== to && !mayBecome(each, to)) throw new Error(`an entry goes from ${each} to ${to}`);
    const row = this.#ledger.quickTransaction(() => {
      const before = this.entry(id);
      if (before === undefined || !from.includes(before.state)) return undefined;
      const after = { ...before, ...patch };
      const { ssh, process, holder, policy, failure, owner } = after;
      const since = before.state === to ? before.sinceMs : Math.trunc(this.#now());
      const reached: readonly SqlValue[] = [ssh?.address ?? null, ssh?.port ?? null, process ?? null];
      const values = [to, since, owner, ...reached, holder ?? null, JSON.stringify(policy), failure ?? null, id];
      this.#ledger
        .statement(
          `UPDATE pool_entry SET state = ?, since_ms = ?, owner = ?, ssh_address = ?, ssh_port = ?, process = ?, holder = ?, policy = ?,
             failure = ? WHERE id = ?`,
        )
        .run(...values);
      return this.entry(id);
    });
    if (row !== undefined) this.#onChange(row);
    return row;
  }

  /** In the transaction that would give him another. */
  #refuseSecond(holder: string | undefined): void {
    const has = holder === undefined ? undefined : this.held(holder);
    if (has !== undefined) throw alreadyHeld(has.id, has.holder ?? "");
  }

  /** The oldest that is available becomes the holder's, and nobody else's. @throws Problem E_ALREADY_HELD */
  claim(pool: string, generation: number, holder: string): EntryRow | undefined {
    const values: readonly SqlValue[] = [Math.trunc(this.#now()), holder, pool, generation];
    const row = this.#ledger.quickTransaction(() => {
      this.#refuseSecond(holder);
      return this.#ledger
        .statement(
          `UPDATE pool_entry SET state = 'in-use', since_ms = ?, holder = ? WHERE id = (
             SELECT id FROM pool_entry WHERE pool = ? AND state = 'available' AND generation = ? ORDER BY number LIMIT 1) RETURNING *`,
        )
        .get(...values);
    });
    if (row === undefined) return undefined;
    const claimed = entryOf(row);
    this.#onChange(claimed);
    return claimed;
  }

  remove(id: string): void {
    this.#ledger.statement("DELETE FROM pool_entry WHERE id = ?").run(id);
  }
}

function poolOf(row: Row): PoolRecord {
  const spec: PoolSpec = JSON.parse(text(row, "spec"));
  return {
    ...spec,
    generation: Number(row["generation"]),
    templateDigest: text(row, "template_digest"),
    createdAtMs: Number(row["created_ms"]),
  };
}

/** What a machine is made of; the rest of a pool's spec can change under living machines. */
function machineKey({ template, memoryBytes, cpus, network, subnet, tier, density }: PoolSpec): string {
  return JSON.stringify([template, memoryBytes, cpus, network, subnet, tier === "cold", density]);
}

/** Locally administered, from the address: two machines of a network never have the same. */
export function macOf(address: string): string {
  const parts = address.split(".").map((part) => Number(part).toString(16).padStart(2, "0"));
  return ["52:54", ...parts].join(":");
}
