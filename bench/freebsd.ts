/**
 * `npm run bench:freebsd -- --host ssh://root@host[:port]`: what a build on a host costs beside the same by hand on the same host, one right after
 * the other, both timed from here and both over connections that are open already. `--write`: the table goes to bench/FREEBSD.md, too. A Linux
 * host has bwrap in place of a jail. Ends with 1 when a figure misses its reach, 2 when the command line is wrong, 3 when the host is not to
 * be had.
 */
import { randomBytes } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { StorePath } from "../src/base/index.ts";
import { shellQuote } from "../src/host/index.ts";
import { defaultLimits, type SandboxRequest } from "../src/sandbox/index.ts";
import { outputPath } from "../src/sandbox/testing.ts";
import { systemOf, VIEW } from "../suite/cases/inside.ts";
import { runHere } from "../suite/hand.ts";
import { parseOptions, USAGE } from "../suite/options.ts";
import { type MeasuredHost, openMeasuredHost } from "./freebsd-host.ts";
import { machine } from "./machine.ts";
import { type BenchRow, type Pair, ratioRow } from "./row.ts";
import { markdown } from "./table.ts";

const BUILD_RUNS = 9;
const BUILD_MOST = 3;
const SEND_RUNS = 5;
const SEND_MOST = 1.3;
const ITEMS = 10;
const FILES_EACH = 500;
const FILE_BYTES = 2048;

async function milliseconds(work: () => Promise<unknown>): Promise<number> {
  const began = performance.now();
  await work();
  return performance.now() - began;
}

/** A script by hand that must end with 0. */
async function byHand({ hand }: MeasuredHost, script: string): Promise<string> {
  const said = await hand.sh(`LC_ALL=C PATH=/sbin:/bin:/usr/sbin:/usr/bin; export LC_ALL PATH\n${script}`, { limitMs: 600_000 });
  if (said.status !== 0) throw new Error(`by hand: status ${said.status ?? "none"}\n${script}\n${said.stdout}\n${said.stderr}`);
  return said.stdout;
}

/** What is done again and again, made ready: the same view, the same directories, the same numbers. */
async function bareSandbox(host: MeasuredHost): Promise<string> {
  const { self, root } = host;
  const bare = `${root}/bare`;
  const view = VIEW[self.system];
  if (self.system === "linux") {
    const binds = view
      .map(
        (path) =>
          `$([ -L ${path} ] && printf '%s' "--symlink $(readlink ${path}) ${path}" || printf '%s' "--ro-bind ${path} ${path}")`,
      )
      .join(" ");
    const words = await byHand(
      host,
      `mkdir -p ${bare}/build ${bare}/tmp ${bare}/out; chown 35001:35001 ${bare}/*; printf '%s' "${binds}"`,
    );
    return `bwrap ${words} --proc /proc --dev /dev --bind ${bare}/build /build --bind ${bare}/tmp /tmp --bind ${bare}/out /out --unshare-all --die-with-parent /bin/sh -c :`;
  }
  await byHand(
    host,
    `mkdir -p ${bare}/root/dev ${bare}/root/usr/sbin
cp /usr/sbin/chroot ${bare}/root/usr/sbin/chroot
: >${bare}/fstab
for d in ${view.join(" ")}; do [ -d $d ] || continue; mkdir -p ${bare}/root$d; echo "$d ${bare}/root$d nullfs ro 0 0" >>${bare}/fstab; done
for d in build tmp out; do mkdir -p ${bare}/$d ${bare}/root/$d; chown 35001:35001 ${bare}/$d; echo "${bare}/$d ${bare}/root/$d nullfs rw 0 0" >>${bare}/fstab; done
cat >${bare}/jail.conf <<CONF
garth-bench { path = "${bare}/root"; host.hostname = "garth-bench"; persist; enforce_statfs = 2; ip4 = disable; ip6 = disable; children.max = 0;
  mount.devfs; devfs_ruleset = 4; mount.fstab = "${bare}/fstab"; }
CONF`,
  );
  return `jail -q -f ${bare}/jail.conf -c garth-bench && jexec garth-bench /usr/sbin/chroot -u 35001 -g 35001 -G 35001 / /bin/sh -c : && jail -q -f ${bare}/jail.conf -r garth-bench`;
}

