/** One publication in a process of its own, as the command line would do it: `bun repository-child.ts DIRECTORY KEY PACKAGE...`. */
import { localHost } from "../src/host/index.ts";
import { publish } from "../src/repository/index.ts";

const [directory = "", keyFile = "", ...add] = process.argv.slice(2);
const report = await publish(localHost(), { directory, keyFile, add, nowMs: Date.now() });
console.log(JSON.stringify({ packageCount: report.packageCount, added: report.added.length }));
