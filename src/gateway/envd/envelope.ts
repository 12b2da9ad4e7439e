/**
 * Envelopes of the Connect protocol's streams: one byte of flags, four of length (big-endian), then that many bytes of JSON.
 * https://connectrpc.com/docs/protocol#streaming-rpcs. Pure.
 */
import { RpcError } from "./codes.ts";

const HEADER_BYTES = 5;
const COMPRESSED = 0b01;
const END_OF_STREAM = 0b10;

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true });

function encode(flags: number, text: string): Uint8Array<ArrayBuffer> {
  // A UTF-16 unit takes three bytes at most; where the text is base64, as most of it is, one.
  const room = new Uint8Array(HEADER_BYTES + text.length * 3);
  const { written } = encoder.encodeInto(text, room.subarray(HEADER_BYTES));
  room[0] = flags;
  new DataView(room.buffer).setUint32(1, written);
  return room.length > (HEADER_BYTES + written) * 2
    ? room.slice(0, HEADER_BYTES + written)
    : room.subarray(0, HEADER_BYTES + written);
}

export function messageEnvelope(message: object): Uint8Array<ArrayBuffer> {
  return encode(0, JSON.stringify(message));
}

/** The last one of every stream. */
export function endEnvelope(error?: RpcError): Uint8Array<ArrayBuffer> {
  return encode(END_OF_STREAM, JSON.stringify(error === undefined ? {} : { error: error.document }));
}

/** JSON out of bytes that a client sent. @throws RpcError invalid_argument */
export function parseMessage(bytes: Uint8Array): unknown {
  // A message in which every field has its default may be nothing at all.
  if (bytes.byteLength === 0) return {};
  try {
    return JSON.parse(decoder.decode(bytes));
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new RpcError("invalid_argument", `unmarshal message: ${why}`, { cause: error });
  }
}

export interface EnvelopeReader {
  /** Messages that are whole now. @throws RpcError for what is too large, compressed, or of no kind that a client may send */
  push(chunk: Uint8Array): unknown[];
  /** @throws RpcError when an envelope is not whole */
  end(): void;
}

export function envelopeReader(messageMaxBytes: number): EnvelopeReader {
  let kept: Uint8Array[] = [];
  let keptBytes = 0;
  let neededBytes = HEADER_BYTES;

  /** The first `count` bytes of what is kept, which has them. */
  const take = (count: number): Uint8Array => {
    const joined = kept.length === 1 && kept[0] !== undefined ? kept[0] : Buffer.concat(kept);
    kept = [joined.subarray(count)];
    keptBytes -= count;
    return joined.subarray(0, count);
  };

  const lengthOf = (header: Uint8Array): number => {
    const flags = header[0] ?? 0;
    if ((flags & COMPRESSED) !== 0) {
      throw new RpcError("internal", "protocol error: sent compressed message without compression support");
    }
    if (flags !== 0) throw new RpcError("invalid_argument", `protocol error: envelope with flags ${flags} from a client`);
    const length = new DataView(header.buffer, header.byteOffset).getUint32(1);
    if (length > messageMaxBytes) {
      throw new RpcError("resource_exhausted", `message size ${length} is larger than the limit of ${messageMaxBytes} bytes`);
    }
    return length;
  };

  let body = false;
  return {
    push(chunk) {
      kept.push(chunk);
      keptBytes += chunk.byteLength;
      const messages: unknown[] = [];
      while (keptBytes >= neededBytes) {
        const bytes = take(neededBytes);
        if (body) messages.push(parseMessage(bytes));
        neededBytes = body ? HEADER_BYTES : lengthOf(bytes);
        body = !body;
      }
      return messages;
    },
    end() {
      if (body || keptBytes > 0)
        throw new RpcError("invalid_argument", "protocol error: the stream ended in the middle of an envelope");
    },
  };
}
