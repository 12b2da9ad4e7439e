/**
 * One URL into one file: streamed, digested on the way, never decompressed, picked up again where it broke off.
 *
 * The runtime's own HTTP client is used, so that nothing has to be installed; it honours http_proxy, https_proxy and no_proxy.
 * Whatever goes wrong on the way is a reason, not an exception: the next mirror may do better.
 *
 * Limits: http, https and file; no credentials beyond those in the URL; a transfer is picked up at most twice.
 */
import { rootCertificates } from "node:tls";
import { eachChunk, isErrno } from "../../host/index.ts";
import { diskProblem, interrupted, throwIfAborted } from "./problems.ts";
import type { FetchContext, Timeouts } from "./types.ts";

export const DEFAULT_TIMEOUTS: Timeouts = { answerMs: 10_000, stallMs: 20_000 };
const PICKUPS = 2;
const MAX_REDIRECTS = 10;
/** Certificates of this machine, which may know an authority that the runtime's own list does not. */
const CERTIFICATE_FILES = ["/etc/ssl/certs/ca-certificates.crt", "/etc/ssl/cert.pem"];

export type Download =
  | { readonly kind: "done"; readonly sha256: string; readonly sha512: string; readonly sizeBytes: number }
  | { readonly kind: "failed"; readonly reason: string };

type Context = Pick<FetchContext, "host" | "signal" | "timeouts">;

interface Transfer {
  readonly descriptor: number;
  digests: { readonly sha256: Bun.CryptoHasher; readonly sha512: Bun.CryptoHasher };
  receivedBytes: number;
  /** The strong validator that the server gave, for `If-Range`. */
  validator: string | undefined;
}

/** @throws Problem E_NO_SPACE, E_INTERRUPTED; every other failure is in the result */
export async function download(context: Context, url: string, into: string): Promise<Download> {
  const { host } = context;
  throwIfAborted(context.signal, `fetching ${url}`);
  const parsed = URL.canParse(url) ? new URL(url) : undefined;
  if (parsed === undefined) return failed("it is not a URL");
  if (!["http:", "https:", "file:"].includes(parsed.protocol)) return failed(`there is no fetcher for ${parsed.protocol}`);
  const transfer: Transfer = {
    descriptor: host.files.open(into, "w"),
    digests: newDigests(),
    receivedBytes: 0,
    validator: undefined,
  };
  try {
    const reason = parsed.protocol === "file:" ? copyFile(context, parsed, transfer) : await transferAll(context, url, transfer);
    if (reason !== undefined) return failed(reason);
  } catch (error) {
    throw diskProblem(error, into) ?? error;
  } finally {
    host.files.close(transfer.descriptor);
  }
  const { sha256, sha512 } = transfer.digests;
  return { kind: "done", sha256: sha256.digest("hex"), sha512: sha512.digest("hex"), sizeBytes: transfer.receivedBytes };
}

function failed(reason: string): Download {
  return { kind: "failed", reason };
}

function newDigests(): Transfer["digests"] {
  return { sha256: new Bun.CryptoHasher("sha256"), sha512: new Bun.CryptoHasher("sha512") };
}

function take(context: Context, transfer: Transfer, chunk: Uint8Array): void {
  context.host.files.write(transfer.descriptor, chunk);
  transfer.digests.sha256.update(chunk);
  transfer.digests.sha512.update(chunk);
  transfer.receivedBytes += chunk.byteLength;
}

function copyFile(context: Context, url: URL, transfer: Transfer): string | undefined {
  const path = decodeURIComponent(url.pathname);
  try {
    eachChunk(context.host, path, (chunk) => take(context, transfer, chunk));
    return undefined;
  } catch (error) {
    if (isErrno(error, "ENOSPC", "EDQUOT")) throw error;
    if (isErrno(error, "ENOENT", "ENOTDIR")) return "there is no such file";
    return error instanceof Error ? error.message : String(error);
  }
}

/** undefined when all of it came. */
async function transferAll(context: Context, url: string, transfer: Transfer): Promise<string | undefined> {
  for (let pickups = 0; ; pickups += 1) {
    const before = transfer.receivedBytes;
    const outcome = await transferOnce(context, url, transfer);
    if (outcome === undefined) return undefined;
    throwIfAborted(context.signal, `fetching ${url}`);
    const hasMore = transfer.receivedBytes > before && transfer.validator !== undefined;
    const isAtStart = transfer.receivedBytes === 0;
    if (!outcome.brokeOff || !(hasMore || isAtStart) || pickups === PICKUPS) return outcome.reason;
  }
}

interface Failure {
  readonly reason: string;
  readonly brokeOff: boolean;
}

