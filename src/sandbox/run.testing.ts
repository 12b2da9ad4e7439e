/**
 * A Garth in small, for tests that need one as a process of its own: to kill it, or to run it as somebody else.
 *
 *     bun run.testing.ts PLACE UID SCRIPT [LIMITS]     PLACE is a directory to work in, LIMITS are JSON
 *
 * Prints what the builder prints, then a line of JSON with the result, or with the code and details of the problem.
 */
import { Problem } from "../base/index.ts";
import { localHost } from "../host/index.ts";
import { openSandbox } from "./index.ts";
import { planIn } from "./testing.ts";

const [directory = "", uid = "", script = "", limits = "{}"] = process.argv.slice(2);
const host = localHost();
const sandbox = openSandbox(host);
const id = Number(uid);
const plan = planIn(directory, { kind: host.isRoot ? "drop" : "user-namespace", uid: id, gid: id }, script, {
  limits: JSON.parse(limits),
});
try {
  const { result } = await sandbox.run(plan, { onOutput: (chunk) => void process.stdout.write(chunk) });
  process.stdout.write(`${JSON.stringify(result)}\n`);
} catch (error) {
  if (!(error instanceof Problem)) throw error;
  process.stdout.write(`${JSON.stringify({ code: error.code, details: error.details })}\n`);
} finally {
  await sandbox.close();
}
