/** A UFS2 file system that was written here, held against FreeBSD's kernel and its tools, and grown by them. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { writeImage } from "../../src/formats/testing.ts";
import { type FileSystemEntry, type MtreeEntry, planUfs, renderMtree } from "../../src/formats/index.ts";
import { shellQuote } from "../../src/host/index.ts";
import { sha256 } from "../../src/base/index.ts";
import type { Case } from "../case.ts";
import { runHere } from "../hand.ts";

const MIB = 1 << 20;
const TIME = 1_700_000_000;
const common = { uid: 0, gid: 0, timeSeconds: TIME, mode: 0o755 } as const;
const bytes = (sizeBytes: number): Uint8Array => Uint8Array.from({ length: sizeBytes }, (_, at) => (at * 31 + (at >> 8)) & 0xff);
const file = (
  path: string,
  sizeBytes: number,
  more: Partial<Pick<FileSystemEntry, "mode" | "uid" | "gid" | "flags">> = {},
): FileSystemEntry & { readonly type: "file" } => ({
  ...common,
  mode: 0o644,
  ...more,
  path,
  type: "file",
  content: { kind: "bytes", bytes: bytes(sizeBytes) },
});

const FLAGS = { uchg: 0x2, nodump: 0x1 } as const;
const SIZES = [0, 1, 4_096, 4_097, 32_768, 400_000, 5_000_001] as const;
const ENTRIES: readonly FileSystemEntry[] = [
  { ...common, path: "d", type: "directory" },
  { ...common, path: "d/with a blank", type: "directory", mode: 0o1777 },
  { ...common, path: "many", type: "directory" },
  ...SIZES.map((size) => file(`d/size-${size}`, size)),
  file("d/with a blank/it's", 10, { mode: 0o4751, uid: 35_001, gid: 35_002 }),
  file("d/flagged", 100, { flags: FLAGS.uchg | FLAGS.nodump }),
  { ...common, path: "d/link", type: "symlink", mode: 0o755, target: "size-1" },
  { ...common, path: "d/long", type: "symlink", mode: 0o755, target: `/nowhere/${"t".repeat(300)}` },
  { ...common, path: "d/hard", type: "hardlink", mode: 0o644, target: "d/size-4097" },
  ...Array.from({ length: 1_500 }, (_, index) => file(`many/file-${index}`, index % 7)),
];

/** Everything that mtree(8) can hold a tree to. */
function specification(): string {
  const contents = new Map(
    ENTRIES.flatMap((entry) => (entry.type === "file" && entry.content.kind === "bytes" ? [[entry.path, entry] as const] : [])),
  );
  const bytesOf = (path: string): Uint8Array => {
    const entry = contents.get(path);
    if (entry?.content.kind !== "bytes") throw new Error(`${path} has no bytes`);
    return entry.content.bytes;
  };
  const isLinked = new Set(ENTRIES.flatMap((entry) => (entry.type === "hardlink" ? [entry.path, entry.target] : [])));
  const lines = ENTRIES.map((entry): MtreeEntry => {
    const { path, mode, uid, gid, timeSeconds, flags = 0 } = entry;
    const own = { path, mode, uid, gid, timeSeconds };
    if (entry.type === "directory") return { ...own, type: "dir" };
    if (entry.type === "symlink") return { ...own, type: "link", link: entry.target };
    const content = bytesOf(entry.type === "hardlink" ? entry.target : path);
    return {
      ...own,
      type: "file",
      sizeBytes: content.length,
      sha256: sha256(content),
      nlink: isLinked.has(path) ? 2 : 1,
      flags: Object.entries(FLAGS).flatMap(([name, bit]) => ((flags & bit) === 0 ? [] : [name])),
    };
  });
  return renderMtree([{ ...common, path: "", type: "dir" }, ...lines]);
}

export const diskCases: readonly Case[] = [
  {
    name: "disk: a UFS2 file system written here is what FreeBSD's kernel, fsck_ffs, dumpfs, mtree and growfs take for one",
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
        freeBytes: 8 * MIB,
      });
      writeImage(image, plan.image);
      writeFileSync(join(suite.here, "files", "ufs.mtree"), specification());
      const place = (await trial.sh('printf "%s" "$W"')).stdout;
      const ssh = suite.hand
        .argv(`tar -xzf - -C ${shellQuote(place)}`, { shared: true })
        .map(shellQuote)
        .join(" ");
      const tar = `tar -czf - -C ${shellQuote(join(suite.here, "files"))} ufs.img ufs.mtree`;
      const sent = await runHere(["sh", "-c", `${tar} | ${ssh}`], {
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
cd ..; mtree -f ufs.mtree -p m; echo "mtree $?"
umount "$W/m"; mdconfig -d -u "$MD"; truncate -s +96m ufs.img
MD=$(mdconfig -a -t vnode -f "$W/ufs.img") || exit 98
growfs -y "/dev/$MD"; echo "growfs $?"
fsck_ffs -n "/dev/$MD"; echo "fsck grown $?"
mount "/dev/$MD" "$W/m"; echo "mount rw $?"
mtree -f ufs.mtree -p m; echo "mtree grown $?"
[ "$(df -k m | awk 'NR == 2 { print $2 }')" -gt ${Math.floor((plan.usage.sizeBytes + 64 * MIB) / 1024)} ] && echo "it is larger"
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
        "\nmtree 0\n",
        "\ngrowfs 0\n",
        "\nfsck grown 0\n",
        "\nmount rw 0\n",
        "\nmtree grown 0\n",
        "\nit is larger\n",
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
