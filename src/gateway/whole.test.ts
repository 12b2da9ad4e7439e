/** Both halves of the gateway and a real SSH server behind them, as the unmodified SDKs use them. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { Sandbox as CodeSandbox } from "@e2b/code-interpreter";
import { CommandExitError, Sandbox, TimeoutError } from "e2b";
import { openTestGuest, type TestGuest } from "../guest/testing.ts";
import { openEnvd } from "./index.ts";
import { type FakePools, fakePools, type TestGateway, testGateway } from "./testing.ts";

const guests = new Map<string, TestGuest>();
let pools: FakePools;
let place: TestGateway;

beforeAll(async () => {
  pools = fakePools({
    pools: ["base", "code-interpreter-v1"],
    guest: async ({ id }) => {
      const made = await openTestGuest({ name: id });
      guests.set(id, made);
      await made.guest.connect();
      return made.guest;
    },
  });
  // A machine that is paused stands still; one that is returned is gone.
  pools.onEvent((event) => {
    if (event.kind !== "entry") return;
    const guest = guests.get(event.entry.id);
    if (event.entry.state === "paused") guest?.freeze();
    if (event.entry.state === "in-use") guest?.thaw();
  });
  place = await testGateway({ pools, envd: () => openEnvd() });
});
afterAll(async () => {
  expect(place.faults).toEqual([]);
  await place.close();
  await Promise.all([...guests.values()].map((guest) => guest.close()));
});

async function thrown(work: Promise<unknown>): Promise<unknown> {
  return work.then(
    () => undefined,
    (error: unknown) => error,
  );
}

describe("commands", () => {
  test("run, with the environment that the sandbox was born with, and fail with their status", async () => {
    const sandbox = await Sandbox.create("base", { ...place.connection, envs: { GREETING: "hello" } });
    expect((await sandbox.commands.run('echo "$GREETING $USER"')).stdout).toBe("hello root\n");
    expect(await thrown(sandbox.commands.run("exit 3"))).toBeInstanceOf(CommandExitError);
    expect(await sandbox.kill()).toBe(true);
  });

  test("that run when the sandbox is killed end, and say that it is gone", async () => {
    const sandbox = await Sandbox.create("base", place.connection);
    let started: () => void = () => undefined;
    const output = new Promise<void>((resolve) => (started = resolve));
    const running = thrown(sandbox.commands.run("echo up; sleep 1000", { timeoutMs: 0, onStdout: () => started() }));
    await output;
    await sandbox.kill();
    expect(await running).toBeInstanceOf(TimeoutError);
    expect(await sandbox.isRunning()).toBe(false);
  });

  test("go on where a pause stopped them", async () => {
    const sandbox = await Sandbox.create("base", place.connection);
    const handle = await sandbox.commands.run('read line; echo "got $line"', { background: true, stdin: true });
    expect(await sandbox.pause()).toBe(true);
    await Sandbox.connect(sandbox.sandboxId, place.connection);
    await sandbox.commands.sendStdin(handle.pid, "through\n");
    expect((await handle.wait()).stdout).toBe("got through\n");
    await sandbox.kill();
  });

  test("wake a sandbox that wakes by itself", async () => {
    const sandbox = await Sandbox.create("base", { ...place.connection, lifecycle: { onTimeout: "pause", autoResume: true } });
    await sandbox.files.write("/tmp/garth-gateway-state", "kept");
    await sandbox.pause();
    expect((await sandbox.commands.run("cat /tmp/garth-gateway-state; rm /tmp/garth-gateway-state")).stdout).toBe("kept");
    expect((await sandbox.getInfo()).state).toBe("running");
    await sandbox.kill();
  });

  test("find the sandbox again after the gateway was started anew", async () => {
    const sandbox = await Sandbox.create("base", place.connection);
    expect((await sandbox.commands.run("echo before")).stdout).toBe("before\n");
    await place.restart();
    expect((await sandbox.commands.run("echo after")).stdout).toBe("after\n");
    await sandbox.kill();
  });
});

test("files go both ways, by the SDK and by URLs that name no sandbox", async () => {
  const [sandbox, other] = [await Sandbox.create("base", place.connection), await Sandbox.create("base", place.connection)];
  const directory = guests.get(pools.held(sandbox.sandboxId)?.id ?? "")?.directory ?? (await firstGuest(sandbox));
  const path = `${directory}/a file+1.txt`;
  await sandbox.files.write(path, "written");
  expect(await sandbox.files.read(path)).toBe("written");
  const download = await sandbox.downloadUrl(path, { useSignatureExpiration: 60 });
  expect(await (await fetch(download)).text()).toBe("written");
  const form = new FormData();
  form.append("file", new Blob(["uploaded"]), path);
  expect((await fetch(await sandbox.uploadUrl(path), { method: "POST", body: form })).status).toBe(200);
  expect(await sandbox.files.read(path)).toBe("uploaded");
  expect((await fetch(download.replace("a%20file", "other").replace("a+file", "other"))).status).toBe(401);
  await Promise.all([sandbox.kill(), other.kill()]);
  expect((await fetch(download)).status).toBe(401);
});

/** A machine's guest is made when it is first asked for. */
async function firstGuest(sandbox: Sandbox): Promise<string> {
  await sandbox.commands.run("true");
  const directory = guests.get(pools.held(sandbox.sandboxId)?.id ?? "")?.directory;
  if (directory === undefined) throw new Error("no guest");
  return directory;
}

test("code runs, and its state stays", async () => {
  const sandbox = await CodeSandbox.create(place.connection);
  await sandbox.runCode("x = 20");
  expect((await sandbox.runCode("x + 1")).text).toBe("21");
  expect((await sandbox.listCodeContexts()).length).toBe(1);
  await sandbox.kill();
});
