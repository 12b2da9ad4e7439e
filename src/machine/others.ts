/** Registered machines, as any process sees and reaches them: through their directories and their second monitor. */
import { closest, Problem } from "../base/index.ts";
import { type Host, isErrno } from "../host/index.ts";
import { typeInto } from "./input.ts";
import { endOrphan } from "./orphan.ts";
import { openQmp, type Qmp } from "./qmp.ts";
import { listRecords, readRecord } from "./record.ts";
import { takePicture } from "./screen.ts";
import { namesBelow, ownerLives, removeIfAny } from "./scratch.ts";
import { SOCKETS } from "./sockets.ts";
import type { MachineRecord, Machines } from "./types.ts";

const ANSWER_LIMIT_MS = 10_000;
/** How long QEMU may take to end, asked once, killed the second time. */
const QUIT_LIMIT_MS = 5_000;
const LOOK_EVERY_MS = 20;

export type OtherMachines = Pick<Machines, "list" | "find" | "screenshotOf" | "writeTo" | "stopOf" | "sweep">;

export function otherMachines(host: Host, below: string): OtherMachines {
  const list = (): readonly MachineRecord[] => listRecords(host, below);
  const find = (name: string): MachineRecord | undefined => list().find((record) => record.name === name);

  const running = (name: string): MachineRecord => {
    const record = find(name);
    if (record?.state === "running") return record;
    const names = list().flatMap((one) => (one.state === "running" ? [one.name] : []));
    const near = closest(name, names);
    throw new Problem({
      code: "E_NO_MACHINE",
      message:
        record === undefined
          ? `there is no machine ${JSON.stringify(name)}`
          : `the machine ${name} does not run any more: ${record.ended?.detail ?? "its supervisor was killed"}`,
      ...(record === undefined ? {} : { where: record.consoleLog }),
      hint: near === undefined ? "`garth machine ls` lists those that run" : `did you mean ${near}?`,
      exit: 2,
    });
  };

  /** @throws Problem E_QMP; E_NO_MACHINE when it ended this moment */
  const withMonitor = async <Value>(
    record: MachineRecord,
    work: (monitor: Qmp) => Promise<Value>,
    timeoutMs: number = ANSWER_LIMIT_MS,
  ): Promise<Value> => {
    let monitor: Qmp;
    try {
      monitor = await openQmp(host, `${record.directory}/${SOCKETS.others}`, { name: record.name, timeoutMs });
    } catch (error) {
      if (isErrno(error, "ENOENT", "ECONNREFUSED")) running(record.name);
      throw error;
    }
    try {
      return await work(monitor);
    } finally {
      monitor.close();
    }
  };

  /** Whether its supervisor said in time that it ended. */
  const seenEnding = async (record: MachineRecord, deadlineMs: number): Promise<boolean> => {
    while (performance.now() < deadlineMs) {
      const now = readRecord(host, record.directory);
      if (now?.state !== "running" || now.startedAtMs !== record.startedAtMs) return true;
      await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
    }
    return false;
  };

  return {
    list,
    find,
    screenshotOf: async (name, file) => {
      const record = running(name);
      await withMonitor(record, (monitor) => takePicture(monitor, record.spec, file));
    },
    writeTo: async (name, text) => await typeInto(host, running(name).directory, text),
    stopOf: async (name) => {
      const record = running(name);
      // Its end is the answer; when there is none, no time is left to wait for it.
      const begunMs = performance.now();
      await withMonitor(record, (monitor) => monitor.execute("quit"), QUIT_LIMIT_MS).catch(() => undefined);
      if (await seenEnding(record, begunMs + QUIT_LIMIT_MS)) return;
      // Its supervisor lives and has not seen it end, so the number is still that process's own.
      await host.run({ argv: ["kill", "-KILL", String(record.pid)], okStatuses: [0, 1], doing: `ending the machine ${name}` });
      if (await seenEnding(record, performance.now() + QUIT_LIMIT_MS)) return;
      throw new Problem({
        code: "E_TIMEOUT",
        message: `ending the machine ${name}: its QEMU, process ${record.pid}, was killed and is still there`,
        where: record.directory,
      });
    },
    sweep: async () => {
      for (const name of namesBelow(host, below)) {
        const directory = `${below}/${name}`;
        if (host.files.lstatIfAny(directory)?.type !== "directory") continue;
        if (ownerLives(host, directory) && readRecord(host, directory)?.state !== "ended") continue;
        await endOrphan(host, directory);
        removeIfAny(host, directory);
      }
    },
  };
}
