/**
 * For the tests of UFS2: what fsck_ffs(8) of FreeBSD would find, found again from the inodes by rules of its own (pass 1, 2, 4 and 5): it
 * shares nothing with the writer but where fields lie. It is held to file systems that FreeBSD made and accepts.
 */
import type { ReadAt } from "./elf.ts";
import { GROUP, GROUP_MAGIC, SUPER, SUPERBLOCK_AT, SUPERBLOCK_BYTES, viewOf } from "./ufs-format.ts";
import { readUfs, type UfsInode } from "./ufs-read.ts";

interface Super {
  readonly view: DataView;
  readonly frag: number;
  readonly bsize: number;
  readonly fsize: number;
  readonly ncg: number;
  readonly fpg: number;
  readonly ipg: number;
  readonly size: number;
  readonly sblkno: number;
  readonly cblkno: number;
  readonly dblkno: number;
  readonly csaddr: number;
  readonly csfrags: number;
}

function superOf(readAt: ReadAt): Super {
  const view = viewOf(readAt(SUPERBLOCK_AT, SUPERBLOCK_BYTES));
  const at = (offset: number): number => view.getInt32(offset, true);
  const fsize = at(SUPER.fragmentBytes);
  return {
    view,
    fsize,
    frag: at(SUPER.fragments),
    bsize: at(SUPER.blockBytes),
    ncg: at(SUPER.groups),
    fpg: at(SUPER.fragmentsPerGroup),
    ipg: at(SUPER.inodesPerGroup),
    size: Number(view.getBigInt64(SUPER.size, true)),
    sblkno: at(SUPER.superblockAt),
    cblkno: at(SUPER.groupAt),
    dblkno: at(SUPER.dataAt),
    csaddr: Number(view.getBigInt64(SUPER.summaryAt, true)),
    csfrags: Math.ceil(at(SUPER.summaryBytes) / fsize),
  };
}

/** What the kernel refuses a superblock for (validate_sblock), in its own words for the fields. */
function superFaults(s: Super): readonly string[] {
  const i32 = (offset: number): number => s.view.getInt32(offset, true);
  const i64 = (offset: number): bigint => s.view.getBigInt64(offset, true);
  const { bsize, fsize, frag, fpg, ipg, ncg, size, dblkno } = s;
  const up = (value: number, step: number): number => Math.ceil(value / step) * step;
  const nindir = BigInt(bsize / 8);
  const cgsize = 168 + ipg / 8 + fpg / 8 + 4 + 4 * (i32(SUPER.clusterSums) + 1) + Math.ceil(fpg / frag / 8);
  const groups = Math.ceil((ncg * 16) / fsize) * fsize;
  const rules: Readonly<Record<string, boolean>> = {
    fs_sblockloc: i64(SUPER.superblockLocation) === 65_536n,
    fs_maxsymlinklen: i32(SUPER.targetInInode) === 120,
    fs_nindir: i32(SUPER.pointers) === bsize / 8,
    fs_inopb: i32(SUPER.inodesPerBlock) === bsize / 256,
    fs_frag: frag * fsize === bsize && frag >= 1 && frag <= 8,
    fs_fpg: fpg >= 3 * frag,
    fs_ipg: ipg >= bsize / 256 && ipg % (bsize / 256) === 0,
    fs_sbsize: i32(SUPER.superblockBytes) >= 1376 && i32(SUPER.superblockBytes) <= 8192 && i32(SUPER.superblockBytes) % 512 === 0,
    fs_maxbsize: i32(SUPER.blockBytesMax) >= bsize,
    fs_bmask: i32(SUPER.blockMask) === ~(bsize - 1) && i32(SUPER.fragmentMask) === ~(fsize - 1),
    fs_qbmask: i64(SUPER.blockRest) === BigInt(bsize - 1) && i64(SUPER.fragmentRest) === BigInt(fsize - 1),
    fs_bshift: 2 ** i32(SUPER.blockShift) === bsize && 2 ** i32(SUPER.fragmentShift) === fsize,
    fs_fragshift: 2 ** i32(SUPER.fragmentsShift) === frag && 2 ** i32(SUPER.sectorShift) === fsize / 512,
    CGSIZE: cgsize <= bsize,
    fs_sblkno: s.sblkno === up((65_536 + 8_192) / fsize, frag),
    fs_cblkno: s.cblkno === s.sblkno + up(8_192 / fsize, frag),
    fs_iblkno: i32(SUPER.inodesAt) === s.cblkno + frag,
    fs_dblkno: dblkno === i32(SUPER.inodesAt) + ipg / (fsize / 256),
    fs_cgsize: i32(SUPER.groupBytes) <= bsize && i32(SUPER.groupBytes) >= fsize && i32(SUPER.groupBytes) % fsize === 0,
    fs_maxfilesize: i64(SUPER.fileMaxBytes) === BigInt(bsize) * (12n + nindir + nindir ** 2n + nindir ** 3n) - 1n,
    fs_size: size >= 8 * frag && size > (ncg - 1) * fpg && size <= ncg * fpg,
    fs_cssize: i32(SUPER.summaryBytes) === groups,
    fs_csaddr: s.csaddr === dblkno && s.csaddr + s.csfrags <= Math.min(fpg, size),
    fs_dsize: i64(SUPER.dataSize) === BigInt(size - s.sblkno - ncg * (dblkno - s.sblkno) - s.csfrags),
    fs_maxcontig: i32(SUPER.contiguousMax) > 0 && i32(SUPER.clusterSums) === Math.min(i32(SUPER.contiguousMax), 16),
    fs_minfree: i32(SUPER.minimumFree) >= 0 && i32(SUPER.minimumFree) <= 99,
    fs_clean: s.view.getUint8(SUPER.clean) === 1,
  };
  return Object.entries(rules).flatMap(([field, holds]) => (holds ? [] : [field]));
}

