/** Garth as the program that people type: builds on the host, receipts, hosts that go away, packages and repositories. */
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { connect, createServer, type Socket } from "node:net";
import { join } from "node:path";
import { shellQuote } from "../../src/host/index.ts";
import type { Case, Suite, Trial } from "../case.ts";
import { runHere } from "../hand.ts";
import { HOST_NAME } from "../ours.ts";
import { leftThere } from "./inside.ts";
import { BUILDS } from "./isolation.ts";

export const BUILT = "garth build --on: a program with a library, its references, its receipt, its log";

const PROJECT = `
import { alternatives, autotools, debianSource, fetchurl, hostView, script } from "garth";
const common = { version: "1", buildRoot: hostView() };
export const library = script({ name: "library", ...common, script: 'mkdir -p "$out/share"; echo "it is \\\\"here\\\\"" >"$out/share/words"' });
export const program = script({
  name: "program", ...common, inputs: [library],
  script: 'mkdir -p "$out/bin"; printf "#!/bin/sh\\\\ncat %s/share/words\\\\n" "$library" >"$out/bin/program"; chmod 755 "$out/bin/program"; uname -s >"$out/made-on"; id -u >"$out/user"; echo "@garth phase install"; echo words of the builder',
});
export const lonely = script({ name: "lonely", ...common, script: 'mkdir -p "$out/bin"; printf "#!/bin/sh\\\\necho hello\\\\n" >"$out/bin/lonely"; chmod 755 "$out/bin/lonely"' });
export const broken = script({ name: "broken", ...common, script: "echo going wrong; exit 7" });
export const endless = script({ name: "endless", ...common, script: "echo waiting for the end; exec sleep 1000" });
export const slow = script({ name: "slow", ...common, script: 'echo the slow one has begun; sleep 8; echo done >"$out"/f' });
const hello = { name: "hello", check: true, keepSource: true, buildRoot: hostView() };
export const greeting = alternatives(
  autotools({ ...hello, version: "2.12.3", source: fetchurl({
    urls: ["https://ftpmirror.gnu.org/gnu/hello/hello-2.12.3.tar.gz", "https://ftp.gnu.org/gnu/hello/hello-2.12.3.tar.gz"],
    sha256: "0d5f60154382fee10b114a1c34e785d8b1f492073ae2d3a6f7b147687b366aa0" }) }),
  autotools({ ...hello, version: "2.10", source: debianSource({
    package: "hello", version: "2.10", file: "hello_2.10.orig.tar.gz",
    sha256: "31e066137a962676e89f69d1b65382de95a7ef7d914b8cb956f41ea72e0f516b" }) }),
);
`;

export function project(suite: Suite): string {
  const directory = join(suite.here, "project");
  if (!existsSync(directory)) {
    mkdirSync(directory);
    writeFileSync(join(directory, "garth.ts"), PROJECT);
  }
  return directory;
}

function receipt(file: string): ReadonlyMap<string, string> {
  const lines = readFileSync(file, "utf8").split("\n");
  return new Map(
    lines.flatMap((line): [string, string][] =>
      line.includes("=") ? [[line.slice(0, line.indexOf("=")), line.slice(line.indexOf("=") + 1)]] : [],
    ),
  );
}

/** \`garth\` as a child that can be killed; settles when it has said the text, or is over. */
async function begun(trial: Trial, suite: Suite, words: readonly string[], text: string) {
  const { program } = await suite.ours();
  const [first = "", ...rest] = program;
  const child = spawn(first, [...rest, ...words], { cwd: project(suite), detached: true, stdio: ["ignore", "pipe", "pipe"] });
  let said = "";
  const heard = Promise.withResolvers<void>();
  const ended = new Promise<number | null>((resolve) => void child.on("close", (status) => resolve(status)));
  for (const stream of [child.stdout, child.stderr]) {
    stream.on("data", (chunk: Buffer) => {
      said += chunk.toString();
      if (said.includes(text)) heard.resolve();
    });
  }
  trial.undo(`garth ${words.join(" ")}`, async () => {
    trial.record(`garth ${words.join(" ")}`, said);
    child.kill("SIGKILL");
    await ended;
  });
  await Promise.race([heard.promise, ended]);
  trial.must(`garth ${words.join(" ")} says ${JSON.stringify(text)}`, said.includes(text), said);
  return { child, ended, said: () => said };
}

