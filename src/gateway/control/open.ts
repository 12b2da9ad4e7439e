/** Puts the control plane together, and answers requests: whom for, what came of it, who has to know. */
import { Problem } from "../../base/index.ts";
import { randomBytes } from "node:crypto";
import { adopt } from "./adopt.ts";
import { openAudit, outcomeOf } from "./audit.ts";
import { mustBeLocal } from "./auth.ts";
import { configured, isLoopback, tenantLimits } from "./configuration.ts";
import type { Control } from "./context.ts";
import { openDataPlane } from "./data.ts";
import { openEvents } from "./events.ts";
import { openKeyRing, parseKeys } from "./keys.ts";
import { endSandbox } from "./life.ts";
import { openMetrics } from "./metrics.ts";
import { openReaper, type Reaper } from "./reaper.ts";
import { Refusal, refusalOf, refused } from "./refusal.ts";
import { openRegistry } from "./registry.ts";
import { openRest } from "./rest.ts";
import { targetOf } from "./route.ts";
import { openSnapshots } from "./snapshots.ts";
import { openTrace, type Trace } from "./trace.ts";
import type { Gateway, GatewayOptions, Peer } from "./types.ts";
import { openWebhooks } from "./webhooks.ts";
import { removeLeftSockets } from "./websocket.ts";

const LEASE = "gateway";
const CORS_HEADERS = {
  "Access-Control-Allow-Methods": "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS",
  "Access-Control-Allow-Headers": "*, Authorization",
  "Access-Control-Expose-Headers": "*",
  "Access-Control-Max-Age": "7200",
};

