/** Scripts of ours on their way: whole or not at all, their ends, their leash, their data; and hosts that are not to be had. */
import { createHash, randomBytes } from "node:crypto";
import { writeFileSync } from "node:fs";
import { spawn } from "node:child_process";
import { join } from "node:path";
import { SCRIPT_HEAD, scriptLoader, shellQuote, wholeScript } from "../../src/host/index.ts";
import type { Case, Suite, Trial } from "../case.ts";
import { runHere } from "../hand.ts";
import { connectionFor, HOST_NAME, knownHostsAs } from "../ours.ts";

const CONNECTION = "transport: a script's status comes through";
const HOSTILE = [
  "a b",
  "it's",
  "$HOME",
  "`id`",
  '"',
  "\\",
  "\\n",
  "*",
  "-x",
  "",
  "new\nline",
  "\ttab",
  "ä€",
  "!",
  "#x",
  "~",
  "%s",
  "a;b&c|d",
];

/** What a script printed, and its end. */
export async function printed(
  trial: Trial,
  suite: Suite,
  body: string,
  input?: AsyncIterable<Uint8Array>,
): Promise<{ readonly text: string; readonly bytes: Buffer; readonly status: number; readonly events: readonly string[] }> {
  const chunks: Buffer[] = [];
  const connection = connectionFor(trial, suite);
  const end = await connection.start(
    { doing: trial.signal.aborted ? "nothing" : "trying", body },
    {
      signal: trial.signal,
      onOutput: (chunk) => void chunks.push(Buffer.from(chunk)),
      ...(input === undefined ? {} : { input }),
    },
  ).ended;
  const bytes = Buffer.concat(chunks);
  return {
    text: bytes.toString(),
    bytes,
    status: end.status,
    events: end.events.map(({ name, rest }) => `${name} ${rest}`.trim()),
  };
}

async function* chunksOf(data: Uint8Array): AsyncIterable<Uint8Array> {
  for (let at = 0; at < data.byteLength; at += 65_536) yield data.subarray(at, at + 65_536);
}

/** By hand, until the file on the host has the text, or the time is over; what it has then. */
export async function awaitFile(trial: Trial, file: string, text: string, seconds = 90): Promise<string> {
  const said = await trial.sh(
    `n=0; while [ $n -lt ${seconds} ]; do [ -f ${shellQuote(file)} ] && grep -q ${shellQuote(text)} ${shellQuote(file)} && break; sleep 1; n=$((n + 1)); done; cat ${shellQuote(file)}`,
    { limitMs: (seconds + 60) * 1000 },
  );
  return said.stdout.trim();
}

/** A script whose leash is its input, and that leaves a word when it was let go. */
function leashed(mark: string): string {
  return `${SCRIPT_HEAD}
mark=${shellQuote(mark)}
trap 'echo undone >"$mark"; exit 0' EXIT
# Nobody may be there to hear of it any more.
trap '' PIPE
trap 'exit 129' HUP
trap 'exit 143' TERM
event here $$
while IFS= read -r line; do event line "$line"; done
event end
`;
}

