/**
 * The whole of it: a daemon, pools of real machines behind it, and the unmodified SDKs in front. Machines are emulated where there is no
 * other way, and slow then: nothing here depends on how slow.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { Sandbox as CodeSandbox } from "@e2b/code-interpreter";
import { AuthenticationError, CommandExitError, FilesystemEventType, Sandbox, SandboxNotFoundError, TimeoutError } from "e2b";
import { poolSpec } from "../pool/testing.ts";
import { openPlace, type Place } from "./place.testing.ts";

const LIMIT_MS = 600_000;
const MIB = 1024 ** 2;
const DOMAIN = "sbx.test";

let place: Place;
let apiKey = "";
const connection = () => ({ apiUrl: place.url, sandboxUrl: place.url, apiKey, requestTimeoutMs: LIMIT_MS });
/** The SDK's limit of a command is 60 s unless another is said. */
const patient = { timeoutMs: LIMIT_MS } as const;

async function thrown(work: Promise<unknown>): Promise<unknown> {
  return work.then(
    () => undefined,
    (error: unknown) => error,
  );
}

/** Gathers what comes until it holds a text. */
function listening() {
  let all = "";
  let wake = (): void => undefined;
  return {
    hear: (data: string | Uint8Array) => {
      all += typeof data === "string" ? data : Buffer.from(data).toString();
      wake();
    },
    until: async (text: string | RegExp): Promise<string> => {
      const holds = (): boolean => (typeof text === "string" ? all.includes(text) : text.test(all));
      while (!holds()) await new Promise<void>((resolve) => (wake = resolve));
      return all;
    },
  };
}

function random(sizeBytes: number): Uint8Array<ArrayBuffer> {
  const all = new Uint8Array(sizeBytes);
  for (let at = 0; at < sizeBytes; at += 65_536) crypto.getRandomValues(all.subarray(at, Math.min(sizeBytes, at + 65_536)));
  return all;
}

beforeAll(async () => {
  place = await openPlace({
    templates: ["micro", "interpreter"],
    configuration: [
      "[gateway]",
      `domain = "${DOMAIN}"`,
      'aliases = "base=sdk-micro,code-interpreter-v1=sdk-interpreter"',
      'tenant_limits = "small=0"',
    ].join("\n"),
  });
  apiKey = place.key("acme");
  await place.pools.init(poolSpec({ name: "sdk-micro", template: "micro", size: 1, bootTimeoutMs: LIMIT_MS }));
  await place.pools.warm("sdk-micro");
}, LIMIT_MS);
afterAll(async () => {
  const faults = place.lines.filter(({ level }) => level === "error").map(({ event, facts }) => ({ event, ...facts }));
  expect([await place.close(), faults]).toEqual([[], []]);
}, LIMIT_MS);

