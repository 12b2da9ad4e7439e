/**
 * How fast a system is there: the example's beside stock Debian on the same machine, and what a gate takes to say so.
 *
 * Emulated on both sides, whatever the host could do, through OVMF, with one processor, 1 GiB and a virtio disk whose changes are thrown
 * away; so every boot is an image's first, with keys to be made. Debian boots once, which takes more
 * than a minute; the example before it and after it.
 */
import * as fs from "node:fs";
import { openGarth } from "../src/app/index.ts";
import { sha256 } from "../src/base/index.ts";
import { gate, runGate } from "../src/gate/index.ts";
import { writeBootDisk } from "../src/gate/testing.ts";
import { localHost } from "../src/host/index.ts";
import { type Machines, type MachineSpec, openMachines, waitForSshBanner } from "../src/machine/index.ts";
import { boot } from "../src/machine/testing.ts";
import { openTestStore } from "../src/store/testing.ts";
import { type BenchRow, median, ratioRow, shownMs } from "./row.ts";
import { KEPT, stockDebian } from "./stock.ts";

const BOOT_LIMIT_MS = 600_000;
/** Characters that are shown of a console when no banner came. */
const CONSOLE_TAIL = 2000;
const UNUSED_MS = 3 * 24 * 60 * 60 * 1000;
const GATES = 5;
const GATE_REACH_MS = 100;
const CHECKOUT = new URL("..", import.meta.url).pathname.replace(/\/$/, "");
const host = localHost();

/**
 * A digest of the sources that systems and images are made by. Their items are found again by what they are made of, whatever was
 * changed in those sources since; a name with this digest in it makes them anew.
 */
function composingDigest(): string {
  const files = ["system", "compose", "image", "formats"].flatMap((room) =>
    fs.readdirSync(`${CHECKOUT}/src/${room}`).map((name) => `${CHECKOUT}/src/${room}/${name}`),
  );
  const sources = files.filter((file) => file.endsWith(".ts") && !/\.(?:test|testing)\.ts$/.test(file)).toSorted();
  return sha256(sources.map((file) => fs.readFileSync(file, "utf8")).join("\0")).slice(0, 8);
}

/** The disk of examples/hello#greeter, shipped from a copy of the examples: their locks may be written anew. Kept like the stock disk. */
async function exampleDisk(): Promise<string> {
  const examples = `${KEPT}/examples`;
  fs.cpSync(`${CHECKOUT}/examples`, examples, {
    recursive: true,
    // A lock that a run brought up to date still fits what the mirrors have.
    filter: (_from, to) => !(to.endsWith(".lock") && fs.existsSync(to)),
  });
  const project = `${examples}/hello/garth.ts`;
  const text = fs.readFileSync(project, "utf8");
  const named = text.replace('name: "greeter"', `name: "greeter-${composingDigest()}"`);
  if (named === text) throw new Error("the example has no system called greeter");
  fs.writeFileSync(project, named);
  const garth = openGarth({ root: `${KEPT}/garth`, env: process.env, workingDirectory: examples, home: CHECKOUT });
  try {
    const report = await garth
      .ship(() => {})
      .run({
        file: project,
        only: "greeter",
        until: "image",
        jobs: 2,
        keepGoing: false,
        keepFailed: false,
        keyFile: `${garth.places.keys}/repository.pem`,
        onStage: ({ stage, how, durationMs }) => console.error(`bench: greeter: ${stage} ${how}, ${shownMs(durationMs)}`),
      });
    const image = report.systems.find(({ name }) => name === "greeter")?.image;
    if (image === undefined) throw new Error("the example has no image");
    // Images of earlier sources are large.
    await garth.store.gc({ olderThanMs: UNUSED_MS });
    return garth.store.physical(image.path);
  } finally {
    await garth.close();
  }
}

