/**
 * A guest for tests: a real sshd on loopback, with keys, a configuration and users of its own in a temporary directory. It is this machine
 * that answers: what a test does to processes and files in the guest, it does here. The server has a mount namespace with its own passwd(5):
 * root, whose shell is bash and whose home is empty, and `user` (uid 1000).
 *
 * Needs sshd (openssh-server) and root. /run/sshd, in which sshd confines itself, is made where it is missing and stays: another sshd may be
 * using it.
 */
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { localHost } from "../host/index.ts";
import { openGuest } from "./index.ts";
import type { Guest, GuestAddress } from "./types.ts";

export interface TestGuest extends AsyncDisposable {
  readonly guest: Guest;
  readonly address: GuestAddress;
  /** Where its keys are; for a test's own files too. Gone after `close`. */
  readonly directory: string;
  /** Stops the server and everything it started, as a stopped machine would be; `thaw` lets it go on. */
  freeze(): void;
  thaw(): void;
  /** The server dies, and everything that it had open. */
  kill(): void;
  /** Ends connections, the server, what still runs in the guest, and removes the files. */
  close(): Promise<void>;
}

export interface TestGuestOptions {
  /** Lines for sshd_config that go before its own. */
  readonly config?: readonly string[];
  readonly user?: string;
  readonly name?: string;
  /** Login shell of root and of `user`. Default /bin/bash. */
  readonly shell?: string;
  /** Words before both the server and ssh: a network namespace. */
  readonly through?: readonly string[];
  /** A line of sh run in the server's mount namespace before it starts: "mount -t tmpfs ...". */
  readonly before?: string;
}

/** Mounts the two files over the system's, then becomes the server. */
const IN_NAMESPACE =
  'mount --make-rprivate / && mount --bind "$1" /etc/passwd && mount --bind "$2" /etc/group && eval "$3" && shift 3 && exec "$@"';

const host = localHost();

