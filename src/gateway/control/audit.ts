/**
 * Who did what: every request that changes something, every one that was refused or failed. Successful reads are not in it.
 *
 * The newest `auditMax` are in memory, and of those of earlier processes what the file still has. The file is JSON lines; when it has
 * half of `auditFileBytes` it becomes `audit.jsonl.1`, and a new one begins. Neither keys nor queries (signatures) are written down.
 */
import { z } from "zod";
import type { Files } from "../../host/index.ts";
import { Refusal } from "./refusal.ts";

const LIMIT_DEFAULT = 50;
const LIMIT_MAX = 500;
const TEXT_MAX_CHARACTERS = 300;

export const OUTCOMES = ["ok", "unauthenticated", "denied", "failed"] as const;
export type Outcome = (typeof OUTCOMES)[number];

const entryDocument = z.object({
  id: z.number(),
  timestamp: z.string(),
  /** null: nobody who is known. */
  tenant: z.string().nullable(),
  keyId: z.string().nullable(),
  method: z.string(),
  path: z.string(),
  status: z.number(),
  outcome: z.enum(OUTCOMES),
  message: z.string().nullable(),
  sandboxID: z.string().nullable(),
  remote: z.string().nullable(),
  userAgent: z.string().nullable(),
  durationMs: z.number(),
});
export type AuditEntry = z.infer<typeof entryDocument>;

export interface AuditQuery {
  readonly limit: number;
  readonly offset: number;
  readonly orderAsc: boolean;
  readonly tenant: string | undefined;
  readonly outcome: Outcome | undefined;
  readonly pathPrefix: string | undefined;
}

export interface Audit {
  record(entry: Omit<AuditEntry, "id">): void;
  list(query: AuditQuery): { readonly events: readonly AuditEntry[]; readonly total: number };
}

export function outcomeOf(status: number): Outcome {
  if (status === 401) return "unauthenticated";
  if (status === 403) return "denied";
  return status >= 400 ? "failed" : "ok";
}

/** @throws Refusal 400 */
export function auditQuery(query: URLSearchParams): AuditQuery {
  const number = (name: string, fallback: number, min: number): number => {
    const text = query.get(name);
    if (text === null || text === "") return fallback;
    const value = /^\d{1,9}$/.test(text) ? Number(text) : -1;
    if (value < min) throw new Refusal(400, `${name}: ${JSON.stringify(text)} is not a number from ${min} on`);
    return value;
  };
  const outcome = query.get("outcome") || undefined;
  const known = OUTCOMES.find((one) => one === outcome);
  if (outcome !== undefined && known === undefined) throw new Refusal(400, `outcome: one of ${OUTCOMES.join(", ")}`);
  return {
    limit: Math.min(number("limit", LIMIT_DEFAULT, 1), LIMIT_MAX),
    offset: number("offset", 0, 0),
    orderAsc: query.get("orderAsc") === "true",
    tenant: query.get("tenant") || undefined,
    outcome: known,
    pathPrefix: query.get("pathPrefix") || undefined,
  };
}

function linesOf(text: string): readonly AuditEntry[] {
  return text.split("\n").flatMap((line) => {
    try {
      const entry = entryDocument.safeParse(JSON.parse(line));
      return entry.success ? [entry.data] : [];
    } catch {
      // The last line of a process that was killed in the middle of it; the end of the file is one, too.
      return [];
    }
  });
}

export interface AuditOptions {
  readonly files: Files;
  /** `FILE.1` beside it is its elder. */
  readonly file: string;
  readonly auditMax: number;
  readonly auditFileBytes: number;
  /** The log could not be written: the disk is full. Requests go on. */
  readonly onFault: (error: unknown) => void;
}

export function openAudit({ files, file, auditMax, auditFileBytes, onFault }: AuditOptions): Audit {
  const elder = `${file}.1`;
  const kept = files.readTextIfAny(file) ?? "";
  const before = linesOf(kept).length < auditMax ? (files.readTextIfAny(elder) ?? "") : "";
  const ring: AuditEntry[] = linesOf(`${before}\n${kept}`).slice(-auditMax);
  let lastId = ring.at(-1)?.id ?? 0;
  let sizeBytes = Buffer.byteLength(kept);
  // Half a line of a process that was killed is not continued.
  let unfinished = kept !== "" && !kept.endsWith("\n");

  const write = (entry: AuditEntry): void => {
    const line = `${unfinished ? "\n" : ""}${JSON.stringify(entry)}\n`;
    try {
      if (sizeBytes + line.length > auditFileBytes / 2) {
        if (files.exists(file)) files.rename(file, elder);
        sizeBytes = 0;
      }
      // Made here with the rights that it is to have; `append` alone would not.
      if (sizeBytes === 0) files.writeFile(file, line, 0o600);
      else files.append(file, line);
      sizeBytes += Buffer.byteLength(line);
      unfinished = false;
    } catch (error) {
      onFault(error);
    }
  };
  const short = (text: string | null): string | null => text?.slice(0, TEXT_MAX_CHARACTERS) ?? null;

  return {
    record: (fields) => {
      lastId += 1;
      const { message, userAgent, path } = fields;
      const entry = {
        id: lastId,
        ...fields,
        path: path.slice(0, TEXT_MAX_CHARACTERS),
        message: short(message),
        userAgent: short(userAgent),
      };
      ring.push(entry);
      if (ring.length > auditMax) ring.shift();
      write(entry);
    },
    list: ({ limit, offset, orderAsc, tenant, outcome, pathPrefix }) => {
      const found = ring.filter(
        (entry) =>
          (tenant === undefined || entry.tenant === tenant) &&
          (outcome === undefined || entry.outcome === outcome) &&
          (pathPrefix === undefined || entry.path.startsWith(pathPrefix)),
      );
      const ordered = orderAsc ? found : found.toReversed();
      return { events: ordered.slice(offset, offset + limit), total: found.length };
    },
  };
}
