/**
 * The installer's script, run: on disks that are files, with a small system's medium, under both shells. What a family brings is a few
 * stand-ins here; Linux's own is run in machines (ship: iso.slow.test.ts), FreeBSD's with stand-ins for its tools below.
 */
import { afterAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import { tmpdir } from "node:os";
import { sha256 } from "../base/index.ts";
import { readGpt } from "../formats/index.ts";
import { readAtFile } from "../formats/testing.ts";
import { inspectImage, locateIn, planImage, verifyImage } from "./index.ts";
import { type Medium, mediumSums, mediumText, planMedium } from "./medium.ts";
import { smallImage, wishOf } from "./testing.ts";
import { PieceReader } from "./write.ts";
import { installerScript } from "../system/index.ts";

setDefaultTimeout(60_000);
const small = await smallImage();
// Not below /dev, which each run has one of its own in place of.
const scratch = fs.mkdtempSync(`${tmpdir()}/garth-installer-`);
afterAll(() => {
  small[Symbol.dispose]();
  fs.rmSync(scratch, { recursive: true });
});
const { host, place, system, file } = small;
const plan = planImage(wishOf(system));
const medium = planMedium(plan);
const SHELLS = [["dash"], ["busybox", "sh"]] as const;
/** Without what is Linux's. */
const SHARED = installerScript("linux").replace(/^.*?(?=# The installer, the same)/s, "");
const MIB = 1 << 20;

const FAMILY = `
parameter() { sed -n "s/^$1=//p" "$place/parameters"; }
find_medium() { medium=$place/medium; medium_disk=stick; }
disks() { for each in /dev/vd*; do echo "\${each##*/}"; done; }
disk_bytes() { [ ! -e "/dev/$1" ] || echo $(($(wc -c <"/dev/$1"))); }
sector_bytes() { if [ "$1" = vdn ]; then echo 4096; else echo 512; fi; }
model() { echo "a file"; }
in_use() { [ "$1" = vdu ]; }
digest() { sha256sum | cut -c 1-64; }
flushed=0
flush() { flushed=$((flushed + 1)); [ ! -e "$place/flush-$flushed" ] || . "$place/flush-$flushed"; }
grow_hint() { say "there is room"; }
leave() { echo "leave $1" >>"$place/left"; exit "\${2:-0}"; }
answers=$place/answers
consoles=$console
`;

interface Done {
  readonly status: number | null;
  readonly said: readonly string[];
  readonly left: string;
}

interface Bench {
  readonly directory: string;
  readonly disk: (name: string) => string;
  /** `keys`: what is typed; without it there is no terminal. */
  readonly run: (shell: readonly string[], parameters: string, keys?: string) => Done;
}

let benches = 0;

/** A directory with the medium unpacked, and disks; each disk is filled with something that is no zeros. */
function bench(disks: Readonly<Record<string, number>>, change: (medium: string) => void = () => {}): Bench {
  const directory = `${scratch}/bench-${benches++}`;
  fs.mkdirSync(`${directory}/medium/garth/data`, { recursive: true });
  fs.mkdirSync(`${directory}/dev`);
  for (const [path, content] of mediumFiles()) fs.writeFileSync(`${directory}/medium/garth/${path}`, content);
  change(`${directory}/medium/garth`);
  for (const [name, sizeBytes] of Object.entries(disks))
    fs.writeFileSync(`${directory}/dev/${name}`, Buffer.alloc(sizeBytes, 0xa5));
  for (const name of ["null", "zero", "tty"]) fs.writeFileSync(`${directory}/dev/${name}`, "");
  return {
    directory,
    disk: (name) => `${directory}/dev/${name}`,
    run: (shell, parameters, keys) => {
      const lines = [`medium=${MEDIUM_DIGEST}`, ...parameters.split(" ")];
      fs.writeFileSync(`${directory}/parameters`, lines.map((word) => `${word}\n`).join(""));
      for (const name of ["said", "left", "answers"]) fs.rmSync(`${directory}/${name}`, { force: true });
      fs.writeFileSync(
        `${directory}/installer`,
        `place=${directory}\nconsole=${keys === undefined ? `${directory}/said` : "/dev/tty"}\n${FAMILY}\n${SHARED}`,
      );
      const inside = `for each in null zero tty; do mount --bind /dev/$each ${directory}/dev/$each || exit 100; done
mount --rbind ${directory}/dev /dev || exit 101
${shell.join(" ")} ${directory}/installer
exit`;
      const words = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", inside];
      // A terminal of its own, which is what a console is.
      const argv =
        keys === undefined
          ? words
          : ["script", "-qec", words.map((word) => `'${word.replaceAll("'", `'\\''`)}'`).join(" "), "/dev/null"];
      const { status, stdout, stderr } = spawnSync(argv[0] ?? "", argv.slice(1), {
        encoding: "utf8",
        input: keys ?? "",
        timeout: 60_000,
        env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin" },
      });
      const said = keys === undefined ? fs.readFileSync(`${directory}/said`, "utf8") : stdout.replaceAll("\r", "");
      // The shell's own words: for what is not there, and for how it ended.
      if (stderr !== "" && !/no such file|^Killed$/im.test(stderr)) throw new Error(stderr);
      return { status, said: said.trimEnd().split("\n"), left: read(`${directory}/left`) };
    },
  };
}

function read(path: string): string {
  return fs.existsSync(path) ? fs.readFileSync(path, "utf8") : "";
}

function partBytes({ image }: Medium["parts"][number]): Uint8Array {
  const bytes = new Uint8Array(image.sizeBytes);
  const reader = new PieceReader(host, image.pieces, locateIn(place.store));
  reader.fill(bytes.subarray(), 0);
  reader.close();
  return bytes;
}

const PARTS = medium.parts.map(partBytes);
const SUMS = mediumSums(
  medium,
  PARTS.map((bytes) => sha256(bytes)),
);
const TEXT = mediumText({ system: system.system, name: "small", plan, medium, sums: SUMS });
const MEDIUM_DIGEST = sha256(TEXT);

function mediumFiles(): readonly (readonly [string, string | Uint8Array])[] {
  return [
    ["install", TEXT],
    ["map", medium.map],
    ["sums", SUMS],
    ["gpt", medium.gpt],
    ...medium.parts.map(({ name }, index) => [`data/${name}`, PARTS[index] ?? ""] as const),
  ];
}

/** Of the disk up to the end of its partitions, where something is to be read: the same as the image. */
function differences(disk: string): readonly number[] {
  const [wanted, found] = [fs.readFileSync(file), fs.readFileSync(disk)];
  const end = medium.leastBytes - 33 * 512;
  for (const { at, sizeBytes } of plan.image.free ?? []) {
    wanted.fill(0, at, at + sizeBytes);
    found.fill(0, at, at + sizeBytes);
  }
  const blocks = Array.from({ length: (end - MIB) / 4096 }, (_, index) => MIB + index * 4096);
  return blocks.filter((at) => Buffer.compare(wanted.subarray(at, at + 4096), found.subarray(at, at + 4096)) !== 0);
}

function untouched(disk: string): boolean {
  const found = fs.readFileSync(disk);
  return Buffer.compare(found, Buffer.alloc(found.length, 0xa5)) === 0;
}

function tableOf(disk: string): string | undefined {
  return readGpt(readAtFile(disk), fs.statSync(disk).size).diskGuid;
}

describe("a medium", () => {
  test("carries no more than what is not zeros, in whole units, each byte once", () => {
    const lines = medium.map
      .trimEnd()
      .split("\n")
      .map((line) => line.split(" "));
    const [writes, zeros] = ["write", "zero"].map((word) => lines.filter(([what]) => what === word));
    const sum = (of: readonly (readonly string[])[] = []): number =>
      of.reduce((total, [, , count]) => total + Number(count), 0) * 65_536;
    expect(sum(writes)).toBe(medium.dataBytes);
    expect(sum(zeros)).toBe(medium.zeroBytes);
    expect(PARTS.reduce((total, { length }) => total + length, 0)).toBe(medium.dataBytes);
    const taken = lines
      .filter(([what]) => what !== "part")
      .map(([, at, count]) => [Number(at), Number(at) + Number(count)] as const)
      .toSorted(([left], [right]) => left - right);
    expect(taken.every(([from], index) => index === 0 || from >= (taken[index - 1]?.[1] ?? 0))).toBe(true);
    expect(taken[0]?.[0]).toBeGreaterThanOrEqual(16);
    expect(medium.dataBytes).toBeLessThan(plan.image.sizeBytes / 2);
    expect(medium.dataBytes + medium.zeroBytes).toBeLessThan(plan.image.sizeBytes);
  });
});

describe.each(SHELLS)("the installer under %s", (...shell) => {
  test("writes over a disk that was full, and its partitions are what they are in an image", async () => {
    const on = bench({ vda: plan.image.sizeBytes + 5 * MIB + 512 });
    const { status, said, left } = on.run(shell, "target=/dev/vda force=yes then=poweroff");
    expect([said.slice(0, 3), status, left]).toEqual([
      [
        `garth: this installs small (${system.system})`,
        expect.stringMatching(/^garth: checking the medium: \d+ MiB$/),
        "garth: checked: 100 %",
      ],
      0,
      "leave poweroff\n",
    ]);
    expect(said.slice(-2)).toEqual([`garth: installed ${system.system} on /dev/vda`, "garth: there is room"]);
    expect(differences(on.disk("vda"))).toEqual([]);
    const found = inspectImage(host, on.disk("vda"));
    expect(found.findings).toEqual([]);
    expect([found.system, found.diskGuid]).toEqual([system.system, plan.disk.diskGuid]);
    expect((await verifyImage(host, on.disk("vda"), scratch)).filter(({ good }) => !good)).toEqual([]);
  });

  test("writes on the smallest disk that there can be, which is empty, and says where", async () => {
    const on = bench({ vda: medium.leastBytes });
    fs.writeFileSync(on.disk("vda"), Buffer.alloc(medium.leastBytes));
    const { said, left } = on.run(shell, "target=vda");
    expect([said.at(-1), left]).toEqual([`garth: installed ${system.system} on /dev/vda`, "leave reboot\n"]);
    expect((await verifyImage(host, on.disk("vda"), scratch)).filter(({ good }) => !good)).toEqual([]);
  });

  const large = plan.image.sizeBytes + MIB;
  test.each([
    ["is too small", { vda: medium.leastBytes - 512 }, "vda", /vda is too small: it has \d+ bytes, and \d+ are needed$/],
    ["is not empty", { vda: large }, "vda", /vda is not empty; garth\.install\.force=yes overwrites it$/],
    ["is in use", { vdu: large }, "vdu", /vdu is in use/],
    ["has other sectors", { vdn: large }, "vdn", /vdn has sectors of 4096 bytes, and the system was made for 512$/],
    ["is the medium", { vda: large, stick: large }, "stick", /stick is the medium that this is read from$/],
  ] as const)("leaves a disk alone that %s", (_, disks, target, why) => {
    const on = bench(disks);
    const { status, said, left } = on.run(shell, `target=${target} then=reboot`);
    expect([status, left]).toEqual([1, "leave poweroff\n"]);
    expect(said.at(-1)).toMatch(why);
    expect(said.at(-1)).toStartWith("garth: not installed: ");
    expect(Object.keys(disks).every((name) => untouched(on.disk(name)))).toBe(true);
  });

  const flip = (path: string, at: number): void => {
    const bytes = fs.readFileSync(path);
    const index = at < 0 ? bytes.length + at : at;
    bytes[index] = (bytes[index] ?? 0) ^ 1;
    fs.writeFileSync(path, bytes);
  };
  test.each([
    ["the data", (garth: string) => flip(`${garth}/data/0000`, -1), "garth/data/0000"],
    ["the map", (garth: string) => flip(`${garth}/map`, 20), "garth/map"],
    ["the table", (garth: string) => flip(`${garth}/gpt`, 3), "garth/gpt"],
    ["the sums", (garth: string) => flip(`${garth}/sums`, 3), "garth/sums"],
    ["what it says of itself", (garth: string) => flip(`${garth}/install`, 3), "garth/install"],
    ["a part that is gone", (garth: string) => fs.rmSync(`${garth}/data/0000`), "garth/data/0000"],
  ] as const)("notices damage before the disk is touched: %s", (_, damage, where) => {
    const on = bench({ vda: large }, damage);
    const { said, status } = on.run(shell, "target=vda force=yes");
    expect([status, said.at(-1)]).toEqual([1, `garth: not installed: the medium is damaged: ${where}`]);
    expect(untouched(on.disk("vda"))).toBe(true);
  });

  test("notices a disk that does not keep what it was given, and leaves it without a table", () => {
    const on = bench({ vda: large });
    // The second time that all was written out is before it is read back.
    const at = Number(/^write (\d+)/m.exec(medium.map)?.[1]) * 65_536;
    fs.writeFileSync(`${on.directory}/flush-2`, `printf x | dd of="$disk" bs=1 seek=${at + 7} conv=notrunc 2>/dev/null\n`);
    const { said } = on.run(shell, "target=vda force=yes");
    expect(said.slice(-2)).toEqual([
      "garth: not installed: vda does not hold what was written to it: part 0000",
      "garth: vda was written to, and has no partition table now",
    ]);
    expect(tableOf(on.disk("vda"))).toBeUndefined();
  });

  test.each([1, 2, 3])("killed when it wrote out, number %d, it leaves no disk that could be started", (time) => {
    const on = bench({ vda: large });
    fs.writeFileSync(`${on.directory}/flush-${time}`, "kill -9 $$\n");
    on.run(shell, "target=vda force=yes");
    // The second table is written before the first, when all is there and was read back.
    expect(tableOf(on.disk("vda"))).toBe(time === 3 ? plan.disk.diskGuid : undefined);
    if (time === 3) expect(differences(on.disk("vda"))).toEqual([]);
  });

  test("asks where nobody said the disk, and takes it when it is named twice", async () => {
    const on = bench({ vda: large, vds: MIB });
    const { said, left, status } = on.run(shell, "", "\nvdz\nvds\n/dev/vda\nno\nvda\nvda\n\n");
    expect([status, left]).toEqual([0, "leave reboot\n"]);
    const text = said.join("\n");
    expect(text).toContain(`garth:     vda  ${Math.floor(large / MIB)} MiB  a file  (not empty)`);
    expect(text).toContain("garth: there is no disk vdz");
    expect(text).toMatch(/garth: vds is too small/);
    expect(text).toContain("garth: vda is not empty: all that is on it will be lost");
    expect(text).toContain("garth: nothing was written");
    expect(text).toContain("take the medium out");
    expect((await verifyImage(host, on.disk("vda"), scratch)).filter(({ good }) => !good)).toEqual([]);
  });
});
