/** Which sandboxes a list shows, in which order, page by page. Pure: what is there and the query in, a page out. */
import { Refusal } from "./refusal.ts";
import type { SandboxRecord } from "./types.ts";

export const PAGE_MAX = 100;

export interface ListQuery {
  readonly metadata: Readonly<Record<string, string>>;
  readonly states: readonly ("running" | "paused")[];
  readonly startedAfterMs: number | undefined;
  readonly template: string | undefined;
  readonly order: "asc" | "desc";
  readonly limit: number;
  /** The last one of the page before. */
  readonly after: Cursor | undefined;
}

interface Cursor {
  readonly atMs: number;
  readonly id: string;
}

export interface Page<T> {
  readonly items: readonly T[];
  /** undefined: nothing follows. */
  readonly nextToken: string | undefined;
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch (error) {
    throw new Refusal(400, `metadata: ${JSON.stringify(text)} is not percent-encoded`, {}, { cause: error });
  }
}

/** Each key and value is percent-encoded, and the whole is form-encoded once more. */
export function metadataOf(text: string | null): Readonly<Record<string, string>> {
  const pairs = [...new URLSearchParams(text ?? "")].map(([key, value]) => [decoded(key), decoded(value)] as const);
  return Object.fromEntries(pairs);
}

function cursorToken({ atMs, id }: Cursor): string {
  return Buffer.from(`${atMs} ${id}`).toString("base64url");
}

function cursorOf(token: string | null): Cursor | undefined {
  if (token === null || token === "") return undefined;
  const match = /^(-?\d{1,16}) ([a-z0-9-]{1,64})$/.exec(Buffer.from(token, "base64url").toString("latin1"));
  if (match?.[2] === undefined) throw new Refusal(400, "nextToken: it is none of this gateway's");
  return { atMs: Number(match[1]), id: match[2] };
}

/** @throws Refusal 400 */
export function limitOf(text: string | null, fallback: number, max: number): number {
  if (text === null || text === "") return fallback;
  const limit = /^\d{1,9}$/.test(text) ? Number(text) : 0;
  if (limit < 1) throw new Refusal(400, `limit: ${JSON.stringify(text)} is not a number from 1 on`);
  return Math.min(limit, max);
}

function statesOf(query: URLSearchParams): ListQuery["states"] {
  const words = query.getAll("state").flatMap((text) => text.split(","));
  const named = words.map((word) => word.trim()).filter((word) => word !== "");
  if (named.length === 0) return ["running", "paused"];
  return named.map((word) => {
    if (word !== "running" && word !== "paused")
      throw new Refusal(400, `state: ${JSON.stringify(word)} is neither running nor paused`);
    return word;
  });
}

/** @throws Refusal 400 naming the parameter */
export function listQuery(query: URLSearchParams): ListQuery {
  const order = query.get("order") ?? "desc";
  if (order !== "asc" && order !== "desc") throw new Refusal(400, `order: ${JSON.stringify(order)} is neither asc nor desc`);
  const startedAfter = query.get("startedAfter");
  const startedAfterMs = startedAfter === null || startedAfter === "" ? undefined : Date.parse(startedAfter);
  if (Number.isNaN(startedAfterMs)) throw new Refusal(400, `startedAfter: ${JSON.stringify(startedAfter)} is not a time`);
  return {
    metadata: metadataOf(query.get("metadata")),
    states: statesOf(query),
    startedAfterMs,
    template: query.get("template") || undefined,
    order,
    limit: limitOf(query.get("limit"), PAGE_MAX, PAGE_MAX),
    after: cursorOf(query.get("nextToken")),
  };
}

export function matches(record: SandboxRecord, query: Omit<ListQuery, "order" | "limit" | "after">): boolean {
  return (
    query.states.includes(record.state) &&
    Object.entries(query.metadata).every(([key, value]) => record.metadata[key] === value) &&
    (query.startedAfterMs === undefined || record.startedAtMs >= query.startedAfterMs) &&
    (query.template === undefined || [record.template, record.alias, record.pool].includes(query.template))
  );
}

/** By time, then by id, so that equal times have an order too, and a page goes on exactly behind the one before. */
export function pageOf<T>(
  items: readonly T[],
  cursor: (item: T) => Cursor,
  { order, limit, after }: Pick<ListQuery, "order" | "limit" | "after">,
): Page<T> {
  const sign = order === "asc" ? 1 : -1;
  const compare = (one: Cursor, other: Cursor): number =>
    sign * (one.atMs - other.atMs || (one.id < other.id ? -1 : one.id > other.id ? 1 : 0));
  const rest = items.filter((item) => after === undefined || compare(cursor(item), after) > 0);
  const sorted = rest.toSorted((one, other) => compare(cursor(one), cursor(other)));
  const page = sorted.slice(0, limit);
  const last = page.at(-1);
  return { items: page, nextToken: last === undefined || sorted.length <= limit ? undefined : cursorToken(cursor(last)) };
}

export function listPage(records: readonly SandboxRecord[], query: ListQuery): Page<SandboxRecord> {
  const shown = records.filter((record) => matches(record, query));
  return pageOf(shown, ({ startedAtMs, id }) => ({ atMs: startedAtMs, id }), query);
}

/** The cursor of a list that has nothing to filter. */
export function pageQuery(query: URLSearchParams): Pick<ListQuery, "order" | "limit" | "after"> {
  return { order: "desc", limit: limitOf(query.get("limit"), PAGE_MAX, PAGE_MAX), after: cursorOf(query.get("nextToken")) };
}
