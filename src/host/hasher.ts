/**
 * SHA-256 on a thread of its own, for a file that is digested twice at once.
 *
 * The data are shared, not copied: the view must be of a SharedArrayBuffer. The thread's program is given as text, so that it
 * needs no file of its own where everything is one executable.
 */
import type { BesideHasher } from "./types.ts";

const PROGRAM = `
  const hash = new Bun.CryptoHasher("sha256");
  self.onmessage = ({ data }) => {
    if (data === null) return self.postMessage(hash.digest("hex"));
    hash.update(data);
    self.postMessage("");
  };`;

export function hashBeside(): BesideHasher {
  const url = URL.createObjectURL(new Blob([PROGRAM], { type: "application/javascript" }));
  // It keeps the process alive until `close`: while an answer is all that is waited for, nothing else does.
  const worker = new Worker(url);
  const ask = (message: Uint8Array<SharedArrayBuffer> | null): Promise<string> =>
    new Promise((resolve, reject) => {
      worker.addEventListener("message", ({ data }) => resolve(String(data)), { once: true });
      worker.addEventListener("error", ({ message }) => reject(new Error(`the hashing thread failed: ${message}`)), {
        once: true,
      });
      // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread has no origin
      worker.postMessage(message);
    });
  return {
    update: async (data) => {
      await ask(data);
    },
    digest: () => ask(null),
    close: () => {
      worker.terminate();
      URL.revokeObjectURL(url);
    },
  };
}