/** A way to the host that can be cut: a port here that leads there. */
async function cutable(suite: Suite): Promise<{ readonly url: string; cut(): void } | undefined> {
  const [, user = "", host = "", port = "22"] = /^ssh:\/\/(?:([^@]+)@)?(\[[^\]]+\]|[^:]+)(?::(\d+))?$/.exec(suite.url) ?? [];
  const target = { host: host.replaceAll(/[[\]]/g, ""), port: Number(port) };
  const sockets = new Set<Socket>();
  const reached = await new Promise<boolean>((resolve) => {
    const probe = connect(target, () => {
      probe.destroy();
      resolve(true);
    });
    probe.on("error", () => resolve(false));
  });
  // Only ssh's own configuration knows the way there.
  if (!reached) return undefined;
  const server = createServer((from) => {
    const to = connect(target);
    for (const [one, other] of [
      [from, to],
      [to, from],
    ] as const) {
      sockets.add(one);
      one.on("error", () => other.destroy());
      one.on("close", () => other.destroy());
      one.pipe(other);
    }
  });
  await new Promise<void>((resolve) => void server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  return {
    url: `ssh://${user === "" ? "root" : user}@127.0.0.1:${address.port}`,
    cut: () => {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}

export const programCases: readonly Case[] = [
  {
    name: "garth host: ls and check say what it is",
    needs: [BUILDS],
    run: async (trial, suite) => {
      const ours = await suite.ours();
      const listed = await ours.garth(trial, ["host", "ls", "--json"]);
      trial.equal("the status of ls", listed.status, 0);
      trial.ok("it is listed", listed.stdout.includes(`"${HOST_NAME}"`), listed.stdout);
      const checked = await ours.garth(trial, ["host", "check", HOST_NAME]);
      trial.equal("the status of check", checked.status, 0);
      trial.matches("what check says", checked.stdout, /system/);
      const unknown = await ours.garth(trial, ["host", "check", "nobody"]);
      trial.equal("the status of check of nobody", unknown.status, 2);
    },
  },
  {
    name: BUILT,
    needs: [BUILDS],
    limitMs: 15 * 60_000,
    run: async (trial, suite) => {
      const ours = await suite.ours();
      const cwd = project(suite);
      const built = await ours.garth(trial, ["build", "#program", "--on", HOST_NAME, "--receipt", "r.txt"], { cwd });
      trial.must("it is built", built.status === 0, built.stderr);
      const [out = ""] = built.stdout.split("\n");
      trial.matches("what it prints", built.stdout, /^\/frx\/store\/[0-9a-f]{64}-program-1\nPASS program\n$/);
      const fields = receipt(join(cwd, "r.txt"));
      trial.record("the receipt", [...fields].map(([key, value]) => `${key}=${value}`).join("\n"));
      for (const key of [
        "drv_path",
        "out_path",
        "out_nar_sha256",
        "build_uid",
        "build_gid",
        "jail_hostname",
        "build_mode",
        "build_root",
        "network",
        "references",
        "build_host",
        "build_host_release",
        "limits",
      ])
        trial.ok(`the receipt has ${key}`, fields.has(key));
      trial.equal("build_mode", fields.get("build_mode"), suite.host.system === "freebsd" ? "freebsd-jail" : "linux-bubblewrap");
      trial.equal("its numbers", [fields.get("build_uid"), fields.get("build_gid")], ["35001", "35001"]);
      trial.equal("out_path", fields.get("out_path"), out);
      trial.equal("network", fields.get("network"), "none");
      trial.equal("build_host", fields.get("build_host"), HOST_NAME);
      trial.matches("jail_hostname", fields.get("jail_hostname") ?? "", /^garth-program-[0-9a-f]{8}$/);
      const references = await ours.garth(trial, ["store", "refs", out], { cwd });
      trial.matches("its references", references.stdout, /-library-1/);
      const physical = `${ours.garthRoot}${out}`;
      trial.equal(
        "where it was made",
        readFileSync(`${physical}/made-on`, "utf8"),
        suite.host.system === "freebsd" ? "FreeBSD\n" : "Linux\n",
      );
      trial.equal("who made it", readFileSync(`${physical}/user`, "utf8"), "35001\n");
      const log = await ours.garth(trial, ["log", "#program", "--on", HOST_NAME], { cwd });
      trial.ok("its log has the builder's words", log.stdout.includes("words of the builder"), log.stdout);
      trial.equal("what is left there", await leftThere(trial, suite), []);
    },
  },
  {
    name: "garth build --on: again there is nothing to do, and a check builds the same",
    needs: [BUILT],
    limitMs: 15 * 60_000,
    run: async (trial, suite) => {
      const ours = await suite.ours();
      const cwd = project(suite);
      const again = await ours.garth(trial, ["build", "#program", "--on", HOST_NAME], { cwd });
      trial.equal("its status", again.status, 0);
      trial.ok("nothing is built", !again.stderr.includes("build "), again.stderr);
      const checked = await ours.garth(trial, ["build", "#program", "--on", HOST_NAME, "--check"], { cwd });
      trial.equal("the status of --check", checked.status, 0);
    },
  },
  {
    name: "garth build --on: a failure has its status, its words, and 1",
    needs: [BUILT],
    run: async (trial, suite) => {
      const ours = await suite.ours();
      const failed = await ours.garth(trial, ["build", "#broken", "--on", HOST_NAME], { cwd: project(suite) });
      trial.equal("its status", failed.status, 1);
      trial.matches("what it says", failed.stderr, /E_BUILD_FAILED[\s\S]*status 7[\s\S]*going wrong/);
      trial.equal("what is left there", await leftThere(trial, suite), []);
    },
  },
  {
    name: "garth build --system: a host of it is taken; one of another system is refused",
    needs: [BUILT],
    run: async (trial, suite) => {
      const ours = await suite.ours();
      const cwd = project(suite);
      if (suite.host.system === "freebsd") {
        const taken = await ours.garth(trial, ["build", "#lonely", "--system", suite.host.name], { cwd });
        trial.equal("the status with its system", taken.status, 0);
      }
      const other = suite.host.name === "aarch64-freebsd" ? "x86_64-freebsd" : "aarch64-freebsd";
      const refused = await ours.garth(trial, ["build", "#lonely", "--system", other], { cwd });
      trial.equal("the status with another", refused.status, 3);
      trial.matches("what it says", refused.stderr, /E_NO_SITE/);
      const both = await ours.garth(trial, ["build", "#lonely", "--on", HOST_NAME, "--system", other], { cwd });
      trial.equal("the status with both", both.status, 2);
    },
  },
  {
    name: "garth build --on --dry-run: shows the files, and does nothing",
    needs: [BUILT],
    run: async (trial, suite) => {
      const ours = await suite.ours();
      const shown = await ours.garth(trial, ["build", "#broken", "--on", HOST_NAME, "--dry-run"], { cwd: project(suite) });
      trial.equal("its status", shown.status, 0);
      trial.ok("it has run.sh", shown.stdout.includes("run.sh"), shown.stdout.slice(0, 2_000));
      // Files are shown four blanks in, which the ends of here-documents do not bear.
      const text = (/--- run\.sh\n([\s\S]*?)(?=\n *--- |$)/.exec(shown.stdout)?.[1] ?? "").replaceAll(/^ {4}/gm, "");
      const read = await trial.sh("cat >run.sh; sh -n run.sh", { stdin: `${text}\n` });
      trial.equal("sh -n of it on the host", [read.status, read.stderr], [0, ""]);
    },
  },
  {
    name: "garth build: killed with -9 in mid-build, and all is undone there",
    needs: [BUILT],
    limitMs: 10 * 60_000,
    run: async (trial, suite) => {
      const { child, ended } = await begun(
        trial,
        suite,
        ["build", "#endless", "--on", HOST_NAME, "--verbose"],
        "waiting for the end",
      );
      child.kill("SIGKILL");
      await ended;
      trial.equal("what is left there", await leftThere(trial, suite, 180), []);
      const here = await runHere([
        "sh",
        "-c",
        `n=0; while ps -axww -o command= | grep -F ${shellQuote(`${(await suite.ours()).garthRoot}/`)} | grep '^ssh' && [ $n -lt 60 ]; do sleep 1; n=$((n + 1)); done >/dev/null; ps -axww -o command= | grep -F ${shellQuote(`${(await suite.ours()).garthRoot}/`)} | grep '^ssh'`,
      ]);
      trial.equal("ssh that it left here", here.stdout, "");
    },
  },
  {
    name: "garth build: interrupted, it ends with 130, and all is undone there",
    needs: [BUILT],
    limitMs: 10 * 60_000,
    run: async (trial, suite) => {
      const { child, ended } = await begun(
        trial,
        suite,
        ["build", "#endless", "--on", HOST_NAME, "--verbose"],
        "waiting for the end",
      );
      child.kill("SIGINT");
      trial.equal("its status", await ended, 130);
      trial.equal("what is left there", await leftThere(trial, suite, 30), []);
    },
  },
  {
    name: "garth build: a host that goes away in mid-build costs a try elsewhere, and no more",
    only: "freebsd",
    needs: [BUILT],
    limitMs: 15 * 60_000,
    run: async (trial, suite) => {
      const way = await cutable(suite);
      if (way === undefined) return trial.skip("the host's address cannot be reached without ssh's own configuration");
      trial.undo("the way that can be cut", () => Promise.resolve(way.cut()));
      const ours = await suite.ours();
      const cwd = project(suite);
      const identity = suite.identityFile === undefined ? [] : ["--identity", suite.identityFile];
      // More places: it is taken first.
      const added = await ours.garth(trial, [
        "host",
        "add",
        "fragile",
        way.url,
        "--directory",
        `${suite.root}/fragile`,
        "--host-key",
        suite.hostKey,
        "--jobs",
        "9",
        ...identity,
      ]);
      trial.must("it is added", added.status === 0, added.stderr);
      trial.undo("the host that went away", () => ours.garth(trial, ["host", "rm", "fragile"]));
      const where = ["--system", suite.host.name];
      const { ended, said } = await begun(
        trial,
        suite,
        ["build", "#slow", ...where, "--verbose", "--receipt", "slow.txt"],
        "the slow one has begun",
      );
      trial.ok("it began at the host that goes away", said().includes("on fragile"), said());
      way.cut();
      const status = await ended;
      trial.equal("its status", status, 0);
      trial.equal("where it was built", receipt(join(cwd, "slow.txt")).get("build_host"), HOST_NAME);
      const left = await trial.sh(
        `n=0; while [ -n "$(ls -A '${suite.root}/fragile/tmp')" ] && [ $n -lt 120 ]; do sleep 1; n=$((n + 1)); done; ls -A '${suite.root}/fragile/tmp' '${suite.root}/fragile/users' | awk 'NF && !/:$/'`,
        { limitMs: 240_000 },
      );
      trial.equal("what is left of it there", left.stdout, "");
      trial.equal("what is left there", await leftThere(trial, suite), []);
    },
  },
  {
    name: "garth build: hello, from its source, with its own tests",
    needs: [BUILT],
    tools: ["cc", "make"],
    limitMs: 60 * 60_000,
    run: async (trial, suite) => {
      const ours = await suite.ours();
      const cwd = project(suite);
      const built = await ours.garth(trial, ["build", "#greeting", "--on", HOST_NAME, "--receipt", "hello.txt"], {
        cwd,
        limitMs: 55 * 60_000,
      });
      if (built.status !== 0 && /E_FETCH|E_DOWNLOAD|cannot be (had|fetched)|E_NO_SOURCE|E_TOOL_MISSING/.test(built.stderr))
        trial.skip(`the source cannot be fetched here: ${built.stderr.trim().split("\n")[0]}`);
      trial.must("it is built", built.status === 0, built.stderr.slice(-8_000));
      const fields = receipt(join(cwd, "hello.txt"));
      trial.equal("its tests", fields.get("tests"), "passed");
      trial.ok("the source is named", (fields.get("source_store_path") ?? "").includes("hello"), fields.get("source_store_path"));
      const program = `${ours.garthRoot}${fields.get("out_path")}/bin/hello`;
      const copy = suite.hand.argv(
        `cat >${shellQuote(`${suite.root}/hello`)}; chmod 755 ${shellQuote(`${suite.root}/hello`)}; ${shellQuote(`${suite.root}/hello`)}`,
        { shared: true },
      );
      const greeted = await runHere(["sh", "-c", `${copy.map(shellQuote).join(" ")} <${shellQuote(program)}`], {
        signal: trial.signal,
      });
      trial.equal("what it says there", [greeted.stdout, greeted.status], ["Hello, world!\n", 0]);
      trial.equal("what is left there", await leftThere(trial, suite), []);
    },
  },
];
