/** The full-disk test's process: works on a small file system at the path given, and tells what happened as JSON. */
import * as fs from "node:fs";
import { problemOf } from "../base/testing.ts";
import { openTestStore } from "./testing.ts";

const [root = ""] = process.argv.slice(2);
using test = openTestStore({ root });
const { store } = test;
store.addText("small", "small", []);

const huge = "/dev/shm/garth-full-huge";
const many = fs.mkdtempSync("/dev/shm/garth-full-many-");
fs.writeFileSync(huge, Buffer.alloc(40 * 1024 * 1024, "x"));
for (let index = 0; index < 400; index += 1) fs.writeFileSync(`${many}/${index}`, Buffer.alloc(100 * 1024, "y"));
try {
  const add = (await problemOf(() => store.add(huge, "huge"))).code;
  const tree = (await problemOf(() => store.add(many, "many"))).code;
  const text = (await problemOf(() => store.addText("text", "z".repeat(40 * 1024 * 1024), []))).code;
  const items = store.all().map(({ path }) => path.slice(76));
  const scratch = fs.readdirSync(store.temporaryDirectory);
  const { damage } = await store.verify({ repair: false, contents: true });
  const after = store.addText("fits", "fits", []).path.slice(76);
  process.stdout.write(JSON.stringify({ add, tree, text, items, scratch, damage, after }));
} finally {
  fs.rmSync(huge);
  fs.rmSync(many, { recursive: true });
}