/** From the call that starts the machine to the SSH server's first line. */
async function bannerMs(machines: Machines, name: string, disk: string): Promise<number> {
  const begin = performance.now();
  let printed = "";
  const spec: MachineSpec = {
    name,
    system: "x86_64-linux",
    memoryBytes: 1024 ** 3,
    cpus: 1,
    firmware: { kind: "uefi" },
    disks: [{ file: disk, format: "raw", device: "virtio-blk", mode: "snapshot" }],
    network: {
      kind: "user",
      mac: "52:54:00:67:61:01",
      forward: [{ hostPort: 0, guestPort: 22 }],
      isolated: true,
    },
    display: false,
    credentials: {},
    onReboot: "exit",
    accelerator: "tcg",
  };
  const machine = await machines.start(spec, {
    onConsole: (chunk) => {
      printed = `${printed}${Buffer.from(chunk).toString("latin1")}`.slice(-CONSOLE_TAIL);
    },
  });
  try {
    await waitForSshBanner(host, machine.port(22), { timeoutMs: BOOT_LIMIT_MS });
    const ms = performance.now() - begin;
    console.error(`bench: ${name}: ${shownMs(ms)}`);
    return ms;
  } catch (error) {
    console.error(`bench: ${name} printed last:\n${printed}`);
    throw error;
  } finally {
    await machine.stop();
  }
}

async function bannerRow(scratch: string): Promise<BenchRow> {
  const stock = await stockDebian();
  const example = await exampleDisk();
  const machines = openMachines(host, { directory: `${scratch}/machines`, acceleratorFile: `${scratch}/accelerator.json` });
  // From the page cache, both: QEMU reads little of a disk, and what was written last is there already.
  for (const file of [stock.disk, example])
    await host.run({ argv: ["dd", `if=${file}`, "of=/dev/null", "bs=1M", "status=none"] });
  const before = await bannerMs(machines, "bench-example", example);
  const theirsMs = await bannerMs(machines, "bench-stock", stock.disk);
  const after = await bannerMs(machines, "bench-example", example);
  return ratioRow(
    "start to SSH banner of the example system, first boot, UEFI, emulated",
    "Debian with systemd and cloud-init",
    0.4,
    [before, after].map((oursMs) => ({ oursMs, theirsMs })),
  );
}

/** A boot sector prints the marker: all that remains is the gate's own time, from the line's arrival to a signed verdict in the store. */
async function verdictRow(scratch: string): Promise<BenchRow> {
  using place = openTestStore({ root: `${scratch}/gate` });
  const { root, store } = place;
  const machines = openMachines(host, { directory: `${root}/machines`, acceleratorFile: `${root}/accelerator.json` });
  const file = `${root}/disk.raw`;
  writeBootDisk(file, "garth: ready /frx/store/x\r\n", boot.halt);
  const times: number[] = [];
  for (let run = 0; run < GATES; run += 1) {
    const report = await runGate(
      { host, store, machines, keyFile: `${root}/keys/host.pem`, now: Date.now },
      {
        name: `sector-${run}`,
        image: { file, format: "raw", sha256: sha256(fs.readFileSync(file)), storePath: undefined },
        gate: gate({ extends: "linux", timeoutS: 60 }),
        machine: {
          system: "x86_64-linux",
          memoryBytes: 64 * 1024 ** 2,
          cpus: 1,
          firmware: { kind: "bios" },
          display: false,
          accelerator: "tcg",
        },
      },
    );
    if (report.verdict !== "pass") throw new Error("the boot sector did not pass its gate");
    times.push(report.verdictMs);
  }
  const ours = median(times);
  return {
    work: "marker on the serial line to a signed verdict in the store",
    against: "-",
    reach: `<= ${GATE_REACH_MS} ms`,
    ours: shownMs(ours),
    theirs: "-",
    ratio: undefined,
    met: ours <= GATE_REACH_MS,
  };
}

/** Takes a minute and a half once the disks are made. */
export async function bootRows(): Promise<readonly BenchRow[]> {
  const scratch = fs.mkdtempSync("/var/tmp/garth-bench-boot-");
  try {
    return [await bannerRow(scratch), await verdictRow(scratch)];
  } finally {
    host.files.removeTree(scratch);
  }
}
