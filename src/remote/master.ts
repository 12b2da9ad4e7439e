/**
 * Connections of ssh(1) to one host that sessions share, and who gets a session when.
 *
 *     nobody ──first need──► opening ──logged in──► open ──no session for a while──► another one beside it
 *                               │                     ├─ lost: it is opened again at the next need
 *                               └─ refused: Problem   └─ close: gone
 *
 * A connection is a child of this process and holds a session of its own there, `cat`, whose input is this process: when this process is
 * killed, the connection ends by itself as soon as the last script there has undone what it did. A server gives a connection 10 sessions
 * unless its MaxSessions says otherwise; one that gives fewer is taken at its word.
 */
import { formatDuration } from "../base/index.ts";
import { CLEAN_ENVIRONMENT, type Host } from "../host/index.ts";
import { denied, lost, sessionsDenied, unknownKey, unreachable, type Whom, wrongKey } from "./errors.ts";
import { askWords, fingerprintsOf, masterWords, type Reach, readRefusal, userConfig, userWords } from "./ssh.ts";

const OPEN_TIMEOUT_MS = 60_000;
/** A connection whose last session ended writes one packet and is gone. */
const END_LIMIT_MS = 5_000;
/** The master answers from its own memory. */
const ASK_TIMEOUT_MS = 5_000;
/** One more is the connection's own, and one is left to spare. */
const SESSIONS_EACH = 8;
const CONNECTIONS_MAX = 8;
/** Scripts that are short end sooner than a connection is made. */
const ANOTHER_AFTER_MS = 1_000;
const WORDS_MAX_CHARS = 8_192;
const UP = "garth: up";
/** Any login shell reads it alike. */
const UP_COMMAND = `exec /bin/sh -c 'printf "${UP}\\n"; exec cat >/dev/null'`;

export interface MasterParts {
  readonly host: Host;
  readonly reach: Reach;
  readonly whom: Whom;
  /** Its path and that of a socket in it are short: sun_path has room for 104 bytes, of which ssh(1) takes 17. */
  readonly socketDirectory: () => string;
  readonly environment: Readonly<Record<string, string>>;
  readonly silenceMs: number;
}

export interface Master {
  readonly socket: string;
  isOpen(): boolean;
  /** Whether it still has its connection; false only when its process has ended. */
  answers(): Promise<boolean>;
  /** Why it is gone; settles then. */
  readonly gone: Promise<string>;
  end(): Promise<void>;
}

/** What of the caller's environment ssh(1) is to have, for its agent and for what its configuration runs. */
export function sshEnvironment(given: Readonly<Record<string, string | undefined>>): Readonly<Record<string, string>> {
  const names = ["HOME", "USER", "LOGNAME", "PATH", "SHELL", "SSH_AUTH_SOCK", "KRB5CCNAME"];
  const passed = names.flatMap((name) => {
    const value = given[name];
    return value === undefined || value === "" ? [] : [[name, value] as const];
  });
  return { ...CLEAN_ENVIRONMENT, ...Object.fromEntries(passed) };
}

/** Without a user it is root, unless the configuration names one; ssh(1) alone would take the name of whoever calls it. */
export async function userFor(parts: Pick<MasterParts, "host" | "reach" | "socketDirectory" | "environment">): Promise<string> {
  const { host, reach, environment } = parts;
  if (reach.address.user !== undefined) return reach.address.user;
  const file = `${parts.socketDirectory()}/config`;
  host.files.writeFile(file, userConfig(reach.configFile, "root"), 0o600);
  const printed = await host.run({ argv: userWords(reach, file), env: environment, doing: "reading ssh's configuration" });
  return /^user (\S+)$/m.exec(printed.text())?.[1] ?? "root";
}

