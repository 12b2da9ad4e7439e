/** What a disk image is by its header, and how what is not raw becomes so: qemu-img(1) reads every container there is. */
import { Problem } from "../base/index.ts";
import type { Host } from "../host/index.ts";
import type { Container, Converted } from "./convert.ts";

export interface DiskKind {
  /** "raw" is everything that has no other header. */
  readonly container: Container;
  /** As the guest sees it. */
  readonly diskBytes: number;
}

/** Offset of "current size" in the footer of a VHD, which a dynamic one begins with (the specification of 2006). */
const VHD_SIZE_AT = 48;
const VHD_FOOTER_BYTES = 512;
const QCOW2_SIZE_AT = 24;

/** @throws Problem E_NO_SUCH_FILE (exit 2) */
export function diskKind(host: Host, file: string): DiskKind {
  if (!host.files.exists(file))
    throw new Problem({ code: "E_NO_SUCH_FILE", message: `there is no image ${file}`, where: file, exit: 2 });
  const descriptor = host.files.open(file, "r");
  try {
    const sizeBytes = host.files.endOf(descriptor);
    const read = (at: number): Buffer => {
      const bytes = Buffer.alloc(VHD_FOOTER_BYTES);
      if (at >= 0) host.files.read(descriptor, bytes, at);
      return bytes;
    };
    const head = read(0);
    if (head.toString("latin1", 0, 4) === "QFI\u00fb")
      return { container: "qcow2", diskBytes: Number(head.readBigUInt64BE(QCOW2_SIZE_AT)) };
    const isFooter = (bytes: Buffer): boolean => bytes.toString("latin1", 0, 8) === "conectix";
    if (isFooter(head)) return { container: "vhd-dynamic", diskBytes: Number(head.readBigUInt64BE(VHD_SIZE_AT)) };
    const foot = read(sizeBytes - VHD_FOOTER_BYTES);
    if (isFooter(foot)) return { container: "vhd-fixed", diskBytes: Number(foot.readBigUInt64BE(VHD_SIZE_AT)) };
    return { container: "raw", diskBytes: sizeBytes };
  } finally {
    host.files.close(descriptor);
  }
}

/** `to` must not be there. @throws Problem E_FILE_EXISTS (exit 2), E_TOOL_MISSING (exit 3), E_COMMAND_FAILED */
export async function makeRaw(host: Host, from: string, kind: DiskKind, to: string): Promise<Converted> {
  if (host.files.exists(to))
    throw new Problem({
      code: "E_FILE_EXISTS",
      message: `converting ${from}: ${to} is there already`,
      where: to,
      hint: "name another file, or remove it",
      exit: 2,
    });
  if (host.which("qemu-img") === undefined)
    throw new Problem({
      code: "E_TOOL_MISSING",
      message: `converting ${from}, which is ${kind.container}: there is no program qemu-img on this machine`,
      hint: "`garth doctor --install` installs it: the package qemu-utils (Debian) or qemu (FreeBSD)",
      exit: 3,
    });
  const source = `file.driver=file,file.filename=${from.replaceAll(",", ",,")}`;
  // The size in the footer counts, not what cylinders and heads come to: those cannot say every size.
  const driver = kind.container === "qcow2" ? "driver=qcow2" : "driver=vpc,force_size_calc=current_size";
  await host.run({
    argv: ["qemu-img", "convert", "--image-opts", "-O", "raw", `${driver},${source}`, to],
    doing: `converting ${from}`,
  });
  return { sizeBytes: host.files.lstat(to).sizeBytes, sha256: await diskDigest(host, to) };
}

const CHUNK_BYTES = 4 << 20;

/** SHA-256 of a whole disk, on another thread. */
export async function diskDigest(host: Host, file: string, signal?: AbortSignal): Promise<string> {
  const hasher = host.hashBeside();
  const descriptor = host.files.open(file, "r");
  try {
    const buffer = new Uint8Array(new SharedArrayBuffer(CHUNK_BYTES));
    for (let at = 0; ;) {
      signal?.throwIfAborted();
      const count = host.files.read(descriptor, buffer, at);
      if (count === 0) return await hasher.digest();
      await hasher.update(buffer.subarray(0, count));
      at += count;
    }
  } finally {
    host.files.close(descriptor);
    hasher.close();
  }
}
