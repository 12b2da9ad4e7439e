/**
 * The line to a guest's resident (resident.py): JSON documents over the socket of its virtio port, each with a number that comes back.
 *
 *     connected ──order──► waiting ──answer──► done | refused
 *                             └──no answer in time, connection gone──► silent
 *
 * It reaches a guest that no network reaches, and proves in a few milliseconds that one runs.
 */
import { formatDuration, Problem } from "../base/index.ts";
import type { Host } from "../host/index.ts";
import { channelSocket } from "../machine/index.ts";

/** Name of the port in the guest: /dev/virtio-ports/garth.0. */
export const CHANNEL_NAME = "garth.0";
/** An answer is one short line. */
const LINE_BYTES_MAX = 65_536;

export interface GuestIdentity {
  readonly hostname: string;
  readonly address: string;
  readonly prefix: number;
  readonly gateway: string;
  readonly mac: string;
  /** 32 hexadecimal digits: machine-id(5). */
  readonly machineId: string;
  /** A UUID. */
  readonly bootId: string;
  /** base64 of 64 bytes for the guest's generator of random numbers. */
  readonly seed: string;
  /** Seconds since 1970. */
  readonly time: number;
  readonly hostKey: { readonly privateKey: string; readonly publicKey: string };
  /** Whom the snapshot was taken of: what it has written down is looked for under these. */
  readonly before: { readonly hostname: string; readonly address: string; readonly mac: string };
}

export type Order =
  | { readonly do: "ping" }
  /** Answered when the guest has nothing else to do. */
  | { readonly do: "rest" }
  | { readonly do: "announce"; readonly mac: string; readonly address: string }
  | ({ readonly do: "identity" } & GuestIdentity);

export interface GuestChannel {
  /** @throws Problem E_GUEST_SILENT, E_GUEST_REFUSED with what the guest said */
  order(order: Order, timeoutMs: number): Promise<void>;
  close(): void;
}

/** @throws Error with an errno name where no machine listens */
export async function openChannel(host: Host, name: string, directory: string): Promise<GuestChannel> {
  const waiting = new Map<number, PromiseWithResolvers<void>>();
  let held = "";
  let last = 0;
  const heard = (line: string): void => {
    const answer = parsed(line);
    const asked = answer === undefined ? undefined : waiting.get(answer.id);
    if (answer === undefined || asked === undefined) return;
    if (answer.error === undefined) return asked.resolve();
    asked.reject(
      new Problem({
        code: "E_GUEST_REFUSED",
        message: `telling the guest ${name} who it is: it could not`,
        details: [answer.error],
      }),
    );
  };
  const connection = await host.connect(channelSocket(directory), (chunk) => {
    held += Buffer.from(chunk).toString();
    const lines = held.split("\n");
    held = lines.pop() ?? "";
    // Whatever sits there is no resident.
    if (held.length > LINE_BYTES_MAX) held = "";
    for (const line of lines) heard(line);
  });
  const gone = connection.closed.then(() => {
    for (const each of waiting.values()) each.reject(silent(name, "its machine is gone"));
  });
  void gone;
  return {
    order: async (order, timeoutMs) => {
      last += 1;
      const id = last;
      const answered = Promise.withResolvers<void>();
      waiting.set(id, answered);
      const timer = setTimeout(
        () => answered.reject(silent(name, `no answer to ${order.do} in ${formatDuration(timeoutMs)}`)),
        timeoutMs,
      );
      try {
        connection.write(`${JSON.stringify({ id, ...order })}\n`);
        await answered.promise;
      } finally {
        clearTimeout(timer);
        waiting.delete(id);
      }
    },
    close: () => connection.close(),
  };
}

function silent(name: string, why: string): Problem {
  return new Problem({ code: "E_GUEST_SILENT", message: `asking the guest ${name}: ${why}` });
}

function parsed(line: string): { readonly id: number; readonly error: string | undefined } | undefined {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    // The rest of a line that was sent to whoever was connected before.
    return undefined;
  }
  if (typeof value !== "object" || value === null || !("id" in value) || typeof value.id !== "number") return undefined;
  return { id: value.id, error: "error" in value && typeof value.error === "string" ? value.error : undefined };
}