describe("a sandbox of a machine", () => {
  let sandbox: Sandbox;
  const entry = () => place.pools.held(sandbox.sandboxId);
  /** What a command printed. */
  const ask = async (command: string): Promise<string> => (await sandbox.commands.run(command, patient)).stdout.trim();

  test(
    "is created from what is warm, and is a machine of its own name",
    async () => {
      sandbox = await Sandbox.create("base", {
        ...connection(),
        ...patient,
        envs: { GREETING: "hello" },
        metadata: { user: "ann" },
      });
      expect(entry()).toMatchObject({ pool: "sdk-micro", state: "in-use", from: "snapshot" });
      expect(await ask('echo "$GREETING from $(hostname)"')).toBe(`hello from ${entry()?.id}`);
      expect(await sandbox.isRunning()).toBe(true);
      expect(await sandbox.getInfo()).toMatchObject({
        templateId: "sdk-micro",
        name: "base",
        metadata: { user: "ann" },
        state: "running",
      });
    },
    LIMIT_MS,
  );

  test(
    "runs commands: heard as they speak, with input, with a status, in the background",
    async () => {
      const heard = listening();
      const running = sandbox.commands.run("echo one; read -r; echo two", {
        ...patient,
        background: true,
        stdin: true,
        onStdout: heard.hear,
      });
      await heard.until("one\n");
      const handle = await running;
      const listed = await sandbox.commands.list();
      expect(listed.map(({ pid }) => pid)).toContain(handle.pid);
      await sandbox.commands.sendStdin(handle.pid, "go on\n");
      expect(await handle.wait()).toMatchObject({ stdout: "one\ntwo\n", exitCode: 0 });

      const copy = await sandbox.commands.run("cat", { ...patient, background: true, stdin: true });
      await copy.sendStdin("to the end");
      await copy.closeStdin();
      expect((await copy.wait()).stdout).toBe("to the end");

      const failed = await thrown(sandbox.commands.run("echo out; echo err >&2; exit 3", patient));
      expect(failed).toBeInstanceOf(CommandExitError);
      expect(failed).toMatchObject({ exitCode: 3, stdout: "out\n", stderr: "err\n" });
      expect(await thrown(sandbox.commands.run("true", { ...patient, cwd: "/no/such" }))).toMatchObject({
        message: expect.stringContaining("cwd '/no/such' does not exist"),
      });
    },
    LIMIT_MS,
  );

  test(
    "a command whose time is up leaves nothing of its own behind; one that is reconnected to goes on",
    async () => {
      const late = await thrown(sandbox.commands.run("setsid sleep 7501 & sleep 7501 & sleep 7501", { timeoutMs: 3000 }));
      expect(late).toBeInstanceOf(TimeoutError);
      expect(await ask("while pgrep -fx 'sleep 7501' >/dev/null; do sleep 0.1; done; echo gone")).toBe("gone");

      const handle = await sandbox.commands.run("read -r line; echo said $line; sleep 7502", {
        timeoutMs: 0,
        background: true,
        stdin: true,
      });
      await handle.disconnect();
      const heard = listening();
      const again = await sandbox.commands.connect(handle.pid, { timeoutMs: 0, onStdout: heard.hear });
      await sandbox.commands.sendStdin(handle.pid, "this\n");
      await heard.until("said this\n");
      expect(await again.kill()).toBe(true);
      expect(await thrown(again.wait())).toBeInstanceOf(CommandExitError);
      expect(await sandbox.commands.kill(handle.pid)).toBe(false);
    },
    LIMIT_MS,
  );

  test(
    "has a terminal, which knows its size",
    async () => {
      const heard = listening();
      const terminal = await sandbox.pty.create({ cols: 90, rows: 30, timeoutMs: 0, onData: heard.hear });
      const type = (text: string) => sandbox.pty.sendInput(terminal.pid, Buffer.from(text));
      await type("stty size; tty\n");
      await heard.until(/30 90\r\n\/dev\/pts\/\d+\r\n/);
      await sandbox.pty.resize(terminal.pid, { cols: 133, rows: 41 });
      await type("stty size\n");
      await heard.until("41 133\r\n");
      await type("exit 7\n");
      expect(await thrown(terminal.wait())).toMatchObject({ exitCode: 7 });
    },
    LIMIT_MS,
  );

  test(
    "keeps files: ten megabytes both ways, lists, changes, names, URLs that are signed",
    async () => {
      const { files } = sandbox;
      const data = random(10 * MIB);
      await files.write("/root/data/large", data.buffer);
      expect(Buffer.from(await files.read("/root/data/large", { format: "bytes" })).equals(data)).toBe(true);
      expect(await ask("sha256sum </root/data/large")).toContain(new Bun.CryptoHasher("sha256").update(data).digest("hex"));

      expect(await files.makeDir("/root/data/empty")).toBe(true);
      expect(await files.makeDir("/root/data/empty")).toBe(false);
      const listed = await files.list("/root/data");
      expect(listed.map(({ name, type, size }) => [name, type as string, type === "dir" ? 0 : size])).toEqual([
        ["empty", "dir", 0],
        ["large", "file", 10 * MIB],
      ]);

      const seen = listening();
      const watch = await files.watchDir("/root/data", ({ name, type }) => seen.hear(`${type} ${name}\n`), { timeoutMs: 0 });
      await files.write("/root/data/small", "ü");
      await seen.until(`${FilesystemEventType.WRITE} small`);
      expect(await files.rename("/root/data/small", "/root/data/other")).toMatchObject({ path: "/root/data/other", size: 2 });
      await seen.until(`${FilesystemEventType.RENAME} small`);
      await watch.stop();
      expect([await files.exists("/root/data/small"), await files.read("/root/data/other")]).toEqual([false, "ü"]);

      const download = await sandbox.downloadUrl("/root/data/other", { useSignatureExpiration: 600 });
      expect(await (await fetch(download)).text()).toBe("ü");
      const form = new FormData();
      form.append("file", new Blob(["by form"]), "/root/data/formed");
      expect((await fetch(await sandbox.uploadUrl("/root/data/formed"), { method: "POST", body: form })).status).toBe(200);
      expect(await ask("cat /root/data/formed")).toBe("by form");
      await files.remove("/root/data");
      expect(await files.exists("/root/data")).toBe(false);
    },
    LIMIT_MS,
  );

  test(
    "has a server that is asked by its host's name",
    async () => {
      const to = (port: number, path: string) => fetch(`${place.url}${path}`, { headers: { Host: sandbox.getHost(port) } });
      expect(sandbox.getHost(8000)).toBe(`8000-${sandbox.sandboxId}.${DOMAIN}`);
      const nobody = await to(8000, "/");
      expect([nobody.status, await nobody.json()]).toEqual([
        502,
        { code: 502, message: "nothing answers on port 8000 of the sandbox" },
      ]);
      await sandbox.files.write("/srv/web/page.html", "<p>served</p>");
      await ask("head -c 5000000 /dev/urandom >/srv/web/large; sha256sum </srv/web/large >/srv/web/sum");
      const heard = listening();
      const server = await sandbox.commands.run("exec python3 -u -m http.server 8000 --bind 127.0.0.1 --directory /srv/web", {
        background: true,
        timeoutMs: 0,
        onStdout: heard.hear,
      });
      await heard.until("Serving HTTP");
      const page = await to(8000, "/page.html");
      expect([page.status, page.headers.get("content-type"), await page.text()]).toEqual([200, "text/html", "<p>served</p>"]);
      expect((await to(8000, "/no/such")).status).toBe(404);
      const large = new Uint8Array(await (await to(8000, "/large")).arrayBuffer());
      expect(await (await to(8000, "/sum")).text()).toContain(new Bun.CryptoHasher("sha256").update(large).digest("hex"));
      await server.kill();
    },
    LIMIT_MS,
  );

  test(
    "tells what it uses",
    async () => {
      const [last] = (await sandbox.getMetrics()).slice(-1);
      expect(last).toMatchObject({ cpuCount: 1, memTotal: 256 * MIB });
      expect(last?.memUsed).toBeGreaterThan(10 * MIB);
      expect(last?.diskTotal).toBeGreaterThan(100 * MIB);
      const all = await (await fetch(`${place.url}/metrics`, { headers: { "X-API-KEY": apiKey } })).text();
      expect(all).toContain('garth_sandboxes{pool="sdk-micro",state="running"} 1');
    },
    LIMIT_MS,
  );

  test(
    "sleeps and goes on where it was",
    async () => {
      const heard = listening();
      const counter = await sandbox.commands.run("i=0; while :; do i=$((i+1)); echo $i; sleep 0.2; done", {
        background: true,
        timeoutMs: 0,
        onStdout: heard.hear,
      });
      await heard.until("\n3\n");
      expect(await sandbox.pause()).toBe(true);
      expect([await sandbox.isRunning(), entry()?.state, (await sandbox.getInfo()).state]).toEqual([false, "paused", "paused"]);
      expect(await sandbox.pause()).toBe(false);
      sandbox = await Sandbox.connect(sandbox.sandboxId, { ...connection(), ...patient });
      const more = listening();
      const again = await sandbox.commands.connect(counter.pid, { timeoutMs: 0, onStdout: more.hear });
      const [next = ""] = (await more.until(/^\d+\n/)).split("\n");
      expect(Number(next)).toBeGreaterThan(3);
      await again.kill();
    },
    LIMIT_MS,
  );

  test(
    "is found again by the next daemon, with what runs in it",
    async () => {
      await sandbox.commands.run("echo $$ >/root/pid; nohup sleep 7503 >/dev/null 2>&1 & echo $! >/root/pid", patient);
      const before = entry();
      await place.restart();
      sandbox = await Sandbox.connect(sandbox.sandboxId, { ...connection(), ...patient });
      expect(entry()).toMatchObject({ id: before?.id, pid: before?.pid });
      expect(await ask("ps -o args= -p $(cat /root/pid)")).toBe("sleep 7503");
      expect((await sandbox.getInfo()).metadata).toEqual({ user: "ann" });
    },
    LIMIT_MS,
  );

  test(
    "is the beginning of others, which are others",
    async () => {
      await sandbox.commands.run("echo kept >/root/kept; nohup sleep 7504 >/dev/null 2>&1 &", patient);
      const { snapshotId } = await sandbox.createSnapshot({ name: "a-moment" });
      const made = await Sandbox.create(snapshotId, { ...connection(), ...patient });
      const forks = await sandbox.fork({ count: 2, ...patient });
      const all = [made, ...forks.map((fork) => (fork instanceof Sandbox ? fork : undefined))];
      const names = new Set([entry()?.id]);
      for (const one of all) {
        const { stdout } = (await one?.commands.run("cat /root/kept; pgrep -fxc 'sleep 7504'; hostname", patient)) ?? {};
        const [kept, count, name] = stdout?.split("\n") ?? [];
        expect([kept, count]).toEqual(["kept", "1"]);
        names.add(name);
      }
      expect(names.size).toBe(4);
      await made.commands.run("echo changed >/root/kept", patient);
      expect(await ask("cat /root/kept")).toBe("kept");

      const listed = await Sandbox.list({ ...connection(), query: { state: ["running"] } }).nextItems();
      expect(listed.map(({ sandboxId }) => sandboxId).toSorted()).toEqual(
        [sandbox, ...all].map((one) => one?.sandboxId ?? "").toSorted(),
      );
      for (const one of all) expect(await one?.kill()).toBe(true);
      expect(await Sandbox.deleteSnapshot(snapshotId, connection())).toBe(true);
      expect(place.pools.snapshots()).toEqual([]);
    },
    LIMIT_MS,
  );

  test(
    "is killed with whatever waits for it, and is gone for everybody",
    async () => {
      const heard = listening();
      const waiting = thrown(sandbox.commands.run("echo up; sleep 7505", { timeoutMs: 0, onStdout: heard.hear }));
      await heard.until("up");
      const { pid } = entry() ?? {};
      expect(await sandbox.kill()).toBe(true);
      expect(await waiting).toBeInstanceOf(Error);
      expect(await sandbox.kill()).toBe(false);
      expect([await sandbox.isRunning(), entry()]).toEqual([false, undefined]);
      expect(place.garth.host.identityOf(pid ?? 0)).toBeUndefined();
      expect(await thrown(sandbox.commands.run("true"))).toBeInstanceOf(SandboxNotFoundError);
      expect(await thrown(sandbox.getInfo())).toBeInstanceOf(SandboxNotFoundError);
    },
    LIMIT_MS,
  );
});

