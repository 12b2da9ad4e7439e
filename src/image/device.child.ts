/** One installation that ends in the middle: `bun device.child.ts TARGET KIND CHANGE` kills itself before its change of that number. */
import { localHost } from "../host/index.ts";
import { writeDevice } from "./index.ts";
import { plainPlan } from "./testing.ts";

const [target = "", kind = "", change = ""] = process.argv.slice(2);
const host = localHost();
const { files } = host;
let changes = 0;
const count = (): void => {
  if (++changes === Number(change)) process.kill(process.pid, "SIGKILL");
};
const dying = {
  ...host,
  files: {
    ...files,
    clearRange: (...args: Parameters<typeof files.clearRange>) => {
      count();
      return files.clearRange(...args);
    },
    writeBeside: async (...args: Parameters<typeof files.writeBeside>) => {
      count();
      await files.writeBeside(...args);
    },
  },
};
if (kind !== "new" && kind !== "file" && kind !== "disk") throw new Error(kind);
await writeDevice(dying, plainPlan(files.exists(target) ? files.endOf(files.open(target, "r")) : undefined), target, {
  locate: (file) => file,
  target: kind,
  verify: false,
});
process.stdout.write(`${changes}\n`);
