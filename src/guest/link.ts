/**
 * Sessions in one guest over as many connections as it takes. A server lets so many be open over one (MaxSessions of sshd: ten, or what the
 * address says); when all but two are taken the next connection is opened beside the first, with a socket and a master of its own, and kept.
 * Two are left for others who use the same master: being refused is what a connection does not get over well (see `connection.ts`). It
 * happens where there are fewer than that, or others take more: then there are fewer from then on.
 *
 * Ports have a connection to themselves: nobody can know whether one is listened on, and with each that is refused the master keeps what it
 * dies of when this process goes. After so many it is replaced, as soon as nothing is open over it.
 *
 *     closed ──open──► open ──the master ended──► closed (opened again by whoever needs it next)
 *        └──────────────┴──────end──────► ended
 */
import { formatDuration, Problem } from "../base/index.ts";
import type { Host } from "../host/index.ts";
import { type Channel, type ChannelHandlers, type Connection, openConnection, type Refusal, type Target } from "./connection.ts";
import { ensureMaster, socketOf, type StartOptions, unreachable } from "./ssh.ts";
import type { GuestAddress } from "./types.ts";

const SESSIONS = 10;
const LEFT_FOR_OTHERS = 2;
const CONNECTIONS_MAX = 20;
/** OpenSSH keeps at most 10,000 channels. */
const REFUSED_MAX = 1_000;
const REFUSED_LIMIT = 8_000;

export interface Link {
  /** Opens the first connection, or finds it open. @throws Problem E_GUEST_UNREACHABLE, E_GUEST_LOST after `end`; the signal's reason */
  open(options?: StartOptions): Promise<void>;
  /** @throws Problem E_GUEST_UNREACHABLE, E_GUEST_LOST, E_GUEST_BUSY when every connection has all the sessions it may have */
  session(handlers: ChannelHandlers): Promise<Channel>;
  /** @throws Problem E_GUEST_UNREACHABLE, E_GUEST_LOST */
  port(target: Target, handlers: ChannelHandlers): Promise<Channel | Refusal>;
  /** Ends every session of this process; the masters stay. */
  end(): void;
}

interface Opening {
  readonly connection: Promise<Connection>;
  waiting: number;
  /** Ends it as long as it is not open. */
  gone: AbortController | undefined;
}

interface Slot {
  opening: Opening | undefined;
}

export function linkTo(host: Host, address: GuestAddress): Link {
  const slots: Slot[] = Array.from({ length: CONNECTIONS_MAX }, () => ({ opening: undefined }));
  /** One at a time; the next has another socket, for the one before may not be gone yet. */
  const portSlots: readonly [Slot, Slot] = [{ opening: undefined }, { opening: undefined }];
  let portSlot: 0 | 1 = 0;
  let capacity = Math.max(1, (address.maxSessions ?? SESSIONS) - LEFT_FOR_OTHERS);
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

  const establish = async (slot: Slot, number: number, signal: AbortSignal): Promise<Connection> => {
    const socket = socketOf(address, number);
    await ensureMaster(host, address, socket, { signal });
    const connection = await openConnection(host, socket, address.name);
    if (connection === undefined) {
      throw new Problem({
        code: "E_GUEST_LOST",
        message: `reaching ${address.name}: its connection ended as it was opened`,
        hint: "the machine's console says whether its SSH server runs",
      });
    }
    if (ended || signal.aborted) {
      connection.close();
      assertOpen();
      signal.throwIfAborted();
    }
    void connection.closed.then(() => (slot.opening = undefined));
    return connection;
  };

  const begin = (slot: Slot, number: number): Opening => {
    const gone = new AbortController();
    const opening: Opening = { connection: establish(slot, number, gone.signal), waiting: 0, gone };
    slot.opening = opening;
    opening.connection.then(
      () => (opening.gone = undefined),
      () => {
        if (slot.opening === opening) slot.opening = undefined;
      },
    );
    return opening;
  };

  /** Everybody waits for one opening with patience of his own; it ends when nobody waits any more. */
  const connectionOf = async (slot: Slot, number: number, { timeoutMs, signal }: StartOptions = {}): Promise<Connection> => {
    assertOpen();
    signal?.throwIfAborted();
    const opening = slot.opening ?? begin(slot, number);
    const left = Promise.withResolvers<never>();
    const leave = (): void => left.reject(signal?.reason);
    signal?.addEventListener("abort", leave, { once: true });
    const late = (): void => left.reject(unreachable(address, `no answer in ${formatDuration(timeoutMs ?? 0)}`));
    const timer = timeoutMs === undefined ? undefined : setTimeout(late, timeoutMs);
    opening.waiting += 1;
    try {
      return await Promise.race([opening.connection, left.promise]);
    } finally {
      opening.waiting -= 1;
      clearTimeout(timer);
      signal?.removeEventListener("abort", leave);
      if (opening.waiting === 0 && opening.gone !== undefined && slot.opening === opening) {
        slot.opening = undefined;
        opening.gone.abort(new Error("nobody waits for it"));
      }
    }
  };

  return {
    open: async (options) => {
      const [first] = slots;
      if (first !== undefined) await connectionOf(first, 1, options);
    },
    session: async (handlers) => {
      for (const [index, slot] of slots.entries()) {
        const connection = await connectionOf(slot, index + 1);
        if (connection.sessions >= capacity) continue;
        const channel = await connection.open(handlers);
        if (channel !== undefined) return channel;
        if (!connection.isOpen) throw lost(address);
        capacity = Math.max(1, Math.min(capacity, connection.sessions));
      }
      throw new Problem({
        code: "E_GUEST_BUSY",
        message: `reaching ${address.name}: ${CONNECTIONS_MAX} connections have all the sessions they may have`,
        hint: "fewer commands at once; or a larger MaxSessions in the guest's sshd_config",
      });
    },
    port: async (target, handlers) => {
      for (;;) {
        const number = portSlot;
        const slot = portSlots[number];
        const connection = await connectionOf(slot, CONNECTIONS_MAX + 1 + number);
        const channel = await connection.connect(target, handlers);
        // It was replaced between the two.
        if (channel === undefined && number !== portSlot) continue;
        if (channel === undefined) throw lost(address);
        const isWorn = connection.refused >= (connection.sessions === 0 ? REFUSED_MAX : REFUSED_LIMIT);
        if (isWorn && "reason" in channel && number === portSlot) {
          portSlot = number === 0 ? 1 : 0;
          slot.opening = undefined;
          connection.close();
        }
        return channel;
      }
    },
    end: () => {
      ended = true;
      for (const slot of [...slots, ...portSlots]) {
        slot.opening?.connection.then(
          (connection) => connection.close(),
          () => undefined,
        );
        slot.opening?.gone?.abort(new Error("ended"));
        slot.opening = undefined;
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
