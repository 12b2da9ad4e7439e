/**
 * Requests that go to a sandbox: found, let in, woken, and handed to the data plane.
 *
 * An unknown sandbox, a dead one and one that sleeps on are all 502, on every path: by that the SDK tells a sandbox that is gone from
 * a file that is not there. A wrong token is 401. `/health` asks for no token and wakes nobody.
 */
import type { Envd } from "../types.ts";
import type { Control } from "./context.ts";
import { metricDocument } from "./document.ts";
import { sessionOf, touch } from "./life.ts";
import { type Asked, forwardTo } from "./proxy.ts";
import { sampleOf } from "./reaper.ts";
import { Refusal, refusalOf, refused } from "./refusal.ts";
import type { Live } from "./registry.ts";
import { ENVD_PORT, INTERPRETER_PORT, type Target } from "./route.ts";
import { equalSecrets, isSignedBy, signedRequest } from "./signature.ts";
import type { Trace } from "./trace.ts";
import type { Peer } from "./types.ts";
import type { SocketPlace } from "./websocket.ts";

const RPC_PATH = /^\/(process\.Process|filesystem\.Filesystem)\/([A-Za-z]+)$/;
/** Calls that change nothing, or that are one step of what another call began. */
const QUIET_CALLS: ReadonlySet<string> = new Set([
  "List",
  "Connect",
  "SendInput",
  "StreamInput",
  "CloseStdin",
  "Update",
  "Stat",
  "ListDir",
  "WatchDir",
  "CreateWatcher",
  "GetWatcherEvents",
  "RemoveWatcher",
]);

export type DataPlane = (
  request: Request,
  url: URL,
  target: Exclude<Target, { kind: "control" }>,
  trace: Trace,
  peer: Peer | undefined,
) => Promise<Response>;

