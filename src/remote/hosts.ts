/**
 * The hosts that are known here.
 *
 *     wish ──validated──► key accepted ──► connected, looked at ──► its directory ──► written down ──► connection, store, site
 *                             └── whatever fails: the key is forgotten, nothing is written down
 *
 * A host that lacks something is known nevertheless, and the report says what. Two processes do not add or remove one of a name at once.
 */
import { type Host, isErrno } from "../host/index.ts";
import type { Ledger } from "../ledger/index.ts";
import { processFunctions, type Site, sweepScript } from "../sandbox/index.ts";
import type { Store } from "../store/index.ts";
import { checkName, parseAddress } from "./address.ts";
import { openConnection } from "./connection.ts";
import { badHost, beingChanged, hostBusy, hostExists, scriptFailed, unknownHost, type Whom } from "./errors.ts";
import { checkAccepted, checkIdentity, recordKey } from "./keys.ts";
import { lookAt } from "./look.ts";
import { sshEnvironment } from "./master.ts";
import { makePlaceScript, purgeScript } from "./place-script.ts";
import { openRecords } from "./records.ts";
import { openSite } from "./site.ts";
import { socketDirectory } from "./sockets.ts";
import type { Reach } from "./ssh.ts";
import { openHostStore } from "./store.ts";
import type { Connection, HostRecord, Hosts, HostStore, HostWish, Script } from "./types.ts";

const DEFAULT_ROOT = "/frx/var/garth/remote";
/** Each build has a session for its whole time, and others beside it: half of all there can be (master.ts). */
const JOBS_MAX = 32;
const ROOT_MAX_BYTES = 200;

export interface HostsOptions {
  readonly host: Host;
  /** With HOST_MIGRATION applied. */
  readonly ledger: Ledger;
  readonly store: Store;
  /** Files of accepted keys. */
  readonly directory: string;
  readonly runtimeDirectory: string;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly now: () => number;
  /** In place of ~/.ssh/config and the system's. */
  readonly configFile?: string;
  /** A host that is silent this long is gone. Default 45 s. */
  readonly silenceMs?: number;
}

/** What is open of one host. */
interface Open {
  readonly record: HostRecord;
  readonly connection: Connection;
  readonly store: HostStore;
  readonly site: Site;
}

export function openHosts(options: HostsOptions): Hosts {
  const { host, ledger, directory, now } = options;
  const records = openRecords(ledger);
  const opened = new Map<string, Open>();

  const get = (name: string): HostRecord => {
    const record = records.get(name);
    if (record === undefined)
      throw unknownHost(
        name,
        records.list().map((each) => each.name),
      );
    return record;
  };
  const knownHostsFile = (name: string): string => `${directory}/${name}.known_hosts`;
  const connect = (of: Pick<HostRecord, "name" | "url" | "identityFile">): Connection => {
    const { runtimeDirectory, environment, configFile, silenceMs } = options;
    return openConnection({
      host,
      name: of.name,
      url: of.url,
      identityFile: of.identityFile,
      knownHostsFile: knownHostsFile(of.name),
      runtimeDirectory,
      environment,
      configFile,
      ...(silenceMs === undefined ? {} : { silenceMs }),
    });
  };
  const open = (name: string): Open => {
    const known = opened.get(name);
    if (known !== undefined) return known;
    const record = get(name);
    const connection = connect(record);
    const making = makingPlace(record);
    const store = openHostStore({ host, store: options.store, connection, record });
    let made: Promise<unknown> | undefined;
    const one: Open = {
      record,
      connection,
      store: {
        ...store,
        // What was added while it lacked something has no directory yet.
        send: async (paths, given) => {
          made ??= connection.run(making).catch((error: unknown) => {
            made = undefined;
            throw error;
          });
          await made;
          return await store.send(paths, given);
        },
      },
      site: openSite({
        host,
        name,
        root: record.root,
        jobs: record.jobs,
        facts: record.facts,
        connection,
        store,
        opening: [making, sweeping(record)],
      }),
    };
    opened.set(name, one);
    return one;
  };
  const forgetKey = (name: string): void => {
    try {
      host.files.unlink(knownHostsFile(name));
    } catch (error) {
      if (!isErrno(error, "ENOENT")) throw error;
    }
  };
  const accept = async (wished: Wished): Promise<void> => {
    const { name, address, url, identityFile, hostKey } = wished;
    const { configFile } = options;
    host.files.makeDirectory(directory, { parents: true, mode: 0o700 });
    const reach: Reach = { name, address, identityFile, configFile, knownHostsFile: knownHostsFile(name) };
    const sockets = socketDirectory(host, options.runtimeDirectory);
    const parts = { host, reach, whom: { name, url }, environment: sshEnvironment(options.environment) };
    try {
      await recordKey({ ...parts, socketDirectory: sockets.make }, hostKey);
    } finally {
      sockets.remove();
    }
  };
  const changing = new Set<string>();
  /** One at a time for a name, of all processes. */
  const alone = async <Result>(name: string, work: () => Promise<Result>): Promise<Result> => {
    const lease = `host:${name}`;
    if (changing.has(name) || ledger.acquire(lease, host.processIdentity, host.isAlive, now()) !== undefined)
      throw beingChanged(name);
    changing.add(name);
    try {
      return await work();
    } finally {
      changing.delete(name);
      ledger.release(lease, host.processIdentity);
    }
  };
  const close = async (name: string): Promise<void> => {
    const one = opened.get(name);
    opened.delete(name);
    await one?.connection.close();
  };

  return {
    list: () => records.list(),
    get,
    add: async (wish) => {
      const wished = validated(host, wish);
      const { name, url, root, identityFile } = wished;
      return await alone(name, async () => {
        const there = records.get(name);
        if (there !== undefined) throw hostExists(name, there.url);
        let connection: Connection | undefined;
        try {
          await accept(wished);
          connection = connect({ name, url, identityFile });
          const report = await lookAt(connection, { name, url }, root, now);
          if (report.findings.every(({ key, state }) => key !== "root" || state !== "missing"))
            await connection.run(makingPlace({ name, root }));
          const at = now();
          const { facts } = report;
          const jobs = wished.jobs ?? Math.min(JOBS_MAX, facts.processors);
          const record: HostRecord = { name, url, root, jobs, identityFile, facts, addedAtMs: at, checkedAtMs: at };
          records.add(record);
          return { record, report };
        } catch (error) {
          forgetKey(name);
          throw error;
        } finally {
          await connection?.close();
        }
      });
    },
    check: async (name) => {
      const { name: known, url, root } = get(name);
      const report = await lookAt(open(known).connection, { name: known, url }, root, now);
      records.update(known, report.facts, now());
      return report;
    },
    remove: async (name, given = {}) => {
      const record = get(name);
      await alone(name, async () => {
        if (given.purge === true) await purge(open(name).connection, record);
        await close(name);
        records.remove(name);
        forgetKey(name);
      });
    },
    connection: (name) => open(name).connection,
    store: (name) => open(name).store,
    site: (name) => open(name).site,
    close: async () => {
      await Promise.all([...opened.keys()].map(close));
    },
  };
}

