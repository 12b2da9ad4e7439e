/** How a machine ended, or did not begin, from what QEMU said, reported and ended with. Pure. */
import { Problem } from "../base/index.ts";
import type { Exit } from "../host/index.ts";
import type { QmpEvent } from "./qmp.ts";
import type { MachineEnd, MachineSpec } from "./types.ts";

const linesOf = (said: string): readonly string[] => said.split("\n").filter((line) => line.trim() !== "");

function howQemuEnded(exit: Exit, said: string): string {
  const how = exit.status === null ? `was ended by ${exit.signal}` : `ended with status ${exit.status}`;
  const [line] = linesOf(said).slice(-1);
  return line === undefined ? `QEMU ${how}` : `QEMU ${how}: ${line}`;
}

/** The events of QMP say why (qapi/run-state.json, ShutdownCause); the status of QEMU is 0 for any of these. */
export function describeEnd(seen: {
  readonly exit: Exit;
  readonly events: readonly QmpEvent[];
  /** This supervisor asked for the end. */
  readonly stopping: boolean;
  readonly said: string;
}): MachineEnd {
  const { exit, events, stopping, said } = seen;
  const { status } = exit;
  const reason = events.find(({ event }) => event === "SHUTDOWN")?.data["reason"];
  if (events.some(({ event }) => event === "GUEST_PANICKED") || reason === "guest-panic") {
    return { kind: "panicked", status, detail: "the guest reported a panic" };
  }
  switch (reason) {
    case "guest-shutdown":
      return { kind: "powered-off", status, detail: "the guest switched itself off" };
    case "guest-reset":
    case "subsystem-reset":
      return { kind: "rebooted", status, detail: "the guest reset itself" };
    case "host-qmp-quit":
      return { kind: "stopped", status, detail: "it was stopped" };
  }
  if (stopping) return { kind: "stopped", status, detail: "it was stopped" };
  return { kind: "died", status, detail: howQemuEnded(exit, said) };
}

/** QEMU ended before its guest could begin. */
export function notStarted(spec: MachineSpec, exit: Exit, said: string): Problem {
  const port = /Could not set up host forwarding rule '\w+:([\d.]+):(\d+)-/.exec(said);
  if (port !== null) {
    return new Problem({
      code: "E_PORT_IN_USE",
      message: `starting the machine ${spec.name}: the port ${port[2]} of ${port[1]} is in use`,
      hint: "forward another port, or 0 for one that is free",
      exit: 3,
    });
  }
  const locked = /Failed to get "[^"]*" lock/.test(said);
  return new Problem({
    code: "E_MACHINE_NOT_STARTED",
    message: `starting the machine ${spec.name}: ${howQemuEnded(exit, said)}`,
    details: linesOf(said).slice(-20),
    ...(locked ? { hint: "another machine or program has one of its images open" } : {}),
    exit: 3,
  });
}
