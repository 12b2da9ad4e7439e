/**
 * What happened to sandboxes, in E2B's words, and why: kept in the ledger, so that it can be asked for after a sandbox, or this
 * process, is gone. The newest `eventsMax` are kept.
 */
import { z } from "zod";
import type { Ledger } from "../../ledger/index.ts";
import { type Random, uuid } from "./identity.ts";
import { Refusal } from "./refusal.ts";
import type { SandboxRecord, Why } from "./types.ts";

export const EVENT_TYPES = [
  "sandbox.lifecycle.created",
  "sandbox.lifecycle.paused",
  "sandbox.lifecycle.resumed",
  "sandbox.lifecycle.updated",
  "sandbox.lifecycle.checkpointed",
  "sandbox.lifecycle.killed",
] as const;
export type EventType = (typeof EVENT_TYPES)[number];

const LIMIT_DEFAULT = 10;
const LIMIT_MAX = 100;
/** Removing what is too old is not worth a write for each event. */
const PRUNE_EVERY = 100;

const eventDocument = z.object({
  version: z.literal("v2"),
  id: z.string(),
  type: z.enum(EVENT_TYPES),
  eventData: z.record(z.string(), z.unknown()),
  sandboxBuildId: z.string(),
  sandboxExecutionId: z.string(),
  sandboxId: z.string(),
  sandboxTeamId: z.string(),
  sandboxTemplateId: z.string(),
  timestamp: z.string(),
});
export type SandboxEvent = z.infer<typeof eventDocument>;

export interface EventsQuery {
  readonly offset: number;
  readonly limit: number;
  readonly orderAsc: boolean;
  /** Empty: all. */
  readonly types: readonly EventType[];
}

export interface Events {
  /** `data` beside the metadata of the sandbox and, at the end of an execution, its figures. */
  emit(type: EventType, record: SandboxRecord, atMs: number, data?: Readonly<Record<string, unknown>>): void;
  list(tenant: string, sandbox: string | undefined, query: EventsQuery): readonly SandboxEvent[];
}

export function isEventType(text: string): text is EventType {
  return (EVENT_TYPES as readonly string[]).includes(text);
}

/** @throws Refusal 400 */
export function eventsQuery(query: URLSearchParams): EventsQuery {
  const number = (name: string, fallback: number, min: number, max: number): number => {
    const text = query.get(name);
    if (text === null || text === "") return fallback;
    const value = /^\d{1,9}$/.test(text) ? Number(text) : -1;
    if (value < min) throw new Refusal(400, `${name}: ${JSON.stringify(text)} is not a number from ${min} on`);
    return Math.min(value, max);
  };
  const types = query.getAll("types").map((type) => {
    if (!isEventType(type)) throw new Refusal(400, `types: ${JSON.stringify(type)} is no type of event`);
    return type;
  });
  return {
    offset: number("offset", 0, 0, 1_000_000_000),
    limit: number("limit", LIMIT_DEFAULT, 1, LIMIT_MAX),
    orderAsc: query.get("orderAsc") === "true",
    types,
  };
}

export function reasonData(why: Why): Readonly<Record<string, unknown>> {
  return why.reason === "machine-lost" ? { reason: why.reason, detail: why.detail } : { reason: why.reason };
}

/** Of an execution that ended now. */
function executionData(record: SandboxRecord, atMs: number): Readonly<Record<string, unknown>> {
  return {
    started_at: new Date(record.executionStartedAtMs).toISOString(),
    vcpu_count: record.cpuCount,
    memory_mb: record.memoryMiB,
    execution_time: Math.max(0, Math.round(atMs - record.executionStartedAtMs)),
  };
}

export function openEvents(
  ledger: Ledger,
  {
    eventsMax,
    random,
    onEvent,
  }: { readonly eventsMax: number; readonly random: Random; readonly onEvent: (event: SandboxEvent) => void },
): Events {
  let sincePruned = 0;
  const prune = (): void => {
    sincePruned += 1;
    if (sincePruned % PRUNE_EVERY !== 1) return;
    ledger.statement("DELETE FROM gateway_event WHERE seq <= (SELECT max(seq) FROM gateway_event) - ?").run(eventsMax);
  };
  return {
    emit: (type, record, atMs, data = {}) => {
      const over = type === "sandbox.lifecycle.killed" || type === "sandbox.lifecycle.paused";
      // A paused sandbox that is killed had no execution any more.
      const execution = over && (type === "sandbox.lifecycle.paused" || record.state === "running");
      const event: SandboxEvent = {
        version: "v2",
        id: uuid(random),
        type,
        eventData: {
          sandbox_metadata: record.metadata,
          ...(execution ? { execution: executionData(record, atMs) } : {}),
          ...data,
        },
        sandboxBuildId: record.build,
        sandboxExecutionId: record.execution,
        sandboxId: record.id,
        sandboxTeamId: record.tenant,
        sandboxTemplateId: record.template,
        timestamp: new Date(atMs).toISOString(),
      };
      ledger.quickTransaction(() => {
        ledger
          .statement("INSERT INTO gateway_event(tenant, sandbox, type, document) VALUES (?, ?, ?, ?)")
          .run(record.tenant, record.id, type, JSON.stringify(event));
        prune();
      });
      onEvent(event);
    },
    list: (tenant, sandbox, { offset, limit, orderAsc, types }) => {
      const order = orderAsc ? "ASC" : "DESC";
      const chosen = types.length === 0 ? EVENT_TYPES : types;
      const rows = ledger
        .statement(
          `SELECT document FROM gateway_event
           WHERE tenant = ? AND (? = '' OR sandbox = ?) AND type IN (SELECT value FROM json_each(?))
           ORDER BY seq ${order} LIMIT ? OFFSET ?`,
        )
        .all(tenant, sandbox ?? "", sandbox ?? "", JSON.stringify(chosen), limit, offset);
      return rows.map((row) => eventDocument.parse(JSON.parse(String(row["document"]))));
    },
  };
}
