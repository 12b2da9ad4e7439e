import { writeSync } from "node:fs";
async function main() {
  if (process.argv[2] === "--version") writeSync(1, "garth 0.1.0\n");
}
void main();
