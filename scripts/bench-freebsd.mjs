/** `npm run bench:freebsd -- --host ssh://root@host[:port]`: sets up what is missing here, then measures builds on that host. */
import { join } from "node:path";
import { bun, home, must, setUp } from "./setup.mjs";

setUp();
must([bun, join(home, "bench/freebsd.ts"), ...process.argv.slice(2)]);
