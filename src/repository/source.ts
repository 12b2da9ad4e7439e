/** Where a repository is read from: a directory, or a URL. Reads are bounded, and a thing that is not there is `undefined`. */
import { fileURLToPath } from "node:url";
import { Problem } from "../base/index.ts";
import { type Host, isErrno } from "../host/index.ts";

export interface RepositorySource {
  /** What it is called in an error. */
  readonly name: string;
  /** The bytes of a file relative to the root; undefined when there is none. @throws Problem E_REPOSITORY_LIMIT, E_FETCH_FAILED */
  read(path: string, mostBytes: number): Promise<Uint8Array | undefined>;
  /** For files that may be large: chunks as they come, never more than `mostBytes`. */
  stream(path: string, mostBytes: number): Promise<AsyncGenerator<Uint8Array> | undefined>;
}

/** Of an http, https or file URL, or of a directory. @throws Problem E_BAD_ARGUMENT for a file URL of another machine */
export function sourceOf(host: Host, location: string): RepositorySource {
  if (/^https?:\/\//.test(location)) return httpSource(location);
  return directorySource(host, location.startsWith("file://") ? directoryOf(location) : location);
}

function directoryOf(url: string): string {
  try {
    return fileURLToPath(url);
  } catch (cause) {
    throw new Problem({
      code: "E_BAD_ARGUMENT",
      message: `${url} is no directory of this machine`,
      hint: "after file:// comes an absolute path: file:///usr/freebsd-packages",
      exit: 2,
      cause,
    });
  }
}

const CHUNK_BYTES = 1 << 20;

export function directorySource(host: Host, directory: string): RepositorySource {
  const source = {
    name: directory,
    stream: async (path: string, mostBytes: number) => {
      const file = inside(directory, path);
      let descriptor: number;
      try {
        descriptor = host.files.open(file, "r");
      } catch (error) {
        if (isErrno(error, "ENOENT", "ENOTDIR")) return undefined;
        throw error;
      }
      return (async function* () {
        try {
          const chunk = new Uint8Array(CHUNK_BYTES);
          for (let offset = 0, count = -1; count !== 0; offset += count) {
            count = host.files.read(descriptor, chunk, offset);
            if (offset + count > mostBytes) throw tooLarge(file, mostBytes);
            if (count > 0) yield chunk.slice(0, count);
          }
        } finally {
          host.files.close(descriptor);
        }
      })();
    },
  };
  return { ...source, read: async (path, mostBytes) => collect(await source.stream(path, mostBytes)) };
}

export function httpSource(url: string): RepositorySource {
  const root = url.replace(/\/+$/, "");
  const source = {
    name: root,
    stream: async (path: string, mostBytes: number) => {
      const address = inside(root, path.split("/").map(encodeURIComponent).join("/"));
      let response: Response;
      try {
        response = await fetch(address, { redirect: "follow", headers: { "accept-encoding": "identity" } });
      } catch (cause) {
        throw failed(address, cause instanceof Error ? cause.message : String(cause), cause);
      }
      if (response.status === 404) return undefined;
      if (response.status !== 200) throw failed(address, `status ${response.status}`);
      const { body } = response;
      return (async function* () {
        let size = 0;
        if (body === null) return;
        try {
          for await (const chunk of body) {
            size += chunk.length;
            if (size > mostBytes) throw tooLarge(address, mostBytes);
            yield chunk;
          }
        } catch (cause) {
          throw cause instanceof Problem ? cause : failed(address, "the connection broke", cause);
        }
      })();
    },
  };
  return { ...source, read: async (path, mostBytes) => collect(await source.stream(path, mostBytes)) };
}

async function collect(chunks: AsyncGenerator<Uint8Array> | undefined): Promise<Uint8Array | undefined> {
  if (chunks === undefined) return undefined;
  const parts: Uint8Array[] = [];
  for await (const chunk of chunks) parts.push(chunk);
  return Buffer.concat(parts);
}

/** Paths come out of catalogues. */
function inside(root: string, path: string): string {
  if (path.startsWith("/") || path.split("/").some((part) => part === "" || part === "." || part === "..")) {
    throw new Problem({ code: "E_BAD_CATALOGUE", message: `${root} names a file outside of it: ${JSON.stringify(path)}` });
  }
  return `${root}/${path}`;
}

function tooLarge(what: string, mostBytes: number): Problem {
  return new Problem({ code: "E_REPOSITORY_LIMIT", message: `${what} is larger than it may be (${mostBytes} bytes)` });
}

function failed(address: string, why: string, cause?: unknown): Problem {
  return new Problem({ code: "E_FETCH_FAILED", message: `${address} could not be fetched: ${why}`, exit: 3, cause });
}
