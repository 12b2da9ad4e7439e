/**
 * Sessions in one guest over as many connections as it takes. A server lets ten be open over one (MaxSessions of sshd); when those are taken
 * the next connection is opened beside the first, with a socket and a master of its own, and kept.
 *
 *     closed ──open──► open ──the master ended──► closed (opened again by whoever needs it next)
 *        └──────────────┴──────end──────► ended
 */
import { Problem } from "../base/index.ts";
import type { Host } from "../host/index.ts";
import { type Channel, type ChannelHandlers, type Connection, openConnection } from "./connection.ts";
import { ensureMaster, socketOf, type StartOptions } from "./ssh.ts";
import type { GuestAddress } from "./types.ts";

/** With the ten sessions of an sshd nobody configured: 160 at once. */
const CONNECTIONS_MAX = 16;

export interface Link {
  /** Opens the first connection, or finds it open. @throws Problem E_GUEST_UNREACHABLE, E_GUEST_LOST after `end`; the signal's reason */
  open(options?: StartOptions): Promise<void>;
  /** @throws Problem E_GUEST_UNREACHABLE, E_GUEST_LOST, E_GUEST_FULL when every connection has all the sessions it may have */
  session(handlers: ChannelHandlers): Promise<Channel>;
  /** Ends every session of this process; the masters stay. */
  end(): void;
}

interface Slot {
  connection: Promise<Connection> | undefined;
  /** How many sessions were open when the server refused another. */
  capacity: number;
}

export function linkTo(host: Host, address: GuestAddress): Link {
  const slots: Slot[] = Array.from({ length: CONNECTIONS_MAX }, () => ({ connection: undefined, capacity: Infinity }));
  let ended = false;
  const assertOpen = (): void => {
    if (ended) {
      throw new Problem({
        code: "E_GUEST_LOST",
        message: `reaching ${address.name}: the connection was ended here`,
        hint: "the machine may have been given back; ask for another",
      });
    }
  };

  const establish = async (slot: Slot, number: number, options: StartOptions): Promise<Connection> => {
    const socket = socketOf(address, number);
    await ensureMaster(host, address, socket, options);
    const connection = await openConnection(host, socket, address.name);
    if (connection === undefined) {
      throw new Problem({
        code: "E_GUEST_LOST",
        message: `reaching ${address.name}: its connection ended as it was opened`,
        hint: "the machine's console says whether its SSH server runs",
      });
    }
    if (ended) {
      connection.close();
      assertOpen();
    }
    slot.capacity = Infinity;
    void connection.closed.then(() => (slot.connection = undefined));
    return connection;
  };

  const connectionOf = async (slot: Slot, number: number, options: StartOptions = {}): Promise<Connection> => {
    assertOpen();
    if (slot.connection === undefined) {
      const opening = establish(slot, number, options);
      slot.connection = opening;
      opening.catch(() => {
        if (slot.connection === opening) slot.connection = undefined;
      });
    }
    return await slot.connection;
  };

  return {
    open: async (options) => {
      const [first] = slots;
      if (first !== undefined) await connectionOf(first, 1, options);
    },
    session: async (handlers) => {
      for (const [index, slot] of slots.entries()) {
        const connection = await connectionOf(slot, index + 1);
        if (connection.sessions >= slot.capacity) continue;
        const channel = await connection.open(handlers);
        if (channel !== undefined) return channel;
        if (!connection.isOpen) throw lost(address);
        // Its own sessions were all that it had; those of other processes count too, so that one given back here is tried again.
        slot.capacity = Math.max(connection.sessions, 1);
      }
      throw new Problem({
        code: "E_GUEST_FULL",
        message: `reaching ${address.name}: ${CONNECTIONS_MAX} connections have all the sessions they may have`,
        hint: "fewer commands at once; or a larger MaxSessions in the guest's sshd_config",
      });
    },
    end: () => {
      ended = true;
      for (const slot of slots) {
        slot.connection?.then(
          (connection) => connection.close(),
          () => undefined,
        );
        slot.connection = undefined;
      }
    },
  };
}

export function lost(address: GuestAddress): Problem {
  return new Problem({
    code: "E_GUEST_LOST",
    message: `the connection to ${address.name} was lost`,
    hint: "the machine may have ended; its console says",
  });
}
