/**
 * Webhooks: events posted to an address that a tenant gave.
 *
 *     waiting ──► attempt ──► 2xx: delivered
 *                  ▲   └────► anything else ──► back-off ──┐   (webhookBackoffMs: one attempt more than it has numbers)
 *                  └───────────────────────────────────────┘ ──► failed
 *
 * One delivery of a webhook after the other, so that events arrive in their order. What waits when the process ends is lost: the
 * events are in the ledger, and can be asked for.
 *
 * The address is a tenant's, and the request leaves from here: it is a way into the network of this machine (server-side request
 * forgery). So: http and https alone, no user in the address, redirects are not followed, bodies are not shown, and an address that
 * is written as a loopback, private or link-local one is refused, unless the operator lets them be (`webhooksPrivate`). A name that
 * resolves to such an address is not noticed here: where tenants are strangers, let a firewall keep this process out of the inner network.
 */
import { createHash, createHmac } from "node:crypto";
import { isIP } from "node:net";
import { z } from "zod";
import type { Ledger } from "../../ledger/index.ts";
import { isLoopback } from "./configuration.ts";
import { EVENT_TYPES, type SandboxEvent } from "./events.ts";
import { type Random, uuid } from "./identity.ts";
import { Refusal } from "./refusal.ts";

const NAME_MAX = 128;
const SECRET_MAX = 256;

export const webhookBody = z.object({
  name: z.string().min(1).max(NAME_MAX),
  url: z.string().max(2048),
  enabled: z.boolean().default(true),
  events: z.array(z.enum(EVENT_TYPES)).min(1),
  signatureSecret: z.string().min(8).max(SECRET_MAX),
});
export const webhookChange = z.object({
  name: z.string().min(1).max(NAME_MAX).optional(),
  url: z.string().max(2048).optional(),
  enabled: z.boolean().optional(),
  events: z.array(z.enum(EVENT_TYPES)).min(1).optional(),
  signatureSecret: z.string().min(8).max(SECRET_MAX).optional(),
});

const webhookDocument = webhookBody.extend({ id: z.string(), tenant: z.string(), createdAt: z.string() });
export type Webhook = z.infer<typeof webhookDocument>;

const deliveryDocument = z.object({
  id: z.string(),
  webhookId: z.string(),
  eventId: z.string(),
  eventType: z.string(),
  sandboxId: z.string(),
  attempt: z.number(),
  status: z.enum(["success", "failed"]),
  responseStatus: z.number().nullable(),
  error: z.string().nullable(),
  durationMs: z.number(),
  timestamp: z.string(),
});
export type Delivery = z.infer<typeof deliveryDocument>;

export interface WebhooksOptions {
  readonly now: () => number;
  readonly random: Random;
  readonly webhooksPerTenantMax: number;
  readonly deliveriesWaitingMax: number;
  readonly deliveriesKeptMax: number;
  readonly webhookBackoffMs: readonly number[];
  readonly webhookTimeoutMs: number;
  readonly webhooksPrivate: boolean;
  readonly onDelivered: (outcome: "delivered" | "failed" | "dropped") => void;
}

export interface Webhooks {
  /** @throws Refusal 400, 403 */
  add(tenant: string, body: z.infer<typeof webhookBody>): Webhook;
  list(tenant: string): readonly Webhook[];
  /** @throws Refusal 404 */
  find(tenant: string, id: string): Webhook;
  /** @throws Refusal 400, 404 */
  change(tenant: string, id: string, body: z.infer<typeof webhookChange>): Webhook;
  /** @throws Refusal 404 */
  remove(tenant: string, id: string): void;
  /** The newest first. @throws Refusal 404 */
  deliveries(tenant: string, id: string, limit: number): readonly Delivery[];
  send(event: SandboxEvent): void;
  /** Settles when nothing waits any more. */
  idle(): Promise<void>;
  close(): Promise<void>;
}

/** E2B's: what receivers written for it check. A digest of secret and text, which is not what a MAC should be. */
export function e2bSignature(secret: string, body: string): string {
  return createHash("sha256")
    .update(secret + body)
    .digest("base64")
    .replace(/=+$/, "");
}

/** HMAC-SHA256, for receivers that can choose. */
export function hmacSignature(secret: string, body: string): string {
  return `sha256=${createHmac("sha256", secret).update(body).digest("hex")}`;
}

