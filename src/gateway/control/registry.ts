/**
 * The sandboxes there are: in memory, and in the ledger for the next process.
 *
 *     creating ──► living ──► ending ──► (no row)
 *         └──────────────────────────────────┘
 *
 * creating: its machine is being checked out; a process that dies now leaves the row, by which the machine is found and destroyed.
 * ending: nobody sees it any more; its machine is being destroyed. Rows survive the process, not a power failure: machines do
 * not survive that either.
 */
import { z } from "zod";
import type { Ledger } from "../../ledger/index.ts";
import type { Session } from "../types.ts";
import type { Span } from "./plan.ts";
import { openQueue, type Queue } from "./queue.ts";
import { Refusal } from "./refusal.ts";
import type { SandboxRecord, Why } from "./types.ts";
import type { Usage } from "../../pool/index.ts";

export interface Live {
  readonly record: SandboxRecord;
  readonly queue: Queue;
  readonly ended: AbortController;
  /** Why it is ending; undefined: it is not. */
  readonly ending: Why | undefined;
  /** Its machine is being destroyed right now. */
  destroying: Promise<void> | undefined;
  session: Promise<Session> | undefined;
  /** The oldest first. */
  readonly samples: Usage[];
}

interface MutableLive extends Live {
  record: SandboxRecord;
  ending: Why | undefined;
}

const texts = z.record(z.string(), z.string());
const list = z.array(z.string());
/** What is undefined is not in the document. */
const recordDocument = z.object({
  id: z.string(),
  tenant: z.string(),
  template: z.string(),
  pool: z.string(),
  entry: z.string(),
  alias: z.string().optional(),
  state: z.enum(["running", "paused"]),
  metadata: texts,
  environment: texts,
  envdAccessToken: z.string(),
  trafficAccessToken: z.string(),
  startedAtMs: z.number(),
  endAtMs: z.number().optional(),
  timeoutMs: z.number(),
  lifecycle: z.object({ onTimeout: z.enum(["kill", "pause"]), autoResume: z.boolean() }),
  policy: z.object({ allowInternetAccess: z.boolean(), allowOut: list, denyOut: list }),
  cpuCount: z.number(),
  memoryMiB: z.number(),
  diskMiB: z.number(),
  build: z.string(),
  snapshot: z.string().optional(),
  execution: z.string(),
  executionStartedAtMs: z.number(),
  pausedAtMs: z.number().optional(),
  pauseFailures: z.number(),
  retryAtMs: z.number().optional(),
  allowPublicTraffic: z.boolean(),
  maskRequestHost: z.string().optional(),
  network: z
    .object({ allowInternetAccess: z.boolean().optional(), allowOut: list.optional(), denyOut: list.optional() })
    .transform(({ allowInternetAccess, allowOut, denyOut }) => ({ allowInternetAccess, allowOut, denyOut }))
    .optional(),
});

function recordOf(text: string): SandboxRecord {
  const { alias, endAtMs, snapshot, pausedAtMs, retryAtMs, maskRequestHost, network, ...rest } = recordDocument.parse(
    JSON.parse(text),
  );
  return { ...rest, alias, endAtMs, snapshot, pausedAtMs, retryAtMs, maskRequestHost, network };
}

/** What an earlier process left. */
export interface LeftRows {
  /** Ids: nobody ever heard of them. */
  readonly creating: readonly string[];
  readonly living: readonly SandboxRecord[];
  readonly ending: readonly SandboxRecord[];
}

export interface Registry {
  /** Takes a place for it. @throws Refusal 403 when the tenant has no more, 503 when there are no more at all */
  reserve(id: string, tenant: string, tenantMax: number | undefined): void;
  /** The place is free again: nothing came of it, or nothing of it is left. */
  forget(id: string): void;
  /** It lives from now on. */
  add(record: SandboxRecord): Live;
  /** The change is on record when this returns. @throws Refusal 404 when it is ending */
  change(live: Live, to: Partial<SandboxRecord>): void;
  move(live: Live, to: Span, beside?: Partial<SandboxRecord>): void;
  /** From now on nobody finds it. false: somebody else said so before. */
  end(live: Live, why: Why): boolean;
  find(id: string): Live | undefined;
  /** Those that can be found, of one tenant or of all. */
  all(tenant?: string): readonly Live[];
  /** Those whose machines are still to be destroyed. */
  ending(): readonly Live[];
  /** With those that are being made and those that are ending. */
  count(tenant?: string): number;
  isReserved(id: string): boolean;
  left(): LeftRows;
}