export function openDataPlane(control: Control, envd: Envd, sockets: SocketPlace): DataPlane {
  const { registry, now } = control;
  /** Open to ports of each sandbox. */
  const connections = new WeakMap<Live, number>();

  const find = (id: string | undefined): Live => {
    const live = id === undefined ? undefined : registry.find(id);
    if (live === undefined)
      throw new Refusal(502, id === undefined ? "the sandbox was not found" : `sandbox ${id} was not found`);
    return live;
  };
  const mustHaveToken = (request: Request, live: Live): void => {
    const given = request.headers.get("x-access-token");
    if (given === null || !equalSecrets(given, live.record.envdAccessToken))
      throw new Refusal(401, "X-Access-Token: it is missing or wrong");
  };
  /** Where a token is not asked for, a wrong one is refused all the same. */
  const mustNotBeWrong = (request: Request, live: Live): void => {
    const { envdAccessToken, trafficAccessToken, allowPublicTraffic } = live.record;
    const access = request.headers.get("x-access-token");
    const traffic = request.headers.get("e2b-traffic-access-token");
    if (access !== null && equalSecrets(access, envdAccessToken)) return;
    if (traffic !== null && equalSecrets(traffic, trafficAccessToken)) return;
    if (access !== null || traffic !== null || !allowPublicTraffic)
      throw new Refusal(401, "the access token is missing or wrong");
  };
  const noted = (live: Live, trace: Trace): Live => {
    trace.tenant = live.record.tenant;
    trace.sandbox = live.record.id;
    return live;
  };
  /** Alive and awake, or 502. */
  const through = async (
    live: Live,
    handler: Envd[keyof Pick<Envd, "connect" | "files" | "interpreter">],
    request: Request,
  ): Promise<Response> => {
    try {
      await control.track(touch(control, live));
      const session = await sessionOf(control, live);
      if (session.ended.aborted) throw new Refusal(502, `sandbox ${live.record.id} was not found`);
      return await handler(request, session);
    } catch (error) {
      // Killed while the request waited for its turn: to the data plane a sandbox that is gone is 502.
      const refusal = refusalOf(error);
      if (refusal?.status === 404 || (refusal !== undefined && live.ended.signal.aborted)) {
        throw new Refusal(502, `sandbox ${live.record.id} was not found`, {}, { cause: error });
      }
      throw error;
    }
  };

  const files = async (request: Request, url: URL, id: string | undefined, trace: Trace): Promise<Response> => {
    trace.route = "/files";
    const signed = signedRequest(request.method, url.searchParams);
    if (id === undefined) {
      // The URL names no sandbox. The token is unique, so that the signature tells whose it is.
      const live =
        signed === undefined ? undefined : registry.all().find(({ record }) => isSignedBy(signed, record.envdAccessToken, now()));
      if (live === undefined) throw new Refusal(401, "the URL names no sandbox, and its signature is none, wrong or expired");
      return through(noted(live, trace), envd.files, request);
    }
    const live = noted(find(id), trace);
    if (signed !== undefined && request.headers.get("x-access-token") === null) {
      if (!isSignedBy(signed, live.record.envdAccessToken, now()))
        throw new Refusal(401, "signature: it is wrong or has expired");
    } else mustHaveToken(request, live);
    return through(live, envd.files, request);
  };

  const envdPort = async (request: Request, url: URL, id: string | undefined, trace: Trace): Promise<Response> => {
    const path = url.pathname;
    if (path === "/files") return files(request, url, id, trace);
    const call = RPC_PATH.exec(path);
    trace.route = call === null ? "envd" : `/${call[1]}/`;
    const live = noted(find(id), trace);
    if (path === "/health") {
      trace.route = "envd /health";
      if (live.record.state === "paused") throw new Refusal(502, `sandbox ${live.record.id} is paused`);
      return new Response(null, { status: 204 });
    }
    if (call !== null) {
      trace.changes &&= !QUIET_CALLS.has(call[2] ?? "");
      try {
        mustHaveToken(request, live);
      } catch (error) {
        if (!(error instanceof Refusal)) throw error;
        // Connect's errors have words for codes.
        trace.message = error.message;
        return Response.json({ code: "unauthenticated", message: error.message }, { status: error.status });
      }
      return through(live, envd.connect, request);
    }
    mustHaveToken(request, live);
    if (request.method === "GET" && path === "/envs") return Response.json(live.record.environment);
    if (request.method === "GET" && path === "/metrics") {
      if (live.record.state === "running") await sampleOf(control, live);
      const last = live.samples.at(-1);
      return Response.json(last === undefined ? {} : envdMetrics(metricDocument(last)));
    }
    throw new Refusal(404, "there is no such path in a sandbox");
  };

  const interpreter = async (request: Request, path: string, id: string | undefined, trace: Trace): Promise<Response> => {
    trace.route = "interpreter";
    const live = noted(find(id), trace);
    if (path === "/health") return new Response(null, { status: live.record.state === "paused" ? 502 : 204 });
    // The SDK sends the token with /execute alone; of contexts the sandbox's id, which nobody can guess, has to do.
    if (path === "/execute") mustHaveToken(request, live);
    else mustNotBeWrong(request, live);
    return through(live, envd.interpreter, request);
  };

  const guestPort = async (
    request: Request,
    about: Pick<Asked, "url" | "port" | "peer">,
    id: string,
    trace: Trace,
  ): Promise<Response> => {
    trace.route = "port";
    trace.foreign = true;
    const live = noted(find(id), trace);
    const { allowPublicTraffic, trafficAccessToken, maskRequestHost } = live.record;
    const given = request.headers.get("e2b-traffic-access-token");
    if (!allowPublicTraffic && (given === null || !equalSecrets(given, trafficAccessToken))) {
      throw new Refusal(403, "e2b-traffic-access-token: it is missing or wrong");
    }
    const { portConnectionsMax } = control.configuration;
    const open = connections.get(live) ?? 0;
    if (open >= portConnectionsMax)
      throw new Refusal(429, `${open} connections are open to this sandbox`, { "Retry-After": "1" });
    connections.set(live, open + 1);
    let isOver = false;
    const over = (): void => {
      if (!isOver) connections.set(live, (connections.get(live) ?? 1) - 1);
      isOver = true;
    };
    try {
      const asked = { ...about, maskRequestHost, sockets, closing: control.closing };
      return await through(live, (one, { guest, ended }) => forwardTo(guest, { ...asked, request: one, ended }, over), request);
    } catch (error) {
      over();
      throw error;
    }
  };

  return async (request, url, target, trace, peer) => {
    if (target.kind === "signed-file") return files(request, url, undefined, trace);
    const { id, port } = target;
    // A file without a signature, of a sandbox that has no name: nobody's.
    if (id === undefined) {
      trace.route = "envd";
      return refused(502, "the sandbox was not found");
    }
    if (port === ENVD_PORT) return envdPort(request, url, id, trace);
    if (port === INTERPRETER_PORT) return interpreter(request, url.pathname, id, trace);
    return guestPort(request, { url, port, peer }, id, trace);
  };
}

/** As envd says it of itself. */
function envdMetrics(metric: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  return {
    ts: metric["timestampUnix"],
    cpu_count: metric["cpuCount"],
    cpu_used_pct: metric["cpuUsedPct"],
    mem_total: metric["memTotal"],
    mem_used: metric["memUsed"],
    disk_used: metric["diskUsed"],
    disk_total: metric["diskTotal"],
  };
}
