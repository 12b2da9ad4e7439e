import { describe, expect, test } from "bun:test";
import * as fc from "fast-check";
import { HttpError } from "./http-error.ts";
import { boundaryOf, formParts } from "./multipart.ts";

interface Read {
  readonly name: string | undefined;
  readonly filename: string | undefined;
  readonly body: string;
}

async function* chunksOf(bytes: Uint8Array, chunkBytes: number): AsyncGenerator<Uint8Array<ArrayBuffer>, void> {
  for (let offset = 0; offset < bytes.byteLength; offset += chunkBytes) yield bytes.slice(offset, offset + chunkBytes);
}

async function readForm(bytes: Uint8Array, boundary: string, chunkBytes = 7): Promise<readonly Read[]> {
  const read: Read[] = [];
  for await (const { name, filename, body } of formParts(chunksOf(bytes, chunkBytes), boundary)) {
    const pieces: Uint8Array[] = [];
    for await (const piece of body) pieces.push(piece);
    read.push({ name, filename, body: Buffer.concat(pieces).toString("latin1") });
  }
  return read;
}

/** As this runtime's fetch would send it. */
async function encoded(form: FormData): Promise<{ readonly bytes: Uint8Array; readonly boundary: string }> {
  const response = new Response(form);
  // The runtime makes the header when it is asked for, and not any more when the body was read.
  const boundary = boundaryOf(response.headers.get("content-type") ?? "");
  return { bytes: new Uint8Array(await response.arrayBuffer()), boundary };
}

test("forms of fetch are read whatever is in them, and wherever the chunks end", async () => {
  const file = fc.record({
    name: fc.string({ minLength: 1 }).filter((name) => !/[\r\n"%\\]/.test(name)),
    // Line ends and dashes, of which boundaries are made.
    data: fc.oneof(
      fc.uint8Array(),
      fc.string({ unit: fc.constantFrom("\r", "\n", "-", "a") }).map((text) => new TextEncoder().encode(text)),
    ),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(file, { maxLength: 4 }), fc.integer({ min: 1, max: 64 }), async (files, chunkBytes) => {
      const form = new FormData();
      for (const { name, data } of files) form.append("file", new Blob([data]), name);
      const { bytes, boundary } = await encoded(form);
      const expected = files.map(({ name, data }) => ({
        name: "file",
        filename: name,
        body: Buffer.from(data).toString("latin1"),
      }));
      expect(await readForm(bytes, boundary, chunkBytes)).toEqual(expected);
    }),
  );
});

test("names with quotes, line ends and letters of every script come back", async () => {
  const form = new FormData();
  const name = '/home/user/a "b"\r\nc/ü€𝄞;=.txt';
  form.append("file", new Blob(["x"]), name);
  const { bytes, boundary } = await encoded(form);
  expect(await readForm(bytes, boundary)).toEqual([{ name: "file", filename: name, body: "x" }]);
});

test("curl's forms, a preamble, an epilogue, blanks after a boundary", async () => {
  const text = [
    "to be passed over\r\n--b  \r\n",
    'Content-Type: text/plain\r\ncontent-disposition: form-data; filename="a \\"b\\".txt"; name="file"\r\n\r\none\r\n',
    "--b\r\nContent-Disposition: form-data; name=plain; filename=c.txt\r\n\r\n\r\n",
    "--b\r\nContent-Disposition: form-data; name=\"file\"; filename*=UTF-8''d%20%C3%BC.txt\r\n\r\n--\r\n-b\r\n",
    "--b\r\n\r\nno headers\r\n",
    "--b--\r\nto be passed over as well",
  ].join("");
  expect(await readForm(Buffer.from(text), "b", 1)).toEqual([
    { name: "file", filename: 'a "b".txt', body: "one" },
    { name: "plain", filename: "c.txt", body: "" },
    { name: "file", filename: "d ü.txt", body: "--\r\n-b" },
    { name: undefined, filename: undefined, body: "no headers" },
  ]);
});

test("what is not read of a part is skipped", async () => {
  const form = new FormData();
  form.append("note", "x".repeat(1000));
  form.append("file", new Blob(["y"]), "y");
  const { bytes, boundary } = await encoded(form);
  const names: (string | undefined)[] = [];
  for await (const part of formParts(chunksOf(bytes, 100), boundary)) names.push(part.name);
  expect(names).toEqual(["note", "file"]);
});

describe("what is no form is refused", () => {
  const whole = '--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nhello\r\n--b--\r\n';
  const refused = async (text: string) => {
    try {
      await readForm(Buffer.from(text), "b");
      return "taken";
    } catch (error) {
      return error instanceof HttpError ? error.status : String(error);
    }
  };

  test("a form that ends early, at whatever byte", async () => {
    const last = whole.indexOf("--b--") + "--b--".length;
    for (let length = 0; length < last; length += 1)
      expect({ length, status: await refused(whole.slice(0, length)) }).toEqual({ length, status: 400 });
    expect(await refused(whole)).toBe("taken");
  });

  test("headers without an end", async () => {
    expect(await refused(`--b\r\nX: ${"x".repeat(100_000)}`)).toBe(400);
  });

  test("a boundary that goes on", async () => {
    expect(await refused(whole.replace("--b\r\n", "--bc\r\n"))).toBe(400);
  });

  test.each(["multipart/form-data", "multipart/form-data; boundary=", `multipart/form-data; boundary=${"b".repeat(300)}`])(
    "%s",
    (type) => {
      expect(() => boundaryOf(type)).toThrow(HttpError);
    },
  );
});

test("no more of a part is kept than could be the beginning of a boundary", async () => {
  const chunk = new Uint8Array(64 * 1024);
  let unread = 0;
  async function* endless(): AsyncGenerator<Uint8Array<ArrayBuffer>, void> {
    yield new Uint8Array(Buffer.from('--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'));
    for (let count = 0; count < 1000; count += 1) {
      unread += chunk.byteLength;
      yield chunk;
    }
    yield new Uint8Array(Buffer.from("\r\n--b--"));
  }
  let mostUnread = 0;
  for await (const { body } of formParts(endless(), "b")) {
    for await (const piece of body) {
      unread -= piece.byteLength;
      mostUnread = Math.max(mostUnread, unread);
    }
  }
  expect(unread).toBe(0);
  expect(mostUnread).toBeLessThan(100);
});
