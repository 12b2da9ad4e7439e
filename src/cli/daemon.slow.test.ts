/** The daemon as a process: started, asked, told to read again, killed, ended. Ports are free ones, roots temporary. */
import { afterEach, expect, test } from "bun:test";
import { chmodSync, existsSync, lstatSync, mkdirSync, mkdtempSync, readlinkSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

const GARTH = join(import.meta.dir, "../../garth");
const LIMIT_MS = 60_000;

const roots: string[] = [];
const children: Bun.Subprocess[] = [];
afterEach(async () => {
  for (const child of children.splice(0)) {
    child.kill("SIGKILL");
    await child.exited;
  }
  for (const root of roots.splice(0)) rmSync(root, { recursive: true });
});

function makeRoot(): string {
  const root = mkdtempSync(join(tmpdir(), "garth-daemon-"));
  roots.push(root);
  return root;
}

const environment = (more: Readonly<Record<string, string>> = {}) => ({
  PATH: process.env["PATH"] ?? "",
  LC_ALL: "C.UTF-8",
  ...more,
});

function garth(root: string, words: readonly string[], env: Readonly<Record<string, string>> = {}) {
  const done = Bun.spawnSync([GARTH, "--root", root, ...words], { env: environment(env), stdin: "ignore" });
  return { status: done.exitCode, stdout: done.stdout.toString(), stderr: done.stderr.toString() };
}

interface Line {
  readonly level: string;
  readonly event: string;
  readonly [fact: string]: unknown;
}

interface Running {
  readonly child: Bun.Subprocess;
  readonly url: string;
  /** The next line of this event; those that came already and were not asked for count. */
  next(event: string): Promise<Line>;
  readonly lines: readonly Line[];
}

async function start(root: string, ...words: readonly string[]): Promise<Running> {
  const listen = words.includes("--listen") ? [] : ["--listen", "127.0.0.1:0"];
  const child = Bun.spawn([GARTH, "--root", root, "daemon", ...listen, "--log", "json", ...words], {
    env: environment(),
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  children.push(child);
  const lines: Line[] = [];
  let seen = 0;
  let ended = false;
  let wake: (() => void) | undefined;
  void (async () => {
    let rest = "";
    for await (const chunk of child.stderr.pipeThrough(new TextDecoderStream())) {
      const parts = (rest + chunk).split("\n");
      rest = parts.pop() ?? "";
      lines.push(...parts.map((part): Line => (part.startsWith("{") ? JSON.parse(part) : { level: "text", event: part })));
      wake?.();
    }
    ended = true;
    wake?.();
  })();
  const next = async (event: string): Promise<Line> => {
    for (;;) {
      const index = lines.findIndex((line, at) => at >= seen && line.event === event);
      const found = lines[index];
      if (found !== undefined) {
        seen = index + 1;
        return found;
      }
      if (ended) throw new Error(`no ${event} in ${JSON.stringify(lines)}`);
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
  };
  const { url } = await next("listening");
  return { child, url: String(url), next, lines };
}

async function status(url: string, path: string, key?: string): Promise<number> {
  const response = await fetch(new URL(path, url), key === undefined ? {} : { headers: { "X-API-KEY": key } });
  await response.body?.cancel();
  return response.status;
}

test(
  "serves whoever has a key, and the owner by the socket; ends when it is told to",
  async () => {
    const root = makeRoot();
    const running = await start(root);
    expect(running.lines.map(({ event }) => event)).toEqual(["no-keys", "listening"]);
    expect(await status(running.url, "/health")).toBe(200);
    expect(await status(running.url, "/v2/sandboxes")).toBe(401);

    const added = garth(root, ["key", "add", "acme", "--scopes", "read", "--max", "2", "--json"]);
    const { key, id } = JSON.parse(added.stdout);
    expect(await status(running.url, "/v2/sandboxes", key)).toBe(200);
    const listed = garth(root, ["key", "ls"]).stdout;
    expect(listed).toContain(id);
    expect(listed).not.toContain(key);
    const asked = { GARTH_API_URL: running.url, GARTH_API_KEY: key };
    expect(garth(root, ["sandbox", "ls", "--json"], asked)).toMatchObject({ status: 0, stdout: "[]\n" });
    expect(garth(root, ["sandbox", "create", "base"], asked)).toMatchObject({
      status: 2,
      stderr: expect.stringContaining("E_NO_ACCESS"),
    });
    expect(garth(root, ["key", "rm", id]).status).toBe(0);
    expect(await status(running.url, "/v2/sandboxes", key)).toBe(401);
    expect(garth(root, ["key", "rm", id])).toMatchObject({ status: 2, stderr: expect.stringContaining("E_NO_KEY") });
    expect(garth(root, ["key", "add", "No Tenant"])).toMatchObject({ status: 2, stderr: expect.stringContaining("E_BAD_KEY") });

    // No key, and nobody but the owner of the socket.
    const link = join(root, "var/run/garth/garth.sock");
    const socket = readlinkSync(link);
    expect([lstatSync(socket).mode & 0o777, statSync(dirname(socket)).mode & 0o777]).toEqual([0o600, 0o700]);
    expect(garth(root, ["sandbox", "ls", "--json"])).toMatchObject({ status: 0, stdout: "[]\n" });
    expect(garth(root, ["sandbox", "create", "base"])).toMatchObject({
      status: 2,
      stderr: expect.stringContaining("E_NO_TEMPLATE"),
    });
    expect(garth(root, ["sandbox", "kill", "x".repeat(20)])).toMatchObject({
      status: 2,
      stderr: expect.stringContaining("E_NO_SANDBOX"),
    });
    expect(garth(root, ["sandbox", "exec", "../../key", "id"]).status).toBe(2);

    running.child.kill("SIGTERM");
    expect((await running.next("ending"))["signal"]).toBe("SIGTERM");
    expect(await running.child.exited).toBe(0);
    expect([existsSync(dirname(socket)), existsSync(link)]).toEqual([false, false]);
    const nobody = garth(root, ["sandbox", "ls"]);
    expect([nobody.status, nobody.stderr]).toEqual([3, expect.stringContaining("start it with `garth daemon`")]);
  },
  LIMIT_MS,
);

test(
  "one for each root: a second is refused and told by whom; a killed one is no obstacle",
  async () => {
    const root = makeRoot();
    const first = await start(root);
    const second = garth(root, ["daemon", "--listen", "127.0.0.1:0"]);
    expect([second.status, second.stderr]).toEqual([1, expect.stringContaining(`E_DAEMON_RUNS: process ${first.child.pid} is`)]);
    expect(garth(root, ["sandbox", "ls"]).status).toBe(0);
    first.child.kill("SIGKILL");
    await first.child.exited;
    const third = await start(root);
    expect(garth(root, ["sandbox", "ls"]).status).toBe(0);
    third.child.kill("SIGINT");
    expect(await third.child.exited).toBe(0);
  },
  LIMIT_MS,
);

test(
  "reads settings and keys again when it is told to; what is wrong with them changes nothing",
  async () => {
    const root = makeRoot();
    const file = join(root, "etc/garth/garth.toml");
    const keys = join(root, "keys");
    mkdirSync(dirname(file), { recursive: true });
    const configure = (text: string): void => writeFileSync(file, text);
    const running = await start(root);
    running.child.kill("SIGHUP");
    expect((await running.next("reloaded"))["changed"]).toBe(false);

    configure(`[gateway]\nkeys_file = "${keys}"\n`);
    writeFileSync(keys, "# of the team\nacme:e2b_0123456789:read\n", { mode: 0o600 });
    running.child.kill("SIGHUP");
    expect((await running.next("reloaded"))["changed"]).toBe(true);
    expect(await status(running.url, "/v2/sandboxes", "e2b_0123456789")).toBe(200);

    for (const [text, words] of [
      ["[gateway]\nlisten = 1\n", "gateway.listen"],
      [`[gateway]\nkeys_file = "${keys}"\ntenant_limits = "acme"\n`, "is not the limit of a tenant"],
    ] as const) {
      configure(text);
      running.child.kill("SIGHUP");
      expect((await running.next("fault"))["error"]).toContain(words);
      expect(await status(running.url, "/v2/sandboxes", "e2b_0123456789")).toBe(200);
    }
    configure(`[gateway]\nkeys_file = "${keys}"\n`);
    chmodSync(keys, 0o644);
    running.child.kill("SIGHUP");
    expect((await running.next("fault"))["error"]).toContain("can be read by others");

    // The keys are gone, the daemon is not.
    configure("");
    running.child.kill("SIGHUP");
    expect((await running.next("reloaded"))["changed"]).toBe(true);
    expect(await status(running.url, "/v2/sandboxes", "e2b_0123456789")).toBe(401);
    running.child.kill("SIGTERM");
    expect(await running.child.exited).toBe(0);
  },
  LIMIT_MS,
);

test(
  "without keys it serves this machine, by names of this machine",
  async () => {
    const root = makeRoot();
    const running = await start(root, "--open", "-v");
    expect(await status(running.url, "/v2/sandboxes")).toBe(200);
    const { method, path, from } = await running.next("request");
    expect({ method, path, from }).toEqual({ method: "GET", path: "/v2/sandboxes", from: "127.0.0.1" });
    const stranger = await fetch(new URL("/v2/sandboxes", running.url), { headers: { Origin: "https://example.org" } });
    expect(stranger.status).toBe(403);
  },
  LIMIT_MS,
);

test(
  "what cannot be listened on is said, and nothing is left that would hinder the next start",
  async () => {
    const root = makeRoot();
    const taken = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: () => new Response() });
    for (const [words, exit, code] of [
      [["--listen", `127.0.0.1:${taken.port}`], 3, "E_LISTEN"],
      [["--listen", "203.0.113.1:0"], 3, "E_LISTEN"],
      [["--listen", "3000"], 2, "E_USAGE"],
      [["--listen", "0.0.0.0:0", "--open"], 2, "E_GATEWAY_OPEN"],
      [["--log", "xml"], 2, "E_USAGE"],
    ] as const) {
      const refused = garth(root, ["daemon", ...words]);
      expect([refused.status, refused.stderr]).toEqual([exit, expect.stringContaining(code)]);
      expect(existsSync(join(root, "var/run/garth/garth.sock"))).toBe(false);
    }
    await taken.stop();
    const running = await start(root);
    running.child.kill("SIGTERM");
    expect(await running.child.exited).toBe(0);
  },
  LIMIT_MS,
);
