/** Pieces onto a file: on a disk, where large ones go past the page cache, and in memory, where none can. */
import { afterAll, expect, test } from "bun:test";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import fc from "fast-check";
import { sha256 } from "../base/index.ts";
import type { Piece } from "../formats/index.ts";
import { localHost } from "../host/index.ts";
import { writeBlocks } from "./index.ts";

const host = localHost();
const places = [tmpdir(), "/dev/shm"].filter((each) => fs.existsSync(each)).map((each) => fs.mkdtempSync(`${each}/garth-write-`));
afterAll(() => {
  for (const place of places) host.files.removeTree(place);
});

const MIB = 1 << 20;
/** Some windows, and an end in the middle of a block. */
const SIZE_BYTES = 9 * MIB + 777;
const source = `${places[0] ?? ""}/source`;
const bytes = Buffer.from(Uint32Array.from({ length: MIB }, (_, at) => Math.imul(at + 1, 0x9e3779b1)).buffer);
fs.writeFileSync(source, bytes);

/** Where a block begins, a sector, or anywhere. */
const distance = fc.oneof(
  fc.nat(200).map((blocks) => blocks * 4096),
  fc.nat(2_000).map((sectors) => sectors * 512),
  fc.nat(100_000),
);
const pieces = fc
  .array(
    fc.record({ distance, sizeBytes: fc.oneof(distance, fc.constant(3 * MIB)), offset: fc.nat(MIB - 1), isFile: fc.boolean() }),
    {
      maxLength: 12,
    },
  )
  .map((all) => {
    const laid: Piece[] = [];
    let end = 0;
    for (const { distance: apart, sizeBytes, offset, isFile } of all) {
      const at = end + apart;
      if (sizeBytes === 0 || at + sizeBytes > SIZE_BYTES) continue;
      const content = bytes.subarray(offset, offset + sizeBytes);
      laid.push(isFile ? { kind: "file", at, file: source, offset, sizeBytes } : { kind: "bytes", at, bytes: content });
      end = at + sizeBytes;
    }
    return laid;
  });

for (const place of places) {
  test(`what is hashed is what is written, wherever its pieces lie: ${place}`, async () => {
    await fc.assert(
      fc.asyncProperty(pieces, fc.boolean(), async (laid, digest) => {
        const wanted = Buffer.alloc(SIZE_BYTES);
        for (const piece of laid) {
          if (piece.kind === "bytes") wanted.set(piece.bytes, piece.at);
          else wanted.set(bytes.subarray(piece.offset, piece.offset + piece.sizeBytes), piece.at);
        }
        const to = `${place}/disk.raw`;
        const image = { sizeBytes: SIZE_BYTES, pieces: laid };
        const { sha256: found, writtenBytes } = await writeBlocks(host, image, to, { locate: (file) => file, digest });
        const real = fs.readFileSync(to);
        fs.unlinkSync(to);
        expect(found).toBe(digest ? sha256(wanted) : "");
        expect(Buffer.compare(real, wanted)).toBe(0);
        const covered = laid.reduce((sum, piece) => sum + (piece.kind === "bytes" ? piece.bytes.length : piece.sizeBytes), 0);
        expect(writtenBytes).toBeGreaterThanOrEqual(covered);
      }),
      { numRuns: 20 },
    );
  });
}
