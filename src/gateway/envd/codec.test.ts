import { describe, expect, test } from "bun:test";
import * as fc from "fast-check";
import { Problem } from "../../base/index.ts";
import { RpcError, rpcErrorOf } from "./codes.ts";
import { endEnvelope, envelopeReader, messageEnvelope, parseMessage } from "./envelope.ts";

/** The bytes in pieces that end at random places. */
function cut(bytes: Uint8Array, places: readonly number[]): Uint8Array[] {
  const ends = [...places.map((place) => place % (bytes.byteLength + 1)), bytes.byteLength].toSorted((a, b) => a - b);
  return ends.map((end, index) => bytes.subarray(index === 0 ? 0 : ends[index - 1], end));
}

const messages = fc.array(fc.dictionary(fc.string({ unit: "grapheme" }), fc.jsonValue()));

test("messages come out of envelopes as they went in, wherever the chunks end", () => {
  fc.assert(
    fc.property(messages, fc.array(fc.nat()), (sent, places) => {
      const reader = envelopeReader(1024 * 1024);
      const bytes = Buffer.concat(sent.map(messageEnvelope));
      const got = cut(bytes, places).flatMap((chunk) => reader.push(chunk));
      reader.end();
      expect(got).toEqual(sent.map((message): unknown => JSON.parse(JSON.stringify(message))));
    }),
  );
});

test("an envelope says its length in bytes, not in characters", () => {
  const bytes = messageEnvelope({ text: "ü€𝄞" });
  expect([...bytes.subarray(0, 5)]).toEqual([0, 0, 0, 0, bytes.byteLength - 5]);
  expect(JSON.parse(Buffer.from(bytes.subarray(5)).toString())).toEqual({ text: "ü€𝄞" });
});

test("the last envelope has flag 2, and a code that is text", () => {
  expect(Buffer.from(endEnvelope()).toString("latin1")).toBe("\x02\0\0\0\x02{}");
  const failed = endEnvelope(new RpcError("not_found", "no such thing"));
  expect(failed[0]).toBe(2);
  expect(JSON.parse(Buffer.from(failed.subarray(5)).toString())).toEqual({
    error: { code: "not_found", message: "no such thing" },
  });
});

function refusal(bytes: readonly number[], maxBytes = 100): string {
  try {
    const reader = envelopeReader(maxBytes);
    reader.push(Uint8Array.from(bytes));
    reader.end();
    return "taken";
  } catch (error) {
    return error instanceof RpcError ? error.code : String(error);
  }
}

test.each([
  ["compressed", [1, 0, 0, 0, 2, 123, 125], "internal"],
  ["an end of stream from a client", [2, 0, 0, 0, 2, 123, 125], "invalid_argument"],
  ["flags that nobody knows", [64, 0, 0, 0, 0], "invalid_argument"],
  ["too long, said before it is sent", [0, 0, 0, 0, 101], "resource_exhausted"],
  ["four gigabytes", [0, 255, 255, 255, 255], "resource_exhausted"],
  ["cut in its header", [0, 0, 0], "invalid_argument"],
  ["cut in its body", [0, 0, 0, 0, 5, 123], "invalid_argument"],
  ["no JSON", [0, 0, 0, 0, 1, 123], "invalid_argument"],
  ["no UTF-8", [0, 0, 0, 0, 3, 34, 255, 34], "invalid_argument"],
  ["nothing at all is a message of defaults", [0, 0, 0, 0, 0], "taken"],
])("an envelope: %s", (_name, bytes, code) => {
  expect(refusal(bytes)).toBe(code);
});

describe("errors", () => {
  test("problems of the guest have codes that clients know", () => {
    const codeOf = (code: `E_${string}`) => rpcErrorOf(new Problem({ code, message: "m" })).code;
    expect(codeOf("E_NO_FILE")).toBe("not_found");
    expect(codeOf("E_NO_USER")).toBe("unauthenticated");
    expect(codeOf("E_GUEST_LOST")).toBe("unavailable");
    expect(codeOf("E_NOT_DIRECTORY")).toBe("invalid_argument");
    expect(codeOf("E_SOMETHING_ELSE")).toBe("internal");
  });

  test("a fault of ours keeps its text to itself", () => {
    expect(rpcErrorOf(new TypeError("secret is undefined")).document).toEqual({ code: "internal", message: "internal error" });
  });

  // https://connectrpc.com/docs/protocol#error-codes
  test.each([
    ["canceled", 499],
    ["unknown", 500],
    ["invalid_argument", 400],
    ["deadline_exceeded", 504],
    ["not_found", 404],
    ["already_exists", 409],
    ["permission_denied", 403],
    ["resource_exhausted", 429],
    ["failed_precondition", 400],
    ["aborted", 409],
    ["out_of_range", 400],
    ["unimplemented", 501],
    ["internal", 500],
    ["unavailable", 503],
    ["data_loss", 500],
    ["unauthenticated", 401],
  ] as const)("%s is HTTP %d", (code, status) => {
    expect(new RpcError(code, "").status).toBe(status);
  });
});

test("an empty body is a message of defaults", () => {
  expect(parseMessage(new Uint8Array())).toEqual({});
});
