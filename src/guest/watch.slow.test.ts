import { expect, test } from "bun:test";
import * as fs from "node:fs";
import { openTestGuest } from "./testing.ts";
import { watched } from "./watch.testing.ts";

test("a guest without python3 is looked at", async () => {
  // Of the programs in PATH this one is no program any more.
  const before = "for p in $(which -a python3); do mount --bind /dev/null $p; done";
  await using bare = await openTestGuest({ name: "bare", before });
  expect((await bare.guest.run({ argv: ["python3", "-V"] })).code).toBe(126);
  const watch = await watched(bare, true);
  const made = await watch.until(() => fs.writeFileSync(`${watch.path}/there/f`, "x"));
  expect(made.filter((event) => !event.startsWith("chmod"))).toEqual(["create there/f"]);
  expect(await watch.until(() => fs.appendFileSync(`${watch.path}/there/f`, "longer"))).toEqual(["write there/f"]);
  fs.rmSync(watch.path, { recursive: true });
  await watch.closed;
});
