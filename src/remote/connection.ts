/**
 * One host: scripts over its connection, each from its first byte to its end.
 *
 *     start ──session──► script sent ──reads all of it──► running ──status──► ended
 *                                            ready ◄──────┤   │
 *                                            input sent ──┘   ├─ signal, letGo: its input ends, it undoes what it did
 *                                                             └─ status 255, no status: E_HOST_LOST
 *
 * 255 is ssh(1)'s own status, which also stands for a script that a signal ended there: no script of ours may end with it, and one that
 * does is lost. Both directions hold back: what a script prints waits until it was taken, and input is taken from its source as the script
 * reads it.
 */
import type { Host } from "../host/index.ts";
import { parseAddress } from "./address.ts";
import { scriptFailed, type Whom } from "./errors.ts";
import { Masters, sshEnvironment } from "./master.ts";
import { Session } from "./session.ts";
import { socketDirectory } from "./sockets.ts";
import { personWords, type Reach, SILENCE_MS } from "./ssh.ts";
import type { Connection } from "./types.ts";

/** What a script that was told to end may take to undo what it did. */
const UNDO_LIMIT_MS = 60_000;

export interface ConnectionOptions {
  readonly host: Host;
  readonly name: string;
  readonly url: string;
  /** It is in no list. */
  readonly isVisited?: boolean;
  readonly identityFile?: string | undefined;
  /** Has the host's key under its name. */
  readonly knownHostsFile: string;
  /** Sockets are in a directory of their own below it. */
  readonly runtimeDirectory: string;
  /** The caller's: ssh(1) gets its agent from it. */
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** In place of ~/.ssh/config and the system's. */
  readonly configFile?: string | undefined;
  /** A host that is silent this long is gone. Default 45 s. */
  readonly silenceMs?: number;
  /** Default a minute. */
  readonly undoLimitMs?: number;
}

/** Opens nothing yet. @throws Problem E_BAD_HOST */
export function openConnection(options: ConnectionOptions): Connection {
  const { host, name, url, identityFile, configFile, knownHostsFile } = options;
  const { silenceMs = SILENCE_MS, undoLimitMs = UNDO_LIMIT_MS } = options;
  const address = parseAddress(url);
  const reach: Reach = { name, address, identityFile, knownHostsFile, configFile };
  const whom: Whom = { name, url, isVisited: options.isVisited ?? false };
  const environment = sshEnvironment(options.environment);
  const sockets = socketDirectory(host, options.runtimeDirectory);
  const masters = new Masters({ host, reach, whom, environment, silenceMs, socketDirectory: sockets.make });
  const running = new Set<Session>();

  const start: Connection["start"] = (script, given = {}) => {
    const session = new Session({ host, whom, masters, environment, undoLimitMs }, script, given);
    running.add(session);
    const forget = (): boolean => running.delete(session);
    // Whoever started it may look at its end later than it comes.
    session.ended.then(forget, forget);
    return { send: (line) => session.send(line), letGo: () => session.letGo(), ended: session.ended };
  };
  return {
    name,
    start,
    run: async (script, given) => {
      const end = await start(script, given).ended;
      if (end.status !== 0) throw scriptFailed(whom, script.doing, end.status, end.words);
      return end;
    },
    shellWords: personWords(reach, address.user ?? "root"),
    close: async () => {
      masters.stop();
      for (const session of running) session.endSoon();
      await Promise.allSettled([...running].map(({ ended }) => ended));
      await masters.close();
      sockets.remove();
    },
  };
}
