/**
 * ssh(1): its words, and masters: found, started, replaced, ended.
 *
 *     nobody ──ssh -M -N -f──► listening ──terminate──► gone          a socket whose master died is removed and replaced
 *
 * A master leaves the process that started it (`-f`) and lives until it is told to end or its guest closes: nothing is sent to a guest that
 * is silent, which may be stopped for hours. Nothing of the caller's configuration is read. One process at a time starts a master for a
 * socket: a second one would find the socket taken and stay for ever beside it.
 */
import { formatDuration, Problem } from "../base/index.ts";
import { type Host, isErrno } from "../host/index.ts";
import { type Mux, openMux } from "./mux.ts";
import type { GuestAddress } from "./types.ts";

const START_TIMEOUT_MS = 60_000;
/** Looking again for a socket that another process is about to make. */
const AGAIN_MS = 20;
/** A master that was told to end writes one packet and is gone. */
const END_LIMIT_MS = 5_000;
const STDERR_MAX_CHARS = 8_192;

/** An option's value where ssh expands `%` and splits at blanks. */
function fileValue(path: string): string {
  return `"${path.replaceAll("%", "%%")}"`;
}

/**
 * Options for ssh(1), scp(1) and sftp(1): the machine's key, its host key, nothing of the caller's configuration. They use the multiplexed
 * connection where it is open and make one of their own where it is not.
 */
export function sshOptions(address: GuestAddress): readonly string[] {
  const options: Readonly<Record<string, string>> = {
    ControlPath: fileValue(address.controlSocket),
    ControlMaster: "no",
    HostKeyAlias: address.name,
    UserKnownHostsFile: fileValue(address.knownHostsFile),
    GlobalKnownHostsFile: "/dev/null",
    StrictHostKeyChecking: "yes",
    UpdateHostKeys: "no",
    IdentityFile: fileValue(address.keyFile),
    IdentitiesOnly: "yes",
    IdentityAgent: "none",
    PreferredAuthentications: "publickey",
    // First of those there are: in an emulated guest it saves a seventh of what a connection costs.
    KexAlgorithms: "^curve25519-sha256",
    BatchMode: "yes",
    ForwardAgent: "no",
    ForwardX11: "no",
    ClearAllForwardings: "yes",
    PermitLocalCommand: "no",
    // A stopped machine answers nothing, for hours; neither side is to give it up.
    TCPKeepAlive: "no",
    ServerAliveInterval: "0",
    LogLevel: "ERROR",
  };
  return ["-F", "none", ...Object.entries(options).flatMap(([key, value]) => ["-o", `${key}=${value}`])];
}

/** `ssh` and everything it needs to log in; a command may follow. */
export function sshWords(address: GuestAddress): readonly [string, ...string[]] {
  const ssh = ["ssh", ...sshOptions(address), "-p", String(address.port), "-l", address.user, address.address];
  const [first, ...rest] = [...address.through, ...ssh];
  return [first ?? "ssh", ...rest];
}

/** The first is the address's own; the others are made when the server has no session left in those before (its MaxSessions). */
export function socketOf(address: GuestAddress, number: number): string {
  return number === 1 ? address.controlSocket : `${address.controlSocket}-${number}`;
}

export interface StartOptions {
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

/** Makes sure that a master listens at the socket. @throws Problem E_GUEST_UNREACHABLE; the signal's reason */
export async function ensureMaster(host: Host, address: GuestAddress, socket: string, options: StartOptions = {}): Promise<void> {
  const { timeoutMs = START_TIMEOUT_MS, signal } = options;
  signal?.throwIfAborted();
  if (await listens(host, socket, address.name)) return;
  const until = performance.now() + timeoutMs;
  const lock = `${socket}.lock`;
  while (!takeLock(host, lock)) {
    await waitFor(AGAIN_MS, signal);
    if (await listens(host, socket, address.name)) return;
    if (performance.now() > until)
      throw unreachable(address, `another process was about to open it for ${formatDuration(timeoutMs)}`);
  }
  try {
    if (await listens(host, socket, address.name)) return;
    removeIfAny(host, socket);
    await start(host, address, socket, Math.max(1, until - performance.now()), signal);
  } finally {
    removeIfAny(host, lock);
  }
}

async function listens(host: Host, socket: string, name: string): Promise<boolean> {
  const mux = await openMux(host, socket, name);
  mux?.close();
  return mux !== undefined;
}

/** Who starts a master is written in a file that appears whole. That of a dead process is moved away first, which only one can do. */
function takeLock(host: Host, lock: string): boolean {
  const { files } = host;
  const mine = `${lock}.${host.processIdentity.split(":")[1] ?? ""}`;
  const owner = files.readTextIfAny(lock);
  if (owner !== undefined) {
    if (host.isAlive(owner)) return false;
    try {
      files.rename(lock, mine);
    } catch (error) {
      if (!isErrno(error, "ENOENT")) throw error;
    }
  }
  files.writeFile(mine, host.processIdentity, 0o600);
  try {
    files.hardLink(mine, lock);
    return true;
  } catch (error) {
    if (isErrno(error, "EEXIST")) return false;
    throw error;
  } finally {
    files.unlink(mine);
  }
}

function removeIfAny(host: Host, path: string): void {
  try {
    host.files.unlink(path);
  } catch (error) {
    if (!isErrno(error, "ENOENT")) throw error;
  }
}

async function start(
  host: Host,
  address: GuestAddress,
  socket: string,
  limitMs: number,
  signal: AbortSignal | undefined,
): Promise<void> {
  signal?.throwIfAborted();
  let said = "";
  const [program, ...rest] = sshWords({ ...address, controlSocket: socket });
  const at = rest.indexOf("ControlMaster=no");
  const words = rest.with(at, "ControlMaster=yes");
  const ssh = host.spawn(
    {
      argv: [program, ...words.slice(0, -1), "-N", "-f", "-o", "ControlPersist=no", ...words.slice(-1)],
      doing: `connecting to ${address.name}`,
    },
    // Ctrl-C in a terminal is for whoever waits here, not for a connection that others use.
    { session: "own", onOutput: (chunk) => (said = (said + Buffer.from(chunk).toString()).slice(-STDERR_MAX_CHARS)) },
  );
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    ssh.kill("SIGKILL");
  }, limitMs);
  const abort = (): void => ssh.kill("SIGKILL");
  signal?.addEventListener("abort", abort, { once: true });
  try {
    const { status } = await ssh.exited;
    if (status === 0) return;
    signal?.throwIfAborted();
    throw unreachable(address, late ? `no answer in ${formatDuration(limitMs)}` : "ssh could not log in", said);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", abort);
  }
}

