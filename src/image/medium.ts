/**
 * What an installer medium carries of a system's disk, and where it goes. Pure.
 *
 *     garth/data/0000 ...   what of the disk is not zeros, one stretch behind the other, cut into parts
 *     garth/map             part NAME | write AT COUNT | zero AT COUNT, in units of 64 KiB of the disk; writes take what is next of their part
 *     garth/sums            SHA-256 of each part, in their order
 *     garth/gpt             the entries of the partition table; its headers are made on the machine, for the disk that is there
 *     garth/install         KEY=VALUE: what it installs, how large it is, digests of the others. Its own digest names the medium
 *
 * Everything is in whole units, so that dd(1) copies it fast: what is beside a file in its units comes along as the zeros that it is.
 * What is free on the disk (nobody reads it before it was written) is neither carried nor written.
 */
import { sha256, type StorePath } from "../base/index.ts";
import { between, type BlockImage, type ByteRange, type Piece, planGpt } from "../formats/index.ts";
import type { ImagePlan } from "./plan.ts";

/** installer.sh has the same number. */
const UNIT_BYTES = 64 << 10;
const PART_UNITS = 1024;
/** Zeros between two stretches that are carried rather than told: each stretch is a process on the machine. */
const GAP_UNITS = 4;
const SECTOR_BYTES = 512;
const GPT_HEAD_BYTES = 1 << 20;
const GPT_TAIL_SECTORS = 33;

export interface MediumPart {
  /** "0000" */
  readonly name: string;
  /** Its bytes; the pieces leave nothing out. */
  readonly image: BlockImage;
}

export interface Medium {
  readonly parts: readonly MediumPart[];
  readonly map: string;
  readonly gpt: Uint8Array;
  readonly dataBytes: number;
  readonly zeroBytes: number;
  /** Of a disk it can be installed on. */
  readonly leastBytes: number;
}

interface Stretch {
  /** In units. */
  readonly at: number;
  readonly count: number;
}

export function planMedium({ image, disk }: Pick<ImagePlan, "image" | "disk">): Medium {
  const end = Math.max(...disk.partitions.map(({ firstByte, sizeBytes }) => firstByte + sizeBytes));
  const pieces = image.pieces.filter(({ at }) => at >= GPT_HEAD_BYTES && at < end);
  const used = usedStretches(pieces);
  const zeros = zeroStretches(used, image.free ?? [], end);
  const lines: string[] = [];
  const parts: MediumPart[] = [];
  const cut = new PieceCutter(pieces);
  let taken: Piece[] = [];
  let units = 0;
  const close = (): void => {
    if (units === 0) return;
    parts.push({ name: partName(parts.length), image: { sizeBytes: units * UNIT_BYTES, pieces: taken } });
    [taken, units] = [[], 0];
  };
  for (const stretch of used) {
    for (let { at, count } = stretch; count > 0;) {
      if (units === PART_UNITS) close();
      if (units === 0) lines.push(`part ${partName(parts.length)}`);
      const now = Math.min(count, PART_UNITS - units);
      lines.push(`write ${at} ${now}`);
      cut.take(at * UNIT_BYTES, now * UNIT_BYTES, units * UNIT_BYTES, taken);
      [at, count, units] = [at + now, count - now, units + now];
    }
  }
  close();
  lines.push(...zeros.map(({ at, count }) => `zero ${at} ${count}`));
  return {
    parts,
    map: lines.map((line) => `${line}\n`).join(""),
    gpt: gptHead(disk).slice(2 * SECTOR_BYTES),
    dataBytes: unitsOf(used) * UNIT_BYTES,
    zeroBytes: unitsOf(zeros) * UNIT_BYTES,
    leastBytes: end + GPT_TAIL_SECTORS * SECTOR_BYTES,
  };
}

function partName(number: number): string {
  return String(number).padStart(4, "0");
}

function unitsOf(stretches: readonly Stretch[]): number {
  return stretches.reduce((sum, { count }) => sum + count, 0);
}

function pieceBytes(piece: Piece): number {
  return piece.kind === "bytes" ? piece.bytes.length : piece.sizeBytes;
}

function usedStretches(pieces: readonly Piece[]): readonly Stretch[] {
  const found: Stretch[] = [];
  for (const piece of pieces) {
    const at = Math.floor(piece.at / UNIT_BYTES);
    const end = Math.ceil((piece.at + pieceBytes(piece)) / UNIT_BYTES);
    const last = found.at(-1);
    if (last === undefined || at - (last.at + last.count) > GAP_UNITS) found.push({ at, count: end - at });
    else found[found.length - 1] = { at: last.at, count: Math.max(last.count, end - last.at) };
  }
  return found;
}

