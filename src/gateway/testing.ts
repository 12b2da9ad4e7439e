/** For tests: pools without machines, a data plane without guests, and a gateway that listens on loopback in front of them. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { localHost } from "../host/index.ts";
import { type Ledger, openLedger } from "../ledger/index.ts";
import { type FakePools, fakePools } from "./control/pools.testing.ts";
import { addKey, answerOrUpgrade, GATEWAY_MIGRATION, openGateway, webSockets } from "./index.ts";
import type { Gateway, GatewayConfiguration, GatewayOptions } from "./index.ts";
import type { Envd, Session } from "./types.ts";

export { type FakePools, fakePools, type FakePoolsOptions, type PoolCall } from "./control/pools.testing.ts";

/** Says which sandbox a request reached, and streams until the sandbox ends where the path asks for it. */
export function fakeEnvd(): Envd & { readonly sessions: ReadonlySet<Session> } {
  const sessions = new Set<Session>();
  const say =
    (part: string) =>
    async (request: Request, session: Session): Promise<Response> => {
      sessions.add(session);
      const { pathname, search } = new URL(request.url);
      const sandbox = session.sandbox.id;
      if (!pathname.endsWith("/Stream"))
        return Response.json({ part, sandbox, path: `${pathname}${search}`, body: await request.text() });
      const body = new ReadableStream<Uint8Array>({
        start: (controller) => {
          controller.enqueue(new TextEncoder().encode("open\n"));
          session.ended.addEventListener("abort", () => {
            const reason: unknown = session.ended.reason;
            controller.enqueue(new TextEncoder().encode(`ended: ${reason instanceof Error ? reason.message : "?"}\n`));
            controller.close();
          });
        },
      });
      return new Response(body);
    };
  return {
    sessions,
    connect: say("connect"),
    files: say("files"),
    interpreter: say("interpreter"),
    close: () => Promise.resolve(),
  };
}

/** A clock that stands still until it is moved. */
export function fakeClock(startMs = Date.UTC(2026, 0, 1)): { (): number; advance(ms: number): void } {
  let nowMs = startMs;
  return Object.assign(() => nowMs, {
    advance: (ms: number) => {
      nowMs += ms;
    },
  });
}

export interface TestGateway {
  readonly gateway: Gateway;
  readonly pools: FakePools;
  readonly ledger: Ledger;
  /** "http://127.0.0.1:38001" */
  readonly url: string;
  readonly directory: string;
  /** Of the tenant "acme" with every scope. */
  readonly apiKey: string;
  /** What nobody could be told. */
  readonly faults: readonly string[];
  /** A key of its own. */
  key(
    tenant: string,
    scopes: readonly string[],
    more?: { readonly expiresAtMs?: number; readonly sandboxesMax?: number },
  ): string;
  /** To the control plane, with the key unless another one is given. */
  call(method: string, path: string, body?: unknown, headers?: Readonly<Record<string, string>>): Promise<Response>;
  /** What E2B's SDK takes. */
  readonly connection: { readonly apiUrl: string; readonly sandboxUrl: string; readonly apiKey: string };
  /** The process ends, and another one begins on the same ledger and the same pools. */
  restart(): Promise<void>;
  close(): Promise<void>;
}

export interface TestGatewayOptions {
  readonly pools?: FakePools;
  readonly envd?: () => Envd;
  readonly configuration?: Partial<GatewayConfiguration>;
  readonly now?: () => number;
}

/** Keeps time only where the test says so (`gateway.tick`), unless `configuration` lets it sweep. */
export async function testGateway(options: TestGatewayOptions = {}): Promise<TestGateway> {
  const directory = mkdtempSync(join(tmpdir(), "garth-gateway-"));
  const host = localHost();
  const ledger = openLedger(join(directory, "garth.db"), [GATEWAY_MIGRATION]);
  const now = options.now ?? Date.now;
  const pools = options.pools ?? fakePools({ now });
  const faults: string[] = [];
  const random = (sizeBytes: number): Uint8Array => crypto.getRandomValues(new Uint8Array(sizeBytes));
  const key: TestGateway["key"] = (tenant, scopes, more = {}) => addKey(ledger, { tenant, scopes, ...more }, { now, random }).key;
  const apiKey = key("acme", ["admin"]);
  const open = (): Gateway => {
    const given: GatewayOptions = {
      host,
      ledger,
      pools,
      envd: (options.envd ?? fakeEnvd)(),
      directory: join(directory, "gateway"),
      configuration: { sweepMs: 3_600_000, aliases: { standard: "base" }, ...options.configuration },
      now,
      onFault: (doing, error) => faults.push(`${doing}: ${error instanceof Error ? error.message : String(error)}`),
    };
    return openGateway(given);
  };
  let gateway = open();
  await gateway.start();
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    idleTimeout: 0,
    development: false,
    websocket: webSockets,
    fetch: (request, listener) =>
      answerOrUpgrade((asked, peer) => gateway.handle(asked, peer), request, listener, listener.requestIP(request)?.address),
  });
  const url = server.url.href.replace(/\/$/, "");
  return {
    get gateway() {
      return gateway;
    },
    pools,
    ledger,
    url,
    directory,
    apiKey,
    faults,
    key,
    call: (method, path, body, headers = {}) =>
      fetch(`${url}${path}`, {
        method,
        headers: { "X-API-KEY": apiKey, "Content-Type": "application/json", ...headers },
        ...(body === undefined ? {} : { body: typeof body === "string" ? body : JSON.stringify(body) }),
      }),
    connection: { apiUrl: url, sandboxUrl: url, apiKey },
    restart: async () => {
      await gateway.close();
      gateway = open();
      await gateway.start();
    },
    close: async () => {
      await gateway.close();
      await server.stop(true);
      ledger.close();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}
