/** The control plane as the unmodified e2b SDK uses it. */
import { afterEach, beforeEach, expect, test } from "bun:test";
import { Sandbox } from "e2b";
import { type TestGateway, testGateway } from "./testing.ts";

let place: TestGateway;
beforeEach(async () => {
  place = await testGateway();
});
afterEach(async () => {
  expect(place.faults).toEqual([]);
  await place.close();
});

test("creates, tells, lists, kills", async () => {
  const { connection, pools } = place;
  const sandbox = await Sandbox.create("base", { ...connection, metadata: { user: "ann" }, timeoutMs: 60_000 });
  expect(sandbox.sandboxId).toMatch(/^[a-z0-9]{20}$/);
  const info = await sandbox.getInfo();
  expect(info).toMatchObject({ sandboxId: sandbox.sandboxId, templateId: "base", state: "running", metadata: { user: "ann" } });
  expect(info.endAt.getTime() - info.startedAt.getTime()).toBe(60_000);
  const listed = await Sandbox.list(connection).nextItems();
  expect(listed.map(({ sandboxId }) => sandboxId)).toEqual([sandbox.sandboxId]);
  expect(await sandbox.isRunning()).toBe(true);
  expect(await sandbox.kill()).toBe(true);
  expect(await Sandbox.kill(sandbox.sandboxId, connection)).toBe(false);
  expect(pools.list()).toEqual([]);
  expect(await sandbox.isRunning()).toBe(false);
});
