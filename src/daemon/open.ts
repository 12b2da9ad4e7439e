/**
 * Puts the daemon together and takes it apart again.
 *
 *     lease ──► pools, one look at them ──► gateway, its sandboxes found ──► socket, port ──► rounds
 *     lease ◄── pools ◄── rounds ◄── port, socket ◄── gateway, its streams ended        (closing; machines go on)
 */
import { randomBytes } from "node:crypto";
import type { Garth } from "../app/index.ts";
import { Problem } from "../base/index.ts";
import { type Gateway, GATEWAY_MIGRATION, listKeys, openEnvd, openGateway } from "../gateway/index.ts";
import { gatewayConfiguration, isExposed, readKeysFile, readPlace, type Wanted } from "./configuration.ts";
import { type Handle, listen, listenSocket } from "./listen.ts";
import type { Log } from "./log.ts";
import { openRounds } from "./rounds.ts";
import { leaveRuntime, prepareSocket, publishSocket, socketLink, withdrawSocket } from "./socket.ts";

const LEASE = "daemon";
/** How long answers that are under way may take when the daemon ends. */
const GRACE_MS = 5000;
/** The data plane has limits of its own; this is what no upload exceeds (envd's limit of 16 GiB, and its parts' headers). */
const BODY_MAX_BYTES = 16 * 1024 ** 3 + 16 * 1024 ** 2;

/** What the daemon needs of it. */
export type DaemonGarth = Pick<Garth, "host" | "ledger" | "places" | "settings" | "pools">;

export interface DaemonOptions {
  readonly garth: DaemonGarth;
  /** ADDRESS:PORT; undefined: the setting. */
  readonly listen: string | undefined;
  /** Without keys, for this machine alone. */
  readonly open: boolean;
  /** Each request is a line. */
  readonly requests: boolean;
  readonly log: Log;
  readonly now: () => number;
}

export interface Daemon {
  readonly url: string;
  readonly socket: string;
  /** Settings and keys again. What is wrong with them is logged, and the former ones hold. */
  reload(): Promise<void>;
  /** Streams end; machines and sandboxes wait for the next daemon. */
  close(): Promise<void>;
}

function say(error: unknown): string {
  return error instanceof Problem
    ? `${error.code}: ${error.message}`
    : error instanceof Error
      ? (error.stack ?? "")
      : String(error);
}

/** @throws Problem E_DAEMON_RUNS (exit 1), E_LISTEN, E_USAGE, E_KEYS_FILE, E_GATEWAY_OPEN, ... */
export async function openDaemon(options: DaemonOptions): Promise<Daemon> {
  const undo: (() => Promise<void> | void)[] = [];
  const undoAll = async (): Promise<void> => {
    for (let next = undo.pop(); next !== undefined; next = undo.pop()) await next();
  };
  try {
    const daemon = await assemble(options, undo);
    let closed: Promise<void> | undefined;
    return { ...daemon, close: () => (closed ??= undoAll()) };
  } catch (error) {
    await undoAll();
    throw error;
  }
}

