/**
 * /files: one file down, files up, in streams. A download says its length before its first byte; an upload is written beside its place in the
 * guest, and appears there when the last byte has come.
 */
import { posix } from "node:path";
import { Problem } from "../../base/index.ts";
import type { GuestUser } from "../../guest/index.ts";
import { bodyChunks, mediaType } from "./body.ts";
import { unavailable } from "./codes.ts";
import { HttpError, httpErrorOf, jsonError } from "./http-error.ts";
import { boundaryOf, formParts } from "./multipart.ts";
import { resolvePath } from "./paths.ts";
import { byteRange } from "./range.ts";
import { basicUser } from "./rpc.ts";
import type { SessionState } from "./state.ts";

interface Transfer {
  readonly request: Request;
  readonly state: SessionState;
  readonly user: GuestUser;
  /** As the query has it. */
  readonly path: string | undefined;
}

interface Uploaded {
  readonly name: string;
  readonly type: "file";
  readonly path: string;
}

/** Pulled by the client. A file that became shorter meanwhile, or whose guest went, breaks the connection instead of ending it. */
function streamOf(state: SessionState, chunks: AsyncIterable<Uint8Array>, expectedBytes: number): ReadableStream<Uint8Array> {
  const source = chunks[Symbol.asyncIterator]();
  const { ended } = state.session;
  let leftBytes = expectedBytes;
  let over = false;
  let stop = () => {};
  const done = async () => {
    over = true;
    ended.removeEventListener("abort", stop);
    await source.return?.();
  };
  return new ReadableStream<Uint8Array>(
    {
      start(controller) {
        stop = () => {
          over = true;
          // The runtime prints what a stream fails with, unless it is nothing.
          controller.error();
        };
        ended.addEventListener("abort", stop, { once: true });
      },
      async pull(controller) {
        const next = await source.next().catch(() => undefined);
        if (over) return;
        if (next === undefined || (next.done === true && leftBytes > 0)) {
          controller.error();
          await done();
          return;
        }
        if (next.done !== true) {
          const chunk = next.value.subarray(0, leftBytes);
          leftBytes -= chunk.byteLength;
          controller.enqueue(chunk);
        }
        if (leftBytes === 0) {
          controller.close();
          await done();
        }
      },
      cancel: done,
    },
    { highWaterMark: 0 },
  );
}

async function download({ request, state, user, path }: Transfer): Promise<Response> {
  const { files } = state.session.guest;
  const absolute = resolvePath(path ?? "", user.home);
  const entry = await files.stat(absolute).catch((error: unknown) => {
    // Below a file there is nothing.
    if (error instanceof Problem && error.code === "E_NOT_DIRECTORY") throw new HttpError(404, error.message, { cause: error });
    throw error;
  });
  if (entry.kind === "directory") throw new HttpError(400, `path is a directory: ${absolute}`);
  if (entry.kind !== "file") throw new HttpError(400, `path is not a file: ${absolute}`);
  const headers = new Headers({
    "accept-ranges": "bytes",
    "content-disposition": `inline; filename*=UTF-8''${encodeURIComponent(entry.name)}`,
    "content-type": "application/octet-stream",
    "last-modified": new Date(entry.modifiedMs).toUTCString(),
    "x-content-type-options": "nosniff",
  });
  // Whoever asks for a part of what was there before gets all of what is there now.
  const asked = request.headers.has("if-range") ? null : request.headers.get("range");
  const range = byteRange(asked, entry.sizeBytes);
  if (range === "unsatisfiable") {
    headers.set("content-range", `bytes */${entry.sizeBytes}`);
    return new Response(null, { status: 416, headers });
  }
  const { from, to } = range ?? { from: 0, to: entry.sizeBytes };
  if (range !== undefined) headers.set("content-range", `bytes ${from}-${to - 1}/${entry.sizeBytes}`);
  const status = range === undefined ? 200 : 206;
  headers.set("content-length", String(to - from));
  if (request.method === "HEAD") return new Response(null, { status, headers });
  // Clients look for a length of exactly "0" before they touch the body.
  if (to === from) return new Response("", { status, headers });
  const { chunks } = await files.read(absolute, { from, to });
  return new Response(streamOf(state, chunks, to - from), { status, headers });
}

async function write(transfer: Transfer, absolute: string, chunks: AsyncIterable<Uint8Array>): Promise<Uploaded> {
  const { state, user } = transfer;
  await state.session.guest.files.write(absolute, chunks, { user: user.name });
  return { name: posix.basename(absolute), type: "file", path: absolute };
}

