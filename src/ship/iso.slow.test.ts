/**
 * Installer media, booted: as a disk and as a CD, told everything beforehand and asked at the console; what they install is looked at and
 * started. A damaged medium and a disk that is too small end without a byte written.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import {
  copyFileSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { type Garth, openGarth } from "../app/index.ts";
import { renderInitrd } from "../compose/index.ts";
import { imageWishOf, inspectImage, makeIso, type MadeIso, verifyImage } from "../image/index.ts";
import type { Machine, MachineDisk } from "../machine/index.ts";
import type { InstallChoices } from "../system/index.ts";
import type { ShippedSystem } from "./index.ts";

const PROJECT = String.raw`
import { slice, slices, system, world } from "garth";
const guest = world({ name: "guest", debian: { suite: "bookworm", policy: "refresh", packages: [
  "busybox-static", "linux-image-cloud-amd64", "systemd-boot-efi", "tiny-initramfs",
] } });
const { kernel, boot, runtime } = slices(guest);
// A third of it, as no test here looks at the rest.
const drivers = slice(guest, { role: "kernel", name: "drivers", keep: kernel.keep, prune: [...kernel.prune,
  ...["net", "sound", "drivers/net", "drivers/gpu", "drivers/infiniband", "drivers/media", "fs/xfs", "fs/btrfs", "fs/nfs", "fs/ocfs2"]
    .map((path) => "usr/lib/modules/*/kernel/" + path),
] });
export const small = system({ kernel: drivers, bootloader: boot, base: [runtime], name: "small", init: "busybox", kernelParameters: ["quiet"] });
`;

const MINUTES = 60_000;
const MIB = 1 << 20;

let directory = "";
let garth: Garth;
let system: ShippedSystem;

beforeAll(async () => {
  directory = mkdtempSync(`${tmpdir()}/garth-iso-`);
  writeFileSync(`${directory}/garth.ts`, PROJECT);
  garth = openGarth({ root: `${directory}/root`, env: {}, workingDirectory: directory });
  const { systems } = await garth
    .ship(() => {})
    .run({
      file: undefined,
      only: "small",
      until: "system",
      jobs: 2,
      keepGoing: false,
      keepFailed: false,
      keyFile: `${directory}/key/repository.pem`,
      onStage: () => {},
    });
  const [shipped] = systems;
  if (shipped === undefined) throw new Error("nothing was shipped");
  system = shipped;
}, 10 * MINUTES);

afterAll(async () => {
  await garth.close();
  garth.host.files.removeTree(`${directory}/root`);
  rmSync(directory, { recursive: true });
}, 2 * MINUTES);

const at = (name: string): string => `${directory}/${name}`;

function medium(name: string, choices: Partial<InstallChoices> = {}): Promise<MadeIso> {
  const { host, store } = garth;
  const { composed, kernel } = system;
  return makeIso(
    host,
    store,
    {
      image: imageWishOf(composed, garth.system),
      composition: composed.composition,
      kernelFile: kernel,
      choices: { target: undefined, afterwards: undefined, force: false, ...choices },
    },
    at(name),
    { renderInitrd: (tree) => renderInitrd({ host, store }, tree) },
  );
}

function emptyDisk(name: string, sizeBytes: number): string {
  writeFileSync(at(name), "");
  truncateSync(at(name), sizeBytes);
  return at(name);
}

const stick = (file: string): MachineDisk => ({ file, format: "raw", device: "virtio-blk", mode: "snapshot" });
const cd = (file: string): MachineDisk => ({ file, format: "raw", device: "cdrom", mode: "read-only" });
const disk = (file: string): MachineDisk => ({ file, format: "raw", device: "virtio-blk", mode: "persistent" });

interface Booted {
  readonly end: string;
  /** Lines that Garth said. */
  readonly said: readonly string[];
}

/** `answers`: what is typed once the console has said what stands before it. */
async function boot(
  name: string,
  disks: readonly MachineDisk[],
  { answers = [], until }: { readonly answers?: readonly (readonly [RegExp, string])[]; readonly until?: string } = {},
): Promise<Booted> {
  const machines = await garth.machines();
  let text = "";
  let next = 0;
  let from = 0;
  let machine: Machine | undefined;
  const look = (): void => {
    if (machine === undefined) return;
    if (until !== undefined && text.includes(until)) void machine.stop();
    const [wanted, answer] = answers[next] ?? [];
    if (wanted === undefined || !wanted.test(text.slice(from))) return;
    [next, from] = [next + 1, text.length];
    void machine.write(`${answer}\r`);
  };
  machine = await machines.start(
    {
      name,
      system: "x86_64-linux",
      memoryBytes: 512 * MIB,
      cpus: 1,
      firmware: { kind: "uefi" },
      disks,
      network: { kind: "none" },
      display: false,
      credentials: {},
      onReboot: "exit",
      accelerator: "auto",
    },
    {
      onConsole: (chunk) => {
        text += new TextDecoder().decode(chunk);
        look();
      },
    },
  );
  look();
  const { kind } = await machine.exited;
  const said = text.split(/\r?\n/).flatMap((line) => /garth: .*$/.exec(line)?.[0] ?? []);
  return { end: kind, said };
}

async function expectWhole(file: string): Promise<void> {
  const found = inspectImage(garth.host, file);
  expect([found.findings, found.system]).toEqual([[], system.closure]);
  expect((await verifyImage(garth.host, file, directory)).filter(({ good }) => !good)).toEqual([]);
}

function isEmpty(file: string): boolean {
  const bytes = readFileSync(file);
  return Buffer.compare(bytes, Buffer.alloc(bytes.length)) === 0;
}

describe("a medium that was told everything", () => {
  test(
    "is a disk that installs without a word, and what it installed starts",
    async () => {
      const { file, leastBytes } = await medium("told.iso", { target: "vdb", afterwards: "poweroff" });
      const to = emptyDisk("installed.raw", leastBytes + 50 * MIB);
      const { end, said } = await boot("installs", [stick(file), disk(to)]);
      expect([end, said.filter((line) => / installed /.test(line))]).toEqual([
        "powered-off",
        [`garth: installed ${system.closure} on /dev/vdb`],
      ]);
      await expectWhole(to);
      const ready = `garth: ready ${system.closure}`;
      expect((await boot("installed", [disk(to)], { until: ready })).said).toContain(ready);
      // Its own disk, with what it wrote as it started.
      const again = await boot("again", [stick(file), disk(to)]);
      expect([again.end, again.said.at(-1)]).toEqual([
        "powered-off",
        "garth: not installed: vdb is not empty; garth.install.force=yes overwrites it",
      ]);
    },
    10 * MINUTES,
  );

  test(
    "leaves a disk alone that is too small, and every disk when it is damaged itself",
    async () => {
      const { file, leastBytes } = await medium("damaged.iso", { target: "vda", afterwards: "reboot" });
      const small = emptyDisk("small.raw", leastBytes - 512);
      const refused = await boot("small", [cd(file), disk(small)]);
      expect([refused.end, refused.said.at(-1)]).toEqual([
        "powered-off",
        `garth: not installed: vda is too small: it has ${leastBytes - 512} bytes, and ${leastBytes} are needed`,
      ]);
      expect(isEmpty(small)).toBe(true);
      const damaged = at("flipped.iso");
      copyFileSync(file, damaged);
      // In the last part of what it carries: the table of partitions is behind it.
      const place = statSync(damaged).size - 200_000;
      writeSync(openSync(damaged, "r+"), Buffer.from([(readFileSync(damaged)[place] ?? 0) ^ 0x10]), 0, 1, place);
      const to = emptyDisk("untouched.raw", leastBytes);
      const noticed = await boot("damaged", [cd(damaged), disk(to)]);
      expect([noticed.end, noticed.said.at(-1)]).toEqual([
        "powered-off",
        expect.stringMatching(/^garth: not installed: the medium is damaged: garth\/data\/\d{4}$/),
      ]);
      expect(isEmpty(to)).toBe(true);
    },
    10 * MINUTES,
  );
});

test(
  "a medium that was told nothing asks at the console, and shows which disks there are",
  async () => {
    const { file, leastBytes } = await medium("asks.iso");
    const to = emptyDisk("asked.raw", leastBytes);
    const answers = [
      [/empty to look again: /, "vdc"],
      [/empty to look again: /, "/dev/vda"],
      [/once more to overwrite it: /, "vda"],
      [/Enter starts the machine again/, ""],
    ] as const;
    const { end, said } = await boot("asks", [cd(file), disk(to)], { answers });
    expect(end).toBe("rebooted");
    expect(said).toContain("garth: there is no disk vdc");
    expect(said).toContainEqual(expect.stringMatching(/^garth: {5}vda {2}\d+ MiB/));
    expect(said.some((line) => line.includes("sr0"))).toBe(false);
    expect(said).toContain(`garth: installed ${system.closure} on /dev/vda`);
    await expectWhole(to);
  },
  10 * MINUTES,
);