/** What it registers in `undo` is done in reverse. */
async function assemble(options: DaemonOptions, undo: (() => Promise<void> | void)[]): Promise<Omit<Daemon, "close">> {
  const { garth, log, now } = options;
  const { host, ledger, places } = garth;
  takeLease(garth, now());
  undo.push(() => ledger.release(LEASE, host.processIdentity));
  let wanted = await wantedNow(options);
  ledger.apply(GATEWAY_MIGRATION);
  if (listKeys(ledger).length === 0 && wanted.keys.trim() === "" && !options.open) {
    log("warning", "no-keys", { hint: "nobody has an API key but the owner of the socket: garth key add TENANT" });
  }
  const pools = await garth.pools();
  undo.push(() => pools.close());
  undo.push(
    pools.onEvent((event) => {
      if (event.kind === "note") return log("info", "note", { pool: event.pool, text: event.text });
      const { id, pool, state, holder, failure } = event.entry;
      log(state === "failed" ? "error" : "info", "machine", { machine: id, pool, state, holder, failure });
    }),
  );
  await pools.reconcile({ refill: false });
  const onFault = (error: unknown): void => log("error", "fault", { doing: "reconciling the pools", error: say(error) });
  const rounds = openRounds({ pools, onFault });
  undo.push(() => rounds.close());

  const ownerKey = `e2b_${randomBytes(20).toString("hex")}`;
  const gatewayOf = async (from: Wanted): Promise<Gateway> => {
    const gateway = openGateway({
      host,
      ledger,
      pools,
      envd: openEnvd({ onFault: (error) => log("error", "fault", { doing: "answering a sandbox's client", error: say(error) }) }),
      directory: `${places.state}/gateway`,
      runtime: places.runtime,
      configuration: gatewayConfiguration(from, ownerKey),
      now,
      onFault: (doing, error) => log("error", "fault", { doing, error: say(error) }),
    });
    try {
      await gateway.start();
      return gateway;
    } catch (error) {
      await gateway.close();
      throw error;
    }
  };
  let gateway: Promise<Gateway> = gatewayOf(wanted);
  await gateway;
  const closeGateway = async (): Promise<void> => (await gateway).close();
  undo.push(closeGateway);

  const handle: Handle = async (request, remote) => {
    const begun = performance.now();
    const response = await (await gateway).handle(request, remote);
    if (options.requests) {
      const { pathname } = new URL(request.url);
      const ms = Math.round(performance.now() - begun);
      log("info", "request", {
        method: request.method,
        path: pathname,
        status: response.status,
        from: remote.address ?? "socket",
        ms,
      });
    }
    return response;
  };
  undo.push(() => leaveRuntime(garth));
  const socket = listenSocket({
    bodyMaxBytes: BODY_MAX_BYTES,
    socket: prepareSocket(garth),
    handle: (request, remote) => {
      const named = request.headers.has("x-api-key") || /^bearer /i.test(request.headers.get("authorization") ?? "");
      if (!named) request.headers.set("x-api-key", ownerKey);
      return handle(request, remote);
    },
  });
  undo.push(() => socket.close(GRACE_MS));
  publishSocket(garth);
  undo.push(() => withdrawSocket(garth));
  const port = listen({ ...wanted.place, bodyMaxBytes: BODY_MAX_BYTES, idleTimeoutS: 0, handle });
  undo.push(() => port.close(GRACE_MS));
  // The first that is undone, and nothing the second time: who waits on a stream is told before the connections go.
  undo.push(closeGateway);
  if (isExposed(wanted.place)) {
    log("warning", "no-tls", { hint: "API keys come in clear text: let a server with TLS stand in front" });
  }

  rounds.call();
  log("info", "listening", { url: port.url, socket: socketLink(places), pid: Number(host.processIdentity.split(":")[1]) });

  const reload = async (): Promise<void> => {
    const before = wanted;
    try {
      const after = await wantedNow(options);
      if (JSON.stringify(after) === JSON.stringify(before)) return log("info", "reloaded", { changed: false });
      if (JSON.stringify(after.place) !== JSON.stringify(before.place)) {
        log("warning", "reload", { hint: "where to listen is read at the start alone" });
      }
      wanted = { ...after, place: before.place };
      await (await gateway).close();
      gateway = gatewayOf(wanted).catch(async (error: unknown) => {
        log("error", "fault", { doing: "reading the settings again; the former ones hold", error: say(error) });
        wanted = before;
        return gatewayOf(before);
      });
      await gateway;
      log("info", "reloaded", { changed: wanted !== before });
    } catch (error) {
      log("error", "fault", { doing: "reading the settings again; the former ones hold", error: say(error) });
    }
  };
  return { url: port.url, socket: socketLink(places), reload };
}

async function wantedNow({ garth, listen: place, open }: DaemonOptions): Promise<Wanted> {
  const { settings } = await garth.settings();
  return {
    settings,
    keys: readKeysFile(garth, settings.gatewayKeysFile),
    place: readPlace(place ?? settings.gatewayListen),
    open,
  };
}

function takeLease({ host, ledger, places }: DaemonGarth, nowMs: number): void {
  const other = ledger.acquire(LEASE, host.processIdentity, host.isAlive, nowMs);
  if (other === undefined) return;
  const since = ledger.statement("SELECT at_ms FROM ledger_lease WHERE name = ?").get(LEASE)?.["at_ms"];
  const pid = other.split(":")[1];
  throw new Problem({
    code: "E_DAEMON_RUNS",
    message: `process ${pid} is the daemon of this root${typeof since === "number" ? `, since ${new Date(since).toISOString()}` : ""}`,
    details: [`its socket is ${socketLink(places)}`],
    where: places.state,
    hint: `end it first (kill ${pid}), or choose another root with --root`,
  });
}
