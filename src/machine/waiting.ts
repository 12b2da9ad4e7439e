/**
 * Waiting for a guest's SSH server, by the banner it greets with (RFC 4253, 4.2). A connection alone proves nothing: the
 * hypervisor's network (slirp) takes it while the guest is still in its firmware, and tries to pass it on at growing intervals,
 * so that an early one can hear of the server seconds late. So one connection is made anew after a few seconds of silence. Another has
 * more patience: an emulated server may take longer to greet than that, and each connection that is dropped costs it a process.
 */
import { formatDuration, Problem } from "../base/index.ts";
import { type Connection, type Host } from "../host/index.ts";

/** After a connection that was refused, or silent for too long. */
const AGAIN_MS = 500;
/** How long each of the two may be silent. */
const SILENT_MS = [4_000, 30_000] as const;
/** Lines may come before the banner; a server that talks on and never greets is none. */
const BEFORE_BANNER_MAX = 4_096;

export interface BannerOptions {
  readonly timeoutMs: number;
  readonly signal?: AbortSignal;
  /** Default "127.0.0.1". */
  readonly address?: string;
}

interface Attempt {
  /** undefined: refused, ended, or silent for too long. */
  readonly banner: Promise<string | undefined>;
  close(): void;
}

function attempt(host: Host, address: string, port: number, silentMs: number): Attempt {
  const settled = Promise.withResolvers<string | undefined>();
  let connection: Connection | undefined;
  let over = false;
  let heard = "";
  const timer = setTimeout(() => settled.resolve(undefined), silentMs);
  const onData = (chunk: Uint8Array): void => {
    heard += Buffer.from(chunk).toString("latin1");
    const banner = /^(SSH-[^\r\n]*)\r?\n/m.exec(heard)?.[1];
    if (banner !== undefined) settled.resolve(banner);
    else if (heard.length > BEFORE_BANNER_MAX) settled.resolve(undefined);
  };
  const run = async (): Promise<void> => {
    connection = await host.connectTcp(address, port, onData);
    if (over) connection.close();
    await connection.closed;
  };
  run().then(
    () => settled.resolve(undefined),
    (error: unknown) => (error instanceof Error && "code" in error ? settled.resolve(undefined) : settled.reject(error)),
  );
  return {
    banner: settled.promise.finally(() => {
      over = true;
      clearTimeout(timer);
      connection?.close();
    }),
    close: () => settled.resolve(undefined),
  };
}

/**
 * The banner, without its line end: "SSH-2.0-OpenSSH_9.2p1 Debian-2".
 * @throws Problem E_NO_BANNER; the signal's reason
 */
export async function waitForSshBanner(host: Host, port: number, options: BannerOptions): Promise<string> {
  const { timeoutMs, signal, address = "127.0.0.1" } = options;
  const done = Promise.withResolvers<string>();
  const open = new Map<number, Attempt>();
  const waits = new Map<number, ReturnType<typeof setTimeout>>();
  const begin = (silentMs: number): void => {
    const one = attempt(host, address, port, silentMs);
    open.set(silentMs, one);
    one.banner.then((banner) => {
      if (banner !== undefined) done.resolve(banner);
      else if (!over) waits.set(silentMs, setTimeout(begin, AGAIN_MS, silentMs));
    }, done.reject);
  };
  let over = false;
  const abort = (): void => done.reject(signal?.reason);
  const limit = setTimeout(() => {
    done.reject(
      new Problem({
        code: "E_NO_BANNER",
        message: `waiting for the SSH server behind ${address}:${port}: no banner came in ${formatDuration(timeoutMs)}`,
        hint: "the serial console says how far the guest got",
      }),
    );
  }, timeoutMs);
  try {
    if (signal?.aborted === true) abort();
    else for (const silentMs of SILENT_MS) begin(silentMs);
    signal?.addEventListener("abort", abort, { once: true });
    return await done.promise;
  } finally {
    over = true;
    for (const wait of waits.values()) clearTimeout(wait);
    clearTimeout(limit);
    signal?.removeEventListener("abort", abort);
    for (const one of open.values()) one.close();
  }
}
