/**
 * One answer that goes on for as long as something happens: a queue between what produces and a client that reads at its own pace.
 *
 *     open ──end()──► ending ──all read──► closed
 *       └──────────client gone, or stalled──────┘
 *
 * A producer that can wait asks `drained` after `send`, and waits while more than HELD_BYTES are unread. One that cannot fills the queue up
 * to QUEUE_MAX_BYTES; then the answer ends with `resource_exhausted`, as it does when nothing was read for the stall time while
 * somebody waits.
 */
import { RpcError } from "./codes.ts";

const HELD_BYTES = 256 * 1024;
const QUEUE_MAX_BYTES = 16 * 1024 * 1024;

export interface OutletOptions {
  /** The last bytes of the answer. undefined: there is no way to say it, and the connection is cut. */
  readonly last: (error: RpcError | undefined) => Uint8Array<ArrayBuffer> | undefined;
  readonly keepalive?: { readonly everyMs: number; readonly frame: () => Uint8Array<ArrayBuffer> };
  /** How long a client may leave a full queue unread. */
  readonly stallMs: number;
}

export interface Outlet {
  readonly body: ReadableStream<Uint8Array<ArrayBuffer>>;
  /** Nothing happens after the end. */
  send(frame: Uint8Array<ArrayBuffer>): void;
  /** undefined: there is room. The promise settles when there is, or the answer is over. */
  drained(): Promise<void> | undefined;
  end(error?: RpcError): void;
  readonly ended: boolean;
  /** Settles when it was read to its end, or the client has gone. */
  readonly closed: Promise<"read" | "gone">;
}

export function openOutlet(options: OutletOptions): Outlet {
  let queue: Uint8Array<ArrayBuffer>[] = [];
  let queuedBytes = 0;
  let state: "open" | "ending" | "closed" = "open";
  let cut = false;
  let reader: (() => void) | undefined;
  let room: PromiseWithResolvers<void> | undefined;
  let stall: ReturnType<typeof setTimeout> | undefined;
  const closed = Promise.withResolvers<"read" | "gone">();

  const { everyMs, frame } = options.keepalive ?? {};
  const keepalive =
    everyMs === undefined || frame === undefined
      ? undefined
      : setInterval(() => {
          // Behind output that nobody reads it would say nothing.
          if (queuedBytes === 0) push(frame());
        }, everyMs);

  const freeRoom = () => {
    clearTimeout(stall);
    room?.resolve();
    room = undefined;
  };

  const finish = (how: "read" | "gone") => {
    state = "closed";
    queue = [];
    queuedBytes = 0;
    clearInterval(keepalive);
    freeRoom();
    closed.resolve(how);
    reader?.();
  };

  const push = (bytes: Uint8Array<ArrayBuffer>) => {
    queue.push(bytes);
    queuedBytes += bytes.byteLength;
    reader?.();
  };

  const end = (error?: RpcError) => {
    if (state !== "open") return;
    const last = options.last(error);
    cut = last === undefined;
    // Before the reader is woken, who looks at it.
    state = "ending";
    push(last ?? new Uint8Array());
    clearInterval(keepalive);
    freeRoom();
  };

  /** What is unread is thrown away for a client that does not read it. */
  const overflow = (message: string) => {
    queue = [];
    queuedBytes = 0;
    end(new RpcError("resource_exhausted", message));
  };

  const body = new ReadableStream<Uint8Array<ArrayBuffer>>(
    {
      async pull(controller) {
        if (queue.length === 0 && state === "open") {
          await new Promise<void>((resolve) => {
            reader = resolve;
          });
          reader = undefined;
        }
        if (state === "closed") return;
        // One write to the socket for all that has come meanwhile.
        const chunk = queue.length === 1 && queue[0] !== undefined ? queue[0] : new Uint8Array(Buffer.concat(queue));
        queue = [];
        queuedBytes = 0;
        if (chunk.byteLength > 0) controller.enqueue(chunk);
        freeRoom();
        if (state === "ending") {
          // The runtime prints what a stream fails with, unless it is nothing.
          if (cut) controller.error();
          else controller.close();
          finish("read");
        }
      },
      cancel: () => finish("gone"),
    },
    { highWaterMark: 0 },
  );

  return {
    body,
    send(bytes) {
      if (state !== "open") return;
      // One frame always has room: a picture may be as large as that.
      if (queuedBytes > 0 && queuedBytes + bytes.byteLength > QUEUE_MAX_BYTES) {
        overflow(`more than ${QUEUE_MAX_BYTES} bytes of output are waiting to be read`);
        return;
      }
      if (keepalive !== undefined) keepalive.refresh();
      push(bytes);
    },
    drained() {
      if (state !== "open" || queuedBytes <= HELD_BYTES) return undefined;
      if (room === undefined) {
        room = Promise.withResolvers<void>();
        stall = setTimeout(() => overflow("output was left unread for too long"), options.stallMs);
      }
      return room.promise;
    },
    end,
    get ended() {
      return state !== "open";
    },
    closed: closed.promise,
  };
}
