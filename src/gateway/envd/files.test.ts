/** Files up and down: by the unmodified SDK, by curl's forms, by URLs, and by clients that break off. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { FileNotFoundError, NotEnoughSpaceError, type Sandbox } from "@e2b/code-interpreter";
import { openTestGuest, type TestGuest } from "../../guest/testing.ts";
import { serveEnvd, type ServedEnvd } from "./envd.testing.ts";

let guest: TestGuest;
let served: ServedEnvd;
let sandbox: Sandbox;
let home: string;

beforeAll(async () => {
  guest = await openTestGuest({ before: "mount -t tmpfs -o size=256k none /mnt" });
  await guest.guest.connect();
  served = await serveEnvd(guest.guest, { limits: { uploadMaxBytes: 16 * 1024 * 1024 } });
  sandbox = await served.sandbox();
  home = `${guest.directory}/root`;
});

afterAll(async () => {
  await served.close();
  await guest.close();
});

/** Ten million bytes in which no two places look alike. */
function patterned(length: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(length);
  let value = 1;
  for (let index = 0; index < length; index += 1) {
    value = (value * 1_103_515_245 + 12_345) & 0x7fff_ffff;
    bytes[index] = value >> 16;
  }
  return bytes;
}

const query = (path: string, more: Readonly<Record<string, string>> = {}) =>
  `${served.url}/files?${new URLSearchParams({ path, ...more })}`;

async function refusal(response: Response): Promise<{ readonly status: number; readonly code: unknown }> {
  const document: unknown = await response.json();
  const code = typeof document === "object" && document !== null && "code" in document ? document.code : document;
  return { status: response.status, code };
}

describe("with the SDK", () => {
  test("ten megabytes both ways, unchanged", async () => {
    const bytes = patterned(10_000_000);
    expect(await sandbox.files.write("big.bin", bytes.buffer)).toMatchObject({ name: "big.bin", path: `${home}/big.bin` });
    expect(Buffer.compare(readFileSync(`${home}/big.bin`), bytes)).toBe(0);
    expect(Buffer.compare(await sandbox.files.read("big.bin", { format: "bytes" }), bytes)).toBe(0);
  });

  test("as a stream, and compressed", async () => {
    const bytes = patterned(3_000_000);
    await sandbox.files.write("streamed.bin", new Blob([bytes]).stream());
    expect(Buffer.compare(readFileSync(`${home}/streamed.bin`), bytes)).toBe(0);
    await sandbox.files.write("zipped.bin", bytes.buffer, { gzip: true });
    expect(Buffer.compare(readFileSync(`${home}/zipped.bin`), bytes)).toBe(0);
    const stream = await sandbox.files.read("zipped.bin", { format: "stream" });
    expect(Buffer.compare(Buffer.from(await new Response(stream).arrayBuffer()), bytes)).toBe(0);
  });

  test("text, over what was there, with parents, by a user to whom it belongs", async () => {
    await sandbox.files.write("notes/of/today.txt", "first", { user: "user" });
    await sandbox.files.write("notes/of/today.txt", "zweitens ü", { user: "user" });
    expect(await sandbox.files.read("notes/of/today.txt", { user: "user" })).toBe("zweitens ü");
    const path = `${guest.directory}/user/notes/of`;
    expect([statSync(path).uid, statSync(`${path}/today.txt`).uid]).toEqual([1000, 1000]);
  });

  test("several at once", async () => {
    const written = await sandbox.files.write([
      { path: "several/a", data: "A" },
      { path: `${home}/several/b c "d".txt`, data: "B" },
    ]);
    expect(written.map(({ path }) => path)).toEqual([`${home}/several/a`, `${home}/several/b c "d".txt`]);
    expect(await sandbox.files.read('several/b c "d".txt')).toBe("B");
  });

  test("an empty file is empty in every form", async () => {
    await sandbox.files.write("empty", "");
    expect(await sandbox.files.read("empty")).toBe("");
    expect(await sandbox.files.read("empty", { format: "bytes" })).toEqual(new Uint8Array());
    expect((await fetch(query("empty"))).headers.get("content-length")).toBe("0");
  });

  test("what is not there, and what is no file", async () => {
    expect(sandbox.files.read("nothing")).rejects.toBeInstanceOf(FileNotFoundError);
    expect(sandbox.files.read("/etc")).rejects.toThrow(/path is a directory/);
    expect(sandbox.files.write("/etc", "x")).rejects.toThrow(/directory/);
    expect(sandbox.files.read("x", { user: "nobody-at-all" })).rejects.toMatchObject({ name: "AuthenticationError" });
  });

  test("a disk that is full", async () => {
    expect(sandbox.files.write("/mnt/x", new Blob([patterned(1_000_000)]))).rejects.toBeInstanceOf(NotEnoughSpaceError);
    expect(await sandbox.files.list("/mnt")).toEqual([]);
  });

  test("metadata is refused, not lost", async () => {
    expect(sandbox.files.write("with-metadata", "x", { metadata: { a: "b" } })).rejects.toThrow(/metadata/);
  });

  test("URLs for a browser: down, and up with whatever name its form has", async () => {
    writeFileSync(`${home}/for-url`, "signed");
    const down = await fetch(await sandbox.downloadUrl("for-url", { useSignatureExpiration: 60 }));
    expect(await down.text()).toBe("signed");
    const form = new FormData();
    form.append("file", new Blob(["uploaded"]), "whatever.txt");
    const up = await fetch(await sandbox.uploadUrl("by-url"), { method: "POST", body: form });
    expect(await up.json()).toEqual([{ name: "by-url", type: "file", path: `${home}/by-url` }]);
    expect(readFileSync(`${home}/by-url`, "utf8")).toBe("uploaded");
  });
});

