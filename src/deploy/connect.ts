/** A machine that was named, reached: by its address for once, or as a host that is known here. */
import { Problem } from "../base/index.ts";
import { type Connection, type Hosts, openVisit, type VisitOptions } from "../remote/index.ts";
import type { MachineWish } from "./types.ts";

export interface Reached {
  /** In the words of errors and of command lines: as it was given. */
  readonly machine: string;
  readonly url: string;
  readonly connection: Connection;
  /** That of a known host is closed with the others. */
  close(): Promise<void>;
}

/** What of the list of hosts is needed. */
export type KnownHosts = Pick<Hosts, "get" | "connection">;

/** @throws Problem E_BAD_HOST, E_UNKNOWN_HOST (exit 2), those of Connection */
export async function reach(visit: VisitOptions, hosts: () => Promise<KnownHosts>, wish: MachineWish): Promise<Reached> {
  const { machine, identityFile, hostKey } = wish;
  if (/^[a-z+.-]+:\/\//.test(machine)) {
    const connection = await openVisit(visit, {
      url: machine,
      ...(identityFile === undefined ? {} : { identityFile }),
      ...(hostKey === undefined ? {} : { hostKey }),
    });
    return { machine, url: machine, connection, close: () => connection.close() };
  }
  const known = await hosts();
  const { url } = known.get(machine);
  if (identityFile !== undefined || hostKey !== undefined)
    throw new Problem({
      code: "E_BAD_HOST",
      message: `${machine} is a host that is known here: its key and yours were said when it was added`,
      hint: `leave the option out, or name it by its address: ${url}`,
      exit: 2,
    });
  return { machine, url, connection: known.connection(machine), close: () => Promise.resolve() };
}
