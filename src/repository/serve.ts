/**
 * A repository over HTTP: GET and HEAD of its files, with ETag, Last-Modified, conditional requests (RFC 9110, section 13) and single
 * byte ranges (section 14). This is the handler; who listens, and where, is the caller's business.
 *
 * Catalogue files are taken from the generation that is current when the request comes in, and read through an open descriptor:
 * a response is never half old and half new. Names beginning with a dot, links leading out, and directories are not served.
 */
import { type Host, isErrno, type Stat } from "../host/index.ts";
import { CATALOGUE_FILES, layoutOf } from "./layout.ts";

const CHUNK_BYTES = 256 << 10;
const MAXIMUM_NAME_LENGTH = 1024;

const CONTENT_TYPES: readonly (readonly [RegExp, string])[] = [
  [/\.json$/, "application/json"],
  [/\.conf$|^meta$/, "text/plain; charset=utf-8"],
  [/\.(?:pkg|tzst|txz|tgz|tar)$/, "application/octet-stream"],
];

export type RepositoryHandler = (request: Request) => Promise<Response>;

export function repositoryHandler(host: Host, directory: string): RepositoryHandler {
  const layout = layoutOf(directory);
  return async (request) => {
    if (request.method !== "GET" && request.method !== "HEAD") {
      return text(405, "this repository can only be read", { allow: "GET, HEAD" });
    }
    const path = requestedPath(request.url);
    const file = path === undefined ? undefined : resolve(host, layout.root, layout.current, path);
    if (path === undefined || file === undefined) return text(404, "there is no such file");
    let descriptor: number;
    let stat: Stat;
    try {
      descriptor = host.files.open(file, "r");
      stat = host.files.lstat(file);
    } catch (error) {
      if (isErrno(error, "ENOENT", "ENOTDIR", "EACCES")) return text(404, "there is no such file");
      throw error;
    }
    return respond(host, request, path, descriptor, stat);
  };
}

function respond(host: Host, request: Request, path: string, descriptor: number, stat: Stat): Response {
  const close = (): void => host.files.close(descriptor);
  const etag = `"${Math.floor(stat.mtimeMs).toString(16)}-${stat.sizeBytes.toString(16)}-${stat.inode.toString(16)}"`;
  const headers = new Headers({
    "accept-ranges": "bytes",
    "last-modified": new Date(stat.mtimeMs).toUTCString(),
    etag,
    "cache-control": path.startsWith("All/Hashed/") ? "public, max-age=31536000, immutable" : "no-cache",
    "content-type": CONTENT_TYPES.find(([pattern]) => pattern.test(path))?.[1] ?? "application/octet-stream",
    "x-content-type-options": "nosniff",
  });
  const verdict = precondition(request.headers, etag, stat.mtimeMs);
  if (verdict !== undefined) {
    close();
    return new Response(null, { status: verdict, headers });
  }
  const range = requestedRange(request, etag, stat);
  if (range === "unsatisfiable") {
    close();
    headers.set("content-range", `bytes */${stat.sizeBytes}`);
    return new Response(null, { status: 416, headers });
  }
  const { start, end } = range ?? { start: 0, end: stat.sizeBytes };
  headers.set("content-length", String(end - start));
  if (range !== undefined) headers.set("content-range", `bytes ${start}-${end - 1}/${stat.sizeBytes}`);
  const status = range === undefined ? 200 : 206;
  if (request.method === "HEAD") {
    close();
    return new Response(null, { status, headers });
  }
  return new Response(body(host, descriptor, start, end), { status, headers });
}

/** The path relative to the root; undefined for one that is not to be served whatever is there. */
function requestedPath(url: string): string | undefined {
  let path: string;
  try {
    path = decodeURIComponent(new URL(url).pathname).slice(1);
  } catch {
    return undefined;
  }
  if (path.length > MAXIMUM_NAME_LENGTH || path.includes("\0")) return undefined;
  return path.split("/").some((part) => part === "" || part.startsWith(".")) ? undefined : path;
}

