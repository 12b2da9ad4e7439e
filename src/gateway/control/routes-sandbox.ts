/** The routes of sandboxes: /sandboxes and /v2/sandboxes, of E2B's and of Coppice's clients. */
import type { Control } from "./context.ts";
import { forkSandbox } from "./branch.ts";
import { createSandbox, originOf, policyOf } from "./create.ts";
import { detailDocument, listedDocument, metricDocument, sandboxDocument } from "./document.ts";
import { endSandbox, pauseSandbox, resumeSandbox } from "./life.ts";
import { listPage, listQuery, metadataOf } from "./list.ts";
import { extend, restart } from "./plan.ts";
import { sampleOf } from "./reaper.ts";
import { Refusal } from "./refusal.ts";
import type { Live } from "./registry.ts";
import { bodyOf, noContent, type Route, type RouteRequest, sandboxOf } from "./routes.ts";
import {
  connectBody,
  forkBody,
  mustKeepMemory,
  networkBody,
  networkOf,
  newSandboxBody,
  newSandboxOf,
  pauseBody,
  refreshBody,
  resumeBody,
  timeoutBody,
  windowMs,
} from "./wire.ts";

const METRICS_AT_ONCE_MAX = 100;

export function sandboxRoutes(control: Control): readonly Route[] {
  const { configuration, registry, events, now } = control;
  const { domain, timeoutV1Ms, timeoutV2Ms } = configuration;

  const create =
    (defaultMs: number) =>
    async (asked: RouteRequest): Promise<Response> => {
      const body = await bodyOf(control, asked, newSandboxBody);
      const wanted = newSandboxOf(body, defaultMs, configuration);
      const origin = originOf(control, asked.caller.tenant, body.templateID);
      const live = await createSandbox(control, asked.caller, origin, wanted, asked.request.signal);
      return Response.json(sandboxDocument(live.record, domain), { status: 201 });
    };

  const connect =
    (defaultMs: number) =>
    async (asked: RouteRequest): Promise<Response> => {
      const live = sandboxOf(control, asked);
      const { timeout, memory } = await bodyOf(control, asked, connectBody);
      const timeoutMs = windowMs(timeout, defaultMs, configuration);
      if (live.record.state === "paused") mustKeepMemory(memory, "memory");
      const woken = await resumeSandbox(control, live, timeoutMs, { reason: "request" });
      // Connecting to a sandbox that runs never shortens its life.
      if (!woken) registry.move(live, extend(live.record, Math.trunc(now()), timeoutMs));
      return Response.json(sandboxDocument(live.record, domain), { status: woken ? 201 : 200 });
    };

  const resume = async (asked: RouteRequest): Promise<Response> => {
    const live = sandboxOf(control, asked);
    const { timeout, autoPause, memory } = await bodyOf(control, asked, resumeBody);
    mustKeepMemory(memory, "memory");
    const timeoutMs = windowMs(timeout, timeoutV1Ms, configuration);
    const woken = await resumeSandbox(control, live, timeoutMs, { reason: "request" });
    if (!woken) throw new Refusal(409, `sandbox ${live.record.id} is running already`);
    if (typeof autoPause === "boolean") {
      const lifecycle = autoPause
        ? { ...live.record.lifecycle, onTimeout: "pause" as const }
        : { onTimeout: "kill" as const, autoResume: false };
      registry.change(live, { lifecycle });
    }
    return Response.json(sandboxDocument(live.record, domain), { status: 201 });
  };

  const updated = (live: Live, data: Readonly<Record<string, unknown>>): void =>
    events.emit("sandbox.lifecycle.updated", live.record, Math.trunc(now()), data);
  const endOf = (live: Live): Readonly<Record<string, unknown>> => ({
    set_timeout: new Date(live.record.endAtMs ?? now()).toISOString(),
  });

  const setTimeoutOf = async (asked: RouteRequest): Promise<Response> => {
    const live = sandboxOf(control, asked);
    const { timeout } = await bodyOf(control, asked, timeoutBody);
    const moved = restart(live.record, Math.trunc(now()), windowMs(timeout, 0, configuration));
    if (moved === undefined) throw new Refusal(409, `sandbox ${live.record.id} is paused: its time stands still`);
    registry.move(live, moved);
    updated(live, endOf(live));
    return noContent();
  };

  const refresh = async (asked: RouteRequest): Promise<Response> => {
    const live = sandboxOf(control, asked);
    const { duration } = await bodyOf(control, asked, refreshBody);
    if (live.record.state === "paused") throw new Refusal(409, `sandbox ${live.record.id} is paused: its time stands still`);
    const moved = extend(live.record, Math.trunc(now()), windowMs(duration, timeoutV1Ms, configuration));
    if (moved !== live.record) {
      registry.move(live, moved);
      updated(live, endOf(live));
    }
    return noContent();
  };

  const kill = async (asked: RouteRequest): Promise<Response> => {
    const live = sandboxOf(control, asked);
    if (!(await endSandbox(control, live, { reason: "request" })))
      throw new Refusal(404, `sandbox ${live.record.id} was not found`);
    return noContent();
  };

  const pause = async (asked: RouteRequest): Promise<Response> => {
    const live = sandboxOf(control, asked);
    const { memory } = await bodyOf(control, asked, pauseBody);
    mustKeepMemory(memory, "memory");
    await pauseSandbox(control, live, { reason: "request" });
    return noContent();
  };

  const network = async (asked: RouteRequest): Promise<Response> => {
    const live = sandboxOf(control, asked);
    // What is left out is cleared: access to the internet is what remains when nothing is said.
    const wanted = networkOf(await bodyOf(control, asked, networkBody));
    const policy = policyOf(wanted, { allowInternetAccess: true, allowOut: [], denyOut: [] }) ?? {
      allowInternetAccess: true,
      allowOut: [],
      denyOut: [],
    };
    await live.queue.run(async () => {
      await control.pools.setPolicy(live.record.entry, policy);
      registry.change(live, { policy, network: { ...policy } });
    });
    updated(live, { network: policy });
    return noContent();
  };

  const listV2 = ({ query, caller }: RouteRequest): Response => {
    const records = registry.all(caller.tenant).map(({ record }) => record);
    const { items, nextToken } = listPage(records, listQuery(query));
    const running = records.filter(({ state }) => state === "running").length;
    return Response.json(items.map(listedDocument), {
      headers: { "x-total-running": String(running), ...(nextToken === undefined ? {} : { "x-next-token": nextToken }) },
    });
  };

  /** Everything that runs, on one page: the old clients do not turn it. */
  const listV1 = ({ query, caller }: RouteRequest): Response => {
    const metadata = metadataOf(query.get("metadata"));
    const records = registry.all(caller.tenant).map(({ record }) => record);
    const all = {
      metadata,
      states: ["running"] as const,
      startedAfterMs: undefined,
      template: undefined,
      order: "desc" as const,
    };
    return Response.json(listPage(records, { ...all, limit: records.length + 1, after: undefined }).items.map(listedDocument));
  };

  const info = async (asked: RouteRequest): Promise<Response> => {
    const live = sandboxOf(control, asked);
    // The size of its disk is known from the first look at it on.
    if (live.record.diskMiB === 0) await sampleOf(control, live).catch(() => undefined);
    return Response.json(detailDocument(live.record, domain));
  };

  const metrics = async (asked: RouteRequest): Promise<Response> => {
    const live = sandboxOf(control, asked);
    const at = (name: string, otherwise: number): number => {
      const text = asked.query.get(name);
      if (text === null || text === "") return otherwise;
      if (!/^\d{1,12}$/.test(text)) throw new Refusal(400, `${name}: ${JSON.stringify(text)} is not a time in seconds`);
      return Number(text) * 1000;
    };
    const [fromMs, toMs] = [at("start", 0), at("end", Number.POSITIVE_INFINITY)];
    if (live.record.state === "running") await sampleOf(control, live);
    // `end` is a whole second, of which every moment counts.
    const within = live.samples.filter(({ atMs }) => atMs >= fromMs && atMs < toMs + 1000);
    return Response.json(within.map(metricDocument));
  };

  const metricsOfMany = async (asked: RouteRequest): Promise<Response> => {
    const ids = asked.query
      .getAll("sandbox_ids")
      .flatMap((text) => text.split(","))
      .filter((id) => id !== "");
    if (ids.length > METRICS_AT_ONCE_MAX) throw new Refusal(400, `sandbox_ids: more than ${METRICS_AT_ONCE_MAX}`);
    const found: Record<string, unknown> = {};
    for (const live of registry.all(asked.caller.tenant).filter(({ record }) => ids.includes(record.id))) {
      if (live.record.state === "running" && live.samples.length === 0) await sampleOf(control, live).catch(() => undefined);
      const last = live.samples.at(-1);
      if (last !== undefined) found[live.record.id] = metricDocument(last);
    }
    return Response.json({ sandboxes: found });
  };

  /** The serial console of the machine. Its lines carry no time of their own. */
  const logLines = (live: Live): readonly string[] => {
    const lines = control.pools.console(live.record.entry).split(/\r?\n/);
    return lines.filter((line) => line !== "");
  };
  const logEntries = (live: Live) =>
    logLines(live).map((message) => ({
      timestamp: new Date(live.record.startedAtMs).toISOString(),
      level: "info",
      message,
      fields: { source: "console" },
    }));
  const logsV1 = (asked: RouteRequest): Response => {
    const live = sandboxOf(control, asked);
    const timestamp = new Date(live.record.startedAtMs).toISOString();
    return Response.json({ logs: logLines(live).map((line) => ({ timestamp, line })), logEntries: logEntries(live) });
  };
  const logsV2 = (asked: RouteRequest): Response => Response.json({ logs: logEntries(sandboxOf(control, asked)) });

  const fork = async (asked: RouteRequest): Promise<Response> => {
    const live = sandboxOf(control, asked);
    const { count, timeout } = await bodyOf(control, asked, forkBody);
    const { forkMax } = configuration;
    if ((count ?? 1) > forkMax) throw new Refusal(400, `count: more than ${forkMax}`);
    const wanted = { count: count ?? 1, timeoutMs: windowMs(timeout, timeoutV2Ms, configuration) };
    const forks = await forkSandbox(control, live, asked.caller, wanted, asked.request.signal);
    const documents = forks.map((one) =>
      "live" in one
        ? { sandbox: sandboxDocument(one.live.record, domain) }
        : { error: { code: one.refusal.status, message: one.refusal.message } },
    );
    return Response.json(documents, { status: 201 });
  };

  const one = "/sandboxes/:sandboxID";
  return [
    { method: "POST", path: "/sandboxes", scope: "exec", answer: create(timeoutV1Ms) },
    { method: "POST", path: "/v2/sandboxes", scope: "exec", answer: create(timeoutV2Ms) },
    { method: "GET", path: "/sandboxes", scope: "read", answer: listV1 },
    { method: "GET", path: "/v2/sandboxes", scope: "read", answer: listV2 },
    { method: "GET", path: "/sandboxes/metrics", scope: "read", answer: metricsOfMany },
    { method: "GET", path: one, scope: "read", answer: info },
    { method: "DELETE", path: one, scope: "exec", answer: kill },
    { method: "POST", path: `${one}/connect`, scope: "exec", answer: connect(timeoutV1Ms) },
    { method: "POST", path: `/v2${one}/connect`, scope: "exec", answer: connect(timeoutV2Ms) },
    { method: "POST", path: `${one}/resume`, scope: "exec", answer: resume },
    { method: "POST", path: `${one}/timeout`, scope: "exec", answer: setTimeoutOf },
    { method: "POST", path: `${one}/refreshes`, scope: "exec", answer: refresh },
    { method: "POST", path: `${one}/pause`, scope: "exec", answer: pause },
    { method: "PUT", path: `${one}/network`, scope: "exec", answer: network },
    { method: "POST", path: `${one}/fork`, scope: "exec", answer: fork },
    { method: "GET", path: `${one}/metrics`, scope: "read", answer: metrics },
    { method: "GET", path: `${one}/logs`, scope: "read", answer: logsV1 },
    { method: "GET", path: `/v2${one}/logs`, scope: "read", answer: logsV2 },
  ];
}