export async function openMaster(parts: MasterParts, number: number, doing: string): Promise<Master> {
  const { host, reach, whom, environment } = parts;
  const socket = `${parts.socketDirectory()}/${number}`;
  const up = Promise.withResolvers<boolean>();
  let said = "";
  let printed = "";
  const user = await userFor(parts);
  const ssh = host.spawn(
    { argv: masterWords(reach, { user, socket, silenceMs: parts.silenceMs, command: UP_COMMAND }), env: environment, doing },
    {
      stdin: "pipe",
      // Ctrl-C in a terminal is for this process, which lets scripts undo what they did.
      session: "own",
      onOutput: (chunk, stream) => {
        const text = Buffer.from(chunk).toString();
        if (stream === "stderr") said = (said + text).slice(-WORDS_MAX_CHARS);
        else {
          printed = (printed + text).slice(-WORDS_MAX_CHARS);
          if (printed.includes(`${UP}\n`)) up.resolve(true);
        }
      },
    },
  );
  let isOpen = true;
  let late = false;
  const lines = (): readonly string[] => said.split("\n");
  const ended = ssh.exited.then((exit) => {
    isOpen = false;
    up.resolve(false);
    return exit;
  });
  const timer = setTimeout(() => {
    late = true;
    ssh.kill("SIGKILL");
  }, OPEN_TIMEOUT_MS);
  const isUp = await up.promise;
  clearTimeout(timer);
  if (!isUp) {
    const { status } = await ended;
    if (late) throw unreachable(whom, doing, `no answer in ${formatDuration(OPEN_TIMEOUT_MS)}`, lines());
    if (status !== null && status !== 255)
      throw denied(whom, doing, `its login shell ended with status ${status}`, [...printed.split("\n"), ...lines()]);
    throw refusal(parts, doing, lines());
  }
  const end = async (): Promise<void> => {
    void ssh.endInput();
    await within(ended, END_LIMIT_MS, () => ssh.kill("SIGKILL"));
  };
  return {
    socket,
    isOpen: () => isOpen,
    answers: async () => {
      if (!isOpen) return false;
      const asked = host.spawn(
        { argv: askWords(socket), env: environment, timeoutMs: ASK_TIMEOUT_MS },
        { session: "own", onOutput: () => undefined },
      );
      const { status } = await asked.exited;
      if (status === 0) return true;
      await within(ended, END_LIMIT_MS, () => ssh.kill("SIGKILL"));
      return false;
    },
    gone: ended.then(({ signal }) => {
      const refused = readRefusal(lines());
      if (signal !== null) return `its connection here was ended by ${signal}`;
      return refused.kind === "unreachable" && refused.what !== undefined ? refused.what : "its connection ended";
    }),
    end,
  };
}

async function within(ended: Promise<unknown>, limitMs: number, onLate: () => void): Promise<void> {
  const timer = setTimeout(onLate, limitMs);
  try {
    await ended;
  } finally {
    clearTimeout(timer);
  }
}

const CHANGED =
  "it had another one when this command began: several machines seem to answer there in turn, or its keys do not outlive a start";

/** What an ssh(1) that got no connection said, as a problem. */
export function refusal(
  { host, reach, whom }: Pick<MasterParts, "host" | "reach" | "whom">,
  doing: string,
  lines: readonly string[],
) {
  const refused = readRefusal(lines);
  const recorded = fingerprintsOf(host.files.readTextIfAny(reach.knownHostsFile) ?? "");
  switch (refused.kind) {
    case "denied":
      return denied(whom, doing, refused.what);
    case "unreachable":
      return unreachable(whom, doing, refused.what ?? "ssh said nothing", lines);
    case "key":
      return wrongKey(
        whom,
        doing,
        { expected: recorded, offered: refused.offered === undefined ? [] : [refused.offered] },
        whom.isVisited === true
          ? CHANGED
          : `if it was made anew: garth host rm ${whom.name}, then add it again with its new fingerprint`,
      );
    case "unknown-key":
      return recorded.length === 0
        ? unknownKey(whom, doing, "no key is recorded")
        : wrongKey(
            whom,
            doing,
            { expected: recorded, offered: [] },
            whom.isVisited === true
              ? CHANGED
              : `it shows a key of a type that was not recorded: garth host rm ${whom.name}, then add it again`,
          );
  }
}

