/** Figures for Prometheus. Labels come from fixed sets (pools, states, routes), never from a request. */
import { Counter, Gauge, Histogram, Registry as Prometheus } from "prom-client";
import type { Checkout, Pools } from "../../pool/index.ts";
import type { Outcome } from "./audit.ts";
import type { Registry } from "./registry.ts";

export interface Metrics {
  readonly contentType: string;
  text(): Promise<string>;
  checkedOut(pool: string, checkout: Pick<Checkout, "how" | "miss" | "durationMs">): void;
  created(pool: string): void;
  killed(pool: string, reason: string): void;
  paused(pool: string): void;
  resumed(pool: string): void;
  /** Ended or put to sleep because its time was up. */
  reaped(pool: string): void;
  request(route: string, method: string, status: number): void;
  audited(outcome: Outcome): void;
  auditFailed(): void;
  delivered(outcome: "delivered" | "failed" | "dropped"): void;
  faulted(): void;
}

/** Seconds. A hot machine takes some milliseconds, a cold one a minute. */
const CHECKOUT_BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120];
const METHODS: ReadonlySet<string> = new Set(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]);

export interface MetricsSources {
  readonly registry: Registry;
  readonly pools: Pools;
  readonly startedAtMs: number;
  readonly now: () => number;
}

export function openMetrics({ registry, pools, startedAtMs, now }: MetricsSources): Metrics {
  const prometheus = new Prometheus();
  const registers = [prometheus];
  const counter = <L extends string>(name: string, help: string, labelNames: readonly L[] = []): Counter<L> =>
    new Counter({ name: `garth_${name}`, help, labelNames: [...labelNames], registers });
  const gauge = <L extends string>(
    name: string,
    help: string,
    labelNames: readonly L[],
    collect: (gauge: Gauge<L>) => void,
  ): Gauge<L> =>
    new Gauge({
      name: `garth_${name}`,
      help,
      labelNames: [...labelNames],
      registers,
      collect() {
        this.reset();
        collect(this);
      },
    });

  gauge("uptime_seconds", "Since the gateway was opened.", [], (one) => one.set((now() - startedAtMs) / 1000));
  gauge("sandboxes", "Sandboxes there are.", ["pool", "state"], (one) => {
    for (const { name } of pools.pools()) for (const state of ["running", "paused"]) one.set({ pool: name, state }, 0);
    for (const { record } of registry.all()) one.inc({ pool: record.pool, state: record.state });
  });
  gauge("pool_entries", "Machines of the pools.", ["pool", "state"], (one) => {
    for (const { pool, state } of pools.list()) one.inc({ pool, state });
  });

  const created = counter("sandboxes_created_total", "Sandboxes made.", ["pool"]);
  const killed = counter("sandboxes_killed_total", "Sandboxes ended, and why.", ["pool", "reason"]);
  const paused = counter("sandboxes_paused_total", "Sandboxes put to sleep.", ["pool"]);
  const resumed = counter("sandboxes_resumed_total", "Sandboxes woken.", ["pool"]);
  const reaped = counter("sandboxes_reaped_total", "Sandboxes ended or put to sleep because their time was up.", ["pool"]);
  const misses = counter("checkout_misses_total", "Checkouts for which the pool had nothing ready.", ["pool"]);
  const requests = counter("http_requests_total", "Requests answered.", ["route", "method", "status"]);
  const audited = counter("audit_events_total", "Entries of the audit log.", ["outcome"]);
  const auditFailures = counter("audit_write_failures_total", "Entries that could not be written to the file.");
  const deliveries = counter("webhook_deliveries_total", "Deliveries to webhooks, after their last attempt.", ["outcome"]);
  const faults = counter("faults_total", "What went wrong and no client could be told.");
  const checkouts = new Histogram({
    name: "garth_checkout_duration_seconds",
    help: "From a request for a machine until it was held, by what was ready.",
    labelNames: ["how"],
    buckets: CHECKOUT_BUCKETS,
    registers,
  });

  return {
    contentType: prometheus.contentType,
    text: () => prometheus.metrics(),
    checkedOut: (pool, { how, miss, durationMs }) => {
      checkouts.observe({ how }, durationMs / 1000);
      if (miss) misses.inc({ pool });
    },
    created: (pool) => created.inc({ pool }),
    killed: (pool, reason) => killed.inc({ pool, reason }),
    paused: (pool) => paused.inc({ pool }),
    resumed: (pool) => resumed.inc({ pool }),
    reaped: (pool) => reaped.inc({ pool }),
    request: (route, method, status) =>
      requests.inc({ route, method: METHODS.has(method) ? method : "other", status: String(status) }),
    audited: (outcome) => audited.inc({ outcome }),
    auditFailed: () => auditFailures.inc(),
    delivered: (outcome) => deliveries.inc({ outcome }),
    faulted: () => faults.inc(),
  };
}