describe("time", () => {
  test(
    "ends a sandbox when it is up, and setTimeout moves it",
    async () => {
      const sandbox = await Sandbox.create("base", { ...connection(), ...patient });
      await sandbox.setTimeout(1000);
      await place.until(sandbox.sandboxId, undefined);
      expect(await sandbox.isRunning()).toBe(false);
      expect(await thrown(sandbox.getInfo())).toBeInstanceOf(SandboxNotFoundError);
    },
    LIMIT_MS,
  );

  test(
    "puts one to sleep that wakes by itself when it is asked",
    async () => {
      const lifecycle = { onTimeout: "pause", autoResume: true } as const;
      const sandbox = await Sandbox.create("base", { ...connection(), ...patient, lifecycle });
      await sandbox.files.write("/root/state", "kept");
      await sandbox.setTimeout(1000);
      await place.until(sandbox.sandboxId, "paused");
      expect((await sandbox.getInfo()).state).toBe("paused");
      expect(await sandbox.files.read("/root/state")).toBe("kept");
      expect((await sandbox.getInfo()).state).toBe("running");
      await sandbox.setTimeout(1000);
      await place.until(sandbox.sandboxId, "paused");
      // By a request to a port, too, though nobody listens there.
      expect((await fetch(place.url, { headers: { Host: sandbox.getHost(8000) } })).status).toBe(502);
      expect((await sandbox.getInfo()).state).toBe("running");
      expect(await sandbox.kill()).toBe(true);
    },
    LIMIT_MS,
  );
});

