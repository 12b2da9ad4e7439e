/** The store of a host: what is there, what goes there and comes back. send.ts, fetch.ts and collect-script.ts say how. */
import { baseName, Problem, type StorePath } from "../base/index.ts";
import { collectScript } from "./collect-script.ts";
import { fetchTrees } from "./fetch.ts";
import { missing, needed, notDone, send, type Sender } from "./send.ts";
import type { HostStore, ScriptEnd } from "./types.ts";

export function openHostStore(parts: Sender): HostStore {
  const { connection } = parts;
  const { root, facts } = parts.record;
  return {
    present: async (paths) => {
      const absent = new Set(await missing(parts, paths));
      return new Set(paths.filter((path) => !absent.has(path)));
    },
    need: (paths, options = {}) => needed(parts, paths, options),
    send: (paths, options = {}) => send(parts, paths, options),
    physical: (path: StorePath) => `${parts.storeDirectory ?? `${root}/store`}/${baseName(path)}`,
    fetch: (trees, options = {}) => fetchTrees(parts, trees, options),
    collect: async ({ olderThanMs }) => {
      const id = `collect-${crypto.randomUUID()}`;
      const doing = "removing what was not asked for lately";
      const body = collectScript({ root, system: facts.system, id, olderThanMs });
      const end = await connection.start({ doing, body }).ended;
      const [removed, kib] = end.events.find(({ name }) => name === "removed")?.fields ?? [];
      if (removed === undefined || kib === undefined) throw notCollected(parts, doing, end);
      return { removed: Number(removed), freedBytes: Number(kib) * 1024 };
    },
  };
}

function notCollected({ record }: Sender, doing: string, end: ScriptEnd): Problem {
  if (end.events.some(({ name }) => name === "busy")) {
    return new Problem({
      code: "E_HOST_BUSY",
      message: `${doing} on the host ${record.name}: somebody holds ${record.root}/lock`,
      hint: "another collection, or the removal of what dead builds left, goes on there; try again when it has ended",
      exit: 3,
    });
  }
  return notDone(record, doing, end);
}
