/** A ZFS root as it is planned here, made by makefs(8) of the host, and imported by its kernel. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { sha256 } from "../../src/base/index.ts";
import { type FileSystemEntry, type MtreeEntry, renderMtree } from "../../src/formats/index.ts";
import { shellQuote } from "../../src/host/index.ts";
import { type FileEntry, planZfsRoot, ZFS_TARGET_MAX_BYTES, type ZfsRootPlan } from "../../src/image/index.ts";
import { type Case, MINUTE_MS, type Suite, type Trial } from "../case.ts";
import { runHere } from "../hand.ts";

const TIME = 1_700_000_000;
const SYSTEM = `/frx/store/${"5".repeat(64)}-system-suite` as const;
const common = { uid: 0, gid: 0, timeSeconds: TIME, mode: 0o755 } as const;

const patterned = (sizeBytes: number): Uint8Array =>
  Uint8Array.from({ length: sizeBytes }, (_, at) => (at * 31 + (at >> 8)) & 0xff);

const directory = (path: string, mode = 0o755): FileSystemEntry => ({ ...common, path, type: "directory", mode });
const link = (path: string, target: string): FileSystemEntry => ({ ...common, path, type: "symlink", target });
const file = (path: string, sizeBytes: number, more: Partial<Pick<FileSystemEntry, "mode" | "uid" | "gid">> = {}): FileEntry => ({
  ...common,
  mode: 0o644,
  ...more,
  path,
  type: "file",
  content: { kind: "bytes", bytes: patterned(sizeBytes) },
});

/** Around a block, a record, and the blocks that say where records are. */
const SIZES = [0, 1, 512, 4_096, 4_097, 131_072, 131_073, 400_000, 5_000_001] as const;
/** More than one block holds, and names that no such block takes. */
const MANY = 2_300;
const ENTRIES: readonly FileSystemEntry[] = [
  directory(""),
  directory("d"),
  directory("d/with a blank", 0o1777),
  directory("empty", 0o700),
  directory("many"),
  directory("long"),
  ...SIZES.map((size) => file(`d/size-${size}`, size)),
  file("d/with a blank/its", 10, { mode: 0o4751, uid: 35_001, gid: 35_002 }),
  link("d/link", "size-1"),
  link("d/longest", "t".repeat(ZFS_TARGET_MAX_BYTES)),
  ...Array.from({ length: MANY }, (_, index) => file(`many/file-${index}`, index % 7)),
  ...Array.from({ length: 40 }, (_, index) => file(`long/${"n".repeat(49 + index)}`, 3)),
];

/** Everything that mtree(8) can hold the tree to. */
function specification(): string {
  return renderMtree(
    ENTRIES.map((entry): MtreeEntry => {
      const { path, mode, uid, gid, timeSeconds } = entry;
      const own = { path, mode, uid, gid, timeSeconds };
      if (entry.type === "directory") return { ...own, type: "dir" };
      if (entry.type === "symlink") return { path, uid, gid, timeSeconds, type: "link", link: entry.target };
      if (entry.type !== "file" || entry.content.kind !== "bytes") throw new Error(`${path} has no bytes`);
      const { bytes } = entry.content;
      return { ...own, type: "file", sizeBytes: bytes.length, sha256: sha256(bytes), nlink: 1 };
    }),
  );
}

interface Made {
  readonly plan: ZfsRootPlan;
  readonly pool: string;
}

/** Sends what the plan needs, and has the host carry it out. */
async function made(trial: Trial, suite: Suite): Promise<Made> {
  const place = (await trial.sh('printf "%s" "$W"')).stdout;
  const here = join(suite.here, "files", "zfs");
  mkdirSync(join(here, "contents"), { recursive: true });
  const sizes = new Set<number>();
  const contentsOf = ({ content }: FileEntry): string => {
    if (content.kind !== "bytes") throw new Error("every content is here");
    sizes.add(content.bytes.length);
    return `${place}/contents/${content.bytes.length}`;
  };
  // Never the name of a pool that the host has.
  const pool = `garthsuite_${process.pid}_${Date.now().toString(36)}`;
  const plan = planZfsRoot(
    { system: SYSTEM, entries: ENTRIES, pool, sizeBytes: undefined, freeBytes: 1 << 20, timeSeconds: TIME },
    { image: `${place}/root.zfs`, manifest: `${place}/root.mtree`, contentsOf },
  );
  for (const size of sizes) writeFileSync(join(here, "contents", `${size}`), patterned(size));
  writeFileSync(join(here, "root.mtree"), plan.manifest);
  writeFileSync(join(here, "wanted.mtree"), specification());
  const ssh = suite.hand
    .argv(`tar -xzf - -C ${shellQuote(place)}`, { shared: true })
    .map(shellQuote)
    .join(" ");
  const sent = await runHere(["sh", "-c", `tar -czf - -C ${shellQuote(here)} . | ${ssh}`], {
    limitMs: 10 * MINUTE_MS,
    signal: trial.signal,
  });
  trial.must("it is sent", sent.status === 0, sent.stderr);
  const said = await trial.sh(`cd "$W" && ${plan.argv.map(shellQuote).join(" ")}`, { limitMs: 10 * MINUTE_MS });
  trial.must("makefs makes it", said.status === 0, said.stderr);
  return { plan, pool };
}

