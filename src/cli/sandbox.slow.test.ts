/** Sandboxes by the command line: a real gateway and a real data plane, before pools whose one guest is a real sshd on loopback. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { join } from "node:path";
import { openEnvd } from "../gateway/index.ts";
import { fakePools, type TestGateway, testGateway } from "../gateway/testing.ts";
import { openTestGuest, type TestGuest } from "../guest/testing.ts";

const GARTH = join(import.meta.dir, "../../garth");
const LIMIT_MS = 60_000;

let guest: TestGuest;
let gateway: TestGateway;
let id = "";

beforeAll(async () => {
  guest = await openTestGuest();
  gateway = await testGateway({ pools: fakePools({ guest: () => Promise.resolve(guest.guest) }), envd: () => openEnvd() });
});
afterAll(async () => {
  await gateway.close();
  await guest.close();
});

function environment(more: Readonly<Record<string, string>> = {}): Record<string, string> {
  return { PATH: process.env["PATH"] ?? "", GARTH_API_URL: gateway.url, GARTH_API_KEY: gateway.apiKey, ...more };
}

/** Not `spawnSync`: the gateway answers in this very process. */
async function garth(
  words: readonly string[],
  options: { readonly input?: string; readonly env?: Readonly<Record<string, string>> } = {},
) {
  const child = Bun.spawn([GARTH, ...words], {
    env: environment(options.env),
    stdin: options.input === undefined ? "ignore" : Buffer.from(options.input),
    stdout: "pipe",
    stderr: "pipe",
  });
  const [stdout, stderr, status] = await Promise.all([
    new Response(child.stdout).bytes(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  return { status, bytes: stdout, stdout: Buffer.from(stdout).toString(), stderr };
}

const exec = (...words: readonly string[]) => garth(["sandbox", "exec", id, "--", ...words]);

test(
  "created, listed, looked into",
  async () => {
    const made = await garth([
      "sandbox",
      "create",
      "standard",
      "--json",
      "--metadata=user=ann,job=7",
      "--env=GREETING=hello",
      "--timeout=10m",
      "--auto-resume",
    ]);
    expect(made.stderr).toBe("");
    id = JSON.parse(made.stdout).sandboxID;
    expect(id).toMatch(/^[a-z0-9]{20}$/);
    const listed = (await garth(["sandbox", "ls"])).stdout;
    expect(listed).toContain(id);
    expect(listed).toContain("user=ann,job=7");
    expect((await garth(["sandbox", "logs", id])).stdout).toBe("base-1 login: \n");
    const detail = await (await gateway.call("GET", `/sandboxes/${id}`)).json();
    expect(detail).toMatchObject({ lifecycle: { onTimeout: "pause", autoResume: true } });
  },
  LIMIT_MS,
);

test(
  "a command's output, status and words come through as they are",
  async () => {
    const done = await exec("/bin/sh", "-c", 'printf "out %s" "$GREETING"; echo err >&2; exit 7');
    expect(done).toMatchObject({ status: 7, stdout: "out hello", stderr: "err\n" });
    const words = ["a b", "'", '"', "$HOME", "`id`", "\\", "a\nb", "", "*", "-n", "ü"];
    expect((await exec("printf", "<%s>", ...words)).stdout).toBe(words.map((word) => `<${word}>`).join(""));
    const binary = await exec("/bin/sh", "-c", "head -c 300000 /dev/zero; printf '\\377\\376'");
    expect([binary.bytes.byteLength, binary.bytes.at(-1)]).toEqual([300_002, 0xfe]);
    const json = await garth(["sandbox", "exec", id, "--json", "--", "/bin/sh", "-c", "echo one; exit 3"]);
    expect([json.status, JSON.parse(json.stdout)]).toEqual([
      3,
      { sandbox: id, code: 3, status: "exit status 3", stdout: "one\n", stderr: "" },
    ]);
    const elsewhere = [
      "sandbox",
      "exec",
      id,
      "--cwd",
      "/usr",
      "--user",
      "user",
      "--env",
      "X=1",
      "--",
      "/bin/sh",
      "-c",
      "pwd; id -u; echo $X",
    ];
    expect((await garth(elsewhere)).stdout).toBe("/usr\n1000\n1\n");
    expect(await exec("no-such-program")).toMatchObject({ status: 127, stdout: "" });
  },
  LIMIT_MS,
);

test(
  "input comes through, and its end",
  async () => {
    const text = "line\n".repeat(50_000);
    const counted = await garth(["sandbox", "exec", id, "--", "wc", "-c"], { input: text });
    expect([counted.status, counted.stdout.trim()]).toEqual([0, String(text.length)]);
    const piped = Bun.spawn(
      [GARTH, "sandbox", "exec", id, "--", "/bin/sh", "-c", "read one; echo got $one; read two || echo end"],
      {
        env: environment(),
        stdin: "pipe",
        stdout: "pipe",
      },
    );
    piped.stdin.write("first\n");
    piped.stdin.flush();
    let said = "";
    for await (const chunk of piped.stdout.pipeThrough(new TextDecoderStream())) {
      if (said === "") piped.stdin.end();
      said += chunk;
    }
    expect([await piped.exited, said]).toEqual([0, "got first\nend\n"]);
    // A command that ends without reading.
    expect((await garth(["sandbox", "exec", id, "--", "true"], { input: text })).status).toBe(0);
  },
  LIMIT_MS,
);

test(
  "what ends a command: its time, a signal, an interrupt of the caller",
  async () => {
    const late = await garth(["sandbox", "exec", id, "--timeout", "500ms", "--", "sleep", "1000"]);
    expect([late.status, late.stderr]).toEqual([1, expect.stringContaining("E_TIMEOUT")]);
    const killed = await exec("/bin/sh", "-c", "kill -KILL $$");
    expect([killed.status, killed.stderr]).toEqual([1, expect.stringContaining("signal: killed")]);

    const script = 'trap "echo told; exit 5" TERM; echo ready; while :; do sleep 0.05; done';
    const child = Bun.spawn([GARTH, "sandbox", "exec", id, "--", "/bin/sh", "-c", script], {
      env: environment(),
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
    });
    let said = "";
    for await (const chunk of child.stdout.pipeThrough(new TextDecoderStream())) {
      if (said === "") child.kill("SIGINT");
      said += chunk;
    }
    expect([await child.exited, said]).toEqual([5, "ready\ntold\n"]);
  },
  LIMIT_MS,
);

test(
  "what is refused is said in words, with a status that tells whose fault it is",
  async () => {
    const cases: readonly (readonly [readonly string[], Readonly<Record<string, string>>, number, string])[] = [
      [["sandbox", "exec", "x".repeat(20), "--", "id"], {}, 2, "E_NO_SANDBOX"],
      [["sandbox", "logs", "nothing"], {}, 2, "E_NO_SANDBOX"],
      [["sandbox", "create", "nothing"], {}, 2, "E_NO_TEMPLATE"],
      [["sandbox", "create", "base", "--metadata", "user"], {}, 2, "E_USAGE"],
      [["sandbox", "create", "base", "--allow-out", "example.org"], {}, 2, "E_BAD_REQUEST"],
      [["sandbox", "exec", id, "--cwd", "/no/such/place", "--", "id"], {}, 1, "E_BAD_REQUEST"],
      [["sandbox", "ls"], { GARTH_API_KEY: "e2b_wrong" }, 2, "E_NO_ACCESS"],
      [["sandbox", "exec", id, "--", "id"], { GARTH_API_KEY: gateway.key("other", ["admin"]) }, 2, "E_NO_SANDBOX"],
      [["sandbox", "kill", id], { GARTH_API_KEY: gateway.key("acme", ["read"]) }, 2, "E_NO_ACCESS"],
      [["sandbox", "ls"], { GARTH_API_URL: "http://127.0.0.1:1" }, 3, "E_NO_DAEMON"],
      [["sandbox", "ls"], { GARTH_API_URL: "nowhere" }, 2, "E_BAD_URL"],
    ];
    for (const [words, env, status, code] of cases) {
      const refused = await garth(words, { env });
      expect([words, refused.status, refused.stderr]).toEqual([words, status, expect.stringContaining(code)]);
    }
  },
  LIMIT_MS,
);

test(
  "killed in the middle of a command: the caller hears of it",
  async () => {
    const child = Bun.spawn([GARTH, "sandbox", "exec", id, "--", "/bin/sh", "-c", "echo ready; exec sleep 1000"], {
      env: environment(),
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
    });
    for await (const chunk of child.stdout) {
      expect(Buffer.from(chunk).toString()).toBe("ready\n");
      break;
    }
    expect(await garth(["sandbox", "kill", id])).toMatchObject({ status: 0, stdout: `${id}: killed\n` });
    expect([await child.exited, await new Response(child.stderr).text()]).toEqual([1, expect.stringContaining("E_SANDBOX_GONE")]);
    expect((await garth(["sandbox", "kill", id])).status).toBe(2);
    expect(gateway.faults).toEqual([]);
  },
  LIMIT_MS,
);
