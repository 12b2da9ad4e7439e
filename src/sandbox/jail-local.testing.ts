/**
 * A Garth in small that runs a builder in a jail of a small host (jail.testing.ts), for a test that kills it.
 *
 *     bun jail-local.testing.ts DIRECTORY SCRIPT
 *
 * Prints what the builder prints.
 */
import { jailSandbox } from "./jail.ts";
import { smallFreebsd } from "./jail.testing.ts";
import { jailPlan } from "./jail-run.testing.ts";

const [directory = "", script = ""] = process.argv.slice(2);
const sandbox = jailSandbox(smallFreebsd(directory));
await sandbox.run(jailPlan(directory, script), { onOutput: (chunk) => void process.stdout.write(chunk) });