describe("down", () => {
  test("a part of it", async () => {
    writeFileSync(`${home}/digits`, "0123456789");
    const get = async (range: string) => await fetch(query("digits"), { headers: { range } });
    const part = await get("bytes=2-4");
    expect([part.status, part.headers.get("content-range"), await part.text()]).toEqual([206, "bytes 2-4/10", "234"]);
    expect(await (await get("bytes=-3")).text()).toBe("789");
    const beyond = await get("bytes=10-");
    expect([beyond.status, beyond.headers.get("content-range")]).toEqual([416, "bytes */10"]);
    expect(await (await get("bytes=0-1,4-5")).text()).toBe("0123456789");
  });

  test("its length comes first, also without the rest", async () => {
    const whole = await fetch(query("digits"));
    expect([whole.headers.get("content-length"), whole.headers.get("content-type")]).toEqual(["10", "application/octet-stream"]);
    const head = await fetch(query("digits"), { method: "HEAD" });
    expect([head.status, head.headers.get("content-length"), await head.text()]).toEqual([200, "10", ""]);
  });

  test("errors are documents with the status as a number", async () => {
    expect(await refusal(await fetch(query("nothing")))).toEqual({ status: 404, code: 404 });
    expect(await refusal(await fetch(query("a\0b")))).toEqual({ status: 400, code: 400 });
    expect(await refusal(await fetch(query("digits", { username: "nobody-at-all" })))).toEqual({ status: 401, code: 401 });
    expect(await refusal(await fetch(query("/dev/null")))).toEqual({ status: 400, code: 400 });
    expect((await fetch(query("digits"), { method: "DELETE" })).status).toBe(405);
  });
});