/** A form has its own names. The query's path is what was asked for, and signed: a name that leads elsewhere is refused. */
function targetOf(transfer: Transfer, filename: string | undefined): string {
  const { path, user } = transfer;
  if (path === undefined) {
    if (filename === undefined || filename === "")
      throw new HttpError(400, "error resolving path: the part has no file name and the query no path");
    return resolvePath(filename, user.home);
  }
  const target = resolvePath(path, user.home);
  if (filename !== undefined && filename.includes("/") && resolvePath(filename, user.home) !== target) {
    throw new HttpError(400, `the file is named '${filename}' in the form, and '${path}' in the query`);
  }
  return target;
}

async function uploadForm(transfer: Transfer, chunks: AsyncIterable<Uint8Array<ArrayBuffer>>): Promise<readonly Uploaded[]> {
  const uploaded: Uploaded[] = [];
  const boundary = boundaryOf(transfer.request.headers.get("content-type") ?? "");
  for await (const part of formParts(chunks, boundary)) {
    if (part.name !== "file") continue;
    const target = targetOf(transfer, part.filename);
    if (uploaded.some((one) => one.path === target)) {
      throw new HttpError(
        400,
        `you cannot upload multiple files to the same path '${target}' in one upload request, only the first specified file was uploaded`,
      );
    }
    uploaded.push(await write(transfer, target, part.body));
  }
  return uploaded;
}

/** A gzip that grows past the limit is as large as what it grows to. */
async function* gunzipped(
  chunks: AsyncIterable<Uint8Array<ArrayBuffer>>,
  maxBytes: number,
): AsyncGenerator<Uint8Array<ArrayBuffer>, void> {
  const source = chunks[Symbol.asyncIterator]();
  const compressed = new ReadableStream<Uint8Array<ArrayBuffer>>(
    {
      async pull(controller) {
        const next = await source.next();
        if (next.done === true) controller.close();
        else controller.enqueue(next.value);
      },
      async cancel() {
        await source.return?.();
      },
    },
    { highWaterMark: 0 },
  );
  let totalBytes = 0;
  try {
    for await (const chunk of compressed.pipeThrough(new DecompressionStream("gzip"))) {
      totalBytes += chunk.byteLength;
      if (totalBytes > maxBytes) throw new HttpError(413, `the file is larger than the limit of ${maxBytes} bytes`);
      yield chunk;
    }
  } catch (error) {
    if (error instanceof TypeError || (error instanceof Error && "code" in error && String(error.code).startsWith("Z_"))) {
      throw new HttpError(400, `error decompressing request body: ${error.message}`, { cause: error });
    }
    throw error;
  }
}

async function upload(transfer: Transfer): Promise<Response> {
  const { request, state, path } = transfer;
  const maxBytes = state.limits.uploadMaxBytes;
  for (const name of request.headers.keys()) {
    if (name.startsWith("x-metadata-")) throw new HttpError(400, "files have no metadata here");
  }
  const encoding = (request.headers.get("content-encoding") ?? "identity").toLowerCase();
  if (encoding !== "identity" && encoding !== "gzip") throw new HttpError(400, `unsupported encoding: ${encoding}`);
  const raw = bodyChunks(request, maxBytes);
  const chunks = encoding === "gzip" ? gunzipped(raw, maxBytes) : raw;
  const type = mediaType(request);
  if (type === "application/octet-stream") {
    if (path === undefined) throw new HttpError(400, "path query parameter is required for raw body upload");
    return Response.json([await write(transfer, resolvePath(path, transfer.user.home), chunks)]);
  }
  if (type.startsWith("multipart/")) return Response.json(await uploadForm(transfer, chunks));
  throw new HttpError(400, `unsupported content type: ${type}, expected multipart/form-data or application/octet-stream`);
}

export async function serveFiles(request: Request, state: SessionState): Promise<Response> {
  try {
    if (state.ended) throw new HttpError(502, unavailable(state.session.ended.reason).message);
    const query = new URL(request.url).searchParams;
    const named = query.get("username") ?? basicUser(request.headers.get("authorization"));
    const user = await state.session.guest.user(named === undefined || named === "" ? state.defaultUser : named);
    const transfer: Transfer = { request, state, user, path: query.get("path") ?? undefined };
    switch (request.method) {
      case "GET":
      case "HEAD":
        return await download(transfer);
      case "POST":
        return await upload(transfer);
      default:
        return new Response("GET or POST\n", { status: 405, headers: { allow: "GET, HEAD, POST" } });
    }
  } catch (error) {
    const failure = httpErrorOf(error);
    if (failure.status === 500) state.onFault(failure.cause);
    return jsonError(failure);
  }
}
