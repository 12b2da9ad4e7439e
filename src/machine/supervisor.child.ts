/**
 * A Garth in small, for tests that need one as a process of its own: to reach its machine from outside, or to kill it.
 *
 *     bun supervisor.child.ts MACHINES DISK named|nameless with|without     the last: with setpriv(1), or as on FreeBSD
 *
 * Prints the process id of QEMU, then how the machine ended, as JSON.
 */
import { localHost } from "../host/index.ts";
import { openMachines } from "./index.ts";
import { sampleSpec } from "./testing.ts";

const [directory = "", disk = "", naming = "", guard = ""] = process.argv.slice(2);
const local = localHost();
const host = {
  ...local,
  processIdentity: local.processIdentity,
  which: (name: string) => (name === "setpriv" && guard === "without" ? undefined : local.which(name)),
};
const machines = openMachines(host, { directory, acceleratorFile: `${directory}/accelerator.json` });
const spec = sampleSpec(disk, { name: "detached", display: true, credentials: { "my.secret": "xyzzy" } });
const machine = await machines.start(spec, { registered: naming === "named" });
process.stdout.write(`${machine.pid}\n`);
process.stdout.write(`${JSON.stringify(await machine.exited)}\n`);
