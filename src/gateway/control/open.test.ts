/** Before anything is served: keys, where it listens, whose turn it is. And who is let in where no keys are asked for. */
import { afterEach, describe, expect, test } from "bun:test";
import { thrownProblem } from "../../base/testing.ts";
import { localHost } from "../../host/index.ts";
import { openLedger } from "../../ledger/index.ts";
import { fakeEnvd, fakePools, type TestGateway, testGateway } from "../testing.ts";
import type { GatewayConfiguration } from "./configuration.ts";
import { openGateway } from "./open.ts";
import { GATEWAY_MIGRATION } from "./schema.ts";

let place: TestGateway | undefined;
afterEach(async () => {
  await place?.close();
  place = undefined;
});

function refusal(configuration: Partial<GatewayConfiguration>) {
  const ledger = openLedger(":memory:", [GATEWAY_MIGRATION]);
  const options = { host: localHost(), ledger, pools: fakePools(), envd: fakeEnvd(), directory: "/nonexistent/none" };
  const { code, exit } = thrownProblem(() => openGateway({ ...options, configuration }));
  ledger.close();
  return [code, exit];
}

test.each([
  [{}, "E_GATEWAY_NO_KEYS"],
  [{ open: true, listenAddress: "0.0.0.0" }, "E_GATEWAY_OPEN"],
  [{ open: true, listenAddress: "::" }, "E_GATEWAY_OPEN"],
  [{ open: true, listenAddress: "10.0.0.1" }, "E_GATEWAY_OPEN"],
  [{ open: true, domain: "a b" }, "E_GATEWAY_SETTING"],
  [{ open: true, tenantLimits: "acme" }, "E_GATEWAY_SETTING"],
  [{ apiKeys: "acme" }, "E_BAD_KEY"],
  [{ apiKeys: "acme:short:exec" }, "E_BAD_KEY"],
] as const)("%p is refused", (configuration, code) => {
  expect(refusal(configuration)).toEqual([code, 2]);
});

test("one process serves a root", async () => {
  place = await testGateway();
  const { ledger, directory } = place;
  const host = { ...localHost(), processIdentity: "another:1:1", isAlive: () => true };
  const options = { host, ledger, pools: fakePools(), envd: fakeEnvd(), directory };
  expect(thrownProblem(() => openGateway(options)).code).toBe("E_GATEWAY_RUNNING");
  await place.gateway.close();
  const next = openGateway(options);
  await next.close();
});

describe("without keys", () => {
  const ask = (headers: Record<string, string>, peer = "127.0.0.1", path = "/v2/sandboxes") =>
    place?.gateway.handle(new Request(`http://127.0.0.1:3000${path}`, { headers }), { address: peer });
  const status = async (...given: Parameters<typeof ask>) => (await ask(...given))?.status;

  test("whoever is on this machine is let in, with any key that an SDK may send", async () => {
    place = await testGateway({ configuration: { open: true, domain: "sbx.test:3000" } });
    expect(await status({ Host: "127.0.0.1:3000" })).toBe(200);
    expect(await status({ Host: "[::1]:3000" }, "::1")).toBe(200);
    expect(await status({ Host: "localhost", "X-API-KEY": "e2b_anything" }, "::ffff:127.0.0.1")).toBe(200);
    const whoami = await ask({ Host: "sbx.test:3000" }, "127.0.0.1", "/auth/whoami");
    expect(await whoami?.json()).toMatchObject({ tenant: "local", scopes: ["admin"] });
    // A key that there is stays what it is.
    const known = await ask({ Host: "localhost", "X-API-KEY": place.apiKey }, "127.0.0.1", "/auth/whoami");
    expect(await known?.json()).toMatchObject({ tenant: "acme" });
  });

  test("nobody else is, and no page of another site that is open on it", async () => {
    place = await testGateway({ configuration: { open: true } });
    expect(await status({ Host: "127.0.0.1:3000" }, "10.0.0.9")).toBe(403);
    // A name that somebody lets point here (DNS rebinding).
    expect(await status({ Host: "rebound.example.org" })).toBe(403);
    expect(await status({ Host: "127.0.0.1.example.org" })).toBe(403);
    expect(await status({ Host: "localhost", Origin: "https://evil.example.org" })).toBe(403);
    expect(await status({ Host: "localhost", Origin: "null" })).toBe(403);
    const stranger = await ask({ Host: "localhost", Origin: "https://evil.example.org" });
    expect(stranger?.headers.get("access-control-allow-origin")).toBeNull();
    const page = await ask({ Host: "localhost", Origin: "http://localhost:5173" });
    expect([page?.status, page?.headers.get("access-control-allow-origin")]).toEqual([200, "http://localhost:5173"]);
  });
});

test("pages of other origins may use a gateway that asks for keys", async () => {
  place = await testGateway();
  const preflight = await fetch(`${place.url}/v2/sandboxes`, {
    method: "OPTIONS",
    headers: {
      Origin: "https://app.example.org",
      "Access-Control-Request-Method": "POST",
      "Access-Control-Request-Headers": "x-api-key",
    },
  });
  expect([preflight.status, preflight.headers.get("access-control-allow-origin")]).toEqual([204, "*"]);
  expect(preflight.headers.get("access-control-allow-headers")).toContain("*");
  const listed = await place.call("GET", "/v2/sandboxes", undefined, { Origin: "https://app.example.org" });
  expect([listed.status, listed.headers.get("access-control-allow-origin")]).toEqual([200, "*"]);
  const unknown = await fetch(`${place.url}/v2/sandboxes`, { headers: { Origin: "https://app.example.org" } });
  expect([unknown.status, unknown.headers.get("access-control-allow-origin")]).toEqual([401, "*"]);
});

test("a gateway that is closing says so, and lets nobody in", async () => {
  place = await testGateway();
  await place.gateway.close();
  const answer = await place.call("GET", "/v2/sandboxes");
  expect([answer.status, await answer.json()]).toEqual([503, { code: 503, message: "the gateway is closing" }]);
  await place.restart();
});
