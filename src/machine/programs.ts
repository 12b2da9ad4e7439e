/** The programs that a machine needs of its host, and what to install when they are not there. */
import { Problem, type System } from "../base/index.ts";
import type { Host } from "../host/index.ts";
import { processorOf } from "./firmware.ts";

/** @throws Problem E_QEMU_MISSING (exit 3) */
export function qemuProgramOf(host: Host, system: System): string {
  const processor = processorOf(system);
  const program = `qemu-system-${processor}`;
  const found = host.which(program);
  if (found !== undefined) return found;
  throw new Problem({
    code: "E_QEMU_MISSING",
    message: `running a machine for ${system}: there is no ${program} on this machine`,
    hint: `the package ${processor === "x86_64" ? "qemu-system-x86" : "qemu-system-arm"} (Debian) or qemu (FreeBSD) has it`,
    exit: 3,
  });
}

/** The same command, which the kernel kills when the process that starts it ends; as it is where there is no setpriv(1). */
export function dyingWithParent(host: Host, argv: readonly [string, ...string[]]): readonly [string, ...string[]] {
  const setpriv = host.which("setpriv");
  return setpriv === undefined ? argv : [setpriv, "--pdeathsig", "KILL", ...argv];
}
