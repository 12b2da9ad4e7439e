/**
 * `npm run demo`: from a bare machine to a machine that greets. Sets up what is missing, ships examples/hello into `.garth/demo` (or the
 * directory given): builds GNU hello, packages it, publishes the package signed, installs it from there on a declared system, writes the
 * system's disk, boots that and asks it, signs a template of it, and takes a machine out of a pool. Shows what came out, and ends with
 * `PASS demo`. Plain Node 20, no dependencies.
 */
import { spawnSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { join, resolve } from "node:path";
import { home, must, setUp } from "./setup.mjs";

const root = resolve(process.argv[2] ?? join(home, ".garth/demo"));
const garth = join(home, "garth");

function show(title, argv) {
  console.log(`\n== ${title}\n$ ${argv.join(" ").replaceAll(`${home}/`, "./")}`);
  must(argv);
}

setUp();
show("what this machine lacks, and installing it", [garth, "doctor", "--install"]);
mkdirSync(root, { recursive: true });
const ship = [garth, "ship", join(home, "examples/hello"), "--root", root];
show("from source to a machine that has booted", ship);
show("once more: nothing has changed, so nothing is done", ship);
show("what was made, and what was checked", [garth, "receipt", "ls", "--root", root]);

const listed = spawnSync(garth, ["receipt", "ls", "--root", root, "--json"], { encoding: "utf8" });
const receipts = JSON.parse(listed.stdout);

/** Of the newest receipt of a stage. */
function fieldOf(stage, name) {
  const value = receipts.find((receipt) => receipt.stage === stage)?.fields[name];
  if (value !== undefined) return value;
  console.error(`demo: no receipt of the stage ${stage} has ${name}`);
  process.exit(1);
}

show("the repository, read as a client reads it", [garth, "repo", "verify", fieldOf("repository", "repo_path"), "--root", root]);
show("the disk: what is on it", [garth, "image", "inspect", fieldOf("image", "image_path"), "--root", root]);
show("the disk, held before sgdisk, fsck.fat and e2fsck", [
  garth,
  "image",
  "verify",
  fieldOf("image", "image_path"),
  "--root",
  root,
]);
show("the verdict of its boot, once its signature holds", [
  garth,
  "gate",
  "show",
  fieldOf("boot", "verdict_path"),
  "--root",
  root,
]);
show("the template, held against its signature", [garth, "template", "verify", "greeter", "--root", root]);
const greetings = [fieldOf("boot", "probe_1_output"), fieldOf("pool", "probe_result")];
console.log(`\nhello, inside the machine that was judged: ${greetings[0]}`);
console.log(
  `hello, inside a machine out of a pool, ${fieldOf("pool", "checkout_ms")} ms after it was asked for: ${greetings[1]}`,
);
if (greetings.some((greeting) => greeting !== "Hello, world!")) process.exit(1);
console.log("\nPASS demo");
