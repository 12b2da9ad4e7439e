/** A UFS2 file system that was written here, held against FreeBSD's kernel and its tools. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { writeImage } from "../../src/formats/testing.ts";
import { type FileSystemEntry, planUfs } from "../../src/formats/index.ts";
import { shellQuote } from "../../src/host/index.ts";
import { sha256 } from "../../src/base/index.ts";
import type { Case } from "../case.ts";
import { runHere } from "../hand.ts";

const TIME = 1_700_000_000;
const common = { uid: 0, gid: 0, timeSeconds: TIME, mode: 0o755 } as const;
const bytes = (sizeBytes: number): Uint8Array => Uint8Array.from({ length: sizeBytes }, (_, at) => (at * 31 + (at >> 8)) & 0xff);
const file = (
  path: string,
  sizeBytes: number,
  more: Partial<Pick<FileSystemEntry, "mode" | "uid" | "gid">> = {},
): FileSystemEntry => ({
  ...common,
  mode: 0o644,
  ...more,
  path,
  type: "file",
  content: { kind: "bytes", bytes: bytes(sizeBytes) },
});

const SIZES = [0, 1, 4_096, 4_097, 32_768, 400_000, 5_000_001] as const;
const ENTRIES: readonly FileSystemEntry[] = [
  { ...common, path: "d", type: "directory" },
  { ...common, path: "d/with a blank", type: "directory", mode: 0o1777 },
  { ...common, path: "many", type: "directory" },
  ...SIZES.map((size) => file(`d/size-${size}`, size)),
  file("d/with a blank/it's", 10, { mode: 0o4751, uid: 35_001, gid: 35_002 }),
  { ...common, path: "d/link", type: "symlink", mode: 0o755, target: "size-1" },
  { ...common, path: "d/long", type: "symlink", mode: 0o755, target: `/nowhere/${"t".repeat(300)}` },
  { ...common, path: "d/hard", type: "hardlink", mode: 0o644, target: "d/size-4097" },
  ...Array.from({ length: 1_500 }, (_, index) => file(`many/file-${index}`, index % 7)),
];

export const diskCases: readonly Case[] = [
  {
    name: "disk: a UFS2 file system written here is what FreeBSD's kernel, fsck_ffs and dumpfs take for one",
    only: "freebsd",
    kernel: true,
    tools: ["mdconfig"],
    limitMs: 20 * 60_000,
    run: async (trial, suite) => {
      const image = join(suite.here, "files", "ufs.img");
      const plan = planUfs(ENTRIES, {
        label: "garthsuite",
        identity: [TIME, 0x1234_5678],
        timeSeconds: TIME,
        freeBytes: 8 * 1024 * 1024,
      });
      writeImage(image, plan.image);
      const place = (await trial.sh('printf "%s" "$W"')).stdout;
      const ssh = suite.hand
        .argv(`gzip -dc >${shellQuote(`${place}/ufs.img`)}`, { shared: true })
        .map(shellQuote)
        .join(" ");
      const sent = await runHere(["sh", "-c", `gzip -1 <${shellQuote(image)} | ${ssh}`], {
        limitMs: 600_000,
        signal: trial.signal,
      });
      trial.must("it is sent", sent.status === 0, sent.stderr);
      trial.note(`${plan.usage.sizeBytes} bytes, sha256 here ${sha256(readFileSync(image))}`);
      const said = await trial.sh(
        `MD=$(mdconfig -a -t vnode -f "$W/ufs.img") || exit 98
trap 'umount "$W/m" 2>/dev/null; mdconfig -d -u "$MD"' EXIT
sha256 -q ufs.img
fsck_ffs -n "/dev/$MD"; echo "fsck $?"
dumpfs "/dev/$MD" | head -12; echo "dumpfs $?"
mkdir m; mount -o ro "/dev/$MD" "$W/m"; echo "mount ro $?"
cd m
for f in ${SIZES.map((size) => `size-${size}`).join(" ")}; do echo "$(sha256 -q d/$f) $f"; done
ls many | wc -l | tr -d ' '; ls -ln "d/with a blank/it's" | awk '{ print $1, $3, $4 }'; readlink d/link; readlink d/long | wc -c | tr -d ' '
[ "$(stat -f %i d/hard)" = "$(stat -f %i d/size-4097)" ] && echo hard; stat -f '%m %Lp' d many
cd ..; umount "$W/m"; mount "/dev/$MD" "$W/m"; echo "mount rw $?"
mkdir m/new; head -c 3000000 /dev/zero >m/new/f; rm -rf m/many; echo x >m/d/size-1; sync; umount "$W/m"; echo "umount $?"
fsck_ffs -n "/dev/$MD"; echo "fsck again $?"`,
        { limitMs: 900_000 },
      );
      const text = said.stdout;
      trial.ok("its bytes came whole", text.includes(sha256(readFileSync(image))));
      for (const part of [
        "\nfsck 0\n",
        "\ndumpfs 0\n",
        "\nmount ro 0\n",
        "\n1500\n",
        "\n-rwsr-x--x 35001 35002\n",
        "\nsize-1\n",
        "\nhard\n",
        `\n${TIME} 755\n`,
        "\nmount rw 0\n",
        "\numount 0\n",
        "\nfsck again 0\n",
      ])
        trial.ok(`it says ${JSON.stringify(part.trim())}`, text.includes(part));
      for (const size of SIZES) trial.ok(`the file of ${size} bytes`, text.includes(`${sha256(bytes(size))} size-${size}\n`));
      trial.ok(
        "fsck finds nothing",
        !/UNEXPECTED|INCONSISTEN|BAD|WRONG|UNREF|SALVAGE|FIX\?/.test(text),
        text.split("\n").filter((line) => /UNEXPECTED|INCONSISTEN|BAD|WRONG|UNREF|SALVAGE|FIX/.test(line)),
      );
    },
  },
];