async function buildRow(host: MeasuredHost): Promise<BenchRow> {
  const { self, site, directory } = host;
  const bare = await bareSandbox(host);
  let index = 0;
  const build = async (): Promise<void> => {
    const place = join(directory, `build-${index++}`);
    const hash = randomBytes(32).toString("hex");
    const request: SandboxRequest = {
      hash,
      name: "trivial",
      system: systemOf(self),
      root: { kind: "host", paths: VIEW[self.system] },
      inputs: [],
      outputs: { out: { path: outputPath("0", "trivial"), physical: join(place, "out") } },
      scratch: join(place, "scratch"),
      identity: { kind: "drop", uid: 35_001, gid: 35_001 },
      network: false,
      argv: ["/bin/sh", "-c", ":"],
      env: {},
      limits: defaultLimits,
    };
    const { result } = await site.run(request, { onOutput: () => undefined });
    if (result.kind !== "exited" || result.status !== 0) throw new Error(`a trivial build: ${JSON.stringify(result)}`);
  };
  // Both once before: connections, what the host reads for the first time.
  await build();
  await byHand(host, bare);
  const pairs: Pair[] = [];
  for (let run = 0; run < BUILD_RUNS; run += 1) {
    const oursMs = await milliseconds(build);
    pairs.push({ oursMs, theirsMs: await milliseconds(() => byHand(host, bare)) });
  }
  const what = self.system === "freebsd" ? "jail -c, jexec, jail -r of the same view" : "bwrap with the same view";
  const row = ratioRow("a trivial build on the host, its output brought back", `${what}, over ssh`, BUILD_MOST, pairs);
  // What is to be reached is said of jails.
  return self.system === "freebsd" ? row : { ...row, reach: "-", met: true };
}

async function sendRow(host: MeasuredHost): Promise<BenchRow> {
  const { store, hostStore, hand, root, directory } = host;
  const closure = async (run: number): Promise<readonly StorePath[]> => {
    const paths: StorePath[] = [];
    for (let item = 0; item < ITEMS; item += 1) {
      const tree = join(directory, `tree-${run}-${item}`);
      for (let file = 0; file < FILES_EACH; file += 1) {
        if (file % 50 === 0) mkdirSync(join(tree, `d${file / 50}`), { recursive: true });
        writeFileSync(join(tree, `d${Math.floor(file / 50)}`, `file-${file}`), randomBytes(FILE_BYTES));
      }
      paths.push((await store.add(tree, `small-${run}-${item}`)).path);
    }
    return paths;
  };
  const plain = async (run: number, paths: readonly StorePath[]): Promise<number> => {
    const there = `${root}/plain-${run}`;
    await byHand(host, `mkdir ${there}`);
    const names = paths.map((path) => shellQuote(store.physical(path).slice(store.directory.length + 1))).join(" ");
    const ssh = hand.argv(`tar -xf - -C ${there}`, { shared: true }).map(shellQuote).join(" ");
    let failed = "";
    const ms = await milliseconds(async () => {
      const said = await runHere(["sh", "-c", `tar -cf - -C ${shellQuote(store.directory)} ${names} | ${ssh}`], {
        limitMs: 900_000,
      });
      if (said.status !== 0) failed = said.stderr;
    });
    if (failed !== "") throw new Error(`tar | ssh tar: ${failed}`);
    return ms;
  };
  const pairs: Pair[] = [];
  for (let run = 0; run <= SEND_RUNS; run += 1) {
    const paths = await closure(run);
    await byHand(host, "sync");
    const oursMs = await milliseconds(() => hostStore.send(paths));
    await byHand(host, "sync");
    const theirsMs = await plain(run, paths);
    // The first one warms connections.
    if (run > 0) pairs.push({ oursMs, theirsMs });
  }
  return ratioRow(`a closure of ${ITEMS * FILES_EACH} small files sent, and checked there`, "tar into ssh tar", SEND_MOST, pairs);
}

const options = parseOptions(process.argv.slice(2));
if (typeof options === "string") {
  console.error(`bench:freebsd: ${options}\nusage: ${USAGE}`);
  process.exit(2);
}
let host: MeasuredHost;
try {
  host = await openMeasuredHost(options);
} catch (error) {
  console.error(`bench:freebsd: ${error instanceof Error ? error.message : String(error)}`);
  process.exit(3);
}
const rows: BenchRow[] = [];
try {
  for (const [name, measure] of [
    ["builds", buildRow],
    ["closures", sendRow],
  ] as const) {
    if (options.only !== undefined && !options.only.test(name)) continue;
    console.error(`bench: ${name}`);
    rows.push(await measure(host));
  }
} finally {
  await host[Symbol.asyncDispose]();
}
const table = markdown(rows);
console.log(`host: ${host.self.uname}${host.self.standIn === undefined ? "" : `, ${host.self.standIn}`}\n\n${table}`);
if (options.write) {
  const facts = machine().map(([what, value]) => `- ${what}: ${value}`);
  const text = [
    "# Figures of builds on a host",
    "",
    `Taken by \`npm run bench:freebsd\` on ${new Date().toISOString().slice(0, 10)}. Medians; each ratio is of two runs taken one after the other,`,
    "both timed from here over connections that were open already.",
    "",
    `- host: ${host.self.uname}`,
    ...facts,
    "",
    table,
    "",
  ].join("\n");
  writeFileSync(join(import.meta.dir, "FREEBSD.md"), text);
}
process.exit(rows.every(({ met }) => met) ? 0 : 1);
