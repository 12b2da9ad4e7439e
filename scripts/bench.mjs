/** `npm run bench [-- store|build|repository ...]`: sets up what is missing, then measures. */
import { join } from "node:path";
import { bun, home, must, setUp } from "./setup.mjs";

setUp();
must([join(home, "garth"), "doctor", "--install", "--tests", "--quiet"], { stdio: ["ignore", 2, 2] });
must([bun, join(home, "bench/main.ts"), ...process.argv.slice(2)]);