export function unreachable(address: GuestAddress, what: string, said = ""): Problem {
  const lines = said.split("\n").map((line) => line.trimEnd());
  return new Problem({
    code: "E_GUEST_UNREACHABLE",
    message: `connecting to ${address.name} (${address.user} at ${address.address}, port ${address.port}): ${what}`,
    details: lines.filter((line) => line !== ""),
    hint: "the machine's console says whether its SSH server runs",
  });
}

async function waitFor(timeMs: number, signal: AbortSignal | undefined): Promise<void> {
  const done = Promise.withResolvers<void>();
  const abort = (): void => done.reject(signal?.reason);
  const timer = setTimeout(done.resolve, timeMs);
  signal?.addEventListener("abort", abort, { once: true });
  try {
    await done.promise;
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", abort);
  }
}

export interface Master {
  readonly pid: number;
  /** As the host names processes. */
  readonly identity: string;
  readonly socket: string;
}

async function masterAt(host: Host, socket: string, name: string): Promise<{ master: Master; mux: Mux } | undefined> {
  let mux: Mux | undefined;
  let pid: number;
  try {
    mux = await openMux(host, socket, name);
    if (mux === undefined) return undefined;
    pid = await mux.alive();
  } catch (error) {
    mux?.close();
    // It was on its way out: its machine is gone.
    if (error instanceof Problem && error.code === "E_GUEST_LOST") return undefined;
    throw error;
  }
  const identity = host.identityOf(pid);
  if (identity !== undefined) return { master: { pid, identity, socket }, mux };
  mux.close();
  return undefined;
}

/** The living masters of a machine: none, or the first and those that were made beside it. */
export async function mastersOf(host: Host, address: GuestAddress): Promise<readonly Master[]> {
  const found: Master[] = [];
  for (const socket of socketsThereAre(host, address)) {
    const one = await masterAt(host, socket, address.name);
    one?.mux.close();
    if (one !== undefined) found.push(one.master);
  }
  return found;
}

/** Ends them all, whoever started them; settles when their processes are gone and no socket is left. */
export async function endMasters(host: Host, address: GuestAddress): Promise<void> {
  for (const socket of socketsThereAre(host, address)) {
    const one = await masterAt(host, socket, address.name);
    if (one !== undefined) await endMaster(host, one.master, one.mux);
    removeIfAny(host, socket);
  }
}

async function endMaster(host: Host, master: Master, mux: Mux): Promise<void> {
  try {
    await mux.terminate();
  } catch (error) {
    // It may be gone before its answer is.
    if (!(error instanceof Problem)) throw error;
  } finally {
    mux.close();
  }
  const until = performance.now() + END_LIMIT_MS;
  while (host.isAlive(master.identity)) {
    if (performance.now() > until) host.signal(master.identity, "SIGKILL");
    await waitFor(AGAIN_MS / 4, undefined);
  }
}

function socketsThereAre(host: Host, address: GuestAddress): readonly string[] {
  const slash = address.controlSocket.lastIndexOf("/");
  const directory = slash <= 0 ? "/" : address.controlSocket.slice(0, slash);
  const base = address.controlSocket.slice(slash + 1);
  let names: string[];
  try {
    names = host.files.list(directory).map((name) => Buffer.from(name).toString());
  } catch (error) {
    if (isErrno(error, "ENOENT")) return [];
    throw error;
  }
  return names
    .filter((name) => name === base || (name.startsWith(`${base}-`) && /^[0-9]+$/.test(name.slice(base.length + 1))))
    .toSorted()
    .map((name) => `${directory}/${name}`);
}