describe("who asks", () => {
  test(
    "a wrong key, another tenant, one that may have none: nobody gets a machine",
    async () => {
      const sandbox = await Sandbox.create("base", { ...connection(), ...patient });
      const made: string[] = [];
      const stop = place.pools.onEvent((event) => {
        if (event.kind === "entry" && event.entry.holder !== undefined) made.push(event.entry.id);
      });
      const wrong = { ...connection(), apiKey: `e2b_${"0".repeat(40)}` };
      expect(await thrown(Sandbox.create("base", wrong))).toBeInstanceOf(AuthenticationError);
      const other = { ...connection(), apiKey: place.key("other") };
      expect(await thrown(Sandbox.getInfo(sandbox.sandboxId, other))).toBeInstanceOf(SandboxNotFoundError);
      expect(await thrown(Sandbox.connect(sandbox.sandboxId, other))).toBeInstanceOf(SandboxNotFoundError);
      expect(await Sandbox.kill(sandbox.sandboxId, other)).toBe(false);
      expect(await Sandbox.list(other).nextItems()).toEqual([]);
      const small = { ...connection(), apiKey: place.key("small") };
      expect(await thrown(Sandbox.create("base", small))).toMatchObject({
        message: "403: small has 0 sandboxes, and may have 0",
      });
      stop();
      expect(made).toEqual([]);
      expect(await sandbox.isRunning()).toBe(true);
      await sandbox.kill();
    },
    LIMIT_MS,
  );
});

