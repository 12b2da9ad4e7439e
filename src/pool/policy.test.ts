import { expect, test } from "bun:test";
import { problemOf } from "../base/testing.ts";
import { checkWanted, isolated, samePolicy, unenforceable } from "./policy.ts";
import { poolSpec } from "./testing.ts";

const open = { allowInternetAccess: true, allowOut: [], denyOut: [] };

test("on a network of its own a machine has what its pool has, or less", async () => {
  const shut = poolSpec({ network: "user", policy: isolated });
  const wide = poolSpec({ network: "user", policy: open });
  checkWanted(shut, isolated);
  checkWanted(wide, isolated);
  checkWanted(wide, open);
  const problem = await problemOf(Promise.resolve().then(() => checkWanted(shut, open)));
  expect(problem.code).toBe("E_NETWORK_FIXED");
  expect(problem.hint).toContain("--network bridge");
});

test("on a bridge each has its own", () => {
  const bridge = poolSpec({ network: "bridge", policy: isolated });
  for (const wanted of [open, { ...isolated, allowOut: ["192.0.2.0/24"] }, { ...open, denyOut: ["192.0.2.1"] }])
    checkWanted(bridge, wanted);
});

test("lists are a bridge's; what is denied where nothing is let out is denied", () => {
  expect(unenforceable("user", { ...isolated, allowOut: ["192.0.2.1"] })).toContain("let single addresses out");
  expect(unenforceable("user", { ...open, denyOut: ["192.0.2.1"] })).toContain("keep single addresses out");
  expect(unenforceable("user", { ...isolated, denyOut: ["192.0.2.1"] })).toBeUndefined();
  expect(unenforceable("bridge", { ...open, denyOut: ["192.0.2.1"] })).toBeUndefined();
});

test("the order of a list means nothing", () => {
  expect(samePolicy({ ...open, denyOut: ["a", "b"] }, { ...open, denyOut: ["b", "a"] })).toBe(true);
  expect(samePolicy(open, isolated)).toBe(false);
});