export const transportCases: readonly Case[] = [
  {
    name: "transport: the loader by hand, a script of 200 KB",
    run: async (trial, suite) => {
      const filler = Array.from({ length: 2_600 }, (_, index) => `: 'line ${index} ${"x".repeat(60)} it is "so" $HOME'`).join(
        "\n",
      );
      const script = wholeScript(`${filler}\necho done; exit 7`);
      const said = await runHere(suite.hand.argv(scriptLoader(Buffer.byteLength(script)), { shared: true }), {
        stdin: script,
        signal: trial.signal,
      });
      trial.record("the loader", `${scriptLoader(Buffer.byteLength(script))}\n${said.stdout}\n${said.stderr}`);
      trial.ok("it is over 200 KB", Buffer.byteLength(script) > 200_000);
      trial.equal("what it prints", said.stdout, "done\n");
      trial.equal("its status", said.status, 7);
    },
  },
  {
    name: "transport: the loader by hand, a script that lost its end runs nothing",
    run: async (trial, suite) => {
      const mark = `${suite.root}/truncated`;
      const script = wholeScript(`echo no >${shellQuote(mark)}\n: ${"x".repeat(4_000)}\necho done`);
      for (const part of [0.1, 0.5, 0.99]) {
        const sent = script.slice(0, Math.floor(script.length * part));
        const said = await runHere(suite.hand.argv(scriptLoader(Buffer.byteLength(script)), { shared: true }), {
          stdin: sent,
          signal: trial.signal,
        });
        trial.record(`${part * 100} % of it`, `${said.stdout}\n${said.stderr}`);
        trial.ok(`${part * 100} % of it is a failure`, said.status !== 0, said.status);
        trial.equal("what it prints", said.stdout, "");
      }
      trial.equal("what it did", (await trial.sh(`ls ${shellQuote(mark)} 2>/dev/null; :`)).stdout, "");
    },
  },
  {
    name: CONNECTION,
    run: async (trial, suite) => {
      for (const status of [0, 1, 7, 128, 254]) {
        const { status: found } = await printed(trial, suite, `exit ${status}`);
        trial.equal(`the status of exit ${status}`, found, status);
      }
      const connection = connectionFor(trial, suite);
      const problem = await trial.refused(
        "a script that fails",
        "E_SCRIPT_FAILED",
        connection.run({ doing: "failing", body: "echo its last words >&2; exit 3" }),
      );
      trial.ok("the tool's words are told", problem?.details.some((line) => line.includes("its last words")) === true, problem);
    },
  },
  {
    name: "transport: a signal comes through",
    needs: [CONNECTION],
    run: async (trial, suite) => {
      const { status } = await printed(trial, suite, `s=0; sh -c 'kill -TERM $$' || s=$?; exit $s`);
      trial.equal("the status of a command that TERM ended", status, 143);
      const segv = await printed(trial, suite, `s=0; (ulimit -c 0; exec sh -c 'kill -SEGV $$') || s=$?; exit $s`);
      trial.equal("the status of a command that SEGV ended", segv.status, 139);
      const connection = connectionFor(trial, suite);
      await trial.refused(
        "a script that is killed itself",
        "E_HOST_LOST",
        connection.run({ doing: "dying", body: "kill -KILL $$" }),
      );
    },
  },
  {
    name: "transport: a script of 200 KB over our connection",
    needs: [CONNECTION],
    run: async (trial, suite) => {
      const filler = Array.from({ length: 2_600 }, (_, index) => `: 'line ${index} ${"x".repeat(60)}'`).join("\n");
      const { text, status } = await printed(trial, suite, `${filler}\necho end`);
      trial.equal("what it prints", text, "end\n");
      trial.equal("its status", status, 0);
    },
  },
  {
    name: "transport: words with blanks, quotes, newlines and dollars in every place",
    needs: [CONNECTION],
    run: async (trial, suite) => {
      const { text } = await printed(
        trial,
        suite,
        `for word in ${HOSTILE.map(shellQuote).join(" ")}; do printf '<%s>' "$word"; done; v=${shellQuote(HOSTILE.join("|"))}; printf '%s' "$v"`,
      );
      trial.equal("what comes back", text, `${HOSTILE.map((word) => `<${word}>`).join("")}${HOSTILE.join("|")}`);
    },
  },
  {
    name: "transport: events in their order, with their fields",
    needs: [CONNECTION],
    run: async (trial, suite) => {
      const { events, text } = await printed(
        trial,
        suite,
        `${SCRIPT_HEAD}event one; event two a b; echo words >&2; event three 'a  b' "it's"; echo out`,
      );
      trial.equal("the events", events, ["one", "two a b", "three a  b it's"]);
      trial.equal("the output", text, "out\n");
    },
  },
  {
    name: "transport: a megabyte of input, sent when the script is ready",
    needs: [CONNECTION],
    run: async (trial, suite) => {
      const data = randomBytes(1_048_579);
      const sum = suite.host.system === "freebsd" ? "sha256 -q" : "sha256sum | cut -c1-64";
      const { text } = await printed(trial, suite, `${SCRIPT_HEAD}event ready\n${sum}`, chunksOf(data));
      trial.equal("the digest there", text.trim(), createHash("sha256").update(data).digest("hex"));
    },
  },
  {
    name: "transport: a megabyte of output, byte by byte",
    needs: [CONNECTION],
    run: async (trial, suite) => {
      const { bytes } = await printed(
        trial,
        suite,
        `${SCRIPT_HEAD}awk 'BEGIN { for (i = 0; i < 4096; i++) for (j = 0; j < 256; j++) printf "%c", j }'`,
      );
      trial.equal("its size", bytes.byteLength, 1_048_576);
      trial.ok(
        "each byte is there",
        Buffer.from(Uint8Array.from({ length: 256 }, (_, index) => index)).equals(bytes.subarray(256, 512)),
      );
    },
  },
  {
    name: "transport: two scripts at one time over one connection",
    needs: [CONNECTION],
    run: async (trial, suite) => {
      const connection = connectionFor(trial, suite);
      const file = `${suite.root}/rendezvous`;
      // Each waits for the other.
      const body = (mine: string, other: string): string =>
        `: >${shellQuote(`${file}-${mine}`)}; n=0; while [ ! -e ${shellQuote(`${file}-${other}`)} ] && [ $n -lt 120 ]; do sleep 1; n=$((n + 1)); done; [ -e ${shellQuote(`${file}-${other}`)} ]`;
      const both = await Promise.all([
        connection.run({ doing: "the one", body: body("a", "b") }),
        connection.run({ doing: "the other", body: body("b", "a") }),
      ]);
      trial.equal(
        "their statuses",
        both.map(({ status }) => status),
        [0, 0],
      );
    },
  },
  {
    name: "transport: the leash: let go, a script undoes what it did",
    needs: [CONNECTION],
    run: async (trial, suite) => {
      const mark = `${suite.root}/leash-let-go`;
      const connection = connectionFor(trial, suite);
      const here = Promise.withResolvers<void>();
      const running = connection.start(
        { doing: "waiting", body: leashed(mark) },
        { onEvent: ({ name }) => name === "here" && here.resolve() },
      );
      await Promise.race([here.promise, running.ended]);
      running.send("a line");
      running.letGo();
      const end = await running.ended;
      trial.equal(
        "its events",
        end.events.map(({ name }) => name),
        ["here", "line", "end"],
      );
      trial.equal("what it left", await awaitFile(trial, mark, "undone", 30), "undone");
    },
  },
  {
    name: "transport: the leash: cancelled, a script undoes what it did",
    needs: [CONNECTION],
    run: async (trial, suite) => {
      const mark = `${suite.root}/leash-cancelled`;
      const connection = connectionFor(trial, suite);
      const here = Promise.withResolvers<void>();
      const cancel = new AbortController();
      const running = connection.start(
        { doing: "waiting", body: leashed(mark) },
        { signal: cancel.signal, onEvent: ({ name }) => name === "here" && here.resolve() },
      );
      await Promise.race([here.promise, running.ended]);
      cancel.abort();
      await running.ended.catch(() => undefined);
      trial.equal("what it left", await awaitFile(trial, mark, "undone", 60), "undone");
    },
  },
  {
    name: "transport: the leash: ssh is killed with -9, and the script undoes what it did",
    limitMs: 10 * 60_000,
    run: async (trial, suite) => {
      const mark = `${suite.root}/leash-killed`;
      const script = wholeScript(leashed(mark));
      // A connection of its own: what dies is all of it.
      const [program, ...words] = suite.hand.argv(scriptLoader(Buffer.byteLength(script)));
      const child = spawn(program, words, { stdio: ["pipe", "ignore", "pipe"], detached: true });
      trial.undo("the ssh of this case", () => Promise.resolve(child.kill("SIGKILL")));
      let said = "";
      const here = Promise.withResolvers<void>();
      child.stderr.on("data", (chunk: Buffer) => {
        said += chunk.toString();
        if (said.includes("garth: here")) here.resolve();
      });
      child.on("exit", () => here.resolve());
      child.stdin.write(script);
      await here.promise;
      trial.record("what ssh said", said);
      trial.must("the script runs", said.includes("garth: here"), said);
      child.kill("SIGKILL");
      trial.equal("what it left", await awaitFile(trial, mark, "undone"), "undone");
    },
  },
  {
    name: "transport: a host with another key is refused before anything is said",
    run: async (trial, suite) => {
      const file = join(suite.here, "files", "wrong-key");
      await runHere(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", file]);
      const wrong = (await runHere(["cat", `${file}.pub`])).stdout.split(" ").slice(0, 2).join(" ");
      // Of each type that the host has, so that it finds no other.
      const types = new Set(
        (await runHere(["cat", suite.knownHosts])).stdout.split("\n").flatMap((line) => line.split(" ")[1] ?? []),
      );
      const known = join(suite.here, "files", "known_hosts_wrong");
      writeFileSync(known, [...types].map(() => `${HOST_NAME} ${wrong}\n`).join(""));
      const connection = connectionFor(trial, suite, { knownHostsFile: known });
      await trial.refused(
        "a connection",
        ["E_HOST_KEY", "E_HOST_KEY_UNKNOWN"],
        connection.run({ doing: "trying", body: "echo no" }),
      );
    },
  },
  {
    name: "transport: a host whose key nobody knows is refused",
    run: async (trial, suite) => {
      const known = join(suite.here, "files", "known_hosts_empty");
      writeFileSync(known, "");
      const connection = connectionFor(trial, suite, { knownHostsFile: known });
      await trial.refused("a connection", "E_HOST_KEY_UNKNOWN", connection.run({ doing: "trying", body: "echo no" }));
    },
  },
  {
    name: "transport: a port where nobody listens is a host that cannot be reached",
    run: async (trial, suite) => {
      const connection = connectionFor(trial, suite, {
        url: "ssh://root@127.0.0.1:1",
        knownHostsFile: knownHostsAs(suite, HOST_NAME, "known_hosts_port"),
      });
      await trial.refused("a connection", "E_HOST_UNREACHABLE", connection.run({ doing: "trying", body: "echo no" }));
    },
  },
  {
    name: "transport: a user who may not come in is denied",
    run: async (trial, suite) => {
      const url = suite.url.replace(/^ssh:\/\/([^@/]*@)?/, "ssh://garth-suite-nobody@");
      const connection = connectionFor(trial, suite, { url });
      await trial.refused(
        "a connection",
        ["E_HOST_DENIED", "E_HOST_UNREACHABLE"],
        connection.run({ doing: "trying", body: "echo no" }),
      );
    },
  },
];
