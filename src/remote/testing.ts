/**
 * Hosts for tests: a real sshd on loopback, with keys, configuration and users of its own, in PID and mount namespaces of its own. What is
 * killed with it is all that ran there, as when a machine loses power; nobody else's process or mount is seen from it.
 *
 * Kind "linux" has this machine's files and tools. Kind "freebsd" has a root of its own in which base-system tools look and behave like
 * FreeBSD's (standin.testing.ts, which says what that does not prove).
 *
 * Needs sshd (openssh-server) and root.
 */
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { treeOf } from "../guest/testing.ts";
import { localHost, type Running } from "../host/index.ts";
import { makeStandIn, recordedCalls, STAND_IN_INIT } from "./standin.testing.ts";
import type { HostWish } from "./types.ts";

export interface TestHost extends AsyncDisposable {
  readonly address: "127.0.0.1";
  readonly port: number;
  readonly user: string;
  /** The private key that it lets in. */
  readonly identityFile: string;
  /** "SHA256:...", of its host key. */
  readonly hostKey: string;
  /** As in known_hosts: "[127.0.0.1]:2222 ssh-ed25519 ...". */
  readonly knownHostsLine: string;
  /** Its keys and logs, and room for a test's own files. Gone after `close`. */
  readonly directory: string;
  /** Begins a command line of a client that knows this host alone: ssh, options, the host. */
  readonly clientWords: readonly string[];
  /** The directory on it that is Garth's. The name has a blank in it. */
  readonly root: string;
  /** For Hosts.add, which is to find it as it is. */
  readonly wish: HostWish;
  /** Where a file of the host is seen from here. */
  path(onHost: string): string;
  /** What its shell says to a command line, run on it without ssh. @throws Error with standard error unless it ends with 0 */
  look(commandLine: string): string;
  /** Every call of a stand-in tool so far, in order: "jail -q -f /x/jail.conf -c name". Nothing for kind "linux". */
  recorded(): readonly string[];
  /** The host loses power: server, sessions and all that was started there are gone, and so are its mounts. */
  kill(): Promise<void>;
  /** `kill`, then it is up again at the same address, with the same files. */
  reboot(): Promise<void>;
  /** Stops everything on it; a client sees a host that does not answer. */
  freeze(): void;
  thaw(): void;
  /** Connections end without a word; what they had started sees the end of its input, the server goes on. */
  dropConnections(): void;
  close(): Promise<void>;
}

export interface TestHostOptions {
  readonly kind: "linux" | "freebsd";
  readonly name?: string;
  /** Login shell of root and of `user` (uid 1000). Default /bin/sh; "/bin/csh" is tcsh. */
  readonly shell?: string;
  /** Who logs in. Default root. */
  readonly user?: "root" | "user";
  /** Lines for sshd_config that go before its own. */
  readonly config?: readonly string[];
  /** What /bin/sh is there. Default dash. */
  readonly sh?: "dash" | "busybox";
  /** The directory on it that is Garth's. Default: one with a blank in its name. */
  readonly root?: string;
  /** Of a stand-in for FreeBSD: what sysctl(8) says there, such as { "kern.racct.enable": "1" }. */
  readonly sysctl?: Readonly<Record<string, string>>;
  /** Of a stand-in for FreeBSD: paths that are not there, such as "/usr/bin/nc". */
  readonly without?: readonly string[];
}

export { untilClean } from "./site.testing.ts";
export { localConnection, type LocalConnection, type Shell, SHELLS } from "./store.testing.ts";

const host = localHost();

/** Mounts users and the shell over the system's, then becomes the server. */
const LINUX_INIT = `set -e
mount --make-rprivate /
mount -t proc proc /proc
mount --bind "$1/passwd" /etc/passwd
mount --bind "$1/group" /etc/group
[ "$2" = dash ] || mount --bind "$(command -v "$2")" "$(readlink -f /bin/sh)"
exec /usr/sbin/sshd -D -e -f "$1/sshd_config"`;

