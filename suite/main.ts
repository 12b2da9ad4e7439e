/**
 * `npm run test:freebsd -- --host ssh://root@host[:port]`: every case against a live host. Ends with `N passed, N failed, N skipped`, and with 1
 * when something failed, 2 when the command line is wrong, 3 when the host cannot be reached at all.
 *
 * Whoever reads the output may be far from the host: a failure tells all that there is to tell.
 */
import { randomBytes } from "node:crypto";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { tmpdir } from "node:os";
import { shellQuote } from "../src/host/index.ts";
import { allCases } from "./cases.ts";
import type { Suite } from "./case.ts";
import { openHand } from "./hand.ts";
import { askHost } from "./host-self.ts";
import { openOurs, type Ours } from "./ours.ts";
import { parseOptions, USAGE } from "./options.ts";
import { chosenCases, type Outcome, runCases, totals } from "./runner.ts";
import { clearRoot, type Comparison, compareSnapshots, type Snapshot, takeSnapshot } from "./snapshot.ts";
import { tellError } from "./trial.ts";

const print = (text: string): void => void process.stdout.write(`${text}\n`);
const AS_IT_WAS = "the host is as it was: mounts, jails, processes, files, modules, users";

const options = parseOptions(process.argv.slice(2));
if (typeof options === "string") {
  console.error(`test:freebsd: ${options}\nusage: ${USAGE}`);
  process.exit(2);
}
if (options.list) {
  for (const { name } of chosenCases(allCases, options.only)) print(name);
  process.exit(0);
}

const began = performance.now();
const home = dirname(import.meta.dir);
// Short, because sockets have it in their paths.
const here = mkdtempSync(join(tmpdir(), "gs-"));
const hand = openHand({ url: options.url, directory: here, identityFile: options.identityFile });
const interruption = new AbortController();
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.on(signal, () => {
    print(`${signal}: the case that runs is ended and undone`);
    interruption.abort(new Error(signal));
  });
}

async function leave(status: number): Promise<never> {
  await hand.close();
  if (options !== undefined && typeof options !== "string" && options.keep) print(`kept here: ${here}`);
  else rmSync(here, { recursive: true, force: true });
  process.exit(status);
}

print(`host ${options.url}`);
const { said, self } = await askHost(hand);
if (self === undefined) {
  console.error(
    `test:freebsd: the host cannot be reached, or is neither FreeBSD nor Linux: ssh ended with ${said.status ?? "no status"}`,
  );
  console.error(`${hand.words.map(shellQuote).join(" ")}\n--- its output\n${said.stdout}\n--- its errors\n${said.stderr}`);
  await leave(3);
  throw new Error("not reached");
}
const keys = await hand.fingerprints();
const hostKey = keys[0] ?? "";
print(`host key ${keys.join(" ")} (written to ${hand.knownHosts})`);
if (options.hostKey !== undefined && !keys.includes(options.hostKey)) {
  console.error(`test:freebsd: the host has the key ${keys.join(" ")}, and not ${options.hostKey}`);
  await leave(3);
}
print(
  `it is ${self.uname}, ${self.name}, uid ${self.uid}, racct ${self.racct ? "on" : "off"}${self.standIn === undefined ? "" : `, ${self.standIn}`}`,
);
print(`it has ${[...self.tools.keys()].join(" ")}`);

const root = `/var/tmp/garth-suite-${randomBytes(4).toString("hex")}`;
const outcomes: Outcome[] = [];
let before: Snapshot | undefined;
let comparison: Comparison | undefined;
let ours: Promise<Ours> | undefined;
const suite: Suite = {
  url: options.url,
  host: self,
  hand,
  root,
  here,
  home,
  binary: resolve(options.binary ?? join(home, "dist/garth-freebsd-x64")),
  knownHosts: hand.knownHosts,
  identityFile: options.identityFile === undefined ? undefined : resolve(options.identityFile),
  hostKey,
  ours: () => (ours ??= openOurs(suite)),
};

/** What holds for the whole run and not for one case; told as a case of its own. */
async function whole(name: string, work: () => Promise<string | undefined>): Promise<void> {
  const startedMs = performance.now();
  let text: string | undefined;
  try {
    text = await work();
  } catch (error) {
    text = tellError(error);
  }
  const seconds = (performance.now() - startedMs) / 1000;
  if (text === undefined) outcomes.push({ name, state: "passed", seconds, notes: [] });
  else outcomes.push({ name, state: "failed", seconds, notes: [], text: `FAILED ${name}\n${text}` });
  print(text === undefined ? `     ok ${name} (${seconds.toFixed(1)} s)` : `FAILED ${name}\n${text}`);
}

mkdirSync(join(here, "files"));
await whole("the host says what it is before the suite", async () => {
  before = await takeSnapshot(hand, self.system);
  const made = await hand.sh(`umask 022; mkdir -p ${shellQuote(root)}`);
  return made.status === 0 ? undefined : `${root} cannot be made: ${made.stderr}`;
});
outcomes.push(
  ...(await runCases(allCases, suite, {
    print,
    signal: interruption.signal,
    ...(options.only === undefined ? {} : { only: options.only }),
  })),
);
await whole(AS_IT_WAS, async () => {
  const faults: string[] = [];
  try {
    await (await ours)?.close();
  } catch (error) {
    faults.push(`closing Garth here: ${tellError(error)}`);
  }
  // The directory first: what it still holds is told with the rest.
  if (!options.keep) {
    const fault = await clearRoot(hand, self.system, root);
    if (fault !== "") faults.push(fault);
  } else print(`kept on the host: ${root}`);
  if (before === undefined) return "it never said what it was before";
  comparison = compareSnapshots(before, await takeSnapshot(hand, self.system), {
    system: self.system,
    ours: new RegExp(root.slice("/var/tmp/".length)),
  });
  for (const { part, change, what } of comparison.allowed) print(`   note ${part}, ${change}: ${what}`);
  const kept = options.keep ? comparison.left.filter(({ what }) => !what.includes(root)) : comparison.left;
  faults.push(...kept.map(({ part, change, what }) => `${part}, ${change}: ${what}`));
  return faults.length === 0 ? undefined : faults.join("\n");
});

const failed = outcomes.filter(({ state }) => state === "failed");
print("");
for (const { name } of failed) print(`failed: ${name}`);
for (const one of outcomes) if (one.state === "skipped") print(`skipped: ${one.name} (${one.reason})`);
if (options.json !== undefined) {
  writeFileSync(
    options.json,
    `${JSON.stringify({ url: options.url, host: { ...self, tools: Object.fromEntries(self.tools) }, outcomes, before, comparison }, undefined, 2)}\n`,
  );
}
print(`${((performance.now() - began) / 1000).toFixed(0)} s in all`);
print(totals(outcomes));
await leave(failed.length === 0 ? 0 : 1);