/** The real file, when it is a regular one inside the repository. */
function resolve(host: Host, root: string, current: string, path: string): string | undefined {
  try {
    const base = host.files.realPath(root);
    const catalogue = CATALOGUE_FILES.some((name) => name === path);
    // Through the link of the generation and not that of the file: both are there from the first publication on.
    const start = catalogue && host.files.exists(`${current}/${path}`) ? `${current}/${path}` : `${root}/${path}`;
    const real = host.files.realPath(start);
    const allowed = catalogue ? `${base}/` : `${base}/All/`;
    if (!real.startsWith(allowed) || host.files.lstat(real).type !== "file") return undefined;
    return real;
  } catch (error) {
    if (isErrno(error, "ENOENT", "ENOTDIR", "ELOOP", "EACCES", "ENAMETOOLONG")) return undefined;
    throw error;
  }
}

/** RFC 9110, section 13.2.2: the entity tag goes before the date. */
function precondition(headers: Headers, etag: string, mtimeMs: number): 304 | 412 | undefined {
  const seconds = Math.floor(mtimeMs / 1000);
  const match = headers.get("if-match");
  if (match !== null && match.trim() !== "*" && !tags(match).includes(etag)) return 412;
  const unmodified = headers.get("if-unmodified-since");
  if (match === null && unmodified !== null && seconds > dateSeconds(unmodified, Number.POSITIVE_INFINITY)) return 412;
  const noneMatch = headers.get("if-none-match");
  if (noneMatch !== null) return noneMatch.trim() === "*" || tags(noneMatch).includes(etag) ? 304 : undefined;
  const modified = headers.get("if-modified-since");
  return modified !== null && seconds <= dateSeconds(modified, Number.NEGATIVE_INFINITY) ? 304 : undefined;
}

/** One range as [start, end); several are answered with the whole, as the RFC allows. */
function requestedRange(
  request: Request,
  etag: string,
  stat: Stat,
): { readonly start: number; readonly end: number } | "unsatisfiable" | undefined {
  const wanted = /^bytes=([0-9]{0,15})-([0-9]{0,15})$/.exec(request.headers.get("range")?.trim() ?? "");
  if (wanted === null || request.method !== "GET") return undefined;
  const ifRange = request.headers.get("if-range")?.trim();
  if (ifRange !== undefined && ifRange !== etag && dateSeconds(ifRange, -1) !== Math.floor(stat.mtimeMs / 1000)) return undefined;
  const [, first = "", last = ""] = wanted;
  if (first === "" && last === "") return undefined;
  const { sizeBytes } = stat;
  if (first === "") {
    const length = Math.min(Number(last), sizeBytes);
    return length === 0 ? "unsatisfiable" : { start: sizeBytes - length, end: sizeBytes };
  }
  const start = Number(first);
  if (last !== "" && Number(last) < start) return undefined;
  if (start >= sizeBytes) return "unsatisfiable";
  return { start, end: last === "" ? sizeBytes : Math.min(Number(last) + 1, sizeBytes) };
}

function body(host: Host, descriptor: number, start: number, end: number): ReadableStream<Uint8Array> {
  let offset = start;
  let open = true;
  const close = (): void => {
    if (open) host.files.close(descriptor);
    open = false;
  };
  return new ReadableStream<Uint8Array>({
    pull(controller) {
      if (offset >= end) {
        close();
        controller.close();
        return;
      }
      const chunk = new Uint8Array(Math.min(CHUNK_BYTES, end - offset));
      const count = host.files.read(descriptor, chunk, offset);
      if (count === 0) {
        close();
        controller.error(new Error("the file became shorter while it was sent"));
        return;
      }
      offset += count;
      controller.enqueue(chunk.subarray(0, count));
    },
    cancel: close,
  });
}

/** Weak tags count as equal: nothing here makes one. */
function tags(header: string): readonly string[] {
  return header.split(",").map((tag) => tag.trim().replace(/^W\//, ""));
}

/** `otherwise` for a date that cannot be read, which the RFC says to ignore. */
function dateSeconds(date: string, otherwise: number): number {
  const milliseconds = Date.parse(date);
  return Number.isNaN(milliseconds) ? otherwise : Math.floor(milliseconds / 1000);
}

function text(status: number, message: string, headers: Readonly<Record<string, string>> = {}): Response {
  return new Response(`${message}\n`, { status, headers: { "content-type": "text/plain; charset=utf-8", ...headers } });
}