describe("code", () => {
  beforeAll(async () => {
    await place.pools.drain("sdk-micro", { forget: true });
    const spec = poolSpec({ name: "sdk-interpreter", template: "interpreter", size: 1, bootTimeoutMs: LIMIT_MS });
    await place.pools.init(spec);
    await place.pools.warm("sdk-interpreter");
  }, LIMIT_MS);

  test(
    "runs with its state, its errors and its plots",
    async () => {
      const sandbox = await CodeSandbox.create({ ...connection(), ...patient });
      const run = (code: string) => sandbox.runCode(code, { ...patient, requestTimeoutMs: LIMIT_MS });
      await run("x = 20");
      const told = await run("print('said'); x + 1");
      expect([told.text, told.logs.stdout.join("")]).toEqual(["21", "said\n"]);
      const { error } = await run("1 / 0");
      expect(error).toMatchObject({ name: "ZeroDivisionError", value: "division by zero" });
      expect(error?.traceback).toContain("1 / 0");
      const plot = await run("import matplotlib.pyplot as plt\nplt.plot([1, 2, x])\nplt.title('drawn')\nplt.show()");
      expect(plot.error).toBeUndefined();
      const png = Buffer.from(plot.results.find((result) => result.png !== undefined)?.png ?? "", "base64");
      expect(png.subarray(1, 4).toString()).toBe("PNG");
      expect(png.subarray(-8, -4).toString()).toBe("IEND");
      expect((await run("x")).text).toBe("20");
      await sandbox.kill();
    },
    LIMIT_MS,
  );
});
