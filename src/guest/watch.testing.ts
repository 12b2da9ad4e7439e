/** A watched directory for tests, and what was told of it. */
import * as fs from "node:fs";
import type { TestGuest } from "./testing.ts";

export interface Watched {
  readonly path: string;
  /** What was told, when the marker was: what comes later is another's. */
  until(work: () => unknown): Promise<readonly string[]>;
  readonly closed: Promise<void>;
  close(): void;
}

let count = 0;

export const touch = (path: string | Buffer): void => fs.closeSync(fs.openSync(path, "wx"));

export async function watched(guest: TestGuest, recursive: boolean): Promise<Watched> {
  count += 1;
  const path = `${guest.directory}/watched-${count}`;
  fs.mkdirSync(`${path}/there/before`, { recursive: true });
  let events: string[] = [];
  let marked: { readonly name: string; readonly resolve: () => void } | undefined;
  const watch = await guest.guest.watch(path, { recursive }, ({ kind, name }) => {
    if (name === marked?.name) return marked.resolve();
    if (!name.startsWith("marker")) events.push(`${kind} ${name}`);
  });
  return {
    path,
    until: async (work) => {
      events = [];
      await work();
      count += 1;
      const { promise, resolve } = Promise.withResolvers<void>();
      marked = { name: `marker-${count}`, resolve };
      fs.mkdirSync(`${path}/marker-${count}`);
      await promise;
      return events;
    },
    closed: watch.closed,
    close: () => watch.close(),
  };
}