export async function openTestHost(options: TestHostOptions): Promise<TestHost> {
  const { kind, name = `test-${kind}`, shell = "/bin/sh", user = "root", sh = "dash" } = options;
  const directory = fs.mkdtempSync(`${tmpdir()}/garth-host-`);
  const file = (base: string): string => join(directory, base);
  const world = file("freebsd");
  /** Where sshd's files are, in its own words. */
  const settings = kind === "freebsd" ? "/etc/ssh" : directory;
  const init =
    kind === "freebsd"
      ? [STAND_IN_INIT, "sh", world, "/usr/sbin/sshd", "-D", "-e", "-f", `${settings}/sshd_config`]
      : [LINUX_INIT, "sh", directory, sh];
  const machine: { running?: Running } = {};

  const start = async (): Promise<void> => {
    const listening = Promise.withResolvers<void>();
    let log = "";
    // It is not to outlive a test that was killed.
    const alone = ["--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--uts", "--fork", "--kill-child=KILL"];
    const running = host.spawn(
      { argv: ["setpriv", ...alone, "sh", "-c", ...init] },
      {
        session: "own",
        onOutput: (chunk) => {
          log += Buffer.from(chunk).toString();
          if (log.includes("Server listening on")) listening.resolve();
        },
      },
    );
    void running.exited.then(() => listening.reject(new Error(`the host did not start: ${log}`)));
    machine.running = running;
    await listening.promise;
  };
  const tree = (): readonly number[] => (machine.running === undefined ? [] : treeOf(machine.running.pid));
  /** The host's first process, which is the server. */
  const first = (): number => {
    const pid = tree()[1];
    if (pid === undefined) throw new Error("the host is not running");
    return pid;
  };
  const kill = async (): Promise<void> => {
    if (machine.running === undefined) return;
    // With the first process the kernel kills all of its namespace.
    for (const pid of tree().slice(0, 2).toReversed()) signalIfAny(pid, "SIGKILL");
    await machine.running.exited;
    delete machine.running;
  };
  const close = async (): Promise<void> => {
    await kill();
    fs.rmSync(directory, { recursive: true, force: true });
  };

  try {
    fs.chmodSync(directory, 0o755);
    if (kind === "freebsd") makeStandIn(world, { ...options, sh, shell });
    else writeUsers(directory, shell);
    const port = host.freePort();
    const hostKey = await makeKeys(directory, kind === "freebsd" ? join(world, settings) : directory, [
      ...(options.config ?? []),
      `ListenAddress 127.0.0.1:${port}`,
      `HostKey ${settings}/host-key`,
      `AuthorizedKeysFile ${settings}/authorized_keys`,
    ]);
    await start();
    const { root = kind === "freebsd" ? "/frx/var/garth/its root" : file("its root") } = options;
    const keyText = fs.readFileSync(file("host-key.pub"), "utf8").trim();
    const knownHostsLine = `[127.0.0.1]:${port} ${keyText}`;
    fs.writeFileSync(file("known_hosts"), `${knownHostsLine}\n`);
    const clientOptions = ["BatchMode=yes", "LogLevel=ERROR", "IdentitiesOnly=yes", `UserKnownHostsFile=${file("known_hosts")}`];
    const where = ["-i", file("user-key"), "-p", String(port), `${user}@127.0.0.1`];
    const clientWords = ["ssh", "-F", "none", ...clientOptions.flatMap((each) => ["-o", each]), ...where];
    return {
      address: "127.0.0.1",
      port,
      user,
      identityFile: file("user-key"),
      hostKey,
      knownHostsLine,
      clientWords,
      directory,
      root,
      wish: { name, url: `ssh://${user}@127.0.0.1:${port}`, root, jobs: 2, identityFile: file("user-key"), hostKey },
      path: (onHost) => `/proc/${first()}/root${onHost}`,
      look: (commandLine) => {
        const said = Bun.spawnSync(["nsenter", "-t", String(first()), "-a", "-r", "-w", "/bin/sh", "-c", commandLine], {
          env: { PATH: "/sbin:/bin:/usr/sbin:/usr/bin" },
        });
        if (said.exitCode !== 0) throw new Error(`${commandLine}: ${said.exitCode}: ${said.stderr.toString()}`);
        return said.stdout.toString();
      },
      recorded: () => (kind === "freebsd" ? recordedCalls(world) : []),
      kill,
      reboot: async () => {
        await kill();
        await start();
      },
      freeze: () => {
        for (const pid of tree()) signalIfAny(pid, "SIGSTOP");
      },
      thaw: () => {
        for (const pid of tree()) signalIfAny(pid, "SIGCONT");
      },
      dropConnections: () => {
        const server = first();
        for (const pid of tree()) if (parentOf(pid) === server && commandOf(pid).startsWith("sshd")) endSession(pid);
      },
      close,
      [Symbol.asyncDispose]: close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/** Keys here, and there what the server needs of them. Returns the fingerprint of the host key. */
async function makeKeys(directory: string, settings: string, config: readonly string[]): Promise<string> {
  // In it sshd confines itself; another one may be using it.
  fs.mkdirSync("/run/sshd", { recursive: true, mode: 0o755 });
  for (const key of ["host-key", "user-key"]) {
    await host.run({ argv: ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", key, "-f", join(directory, key)] });
  }
  fs.copyFileSync(join(directory, "user-key.pub"), join(settings, "authorized_keys"));
  if (settings !== directory) fs.copyFileSync(join(directory, "host-key"), join(settings, "host-key"));
  const lines = [
    ...config,
    "StrictModes no",
    "UsePAM no",
    "PidFile none",
    "PasswordAuthentication no",
    "KbdInteractiveAuthentication no",
    "PermitRootLogin prohibit-password",
  ];
  fs.writeFileSync(join(settings, "sshd_config"), `${lines.join("\n")}\n`);
  const printed = await host.run({ argv: ["ssh-keygen", "-l", "-E", "sha256", "-f", join(directory, "host-key.pub")] });
  const fingerprint = printed.text().split(" ")[1];
  if (fingerprint === undefined) throw new Error(`ssh-keygen said: ${printed.text()}`);
  return fingerprint;
}

/** This system's own users, but for those two. */
function writeUsers(directory: string, shell: string): void {
  const file = (base: string): string => join(directory, base);
  for (const [name, id] of [
    ["root", 0],
    ["user", 1000],
  ] as const) {
    fs.mkdirSync(file(`home-${name}`));
    fs.chownSync(file(`home-${name}`), id, id);
  }
  const others = (path: string): readonly string[] =>
    fs
      .readFileSync(path, "utf8")
      .trimEnd()
      .split("\n")
      .filter((line) => !/^(root|user):|^[^:]*:[^:]*:1000:/.test(line));
  const people = [`root:x:0:0:root:${file("home-root")}:${shell}`, `user:x:1000:1000:A person:${file("home-user")}:${shell}`];
  fs.writeFileSync(file("passwd"), `${[...people, ...others("/etc/passwd")].join("\n")}\n`);
  fs.writeFileSync(file("group"), `${["root:x:0:", "user:x:1000:", ...others("/etc/group")].join("\n")}\n`);
}

/** The processes of one connection that are sshd's own, not what it started. */
function endSession(pid: number): void {
  for (const each of treeOf(pid)) if (commandOf(each).startsWith("sshd")) signalIfAny(each, "SIGKILL");
}

function commandOf(pid: number): string {
  try {
    return fs.readFileSync(`/proc/${pid}/comm`, "utf8");
  } catch {
    return "";
  }
}

function parentOf(pid: number): number | undefined {
  try {
    const stat = fs.readFileSync(`/proc/${pid}/stat`, "latin1");
    return Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]);
  } catch {
    return undefined;
  }
}

function signalIfAny(pid: number, signal: NodeJS.Signals): void {
  const identity = host.identityOf(pid);
  if (identity !== undefined) host.signal(identity, signal);
}