/** A session of somebody's. */
export interface Lease {
  readonly master: Master;
  release(): void;
  /** The server gives this connection no more sessions than it has now. @throws Problem E_HOST_DENIED when it has none */
  outOfSessions(doing: string): void;
  /** It does not take sessions any more. */
  unusable(): void;
}

interface Link {
  readonly master: Master;
  used: number;
  sessionsMax: number;
}

interface Waiting {
  readonly doing: string;
  readonly got: PromiseWithResolvers<Lease>;
}

export class Masters {
  readonly #parts: MasterParts;
  #links: Link[] = [];
  #waiting: Waiting[] = [];
  #opening: Promise<void> | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #number = 0;
  #closed = false;

  constructor(parts: MasterParts) {
    this.#parts = parts;
  }

  /** In the order of asking. @throws Problem of opening a connection; the signal's reason */
  async acquire(doing: string, signal: AbortSignal | undefined): Promise<Lease> {
    signal?.throwIfAborted();
    if (this.#closed) throw lost(this.#parts.whom, doing, "its connection was closed here");
    const waiting: Waiting = { doing, got: Promise.withResolvers<Lease>() };
    this.#waiting.push(waiting);
    const abort = (): void => {
      this.#waiting = this.#waiting.filter((each) => each !== waiting);
      waiting.got.reject(signal?.reason);
    };
    signal?.addEventListener("abort", abort, { once: true });
    this.#serve();
    try {
      return await waiting.got.promise;
    } finally {
      signal?.removeEventListener("abort", abort);
    }
  }

  /** Nobody gets a session any more; those who have one keep it. */
  stop(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    for (const { doing, got } of this.#waiting.splice(0))
      got.reject(lost(this.#parts.whom, doing, "its connection was closed here"));
  }

  async close(): Promise<void> {
    this.stop();
    await this.#opening;
    await Promise.all(this.#links.splice(0).map(({ master }) => master.end()));
  }

  #serve(): void {
    this.#links = this.#links.filter(({ master }) => master.isOpen());
    for (const link of this.#links) {
      while (link.used < link.sessionsMax) {
        const next = this.#waiting.shift();
        if (next === undefined) return;
        next.got.resolve(this.#leaseOf(link));
      }
    }
    const [first] = this.#waiting;
    if (first === undefined || this.#opening !== undefined || this.#closed) return;
    if (this.#links.length === 0) this.#open(first.doing);
    else if (this.#links.length < CONNECTIONS_MAX && this.#timer === undefined)
      this.#timer = setTimeout(() => {
        this.#timer = undefined;
        const [longest] = this.#waiting;
        if (longest !== undefined && this.#opening === undefined && !this.#closed) this.#open(longest.doing);
      }, ANOTHER_AFTER_MS);
  }

  #open(doing: string): void {
    this.#number += 1;
    const work = async (): Promise<void> => {
      try {
        const master = await openMaster(this.#parts, this.#number, doing);
        this.#links.push({ master, used: 0, sessionsMax: SESSIONS_EACH });
      } catch (error) {
        // Who waits may be waited for by who has a session: he is told, and does not wait for what never comes.
        for (const { got } of this.#waiting.splice(0)) got.reject(error);
      }
      this.#opening = undefined;
      this.#serve();
    };
    this.#opening = work();
  }

  #leaseOf(link: Link): Lease {
    link.used += 1;
    let held = true;
    const release = (): void => {
      if (!held) return;
      held = false;
      link.used -= 1;
      this.#serve();
    };
    return {
      master: link.master,
      release,
      outOfSessions: (doing) => {
        link.sessionsMax = Math.min(link.sessionsMax, link.used - 1);
        if (link.sessionsMax < 1) throw sessionsDenied(this.#parts.whom, doing);
      },
      unusable: () => {
        this.#links = this.#links.filter((each) => each !== link);
        void link.master.end();
      },
    };
  }
}
