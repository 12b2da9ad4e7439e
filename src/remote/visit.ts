/**
 * A machine that is in no list of hosts: reached by its address for as long as a command runs. Which key it has is decided as for a host that is
 * added (keys.ts), and held to until the end: it may be started anew meanwhile.
 */
import type { Host } from "../host/index.ts";
import { type HostAddress, parseAddress } from "./address.ts";
import { openConnection } from "./connection.ts";
import { checkAccepted, checkIdentity, recordKey } from "./keys.ts";
import { sshEnvironment } from "./master.ts";
import { socketDirectory } from "./sockets.ts";
import type { Connection, HostWish } from "./types.ts";

export interface VisitOptions {
  readonly host: Host;
  readonly runtimeDirectory: string;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** In place of ~/.ssh/config and the system's. */
  readonly configFile?: string | undefined;
  readonly silenceMs?: number;
}

export type VisitWish = Pick<HostWish, "url" | "identityFile" | "hostKey">;

/** "example.org", "[::1]:2222": what its key is recorded under meanwhile, and what errors call it. */
function nameOf({ host, port }: HostAddress): string {
  const shown = host.includes(":") ? `[${host}]` : host;
  return port === undefined ? shown : `${shown}:${port}`;
}

/** @throws Problem E_BAD_HOST (exit 2), E_HOST_KEY, E_HOST_KEY_UNKNOWN, E_HOST_UNREACHABLE */
export async function openVisit(options: VisitOptions, wish: VisitWish): Promise<Connection> {
  const { host, runtimeDirectory, environment, configFile, silenceMs } = options;
  const { url, identityFile } = wish;
  const address = parseAddress(url);
  const accepted = checkAccepted(wish.hostKey);
  checkIdentity(host, identityFile);
  const name = nameOf(address);
  const kept = socketDirectory(host, runtimeDirectory);
  try {
    const knownHostsFile = `${kept.make()}/known_hosts`;
    const reach = { name, address, identityFile, configFile, knownHostsFile };
    const whom = { name, url, isVisited: true };
    const parts = { host, reach, whom, environment: sshEnvironment(environment), socketDirectory: kept.make };
    await recordKey(parts, accepted);
    const given = { host, name, url, isVisited: true, identityFile, knownHostsFile, runtimeDirectory, environment, configFile };
    const connection = openConnection(silenceMs === undefined ? given : { ...given, silenceMs });
    return {
      ...connection,
      close: async () => {
        try {
          await connection.close();
        } finally {
          kept.remove();
        }
      },
    };
  } catch (error) {
    kept.remove();
    throw error;
  }
}