function isPrivate(host: string): boolean {
  const bare = host.replace(/^\[|\]$/g, "").toLowerCase();
  if (isLoopback(bare) || bare.endsWith(".localhost")) return true;
  const mapped = /^::ffff:([0-9a-f]{1,4}):([0-9a-f]{1,4})$/.exec(bare);
  if (isIP(bare) === 6 && mapped === null) return bare === "::" || /^(?:f[cd]|fe[89ab])/.test(bare);
  const high = mapped?.[1] === undefined ? undefined : Number.parseInt(mapped[1], 16);
  const [a, b] = high === undefined ? bare.split(".").map(Number) : [high >> 8, high & 0xff];
  if (mapped === null && isIP(bare) !== 4) return false;
  return (
    a === 0 ||
    a === 10 ||
    a === 127 ||
    (a === 169 && b === 254) ||
    (a === 172 && b !== undefined && b >= 16 && b < 32) ||
    (a === 192 && b === 168) ||
    (a === 100 && b !== undefined && b >= 64 && b < 128)
  );
}

/** @throws Refusal 400 */
function checkedUrl(text: string, webhooksPrivate: boolean): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || (url.protocol !== "http:" && url.protocol !== "https:"))
    throw new Refusal(400, "url: it is no http or https URL");
  if (url.username !== "" || url.password !== "") throw new Refusal(400, "url: it names a user; use the signature");
  // The parser has brought every way to write an address (0x7f.1, 2130706433) to one form.
  if (!webhooksPrivate && isPrivate(url.hostname))
    throw new Refusal(400, "url: webhooks do not go to addresses of the inner network");
  return url.href;
}