export const zfsCases: readonly Case[] = [
  {
    name: "zfs: a root is made by makefs of its plan, of the size that was planned, and the same again",
    only: "freebsd",
    kernel: true,
    tools: ["makefs"],
    limitMs: 20 * MINUTE_MS,
    run: async (trial, suite) => {
      const { plan } = await made(trial, suite);
      const again = plan.argv.map((word) => shellQuote(word.replace(/\/root\.zfs$/, "/again.zfs"))).join(" ");
      const said = await trial.sh(
        `cd "$W" || exit; stat -f 'size %z' root.zfs; ${again}; echo "again $?"; cmp root.zfs again.zfs; echo "cmp $?"
rm -f again.zfs
# A target that is refused beforehand, because makefs stops at it.
printf '#mtree\\n. type=dir mode=0755 uid=0 gid=0\\n./l type=link mode=0755 uid=0 gid=0 link=%s\\n' ${"t".repeat(ZFS_TARGET_MAX_BYTES + 1)} >long.mtree
makefs -t zfs -s 64m -o poolname=garthlong long.zfs long.mtree >long.said 2>&1; echo "long $?"; cat long.said; rm -f long.zfs makefs.core`,
        { limitMs: 15 * MINUTE_MS },
      );
      trial.ok("its size", said.stdout.includes(`size ${plan.sizeBytes}\n`));
      trial.ok("it is made again", said.stdout.includes("again 0\n"));
      trial.ok("with the same bytes", said.stdout.includes("cmp 0\n"));
      if (said.stdout.includes("long 0\n"))
        trial.note(`this makefs writes targets of more than ${ZFS_TARGET_MAX_BYTES} bytes: a root need not be refused for them`);
    },
  },
  {
    name: "zfs: a root that makefs made is a pool that the kernel imports, with every file, owner, mode, time and link",
    needs: ["zfs: a root is made by makefs of its plan, of the size that was planned, and the same again"],
    only: "freebsd",
    kernel: true,
    tools: ["makefs", "mdconfig", "zpool", "zfs"],
    limitMs: 20 * MINUTE_MS,
    run: async (trial, suite) => {
      const module = await trial.sh(
        "kldstat -q -m zfs && echo there || { kldload zfs && echo loaded; } || echo none; sysctl -n security.jail.jailed",
      );
      const [state, jailed] = module.stdout.trim().split("\n");
      if (state === "none" || jailed === "1") trial.skip("zfs cannot be loaded into this kernel");
      if (state === "loaded") trial.undo("the module is unloaded", () => trial.sh("kldunload zfs"));
      const { plan, pool } = await made(trial, suite);
      trial.undo("nothing of it is left", () =>
        trial.sh(`zpool list -H -o name ${pool} >/dev/null 2>&1 && zpool export -f ${pool}
for md in $(mdconfig -lv | awk -v f="$W/root.zfs" '$4 == f { print $1 }'); do mdconfig -d -u "$md"; done`),
      );
      const said = await trial.sh(
        `cd "$W" || exit; mkdir alt
MD=$(mdconfig -a -t vnode -o readonly -f "$W/root.zfs") || exit 98
zpool import -d "/dev/$MD" -o readonly=on -N -R "$W/alt" ${pool}; echo "import $?"
echo "health $(zpool list -H -o health ${pool})"; echo "guid $(zpool get -H -o value guid ${pool})"; echo "bootfs $(zpool get -H -o value bootfs ${pool})"
echo "allocated $(zpool list -Hp -o allocated ${pool})"
zfs list -H -o name,mountpoint,canmount -r ${pool}
zfs mount ${pool}/ROOT/default; echo "mount $?"
mtree -f wanted.mtree -p alt; echo "mtree $?"
find alt/many -type f | wc -l | tr -d ' '
zpool export ${pool}; echo "export $?"
mdconfig -d -u "$MD"; echo "detach $?"`,
        { limitMs: 15 * MINUTE_MS },
      );
      const text = said.stdout;
      const guid = plan.argv.find((word) => word.startsWith("poolguid="))?.slice("poolguid=".length) ?? "";
      for (const part of [
        "import 0",
        "health ONLINE",
        `guid ${guid}`,
        `bootfs ${pool}/ROOT/default`,
        "mount 0",
        "mtree 0",
        `${MANY}`,
        "export 0",
        "detach 0",
      ])
        trial.ok(`it says ${JSON.stringify(part)}`, `\n${text}`.includes(`\n${part}\n`));
      trial.matches(
        "the root is mounted by the loader's word alone",
        text,
        new RegExp(`^${pool}/ROOT/default\t\\S+\tnoauto$`, "m"),
      );
      const allocated = Number(/^allocated (\d+)$/m.exec(text)?.[1]);
      trial.ok("what was counted beforehand is enough", allocated > 0 && allocated <= plan.usedBytes, {
        allocated,
        counted: plan.usedBytes,
      });
    },
  },
];
