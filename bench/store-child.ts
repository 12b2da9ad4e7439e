/**
 * One store operation as a whole process, as a command would do it: `bun store-child.ts ROOT VERB ARGUMENT...`.
 * Prints a line of JSON: `{"peakRssBytes": N}`.
 */
import { localHost } from "../src/host/index.ts";
import { openLedger } from "../src/ledger/index.ts";
import { openStore, STORE_MIGRATION } from "../src/store/index.ts";
import { parseStorePath, storePath } from "../src/base/index.ts";

const [root = "", verb = "", ...rest] = process.argv.slice(2);
const host = localHost();
const stateDirectory = `${root}/frx/var/garth`;
host.files.makeDirectory(stateDirectory, { parents: true });
const ledger = openLedger(`${stateDirectory}/garth.db`, [STORE_MIGRATION]);
const store = openStore({ host, ledger, storeDirectory: `${root}/frx/store`, stateDirectory, now: Date.now });
const [first = ""] = rest;

switch (verb) {
  case "add":
    await store.add(first, "added");
    break;
  case "texts":
    for (const item of store.addTexts(
      Array.from({ length: Number(first) }, (_, index) => ({
        name: `candidate-${index}`,
        text: `candidate ${index}\n`,
        references: [],
      })),
    )) {
      process.stdout.write(`${item.path}\n`);
    }
    break;
  case "register": {
    // ROOT register FILE LIST: what the builder left is a directory that holds the file; LIST names the candidates.
    const [, list = ""] = rest;
    const candidates = host.files.readText(list).trim().split("\n").map(parseStorePath);
    const physical = `${store.temporaryDirectory}/output`;
    host.files.makeDirectory(physical);
    host.files.rename(first, `${physical}/file`);
    const drv = store.addText("bench.drv", "bench", []).path;
    const scratch = storePath({ kind: "scratch", drv, output: "out", round: 0 }, "bench");
    await store.register({ drv, outputs: { out: { physical, name: "bench", scratch, referenceCandidates: candidates } } });
    break;
  }
  case "gc":
    await store.gc({});
    break;
  default:
    throw new Error(`unknown verb ${verb}`);
}
store.close();
ledger.close();
process.stderr.write(`${JSON.stringify({ peakRssBytes: peakRssBytes() })}\n`);

/** Of this program alone: Linux counts what the parent had at fork into getrusage's maximum, and not into VmHWM (proc_pid_status(5)). */
function peakRssBytes(): number {
  const kibibytes = host.files.exists("/proc/self/status")
    ? /^VmHWM:\s+(\d+) kB/m.exec(host.files.readText("/proc/self/status"))?.[1]
    : undefined;
  return 1024 * Number(kibibytes ?? process.resourceUsage().maxRSS);
}
