/**
 * The two ways in which a machine comes to run: booted, or as a clone of a snapshot.
 *
 *     boot    files ──► hypervisor ──cont──► firmware, kernel, seed applied ──SSH answers──► it is itself
 *     clone   files ──► hypervisor, state of the snapshot ──cont──► resident answers ──identity──► it is itself
 *
 * Both leave a running machine in the state "warming". What they throw names the last lines of its console.
 */
import { randomBytes, randomUUID } from "node:crypto";
import { formatDuration, Problem } from "../base/index.ts";
import type { Host } from "../host/index.ts";
import { consoleTail, type Resident, startResident, waitForSshBanner } from "../machine/index.ts";
import { gatewayAddress, prefixLength } from "../network/index.ts";
import { type GuestChannel, openChannel } from "./channel.ts";
import type { Making } from "./context.ts";
import { type MachineFacts, machineOf, SSH_PORT, tapName } from "./machine.ts";
import { prepare, type Prepared } from "./prepare.ts";
import type { EntryRow } from "./records.ts";
import { DISK, memoryFileOf, type SnapshotPlace, stateFileOf } from "./snapshot-place.ts";

/** How long a clone may take to say who it is; under emulation it takes a quarter of a second. */
const IDENTITY_LIMIT_MS = 30_000;
const CONSOLE_LINES = 12;
/** How often the hypervisor of a guest that has not answered yet is looked at. */
const LOOK_EVERY_MS = 250;
const CONNECT_LEAST_MS = 1_000;

export interface Running {
  readonly row: EntryRow;
  readonly resident: Resident;
}

export async function bootMachine(making: Making, facts: Omit<MachineFacts, "system"> = {}): Promise<Running> {
  const { context, template, pool } = making;
  const { host } = context;
  const prepared = await prepare(making, { file: template.imageFile, format: "raw" });
  const running = await start(making, facts, undefined);
  try {
    await running.resident.monitor.execute("cont");
    await upPort(making, prepared);
    await untilSsh(making, running, pool.bootTimeoutMs);
    return { ...running, row: entering(making, "booting", "warming") };
  } catch (error) {
    throw withConsole(host, making.row, error);
  } finally {
    running.resident.monitor.close();
  }
}

export async function cloneMachine(making: Making, from: SnapshotPlace): Promise<Running> {
  const { context } = making;
  const { host } = context;
  const prepared = await prepare(making, { file: `${from.directory}/${DISK}`, format: "qcow2" });
  const facts = { isClone: true, ...(from.shared ? { memoryFile: { file: memoryFileOf(from), mode: "private" as const } } : {}) };
  const running = await start(making, facts, from);
  let channel: GuestChannel | undefined;
  try {
    channel = await openChannel(host, making.row.id, making.row.directory);
    await running.resident.monitor.execute("cont");
    await channel.order({ do: "identity", ...identityOf(making, prepared, from) }, IDENTITY_LIMIT_MS);
    await upPort(making, prepared);
    // The link was down when it said so the first time.
    if (prepared.bridge !== undefined)
      await channel.order({ do: "announce", mac: making.row.mac, address: making.row.address }, IDENTITY_LIMIT_MS);
    return { ...running, row: entering(making, "booting", "warming") };
  } catch (error) {
    throw withConsole(host, making.row, error);
  } finally {
    channel?.close();
    running.resident.monitor.close();
  }
}

async function start(making: Making, facts: Omit<MachineFacts, "system">, from: SnapshotPlace | undefined): Promise<Running> {
  const { context, pool, template, row } = making;
  const { host, records, places } = context;
  entering(making, "preparing", "booting");
  const spec = machineOf(row, pool, template, { system: host.system, ...facts });
  const through = pool.network === "bridge" ? context.bridgeOf(pool).through : [];
  try {
    const resident = await startResident(host, spec, {
      directory: row.directory,
      acceleratorFile: places.acceleratorFile,
      through,
      ...(making.signal === undefined ? {} : { signal: making.signal }),
      ...(from === undefined ? {} : { incoming: { stateFile: stateFileOf(from), shared: from.shared } }),
      onProcess: (process) => void records.move(row.id, ["booting"], "booting", { process }),
    });
    const port = resident.forward.find(({ guestPort }) => guestPort === SSH_PORT)?.hostPort;
    const ssh = port === undefined ? { address: row.address, port: SSH_PORT } : { address: "127.0.0.1", port };
    const known = records.move(row.id, ["booting"], "booting", { ssh });
    if (known === undefined) throw gone(row);
    return { row: known, resident };
  } catch (error) {
    throw withConsole(host, row, error);
  }
}