async function transferOnce(context: Context, url: string, transfer: Transfer): Promise<Failure | undefined> {
  const { answerMs, stallMs } = context.timeouts ?? DEFAULT_TIMEOUTS;
  const clock = watch(context.signal, `fetching ${url}`);
  let total: number | undefined;
  let isAnswered = false;
  try {
    clock.within(answerMs, `no answer within ${answerMs / 1000} s`);
    const response = await ask(context, url, transfer, clock.signal);
    isAnswered = true;
    if (!response.ok) return { reason: `HTTP ${response.status} ${response.statusText}`.trimEnd(), brokeOff: false };
    if (transfer.receivedBytes > 0 && response.status !== 206) {
      return {
        reason: `broke off after ${transfer.receivedBytes} bytes, and the server does not go on from there`,
        brokeOff: false,
      };
    }
    total = transfer.receivedBytes + Number(response.headers.get("content-length") ?? Number.NaN);
    transfer.validator = response.headers.get("accept-ranges") === "bytes" ? strongValidator(response) : undefined;
    clock.within(stallMs, `no byte for ${stallMs / 1000} s`);
    if (response.body !== null) {
      for await (const chunk of response.body) {
        take(context, transfer, chunk);
        clock.within(stallMs, `no byte for ${stallMs / 1000} s after ${transfer.receivedBytes} bytes`);
      }
    }
    if (Number.isNaN(total) || total === transfer.receivedBytes) return undefined;
    return { reason: `ended after ${transfer.receivedBytes} of ${total} bytes`, brokeOff: true };
  } catch (error) {
    if (isErrno(error, "ENOSPC", "EDQUOT")) throw error;
    if (context.signal?.aborted === true) throw interrupted(`fetching ${url}`);
    const known = total === undefined || Number.isNaN(total) ? "" : ` of ${total}`;
    const reason =
      clock.expired() ?? (isAnswered ? `broke off after ${transfer.receivedBytes}${known} bytes` : networkReason(error, url));
    return { reason, brokeOff: isAnswered };
  } finally {
    clock.stop();
  }
}

function strongValidator(response: Response): string | undefined {
  const etag = response.headers.get("etag");
  return etag !== null && !etag.startsWith("W/") ? etag : undefined;
}

/** Redirects are followed here and not by the client, which would follow them out of http and https. */
async function ask(context: Context, url: string, transfer: Transfer, signal: AbortSignal): Promise<Response> {
  const headers: Record<string, string> = { "accept-encoding": "identity", "user-agent": "garth" };
  if (transfer.receivedBytes > 0 && transfer.validator !== undefined) {
    headers["range"] = `bytes=${transfer.receivedBytes}-`;
    headers["if-range"] = transfer.validator;
  }
  let place = url;
  for (let hops = 0; ; hops += 1) {
    const response = await fetch(place, {
      headers,
      signal,
      redirect: "manual",
      // Some servers call a .tar.gz "content-encoding: gzip"; the file is wanted as it lies there.
      decompress: false,
      ...(place.startsWith("https:") ? { tls: { ca: certificates(context) } } : {}),
    });
    const location = response.headers.get("location");
    if (![301, 302, 303, 307, 308].includes(response.status) || location === null) return response;
    await response.body?.cancel();
    if (hops === MAX_REDIRECTS) throw new Error(`more than ${MAX_REDIRECTS} redirects`);
    const next = new URL(location, place);
    if (next.protocol !== "http:" && next.protocol !== "https:")
      throw new Error(`a redirect to ${next.protocol} is not followed`);
    place = next.href;
  }
}

/** A reason in words, for the failures before an answer. */
function networkReason(error: unknown, url: string): string {
  const host = new URL(url).host;
  if (isErrno(error, "ENOTFOUND", "EAI_AGAIN", "ENODATA", "ESERVFAIL")) return `the name ${host} cannot be resolved`;
  if (isErrno(error, "ECONNREFUSED", "ConnectionRefused")) return `${host} or the proxy before it refuses the connection`;
  if (isErrno(error, "ECONNRESET")) return `${host} closed the connection`;
  return error instanceof Error ? error.message : String(error);
}

let known: readonly string[] | undefined;

/** The runtime's list of authorities and the machine's. Read at the first https only: it is some 200 KB of text. */
function certificates(context: Context): string[] {
  if (known === undefined) {
    const { files } = context.host;
    known = [...rootCertificates, ...CERTIFICATE_FILES.filter((path) => files.exists(path)).map((path) => files.readText(path))];
  }
  return [...known];
}

interface Clock {
  readonly signal: AbortSignal;
  /** Gives up after so long, for this reason; replaces what was set before. */
  within(milliseconds: number, reason: string): void;
  /** The reason why it gave up. */
  expired(): string | undefined;
  stop(): void;
}

function watch(outer: AbortSignal | undefined, doing: string): Clock {
  const controller = new AbortController();
  const onAbort = () => controller.abort(interrupted(doing));
  outer?.addEventListener("abort", onAbort, { once: true });
  let timer: ReturnType<typeof setTimeout> | undefined;
  let why: string | undefined;
  return {
    signal: controller.signal,
    within(milliseconds, reason) {
      clearTimeout(timer);
      timer = setTimeout(() => {
        why = reason;
        controller.abort(new Error(reason));
      }, milliseconds);
    },
    expired: () => why,
    stop() {
      clearTimeout(timer);
      outer?.removeEventListener("abort", onAbort);
    },
  };
}