export async function openTestGuest(options: TestGuestOptions = {}): Promise<TestGuest> {
  const { user = "root", name = "test-guest", shell = "/bin/bash", before = ":", through = [] } = options;
  const directory = fs.mkdtempSync(`${tmpdir()}/garth-guest-`);
  fs.mkdirSync("/run/sshd", { recursive: true, mode: 0o755 });
  const file = (base: string): string => join(directory, base);
  for (const key of ["host-key", "user-key"]) {
    await host.run({ argv: ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", key, "-f", file(key)] });
  }
  fs.copyFileSync(file("user-key.pub"), file("authorized_keys"));
  fs.writeFileSync(file("known_hosts"), `${name} ${fs.readFileSync(file("host-key.pub"), "utf8")}`);
  const port = host.freePort();
  const config = [
    ...(options.config ?? []),
    `ListenAddress 127.0.0.1:${port}`,
    `HostKey ${file("host-key")}`,
    `AuthorizedKeysFile ${file("authorized_keys")}`,
    "StrictModes no",
    "UsePAM no",
    "PidFile none",
    "PasswordAuthentication no",
    "KbdInteractiveAuthentication no",
    "PermitRootLogin prohibit-password",
    ...((options.config ?? []).some((line) => line.startsWith("Subsystem")) ? [] : ["Subsystem sftp internal-sftp"]),
  ];
  fs.writeFileSync(file("sshd_config"), `${config.join("\n")}\n`);
  writeUsers(directory, shell);
  const listening = Promise.withResolvers<void>();
  let log = "";
  // It is not to outlive a test that was killed.
  const namespace = [
    "setpriv",
    "--pdeathsig",
    "KILL",
    ...through,
    "unshare",
    "--mount",
    "sh",
    "-c",
    IN_NAMESPACE,
    "sh",
    file("passwd"),
    file("group"),
    before,
  ] as const;
  const sshd = host.spawn(
    { argv: [...namespace, "/usr/sbin/sshd", "-D", "-e", "-f", file("sshd_config")] },
    {
      session: "own",
      onOutput: (chunk) => {
        log += Buffer.from(chunk).toString();
        if (log.includes("Server listening on")) listening.resolve();
      },
    },
  );
  void sshd.exited.then(() => listening.reject(new Error(`sshd did not start: ${log}`)));
  try {
    await listening.promise;
  } catch (error) {
    fs.rmSync(directory, { recursive: true });
    throw error;
  }
  const address: GuestAddress = {
    name,
    address: "127.0.0.1",
    port,
    user,
    keyFile: file("user-key"),
    knownHostsFile: file("known_hosts"),
    controlSocket: file("ssh"),
    through,
  };
  const guest = openGuest(host, address);
  let stopped: readonly number[] = [];
  const thaw = (): void => {
    for (const pid of stopped) signalIfAny(pid, "SIGCONT");
    stopped = [];
  };
  const view = viewOf(sshd.pid);
  const close = async (): Promise<void> => {
    thaw();
    // Also what left its parents: a guest that is switched off has nobody left.
    const inside = insideOf(view);
    try {
      await guest.disconnect();
    } finally {
      for (const pid of [...treeOf(sshd.pid), ...inside]) signalIfAny(pid, "SIGKILL");
      await sshd.exited;
      fs.rmSync(directory, { recursive: true });
    }
  };
  return {
    guest,
    address,
    directory,
    freeze: () => {
      stopped = treeOf(sshd.pid);
      for (const pid of stopped) signalIfAny(pid, "SIGSTOP");
    },
    thaw,
    kill: () => {
      for (const pid of treeOf(sshd.pid)) signalIfAny(pid, "SIGKILL");
    },
    close,
    [Symbol.asyncDispose]: close,
  };
}

/** The system's own users, but for those two. */
function writeUsers(directory: string, shell: string): void {
  fs.chmodSync(directory, 0o755);
  const homes = ["root", "user"].map((name) => join(directory, name));
  for (const home of homes) fs.mkdirSync(home);
  const [root = "", user = ""] = homes;
  fs.chownSync(user, 1000, 1000);
  const lines = (file: string): readonly string[] => fs.readFileSync(file, "utf8").trimEnd().split("\n");
  const others = lines("/etc/passwd").filter((line) => !/^(root|user):|^[^:]*:[^:]*:1000:/.test(line));
  const groups = lines("/etc/group").filter((line) => !/^user:|^[^:]*:[^:]*:1000:/.test(line));
  const passwd = [`root:x:0:0:root:${root}:${shell}`, `user:x:1000:1000:A person:${user}:${shell}`, ...others];
  fs.writeFileSync(join(directory, "passwd"), `${passwd.join("\n")}\n`);
  fs.writeFileSync(join(directory, "group"), `${["user:x:1000:", ...groups].join("\n")}\n`);
}

function signalIfAny(pid: number, signal: NodeJS.Signals): void {
  const identity = host.identityOf(pid);
  if (identity !== undefined) host.signal(identity, signal);
}

/** Which files a process sees. */
function viewOf(pid: number | "self"): string | undefined {
  try {
    return fs.readlinkSync(`/proc/${pid}/ns/mnt`);
  } catch {
    return undefined;
  }
}

/** Those with a view that is not this process's own. */
function insideOf(view: string | undefined): readonly number[] {
  if (view === undefined || view === viewOf("self")) return [];
  return fs
    .readdirSync("/proc")
    .flatMap((entry) => (/^[0-9]+$/.test(entry) && viewOf(Number(entry)) === view ? [Number(entry)] : []));
}

/** A process and all that descend from it. */
export function treeOf(root: number): readonly number[] {
  const parents = new Map<number, number>();
  for (const entry of fs.readdirSync("/proc")) {
    if (!/^[0-9]+$/.test(entry)) continue;
    try {
      const stat = fs.readFileSync(`/proc/${entry}/stat`, "latin1");
      parents.set(Number(entry), Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]));
    } catch {
      // It ended meanwhile.
    }
  }
  const found = [root];
  for (const pid of found) for (const [child, parent] of parents) if (parent === pid) found.push(child);
  return found;
}
