/** `npm run test:freebsd -- --host ssh://root@host[:port]`: sets up what is missing here, then tries everything on that host. */
import { spawn } from "node:child_process";
import { join } from "node:path";
import { bun, home, setUp } from "./setup.mjs";

setUp();
// Ctrl-C reaches the suite as well, which ends its case and undoes it; this process waits for that.
process.on("SIGINT", () => undefined);
const suite = spawn(bun, [join(home, "suite/main.ts"), ...process.argv.slice(2)], { stdio: "inherit" });
suite.on("exit", (status, signal) => process.exit(status ?? (signal === "SIGINT" ? 130 : 1)));