/** The row in its next state. @throws Problem E_ENTRY_GONE when somebody drains the pool meanwhile */
function entering({ context, row }: Making, from: "preparing" | "booting", to: "booting" | "warming"): EntryRow {
  const moved = context.records.move(row.id, [from], to);
  if (moved === undefined) throw gone(row);
  return moved;
}

function gone(row: EntryRow): Problem {
  return new Problem({ code: "E_ENTRY_GONE", message: `making the machine ${row.id}: somebody has taken it away meanwhile` });
}

async function upPort({ row }: Making, { bridge }: Prepared): Promise<void> {
  await bridge?.up({ interface: tapName(row), mac: row.mac, address: row.address });
}

/** Until the SSH server lets us in, or the hypervisor ends. */
async function untilSsh(making: Making, { row, resident }: Running, timeoutMs: number): Promise<void> {
  const { context } = making;
  const { host } = context;
  const stopped = new AbortController();
  const signal = making.signal === undefined ? stopped.signal : AbortSignal.any([making.signal, stopped.signal]);
  const look = setInterval(() => {
    if (!host.isAlive(resident.identity))
      stopped.abort(new Problem({ code: "E_MACHINE_DIED", message: `waiting for the machine ${row.id}: its hypervisor ended` }));
  }, LOOK_EVERY_MS);
  const begun = performance.now();
  try {
    const { ssh } = row;
    if (ssh === undefined) throw new Error(`${row.id} has no way to be reached`);
    const left = (): number => Math.max(CONNECT_LEAST_MS, timeoutMs - (performance.now() - begun));
    const guest = await context.guestOf(row);
    if (making.pool.network === "user") {
      // slirp takes a connection long before there is a server: a banner is waited for first.
      await waitForSshBanner(host, ssh.port, { timeoutMs, signal });
      return await guest.connect({ timeoutMs: left(), signal });
    }
    for (;;) {
      try {
        return await guest.connect({ timeoutMs: left(), signal });
      } catch (error) {
        const early = error instanceof Problem && error.code === "E_GUEST_UNREACHABLE" && performance.now() - begun < timeoutMs;
        if (!early || signal.aborted) throw error;
      }
      // Refused at once, by a guest whose server is not there yet.
      await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
    }
  } catch (error) {
    if (error instanceof Problem && (error.code === "E_NO_BANNER" || error.code === "E_GUEST_UNREACHABLE")) {
      throw new Problem({
        code: "E_GUEST_SILENT",
        message: `waiting for the machine ${row.id}: its SSH server did not let us in within ${formatDuration(timeoutMs)}`,
        details: error.details,
        cause: error,
      });
    }
    throw error;
  } finally {
    clearInterval(look);
  }
}

function identityOf({ pool, row, context }: Making, { hostKey }: Prepared, from: SnapshotPlace) {
  return {
    hostname: row.id,
    address: row.address,
    prefix: prefixLength(pool.subnet),
    gateway: gatewayAddress(pool.subnet),
    mac: row.mac,
    machineId: randomUUID().replaceAll("-", ""),
    bootId: randomUUID(),
    seed: randomBytes(64).toString("base64"),
    time: context.now() / 1000,
    hostKey,
    before: from.source,
  };
}

/** A guest says more on its console than the host can know. */
function withConsole(host: Host, row: EntryRow, error: unknown): unknown {
  if (!(error instanceof Problem)) return error;
  const lines = consoleTail(host, row.directory, CONSOLE_LINES);
  if (lines.length === 0) return error;
  return new Problem({
    code: error.code,
    message: error.message,
    details: [...error.details, "the last lines of its console:", ...lines],
    exit: error.exit,
    ...(error.hint === undefined ? {} : { hint: error.hint }),
    cause: error.cause ?? error,
  });
}