function makingPlace({ name, root }: Pick<HostRecord, "name" | "root">): Script {
  return { doing: `making ${root} on ${name}`, body: makePlaceScript(root) };
}

function sweeping({ name, root, facts }: HostRecord): Script {
  return { doing: `undoing what dead builds left on ${name}`, body: sweepScript(root, facts.system) };
}

/** What dead scripts left is undone before; what the living have is not touched. */
async function purge(connection: Connection, record: HostRecord): Promise<void> {
  const whom: Whom = { name: record.name, url: record.url };
  const doing = `removing ${record.root} from ${record.name}`;
  // What it cannot undo is found again.
  await connection.start(sweeping(record)).ended;
  const { events, status, words } = await connection.start({
    doing,
    body: purgeScript(record.root, processFunctions(record.facts.system)),
  }).ended;
  if (status === 0) return;
  const busy = events.flatMap(({ name, rest }) =>
    name === "mounted" ? [`mounted: ${rest}`] : name === "busy" ? [`process ${rest} is at work`] : [],
  );
  throw busy.length > 0 ? hostBusy(whom, doing, busy) : scriptFailed(whom, doing, status, words);
}

type Wished = ReturnType<typeof validated>;

/** @throws Problem E_BAD_HOST (exit 2) */
function validated(host: Host, wish: HostWish) {
  const name = checkName(wish.name);
  const { url, jobs, identityFile, root = DEFAULT_ROOT } = wish;
  const address = parseAddress(url);
  if (jobs !== undefined && !(Number.isSafeInteger(jobs) && jobs >= 1 && jobs <= JOBS_MAX))
    throw badHost(`${jobs} is no number of builds at one time`, `it is from 1 to ${JOBS_MAX}`);
  checkIdentity(host, identityFile);
  // No name of it can be a step back, a line's end is no part of an event. In the locale of our scripts FreeBSD's mount(8) and jls(8) print a
  // question mark for what is not ASCII.
  if (!/^(?:\/(?!\.{1,2}(?:\/|$))[ -.0-~]+)+$/.test(root) || Buffer.byteLength(root) > ROOT_MAX_BYTES)
    throw badHost(
      `${JSON.stringify(root)} is no directory for a host`,
      `it is an absolute path without . and .., in ASCII, of at most ${ROOT_MAX_BYTES} bytes, such as ${DEFAULT_ROOT}`,
    );
  return { name, url, address, root, jobs, identityFile, hostKey: checkAccepted(wish.hostKey) };
}
