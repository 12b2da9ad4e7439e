/** A second Garth on the same root, as a process of its own: `bun testing-child.ts ROOT NAME SCRIPT`. Prints its events. */
import { openBench, tiny } from "./testing.ts";

const [root = "", name = "", text = ""] = process.argv.slice(2);
const bench = openBench({ root, onEvent: (event) => process.stdout.write(`${JSON.stringify(event)}\n`) });
await bench.build(tiny(name, text));
await bench.close();