/** What has to read as zeros: neither used nor free as a whole. */
function zeroStretches(used: readonly Stretch[], free: readonly ByteRange[], end: number): readonly Stretch[] {
  const taken = used.map(({ at, count }): ByteRange => ({ at: at * UNIT_BYTES, sizeBytes: count * UNIT_BYTES }));
  const whole = free.flatMap(({ at, sizeBytes }): readonly ByteRange[] => {
    const from = Math.ceil(at / UNIT_BYTES) * UNIT_BYTES;
    const to = Math.floor((at + sizeBytes) / UNIT_BYTES) * UNIT_BYTES;
    return to > from ? [{ at: from, sizeBytes: to - from }] : [];
  });
  const known = [...taken, ...whole].toSorted((left, right) => left.at - right.at);
  return between(known, GPT_HEAD_BYTES, end).map(({ at, sizeBytes }) => ({ at: at / UNIT_BYTES, count: sizeBytes / UNIT_BYTES }));
}

const ZEROS = new Uint8Array(UNIT_BYTES);

/** Goes through pieces once, in order, and gives stretches of them without gaps. */
class PieceCutter {
  readonly #pieces: readonly Piece[];
  #next = 0;

  constructor(pieces: readonly Piece[]) {
    this.#pieces = pieces;
  }

  /** What lies at `from`, to `to` of what it is put into. */
  take(from: number, sizeBytes: number, to: number, into: Piece[]): void {
    let done = 0;
    const fill = (until: number): void => {
      while (done < until) {
        const bytes = ZEROS.subarray(0, Math.min(until - done, ZEROS.length));
        into.push({ at: to + done, kind: "bytes", bytes });
        done += bytes.length;
      }
    };
    for (; ; this.#next += 1) {
      const piece = this.#pieces[this.#next];
      if (piece === undefined || piece.at >= from + sizeBytes) break;
      const begin = Math.max(piece.at, from);
      const end = Math.min(piece.at + pieceBytes(piece), from + sizeBytes);
      fill(begin - from);
      if (end > begin) into.push(part(piece, begin - piece.at, end - begin, to + done));
      done += end - begin;
      if (piece.at + pieceBytes(piece) > from + sizeBytes) break;
    }
    fill(sizeBytes);
  }
}

function part(piece: Piece, offset: number, sizeBytes: number, at: number): Piece {
  if (piece.kind === "bytes") return { at, kind: "bytes", bytes: piece.bytes.subarray(offset, offset + sizeBytes) };
  return { at, kind: "file", file: piece.file, offset: piece.offset + offset, sizeBytes };
}

function gptHead(disk: ImagePlan["disk"]): Uint8Array {
  const [head] = planGpt(disk);
  if (head.kind !== "bytes") throw new Error("a partition table is bytes");
  return head.bytes;
}

/** @param sums SHA-256 of each part, in their order */
export function mediumSums(medium: Medium, sums: readonly string[]): string {
  return medium.parts.map(({ name }, index) => `${sums[index] ?? ""} ${name}\n`).join("");
}

/** garth/install. Its digest is what the installer knows its medium by. */
export function mediumText({
  system,
  name,
  plan,
  medium,
  sums,
}: {
  readonly system: StorePath;
  readonly name: string;
  readonly plan: Pick<ImagePlan, "image" | "disk">;
  readonly medium: Medium;
  readonly sums: string;
}): string {
  const header = gptHead(plan.disk).subarray(SECTOR_BYTES);
  const decimals = (from: number, to: number): string => [...header.subarray(from, to)].join(" ");
  const fields: readonly (readonly [string, string | number])[] = [
    ["schema", "garth-install-1"],
    ["name", name],
    ["system", system],
    ["planned_bytes", plan.image.sizeBytes],
    ["least_bytes", medium.leastBytes],
    ["data_bytes", medium.dataBytes],
    ["zero_bytes", medium.zeroBytes],
    ["parts", medium.parts.length],
    ["sums_sha256", sha256(sums)],
    ["map_sha256", sha256(medium.map)],
    ["gpt_sha256", sha256(medium.gpt)],
    // Of the header: the disk's GUID, and the checksum of the entries. Bytes as decimals: sh(1) can count with those.
    ["gpt_guid", decimals(56, 72)],
    ["gpt_crc", decimals(88, 92)],
  ];
  return fields.map(([key, value]) => `${key}=${value}\n`).join("");
}
