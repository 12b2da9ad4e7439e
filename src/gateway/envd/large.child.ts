/** The data plane alone in a process, so that its memory is its own. The address of its guest comes as JSON; it says where it listens. */
import { openGuest } from "../../guest/index.ts";
import { localHost } from "../../host/index.ts";
import { serveEnvd } from "./envd.testing.ts";

const guest = openGuest(localHost(), JSON.parse(process.argv[2] ?? ""));
await guest.connect();
const served = await serveEnvd(guest);
process.stdout.write(`${served.url}\n`);
