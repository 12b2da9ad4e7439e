/**
 * A connection to a port of the guest's loopback: the guest's SSH server opens it (direct-tcpip), so that nothing runs in the guest for it.
 *
 * Some servers (Chromium's debugger) listen on ::1 alone; "localhost" would ask a resolver, which the guest need not have.
 */
import { Problem } from "../base/index.ts";
import { PROHIBITED, type Refusal } from "./connection.ts";
import type { Link } from "./link.ts";
import type { GuestAddress, GuestStream } from "./types.ts";

const LOOPBACKS = ["127.0.0.1", "::1"] as const;

/** @throws Problem E_PORT_CLOSED, E_PORT_DENIED, E_GUEST_LOST, E_GUEST_UNREACHABLE */
export async function connectTo(
  { name }: Pick<GuestAddress, "name">,
  link: Link,
  port: number,
  onData: (chunk: Uint8Array) => unknown,
): Promise<GuestStream> {
  const ended = Promise.withResolvers<void>();
  let refusal: Refusal | undefined;
  for (const address of LOOPBACKS) {
    const channel = await link.port({ address, port }, { onData, onEof: ended.resolve });
    if ("reason" in channel) {
      refusal ??= channel;
      if (channel.reason === PROHIBITED) break;
      continue;
    }
    const closed = channel.closed.then((end) => ({ lost: end === undefined }));
    void closed.then(() => ended.resolve());
    return {
      write: (data) => channel.write(typeof data === "string" ? Buffer.from(data) : data),
      end: channel.end,
      close: channel.close,
      ended: ended.promise,
      closed,
    };
  }
  throw refused(name, port, refusal);
}

function refused(name: string, port: number, refusal: Refusal | undefined): Problem {
  const doing = `connecting to port ${port} in ${name}`;
  if (refusal?.reason === PROHIBITED) {
    return new Problem({
      code: "E_PORT_DENIED",
      message: `${doing}: its SSH server forwards no connections`,
      details: [refusal.text],
      hint: "AllowTcpForwarding and PermitOpen in the guest's sshd_config",
    });
  }
  return new Problem({
    code: "E_PORT_CLOSED",
    message: `${doing}: nobody listens there`,
    details: refusal === undefined ? [] : [refusal.text],
    hint: "the server may not be up yet, or listen on an address that is not the guest's loopback",
  });
}