/** Everything that is wrong, in few words; empty for a sound one. */
export function ufsFaults(readAt: ReadAt): readonly string[] {
  const s = superOf(readAt);
  const faults: string[] = superFaults(s).map((field) => `superblock: ${field}`);
  const reading = readUfs(readAt);
  const used = new Uint8Array(s.size);
  const claim = (what: string, from: number, count: number): void => {
    for (let fragment = from; fragment < from + count; fragment += 1) {
      if (fragment < 0 || fragment >= s.size) faults.push(`${what}: fragment ${fragment} is outside`);
      else if (used[fragment] === 1) faults.push(`${what}: fragment ${fragment} is used twice`);
      else used[fragment] = 1;
    }
  };
  for (let group = 0; group < s.ncg; group += 1) {
    const from = group * s.fpg + (group === 0 ? 0 : s.sblkno);
    claim(`group ${group}`, from, group * s.fpg + s.dblkno - from);
  }
  claim("sums", s.csaddr, s.csfrags);

  const inodes = new Map<number, { readonly inode: UfsInode; names: number }>();
  const subdirectories = new Map<string, number>();
  for (const entry of reading.list()) {
    const known = inodes.get(entry.inode);
    if (known !== undefined) known.names += 1;
    else inodes.set(entry.inode, { inode: reading.inode(entry.inode), names: 1 });
    const above = entry.path.slice(0, Math.max(0, entry.path.lastIndexOf("/")));
    if (entry.type === "directory" && entry.path !== "") subdirectories.set(above, (subdirectories.get(above) ?? 0) + 1);
    if (entry.type === "directory") continue;
  }
  for (const entry of reading.list()) {
    const names = inodes.get(entry.inode)?.names ?? 0;
    const wanted = entry.type === "directory" ? 2 + (subdirectories.get(entry.path) ?? 0) : names;
    if (entry.links !== wanted) faults.push(`${entry.path}: ${entry.links} links, and ${wanted} names`);
  }
  for (const { inode } of inodes.values()) {
    const fragments = claimInode(readAt, s, inode, claim);
    if (inode.sectors !== fragments * (s.fsize / 512))
      faults.push(`inode ${inode.number}: ${inode.sectors} sectors, and ${fragments} fragments`);
  }
  faults.push(...groupFaults(readAt, s, used, inodes));
  return faults;
}

function claimInode(
  readAt: ReadAt,
  s: Super,
  inode: UfsInode,
  claim: (what: string, from: number, count: number) => void,
): number {
  if (inode.type === "symlink" && inode.sizeBytes < 120) return 0;
  const what = `inode ${inode.number}`;
  const blocks = Math.ceil(inode.sizeBytes / s.bsize);
  let total = 0;
  const take = (at: number, count: number): void => {
    claim(what, at, count);
    total += count;
  };
  for (let block = 0; block < Math.min(12, blocks); block += 1) {
    const at = inode.pointers[block] ?? 0;
    if (at === 0) continue;
    const isLast = block === blocks - 1;
    take(at, isLast ? Math.ceil((inode.sizeBytes - block * s.bsize) / s.fsize) : s.frag);
  }
  const indirect = (at: number, level: number, left: number): void => {
    if (at === 0) return;
    take(at, s.frag);
    const view = viewOf(readAt(at * s.fsize, s.bsize));
    const reach = (s.bsize / 8) ** (level - 1);
    for (let index = 0; index * reach < left && index < s.bsize / 8; index += 1) {
      const address = Number(view.getBigInt64(8 * index, true));
      if (level > 1) indirect(address, level - 1, left - index * reach);
      else if (address !== 0) take(address, s.frag);
    }
  };
  let left = blocks - 12;
  for (let level = 1; level <= 3 && left > 0; level += 1) {
    indirect(inode.pointers[11 + level] ?? 0, level, left);
    left -= (s.bsize / 8) ** level;
  }
  return total;
}

interface Sums {
  ndir: number;
  nbfree: number;
  nifree: number;
  nffree: number;
}