export function openWebhooks(ledger: Ledger, options: WebhooksOptions): Webhooks {
  const { now, random, webhooksPrivate, webhookBackoffMs, webhookTimeoutMs, deliveriesKeptMax, onDelivered } = options;
  const closing = new AbortController();
  /** The last delivery of each webhook that has some waiting. */
  const tails = new Map<string, Promise<void>>();
  let waiting = 0;

  const read = (row: { readonly [name: string]: unknown }): Webhook => webhookDocument.parse(JSON.parse(String(row["document"])));
  const list = (tenant: string): readonly Webhook[] =>
    ledger.statement("SELECT document FROM gateway_webhook WHERE tenant = ? ORDER BY id").all(tenant).map(read);
  const find = (tenant: string, id: string): Webhook => {
    const row = ledger.statement("SELECT document FROM gateway_webhook WHERE tenant = ? AND id = ?").get(tenant, id);
    if (row === undefined) throw new Refusal(404, "the webhook was not found");
    return read(row);
  };
  const write = (webhook: Webhook): Webhook => {
    const { id, tenant } = webhook;
    ledger.transaction(() =>
      ledger
        .statement(
          `INSERT INTO gateway_webhook(id, tenant, document) VALUES (?, ?, ?)
           ON CONFLICT (id) DO UPDATE SET document = excluded.document`,
        )
        .run(id, tenant, JSON.stringify(webhook)),
    );
    return webhook;
  };
  const remember = (delivery: Delivery): void => {
    ledger.quickTransaction(() => {
      // Nothing is remembered of a webhook that was removed meanwhile.
      const kept = ledger
        .statement("INSERT INTO gateway_delivery(webhook, document) SELECT id, ? FROM gateway_webhook WHERE id = ?")
        .run(JSON.stringify(delivery), delivery.webhookId);
      if (kept === 0) return;
      ledger
        .statement(
          `DELETE FROM gateway_delivery WHERE webhook = ? AND seq <=
           (SELECT seq FROM gateway_delivery WHERE webhook = ? ORDER BY seq DESC LIMIT 1 OFFSET ?)`,
        )
        .run(delivery.webhookId, delivery.webhookId, deliveriesKeptMax);
    });
  };

  /** Whether it arrived. */
  const attempt = async (webhook: Webhook, event: SandboxEvent, body: string, count: number): Promise<boolean> => {
    const id = uuid(random);
    const startedAtMs = now();
    let responseStatus: number | null = null;
    let error: string | null = null;
    try {
      const response = await fetch(webhook.url, {
        method: "POST",
        body,
        redirect: "manual",
        signal: AbortSignal.any([closing.signal, AbortSignal.timeout(webhookTimeoutMs)]),
        headers: {
          "Content-Type": "application/json",
          "User-Agent": "garth-webhooks",
          "e2b-webhook-id": webhook.id,
          "e2b-delivery-id": id,
          "e2b-signature-version": "v1",
          "e2b-signature": e2bSignature(webhook.signatureSecret, body),
          "garth-signature": hmacSignature(webhook.signatureSecret, body),
        },
      });
      responseStatus = response.status;
      await response.body?.cancel();
      if (!response.ok) error = `the answer was ${response.status}`;
    } catch (cause) {
      if (closing.signal.aborted) return false;
      error =
        cause instanceof Error && cause.name === "TimeoutError"
          ? `no answer within ${webhookTimeoutMs} ms`
          : "it could not be reached";
    }
    remember({
      id,
      webhookId: webhook.id,
      eventId: event.id,
      eventType: event.type,
      sandboxId: event.sandboxId,
      attempt: count,
      status: error === null ? "success" : "failed",
      responseStatus,
      error,
      durationMs: Math.max(0, Math.round(now() - startedAtMs)),
      timestamp: new Date(startedAtMs).toISOString(),
    });
    return error === null;
  };

  const deliver = async (tenant: string, webhookId: string, event: SandboxEvent): Promise<void> => {
    const body = JSON.stringify(event);
    for (const [index, backoffMs] of [0, ...webhookBackoffMs].entries()) {
      if (backoffMs > 0) await pause(backoffMs, closing.signal);
      // As it is now: changed, switched off or removed meanwhile.
      const webhook = list(tenant).find(({ id }) => id === webhookId);
      if (closing.signal.aborted || webhook === undefined || !webhook.enabled) return onDelivered("dropped");
      if (await attempt(webhook, event, body, index + 1)) return onDelivered("delivered");
    }
    onDelivered(closing.signal.aborted ? "dropped" : "failed");
  };

  return {
    add: (tenant, body) => {
      const { webhooksPerTenantMax } = options;
      if (list(tenant).length >= webhooksPerTenantMax)
        throw new Refusal(403, `${tenant} has ${webhooksPerTenantMax} webhooks, and no more`);
      const url = checkedUrl(body.url, webhooksPrivate);
      return write({ ...body, url, id: uuid(random), tenant, createdAt: new Date(now()).toISOString() });
    },
    list,
    find,
    change: (tenant, id, { name, url, enabled, events, signatureSecret }) => {
      const before = find(tenant, id);
      return write({
        ...before,
        name: name ?? before.name,
        url: url === undefined ? before.url : checkedUrl(url, webhooksPrivate),
        enabled: enabled ?? before.enabled,
        events: events ?? before.events,
        signatureSecret: signatureSecret ?? before.signatureSecret,
      });
    },
    remove: (tenant, id) => {
      find(tenant, id);
      ledger.transaction(() => ledger.statement("DELETE FROM gateway_webhook WHERE id = ?").run(id));
    },
    deliveries: (tenant, id, limit) => {
      find(tenant, id);
      const rows = ledger
        .statement("SELECT document FROM gateway_delivery WHERE webhook = ? ORDER BY seq DESC LIMIT ?")
        .all(id, limit);
      return rows.map((row) => deliveryDocument.parse(JSON.parse(String(row["document"]))));
    },
    send: (event) => {
      if (closing.signal.aborted) return;
      const tenant = event.sandboxTeamId;
      for (const { id } of list(tenant).filter((webhook) => webhook.enabled && webhook.events.includes(event.type))) {
        if (waiting >= options.deliveriesWaitingMax) {
          onDelivered("dropped");
          continue;
        }
        waiting += 1;
        const mine = (tails.get(id) ?? Promise.resolve())
          .then(() => deliver(tenant, id, event))
          .catch(() => onDelivered("failed"))
          .finally(() => {
            waiting -= 1;
            if (tails.get(id) === mine) tails.delete(id);
          });
        tails.set(id, mine);
      }
    },
    idle: async () => {
      while (tails.size > 0) await Promise.all(tails.values());
    },
    close: async () => {
      closing.abort();
      await Promise.all(tails.values());
    },
  };
}

/** Settles at the end of the time, or of the signal. */
function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    const done = (): void => {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal.addEventListener("abort", done, { once: true });
  });
}