describe("up", () => {
  const form = (...files: readonly (readonly [name: string, text: string])[]): FormData => {
    const made = new FormData();
    for (const [name, text] of files) made.append("file", new Blob([text]), name);
    return made;
  };
  const post = async (
    url: string,
    body: FormData | string | ReadableStream<Uint8Array>,
    headers: Readonly<Record<string, string>> = {},
  ) => await fetch(url, { method: "POST", body, headers });

  test("a form's name is the path where the query has none, steps up and all", async () => {
    const response = await post(`${served.url}/files`, form(["../root/./up/there", "x"]));
    expect(await response.json()).toEqual([{ name: "there", type: "file", path: `${home}/up/there` }]);
  });

  test("a form that names another file than the query is refused, and neither is written", async () => {
    for (const name of ["/etc/garth-evil", "sub/asked", "../asked"]) {
      expect(await refusal(await post(query("asked"), form([name, "evil"])))).toEqual({ status: 400, code: 400 });
    }
    expect(await sandbox.files.exists("asked")).toBe(false);
    expect(await sandbox.files.exists("/etc/garth-evil")).toBe(false);
    expect((await post(query("asked"), form([`${home}/asked`, "fine"]))).status).toBe(200);
  });

  test("two files to one place: the first stays, and the second is refused", async () => {
    expect(await refusal(await post(query("twice"), form(["twice", "first"], ["twice", "second"])))).toEqual({
      status: 400,
      code: 400,
    });
    expect(readFileSync(`${home}/twice`, "utf8")).toBe("first");
  });

  test("other fields are passed over", async () => {
    const body = form(["kept", "x"]);
    body.append("note", "y".repeat(100_000));
    expect(await (await post(`${served.url}/files`, body)).json()).toHaveLength(1);
  });

  test.each([
    ["no path", "/files", "application/octet-stream", {}],
    ["no form", "/files?path=x", "text/plain", {}],
    ["no boundary", "/files?path=x", "multipart/form-data", {}],
    ["a compression nobody knows", "/files?path=x", "application/octet-stream", { "content-encoding": "br" }],
    ["what was not compressed", "/files?path=x", "application/octet-stream", { "content-encoding": "gzip" }],
  ])("refused: %s", async (_name, path, type, headers) => {
    expect(await refusal(await post(`${served.url}${path}`, "body", { "content-type": type, ...headers }))).toEqual({
      status: 400,
      code: 400,
    });
    expect(await sandbox.files.exists("x")).toBe(false);
  });

  test("a compressed body that breaks off is refused, and nothing appears", async () => {
    const whole = Bun.gzipSync(patterned(100_000));
    const response = await fetch(query("cut.gz"), {
      method: "POST",
      body: whole.slice(0, whole.byteLength / 2),
      headers: { "content-type": "application/octet-stream", "content-encoding": "gzip" },
    });
    expect(await refusal(response)).toEqual({ status: 400, code: 400 });
    expect(await sandbox.files.exists("cut.gz")).toBe(false);
  });

  test("too much: said before it is read, while it is read, and when it is unpacked", async () => {
    const tooMuch = 17 * 1024 * 1024;
    const type = { "content-type": "application/octet-stream" };
    expect((await fetch(query("large"), { method: "POST", headers: type, body: new Uint8Array(tooMuch) })).status).toBe(413);
    const chunks = new ReadableStream<Uint8Array>({
      pull: (controller) => controller.enqueue(new Uint8Array(1024 * 1024)),
    });
    expect((await post(query("large"), chunks, type)).status).toBe(413);
    const bomb = Bun.gzipSync(new Uint8Array(tooMuch));
    expect(
      (await fetch(query("large"), { method: "POST", headers: { ...type, "content-encoding": "gzip" }, body: bomb })).status,
    ).toBe(413);
    expect(await sandbox.files.exists("large")).toBe(false);
  });

  test.each([
    ["with a length", "Content-Length: 1000000\r\nContent-Type: application/octet-stream", "new bytes"],
    ["in chunks", "Transfer-Encoding: chunked\r\nContent-Type: application/octet-stream", "9\r\nnew bytes\r\n"],
    [
      "a form",
      "Content-Length: 1000000\r\nContent-Type: multipart/form-data; boundary=b",
      '--b\r\nContent-Disposition: form-data; name="file"; filename="kept"\r\n\r\nnew bytes',
    ],
  ])("a client that breaks off leaves what was there: %s", async (_name, headers, body) => {
    writeFileSync(`${home}/kept`, "old bytes");
    const { hostname, port } = new URL(served.url);
    const socket = connect(Number(port), hostname);
    socket.write(`POST /files?path=kept HTTP/1.1\r\nHost: x\r\n${headers}\r\n\r\n${body}`);
    // The new file stands beside the old one when its bytes have begun to come.
    const beside = () => readdirSync(home).filter((name) => name.startsWith(".garth-"));
    while (beside().length === 0) await Bun.sleep(5);
    socket.destroy();
    while (beside().length > 0) await Bun.sleep(5);
    expect(readFileSync(`${home}/kept`, "utf8")).toBe("old bytes");
  });
});
