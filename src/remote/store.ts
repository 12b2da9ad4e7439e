/** The store of a host: what is there, what goes there and comes back. send.ts, fetch.ts and collect-script.ts say how. */
import { baseName, type StorePath } from "../base/index.ts";
import { fetchTrees } from "./fetch.ts";
import { missing, send, type Sender } from "./send.ts";
import type { HostStore } from "./types.ts";

export function openHostStore(parts: Sender): HostStore {
  const { root } = parts.record;
  return {
    present: async (paths) => {
      const absent = new Set(await missing(parts, paths));
      return new Set(paths.filter((path) => !absent.has(path)));
    },
    send: (paths, options = {}) => send(parts, paths, options),
    physical: (path: StorePath) => `${root}/store/${baseName(path)}`,
    fetch: (trees, options = {}) => fetchTrees(parts, trees, options),
    collect: () => Promise.reject(new Error("later")),
  };
}
