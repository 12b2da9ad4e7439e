/**
 * `npm run demo`: from a bare machine to a signed package. Sets up what is missing, ships examples/hello into `.garth/demo`
 * (or the directory given), shows what came out, and ends with `PASS demo`. Plain Node 20, no dependencies.
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
show("from source to a signed repository", ship);
show("once more: nothing has changed, so nothing is done", ship);
show("what was built, and what was checked", [garth, "receipt", "ls", "--root", root]);

const listed = spawnSync(garth, ["receipt", "ls", "--root", root, "--json"], { encoding: "utf8" });
const receipts = JSON.parse(listed.stdout);
const repository = receipts.find((receipt) => receipt.stage === "repository")?.fields.repo_path;
if (repository === undefined) {
  console.error("demo: no receipt names a repository");
  process.exit(1);
}
show("the repository, read as a client reads it", [garth, "repo", "verify", repository, "--root", root]);
show("its files", ["find", repository, "-type", "f"]);
console.log("\nPASS demo");
