/**
 * The host by hand: ssh(1) and sh(1), nothing of Garth. What a case finds wrong with Garth is then not wrong with this as well, and when both
 * fail, it is the host or the way to it.
 *
 * One multiplexed connection; a script is read to its end before any of it runs; its standard input is empty or lines that are given.
 */
import { spawn } from "node:child_process";
import { existsSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";

export interface Said {
  readonly script: string;
  /** 255 is ssh's own: the connection failed. null: it was ended from here. */
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
  readonly seconds: number;
}

export interface HandOptions {
  readonly url: string;
  /** Directory here: known_hosts and the socket. */
  readonly directory: string;
  readonly identityFile: string | undefined;
}

export interface Hand {
  readonly knownHosts: string;
  /** The words before a remote command. */
  readonly words: readonly string[];
  sh(
    script: string,
    options?: { readonly stdin?: string; readonly limitMs?: number; readonly signal?: AbortSignal },
  ): Promise<Said>;
  /** A command line of the host with pipes for the caller; not multiplexed unless `shared`. */
  argv(command: string, options?: { readonly shared?: boolean }): readonly [string, ...string[]];
  /** Fingerprints of the keys in known_hosts. */
  fingerprints(): Promise<readonly string[]>;
  close(): Promise<void>;
}

/** Of each stream of one script. */
const KEPT_MAX_CHARS = 4 * 1024 * 1024;
const LIMIT_MS = 180_000;

export function runHere(
  argv: readonly [string, ...string[]],
  options: {
    readonly stdin?: string | Uint8Array;
    readonly limitMs?: number;
    readonly signal?: AbortSignal;
    readonly env?: Readonly<Record<string, string | undefined>>;
    readonly cwd?: string;
  } = {},
): Promise<Omit<Said, "script">> {
  const began = performance.now();
  const { promise, resolve } = Promise.withResolvers<Omit<Said, "script">>();
  const child = spawn(argv[0], argv.slice(1), {
    stdio: ["pipe", "pipe", "pipe"],
    env: { ...process.env, ...options.env },
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    // Ctrl-C is for the suite, which ends its case in order.
    detached: true,
  });
  let [stdout, stderr] = ["", ""];
  const cut = (held: string, more: string): string => (held.length > KEPT_MAX_CHARS ? held : held + more);
  child.stdout.setEncoding("utf8").on("data", (chunk: string) => (stdout = cut(stdout, chunk)));
  child.stderr.setEncoding("utf8").on("data", (chunk: string) => (stderr = cut(stderr, chunk)));
  let why = "";
  const end = (reason: string) => (): void => {
    why = reason;
    child.kill("SIGKILL");
  };
  const timer = setTimeout(
    end(`\n(ended from here after ${(options.limitMs ?? LIMIT_MS) / 1000} s)`),
    options.limitMs ?? LIMIT_MS,
  );
  const cancelled = end("\n(ended from here: its case is over)");
  options.signal?.addEventListener("abort", cancelled, { once: true });
  if (options.signal?.aborted === true) cancelled();
  let settled = false;
  const settle = (status: number | null, more: string): void => {
    if (settled) return;
    settled = true;
    clearTimeout(timer);
    options.signal?.removeEventListener("abort", cancelled);
    resolve({ status, stdout, stderr: `${stderr}${more}`, seconds: (performance.now() - began) / 1000 });
  };
  child.on("error", (error) => settle(null, `\n${argv[0]}: ${error.message}`));
  // Not "close": a multiplexing master may keep our standard error open for as long as it lives.
  child.on("exit", (status, signal) => {
    const last = setTimeout(() => settle(status, `${why}${signal === null ? "" : `\n(ended by ${signal})`}`), 2_000);
    child.on("close", () => {
      clearTimeout(last);
      settle(status, `${why}${signal === null || why !== "" ? "" : `\n(ended by ${signal})`}`);
    });
  });
  // A command that ends before it has read everything is not an error of ours.
  child.stdin.on("error", () => undefined);
  child.stdin.end(options.stdin ?? "");
  return promise;
}

/** Of the text that a script has as its standard input: no line of it is this one. */
const INPUT_END = "END-OF-THE-INPUT-OF-THIS-SCRIPT";

export function openHand(options: HandOptions): Hand {
  const knownHosts = join(options.directory, "known_hosts");
  const socket = join(options.directory, "s");
  const way = [
    "ssh",
    "-o",
    "BatchMode=yes",
    "-o",
    "StrictHostKeyChecking=accept-new",
    "-o",
    `UserKnownHostsFile=${knownHosts}`,
    "-o",
    "GlobalKnownHostsFile=/dev/null",
    "-o",
    "ConnectTimeout=60",
    "-o",
    "ServerAliveInterval=15",
    "-o",
    "ServerAliveCountMax=8",
    "-o",
    "LogLevel=ERROR",
    // Whatever the caller's configuration has for a person's session.
    "-o",
    "RequestTTY=no",
    "-o",
    "RemoteCommand=none",
    "-o",
    "ClearAllForwardings=yes",
    "-o",
    "PermitLocalCommand=no",
    ...(options.identityFile === undefined ? [] : ["-i", options.identityFile]),
  ];
  const shared = ["-o", "ControlMaster=auto", "-o", `ControlPath=${socket}`, "-o", "ControlPersist=120"];
  const words = [...way, ...shared, options.url];
  const argv = (command: string, { shared: isShared = false } = {}): readonly [string, ...string[]] => [
    "ssh",
    ...way.slice(1),
    ...(isShared ? shared : ["-o", "ControlMaster=no", "-o", "ControlPath=none"]),
    options.url,
    command,
  ];
  return {
    knownHosts,
    words,
    argv,
    sh: async (script, { stdin, ...rest } = {}) => {
      // Its input is part of it, so that nothing has to be read by the byte.
      const whole = stdin === undefined ? script : `exec <<'${INPUT_END}'\n${stdin}${INPUT_END}\n${script}`;
      const said = await runHere(argv(`exec /bin/sh -c 's=$(cat) && eval "$s"'`, { shared: true }), { ...rest, stdin: whole });
      return { script: whole, ...said };
    },
    fingerprints: async () => {
      if (!existsSync(knownHosts)) return [];
      const { stdout } = await runHere(["ssh-keygen", "-lf", knownHosts]);
      return stdout.split("\n").flatMap((line) => line.match(/SHA256:\S+/)?.[0] ?? []);
    },
    close: async () => {
      if (existsSync(socket))
        await runHere(["ssh", "-o", `ControlPath=${socket}`, "-O", "exit", options.url], { limitMs: 20_000 });
      rmSync(socket, { force: true });
    },
  };
}

export function readKnownHosts(file: string): string {
  return existsSync(file) ? readFileSync(file, "utf8") : "";
}