export interface RegistryOptions {
  readonly sandboxesMax: number;
  readonly waitingMax: number;
  /** Told after each change that may have moved the next deadline. */
  readonly onMoved: () => void;
}

export function openRegistry(ledger: Ledger, { sandboxesMax, waitingMax, onMoved }: RegistryOptions): Registry {
  const lives = new Map<string, MutableLive>();
  /** Places taken, by id: the tenant of each. */
  const places = new Map<string, string>();

  const write = (id: string, tenant: string, state: string, document: string): void => {
    ledger.quickTransaction(() =>
      ledger
        .statement("INSERT OR REPLACE INTO gateway_sandbox(id, tenant, state, document) VALUES (?, ?, ?, ?)")
        .run(id, tenant, state, document),
    );
  };
  const mutable = ({ record: { id } }: Live): MutableLive => {
    const live = lives.get(id);
    if (live === undefined || live.ending !== undefined) throw new Refusal(404, `sandbox ${id} was not found`);
    return live;
  };
  const count = (tenant?: string): number =>
    tenant === undefined ? places.size : [...places.values()].filter((one) => one === tenant).length;
  const change = (live: Live, to: Partial<SandboxRecord>): void => {
    const known = mutable(live);
    known.record = { ...known.record, ...to };
    write(known.record.id, known.record.tenant, "living", JSON.stringify(known.record));
    onMoved();
  };

  return {
    reserve: (id, tenant, tenantMax) => {
      if (tenantMax !== undefined && count(tenant) >= tenantMax) {
        throw new Refusal(403, `${tenant} has ${count(tenant)} sandboxes, and may have ${tenantMax}`);
      }
      if (places.size >= sandboxesMax) throw new Refusal(503, `there are ${places.size} sandboxes, and no more are made`);
      write(id, tenant, "creating", "{}");
      places.set(id, tenant);
    },
    forget: (id) => {
      ledger.quickTransaction(() => ledger.statement("DELETE FROM gateway_sandbox WHERE id = ?").run(id));
      places.delete(id);
      lives.delete(id);
    },
    add: (record) => {
      write(record.id, record.tenant, "living", JSON.stringify(record));
      const live: MutableLive = {
        record,
        queue: openQueue(waitingMax),
        ended: new AbortController(),
        ending: undefined,
        destroying: undefined,
        session: undefined,
        samples: [],
      };
      places.set(record.id, record.tenant);
      lives.set(record.id, live);
      onMoved();
      return live;
    },
    change,
    move: (live, { state, endAtMs, timeoutMs, lifecycle, pauseFailures, retryAtMs }, beside = {}) =>
      change(live, { state, endAtMs, timeoutMs, lifecycle, pauseFailures, retryAtMs, ...beside }),
    end: ({ record: { id } }, why) => {
      const live = lives.get(id);
      if (live === undefined || live.ending !== undefined) return false;
      live.ending = why;
      write(id, live.record.tenant, "ending", JSON.stringify(live.record));
      return true;
    },
    find: (id) => {
      const live = lives.get(id);
      return live?.ending === undefined ? live : undefined;
    },
    all: (tenant) =>
      [...lives.values()].filter((live) => live.ending === undefined && (tenant === undefined || live.record.tenant === tenant)),
    ending: () => [...lives.values()].filter((live) => live.ending !== undefined),
    count,
    isReserved: (id) => places.has(id),
    left: () => {
      const rows = ledger.statement("SELECT id, state, document FROM gateway_sandbox ORDER BY id").all();
      const inState = (state: string) => rows.filter((row) => row["state"] === state);
      return {
        creating: inState("creating").map((row) => String(row["id"])),
        living: inState("living").map((row) => recordOf(String(row["document"]))),
        ending: inState("ending").map((row) => recordOf(String(row["document"]))),
      };
    },
  };
}
