/** Pictures of a machine's screen. */
import { Problem } from "../base/index.ts";
import type { Qmp } from "./qmp.ts";
import type { MachineSpec } from "./types.ts";

/** QEMU itself writes the file, as PNG since 7.1. @throws Problem E_NO_DISPLAY (exit 2), E_QMP */
export async function takePicture(monitor: Qmp, spec: Pick<MachineSpec, "name" | "display">, file: string): Promise<void> {
  if (!spec.display) {
    throw new Problem({
      code: "E_NO_DISPLAY",
      message: `taking a picture of the machine ${spec.name}: it has no display`,
      hint: "start it with `display: true`",
      exit: 2,
    });
  }
  await monitor.execute("screendump", { filename: file, format: "png" });
}