/** @throws Problem E_GATEWAY_NO_KEYS, E_GATEWAY_OPEN, E_GATEWAY_SETTING, E_BAD_KEY (exit 2), E_GATEWAY_RUNNING (exit 1) */
export function openGateway(options: GatewayOptions): Gateway {
  const { host, ledger, pools, envd, directory, now = Date.now, random = randomBytes } = options;
  const configuration = configured(options.configuration);
  const ring = openKeyRing(ledger, parseKeys(configuration.apiKeys));
  const limitOf = tenantLimits(configuration.tenantLimits);
  if (ring.empty && !configuration.open) {
    throw new Problem({
      code: "E_GATEWAY_NO_KEYS",
      message: "the gateway has no API key, so that nobody could use it",
      hint: "make one, or say that it is open to everybody on this machine",
      exit: 2,
    });
  }
  const other = ledger.acquire(LEASE, host.processIdentity, host.isAlive, now());
  if (other !== undefined) {
    throw new Problem({
      code: "E_GATEWAY_RUNNING",
      message: "another process serves the sandboxes of this root",
      details: [`its identity is ${other}`],
      hint: "end it first, or use another root",
    });
  }
  host.files.makeDirectory(directory, { parents: true, mode: 0o700 });

  const closing = new AbortController();
  const tracked = new Set<Promise<unknown>>();
  let reaper: Reaper | undefined;
  const registry = openRegistry(ledger, { ...configuration, onMoved: () => reaper?.moved() });
  const metrics = openMetrics({ registry, pools, startedAtMs: now(), now });
  const onFault = (doing: string, error: unknown): void => {
    metrics.faulted();
    options.onFault?.(doing, error);
  };
  const webhooks = openWebhooks(ledger, { ...configuration, now, random, onDelivered: metrics.delivered });
  const control: Control = {
    configuration,
    pools,
    registry,
    snapshots: openSnapshots(ledger, pools),
    events: openEvents(ledger, { eventsMax: configuration.eventsMax, random, onEvent: webhooks.send }),
    webhooks,
    audit: openAudit({
      files: host.files,
      file: `${directory}/audit.jsonl`,
      auditMax: configuration.auditMax,
      auditFileBytes: configuration.auditFileBytes,
      onFault: (error) => {
        metrics.auditFailed();
        onFault("writing the audit log", error);
      },
    }),
    metrics,
    together: ledger.quickTransaction,
    limitOf,
    now,
    random,
    onFault,
    creating: { count: 0 },
    diskMiB: new Map(),
    track: (work) => {
      tracked.add(work);
      const over = (): void => void tracked.delete(work);
      work.then(over, over);
      return work;
    },
    closing: closing.signal,
  };
  reaper = openReaper(control);
  const keeper = reaper;
  const rest = openRest(control, ring);
  const sockets = { host, directory: options.runtime ?? directory, random };
  removeLeftSockets(sockets);
  const data = openDataPlane(control, envd, sockets);

  /** A machine that died under its sandbox ends it at once, not at the next look. */
  const forgetPool = pools.onEvent((event) => {
    if (event.kind !== "entry") return;
    const { id, state, failure } = event.entry;
    if (state !== "failed" && state !== "retiring") return;
    // Not by its holder: what retires is nobody's any more.
    const live = registry.all().find(({ record }) => record.entry === id);
    if (live === undefined) return;
    const detail = failure ?? `its pool is ${state === "failed" ? "done with it" : "taking it away"}`;
    const ending = endSandbox(control, live, { reason: "machine-lost", detail });
    void control.track(ending).catch((error: unknown) => onFault(`ending sandbox ${live.record.id}`, error));
  });

  const answer = async (request: Request, peer: Peer | undefined, trace: Trace): Promise<Response> => {
    if (!URL.canParse(request.url)) throw new Refusal(400, "the request has no URL that could be read");
    const url = new URL(request.url);
    const target = targetOf(request.headers, url.pathname, configuration.domain);
    if (configuration.open) mustBeLocal(request.headers, peer?.address, configuration.domain);
    if (closing.signal.aborted) throw new Refusal(503, "the gateway is closing");
    if (request.method === "OPTIONS" && request.headers.has("access-control-request-method")) {
      trace.route = "preflight";
      return new Response(null, { status: 204 });
    }
    return target.kind === "control" ? control.track(rest(request, trace)) : data(request, url, target, trace, peer);
  };

  const failed = (error: unknown, trace: Trace, method: string): Response => {
    const refusal = refusalOf(error);
    if (refusal === undefined || refusal.status >= 500) {
      // 501 and 502 are answers; the others are for whoever runs this.
      if (refusal === undefined || (refusal.status !== 501 && refusal.status !== 502)) onFault(`${method} ${trace.route}`, error);
    }
    trace.message = refusal?.message ?? "internal error";
    return refused(refusal?.status ?? 500, trace.message, refusal?.headers);
  };

  const record = (request: Request, peer: Peer | undefined, trace: Trace, status: number, startedAtMs: number): void => {
    metrics.request(trace.route, request.method, status);
    // What a server inside a sandbox answers is its own affair.
    if (trace.foreign ? trace.message === undefined : !trace.changes && status < 400) return;
    const outcome = outcomeOf(status);
    metrics.audited(outcome);
    const { caller } = trace;
    control.audit.record({
      timestamp: new Date(startedAtMs).toISOString(),
      tenant: caller?.tenant ?? trace.tenant ?? null,
      keyId: caller?.keyId ?? null,
      method: request.method.slice(0, 16),
      path: URL.canParse(request.url) ? new URL(request.url).pathname : "",
      status,
      outcome,
      message: trace.message ?? null,
      sandboxID: trace.sandbox?.slice(0, 64) ?? null,
      remote: peer?.address ?? null,
      userAgent: request.headers.get("user-agent"),
      durationMs: Math.max(0, Math.round(now() - startedAtMs)),
    });
  };

  /** Pages of other origins may use a gateway that asks for keys; one that does not serves those of this machine alone. */
  const withCors = (request: Request, response: Response): Response => {
    const origin = request.headers.get("origin");
    if (origin === null) return response;
    const local = URL.canParse(origin) && isLoopback(new URL(origin).hostname);
    if (configuration.open && !local) return response;
    response.headers.set("Access-Control-Allow-Origin", configuration.open ? origin : "*");
    for (const [name, value] of Object.entries(CORS_HEADERS)) response.headers.set(name, value);
    if (configuration.open) response.headers.append("Vary", "Origin");
    return response;
  };

  return {
    handle: async (request, peer) => {
      const startedAtMs = Math.trunc(now());
      const trace = openTrace(request.method);
      let response: Response;
      try {
        response = await answer(request, peer, trace);
      } catch (error) {
        response = failed(error, trace, request.method);
      }
      try {
        record(request, peer, trace, response.status, startedAtMs);
      } catch (error) {
        onFault("writing down a request", error);
      }
      return trace.foreign ? response : withCors(request, response);
    },
    start: async () => {
      await adopt(control);
      keeper.start();
    },
    tick: async () => {
      await keeper.reap();
      await keeper.sweep();
    },
    close: async () => {
      if (closing.signal.aborted) return;
      closing.abort(new Refusal(503, "the gateway is closing"));
      forgetPool();
      await envd.close();
      await keeper.close();
      while (tracked.size > 0) await Promise.allSettled(tracked);
      await webhooks.close();
      ledger.release(LEASE, host.processIdentity);
    },
  };
}