function groupFaults(
  readAt: ReadAt,
  s: Super,
  used: Uint8Array,
  inodes: ReadonlyMap<number, { readonly inode: UfsInode }>,
): readonly string[] {
  const faults: string[] = [];
  const all: Sums = { ndir: 0, nbfree: 0, nifree: 0, nffree: 0 };
  const summary = viewOf(readAt(s.csaddr * s.fsize, s.csfrags * s.fsize));
  const primary = readAt(SUPERBLOCK_AT, SUPERBLOCK_BYTES);
  for (let group = 0; group < s.ncg; group += 1) {
    const base = group * s.fpg;
    const copy = readAt((base + s.sblkno) * s.fsize, SUPERBLOCK_BYTES);
    // Totals of a copy may be old; what it is needed for is the rest.
    if (!Buffer.from(copy.subarray(0, 192)).equals(Buffer.from(primary.subarray(0, 192))))
      faults.push(`group ${group}: its superblock`);
    const bytes = readAt((base + s.cblkno) * s.fsize, s.bsize);
    const view = viewOf(bytes);
    const at = (offset: number): number => view.getUint32(offset, true);
    const fragments = Math.min(s.fpg, s.size - base);
    const expect = (what: string, found: number, wanted: number): void => {
      if (found !== wanted) faults.push(`group ${group}: ${what} is ${found}, not ${wanted}`);
    };
    expect("magic", at(GROUP.magic), GROUP_MAGIC);
    expect("cgx", at(GROUP.number), group);
    expect("ndblk", at(GROUP.fragments), fragments);
    expect("niblk", at(GROUP.inodes), s.ipg);
    expect("iusedoff", at(GROUP.usedInodesAt), 168);
    expect("freeoff", at(GROUP.freeAt), 168 + s.ipg / 8);
    const sums: Sums = { ndir: 0, nbfree: 0, nifree: 0, nffree: 0 };
    for (let index = 0; index < s.ipg; index += 1) {
      const number = group * s.ipg + index;
      const found = inodes.get(number);
      const isUsed = found !== undefined || number < 2;
      const bit = ((bytes[at(GROUP.usedInodesAt) + (index >> 3)] ?? 0) >> (index & 7)) & 1;
      if ((bit === 1) !== isUsed) faults.push(`inode ${number}: used ${isUsed}, and its bit is ${bit}`);
      if (isUsed && index >= at(GROUP.initialised)) faults.push(`inode ${number} is used and not initialised`);
      if (!isUsed) sums.nifree += 1;
      if (found?.inode.type === "directory") sums.ndir += 1;
    }
    const runs = Array.from({ length: s.frag }, () => 0);
    const clusterMax = s.view.getInt32(SUPER.clusterSums, true);
    const clusters = Array.from({ length: clusterMax + 1 }, () => 0);
    let cluster = 0;
    const endCluster = (): void => {
      if (cluster > 0) clusters[Math.min(cluster, clusterMax)] = (clusters[Math.min(cluster, clusterMax)] ?? 0) + 1;
      cluster = 0;
    };
    for (let block = 0; block * s.frag < s.fpg; block += 1) {
      let [free, run] = [0, 0];
      const inBlock: number[] = [];
      for (let each = 0; each <= s.frag; each += 1) {
        const fragment = block * s.frag + each;
        const isFree = each < s.frag && fragment < fragments && used[base + fragment] === 0;
        if (each < s.frag) {
          const bit = ((bytes[at(GROUP.freeAt) + (fragment >> 3)] ?? 0) >> (fragment & 7)) & 1;
          if ((bit === 1) !== isFree) faults.push(`fragment ${base + fragment}: free ${isFree}, and its bit is ${bit}`);
        }
        if (isFree) [free, run] = [free + 1, run + 1];
        else if (run > 0) {
          inBlock.push(run);
          run = 0;
        }
      }
      const whole = free === s.frag;
      if (whole) [sums.nbfree, cluster] = [sums.nbfree + 1, cluster + 1];
      else {
        sums.nffree += free;
        for (const length of inBlock) runs[length] = (runs[length] ?? 0) + 1;
        endCluster();
      }
      if (block < at(GROUP.clusterBlocks)) {
        const bit = ((bytes[at(GROUP.clustersAt) + (block >> 3)] ?? 0) >> (block & 7)) & 1;
        if ((bit === 1) !== whole) faults.push(`block ${block} of group ${group}: free ${whole}, and its cluster bit is ${bit}`);
      }
    }
    endCluster();
    for (let length = 1; length < s.frag; length += 1) expect(`frsum ${length}`, at(GROUP.runs + 4 * length), runs[length] ?? 0);
    for (let length = 1; length <= clusterMax; length += 1)
      expect(`clustersum ${length}`, at(at(GROUP.clusterSumsAt) + 4 * length), clusters[length] ?? 0);
    for (const [index, key] of (["ndir", "nbfree", "nifree", "nffree"] as const).entries()) {
      expect(key, at(GROUP.directories + 4 * index), sums[key]);
      expect(`sum of ${key}`, summary.getInt32(16 * group + 4 * index, true), sums[key]);
      all[key] += sums[key];
    }
  }
  for (const [index, key] of (["ndir", "nbfree", "nifree", "nffree"] as const).entries()) {
    const total = Number(s.view.getBigInt64(SUPER.totals + 8 * index, true));
    if (total !== all[key]) faults.push(`superblock: ${key} is ${total}, not ${all[key]}`);
  }
  return faults;
}
