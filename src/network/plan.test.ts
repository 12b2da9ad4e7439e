/** What the kernel is told, as it was read; and the fences around what is private. */
import { expect, test } from "bun:test";
import { join } from "node:path";
import fc from "fast-check";
import { golden, thrownProblem } from "../base/testing.ts";
import { localHost } from "../host/index.ts";
import { type Block, formatAddress } from "./address.ts";
import { bridgeNetwork, checkPolicy, contains, renderBridge } from "./index.ts";
import { readPortAlias } from "./netns-text.ts";
import { fencesOf, networkNames, poolOfName, RESERVED } from "./plan.ts";
import type { BridgeSpec } from "./types.ts";

const spec: BridgeSpec = { pool: "debian-12", subnet: "10.77.0.0/24", dns: ["9.9.9.9", "1.1.1.1"], reachable: ["10.1.2.0/24"] };
const host = localHost();

test.each(["x86_64-linux", "x86_64-freebsd"] as const)("a network on %s, as it was read", (system) => {
  for (const [name, text] of Object.entries(renderBridge(system, spec))) {
    expect(text).toBe(golden(join(import.meta.dir, "golden", `${system}-${name}`), text));
  }
});

test("what is planned for FreeBSD is not carried out", () => {
  const freebsd = { ...host, processIdentity: host.processIdentity, system: "x86_64-freebsd" as const };
  const problem = thrownProblem(() => bridgeNetwork(freebsd, spec));
  expect([problem.code, problem.exit]).toEqual(["E_NETWORK_PLANNED", 3]);
});

test("names of networks lead back to their pools, of their own realm", () => {
  fc.assert(
    fc.property(fc.stringMatching(/^[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?$/), fc.constantFrom("", "/a", "/b"), (pool, realm) => {
      const { network } = networkNames({ pool, realm });
      return ["", "/a", "/b"].every((other) => poolOfName(network, other) === (other === realm ? pool : undefined));
    }),
  );
  for (const name of ["gth", "gth-", "garth-x", "gth-a b", "eth0"]) expect(poolOfName(name, "")).toBeUndefined();
});

test("what never is the internet stays behind the fence, but for what the pool opened", () => {
  const { reserved, never } = fencesOf(spec);
  const within = (blocks: readonly Block[], address: number) =>
    blocks.some(({ first, last }) => first <= address && address <= last);
  const edges = [0x0a010200, 0x0a0102ff].flatMap((edge) => [edge - 1, edge, edge + 1]);
  fc.assert(
    fc.property(fc.oneof(fc.nat({ max: 2 ** 32 - 1 }), fc.constantFrom(...edges)), (address) => {
      const text = formatAddress(address);
      const isReserved = [...RESERVED, spec.subnet].some((block) => contains(block, text));
      const isOpened = contains("10.1.2.0/24", text);
      return within(reserved, address) === isReserved && within(never, address) === (isReserved && !isOpened);
    }),
  );
});

test("policies are looked at before anything is made", () => {
  checkPolicy({ allowInternetAccess: true, allowOut: ["0.0.0.0/0"], denyOut: [] });
  const problem = thrownProblem(() => checkPolicy({ allowInternetAccess: true, allowOut: ["api.example.com"], denyOut: [] }));
  expect(problem.hint).toContain("names are not looked up");
});

test("an alias that somebody else wrote says nothing", () => {
  for (const alias of [undefined, "", "my tap", "a b c d"]) expect(readPortAlias("gthx", alias)).toBeUndefined();
});
