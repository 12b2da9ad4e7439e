/**
 * For tests: a daemon in this process, real down to the machines. Its root is a new one, so that it looks after no pools but those of the
 * test; the templates in it are copies of those in the kept root.
 */
import * as fs from "node:fs";
import { join } from "node:path";
import { type Garth, openGarth } from "../app/index.ts";
import { type ExampleTemplate, garthWithTemplates } from "../app/testing.ts";
import { openKeys } from "./keys.ts";
import type { LogLine } from "./log.ts";
import { openDaemon } from "./open.ts";
import type { EntryState, Pools } from "./types.ts";

export interface Place {
  readonly garth: Garth;
  readonly pools: Pools;
  /** "http://127.0.0.1:38001" */
  readonly url: string;
  readonly lines: readonly LogLine[];
  /** An API key for everything that this tenant has. */
  key(tenant: string): string;
  /** Settles when a holder's machine is in that state, or gone where none is named. */
  until(holder: string, state: EntryState | undefined): Promise<void>;
  /** The daemon ends and another one begins; machines go on. */
  restart(): Promise<void>;
  /** Every pool goes with its machines. Tells what is left then that should not be. */
  close(): Promise<readonly string[]>;
}

export interface PlaceOptions {
  readonly templates: readonly ExampleTemplate[];
  /** Of the configuration file. */
  readonly configuration: string;
}

export async function openPlace({ templates, configuration }: PlaceOptions): Promise<Place> {
  const kept = await garthWithTemplates(...templates);
  const root = fs.mkdtempSync("/var/tmp/garth-daemon-");
  const open = (): Garth => openGarth({ root, env: {}, workingDirectory: "/" });
  let garth = open();
  const { places } = garth;
  for (const place of [places.templates, places.keys, join(places.configuration, "..")]) fs.mkdirSync(place, { recursive: true });
  fs.copyFileSync(join(kept.places.keys, "host.pem"), join(places.keys, "host.pem"));
  for (const name of fs.readdirSync(kept.places.templates)) {
    if (!templates.some((template) => name.startsWith(`${template}.`))) continue;
    const words = ["cp", "--sparse=always", "--reflink=auto", join(kept.places.templates, name), places.templates] as const;
    await kept.host.run({ argv: words });
  }
  await kept.close();
  fs.writeFileSync(places.configuration, configuration);

  const lines: LogLine[] = [];
  const begin = async () => {
    const pools = await garth.pools();
    const daemon = await openDaemon({
      garth,
      listen: "127.0.0.1:0",
      open: false,
      requests: false,
      log: (level, event, facts = {}) => lines.push({ level, event, facts }),
      now: Date.now,
    });
    return { pools, daemon };
  };
  let { pools, daemon } = await begin();
  return {
    get garth() {
      return garth;
    },
    get pools() {
      return pools;
    },
    get url() {
      return daemon.url.replace(/\/$/, "");
    },
    lines,
    key: (tenant) => openKeys(garth, Date.now).add({ tenant, scopes: ["admin"] }).key,
    until: async (holder, state) => {
      const { promise, resolve } = Promise.withResolvers<void>();
      const look = (): void => {
        if (pools.held(holder)?.state === state) resolve();
      };
      const stop = pools.onEvent(look);
      look();
      await promise;
      stop();
    },
    restart: async () => {
      await daemon.close();
      await garth.close();
      garth = open();
      ({ pools, daemon } = await begin());
    },
    close: async () => {
      const all = pools.pools().map(({ name }) => name);
      await daemon.close();
      await garth.close();
      garth = open();
      pools = await garth.pools();
      for (const name of all) await pools.drain(name, { forget: true });
      const left = [
        ...pools.list().map(({ id, state }) => `${id} is ${state}`),
        ...pools.snapshots().map(({ id }) => `snapshot ${id}`),
        // The key by which the host is let in stays for the next pool.
        ...below(places.pools).filter((path) => !/^\.?key(\.pub)?$/.test(path)),
        ...below(places.runtime).map((path) => `${places.runtime}/${path}`),
        ...processesWith(root),
      ];
      await garth.close();
      fs.rmSync(root, { recursive: true });
      return left;
    },
  };
}

function below(directory: string): readonly string[] {
  return fs.existsSync(directory) ? fs.readdirSync(directory, { recursive: true }).map(String) : [];
}

/** Command lines of this machine's processes that name the root. */
function processesWith(root: string): readonly string[] {
  return fs.readdirSync("/proc").flatMap((pid) => {
    if (!/^\d+$/.test(pid)) return [];
    try {
      const line = fs.readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ");
      return line.includes(root) ? [`${pid} ${line}`] : [];
    } catch {
      return [];
    }
  });
}
