/** One range of a file out of a `Range` header (RFC 9110, 14.2). Pure. */

export interface ByteRange {
  readonly from: number;
  /** Not included. */
  readonly to: number;
}

/** undefined: the whole file; what cannot be understood, and several ranges, may be passed over. "unsatisfiable": none of it is there. */
export function byteRange(header: string | null, sizeBytes: number): ByteRange | undefined | "unsatisfiable" {
  const [, first, last] = /^\s*bytes\s*=\s*(\d{0,15})\s*-\s*(\d{0,15})\s*$/i.exec(header ?? "") ?? [];
  if (first === undefined || last === undefined || (first === "" && last === "")) return undefined;
  if (first === "") {
    const count = Math.min(Number(last), sizeBytes);
    return count === 0 ? "unsatisfiable" : { from: sizeBytes - count, to: sizeBytes };
  }
  const from = Number(first);
  const to = last === "" ? sizeBytes : Math.min(Number(last) + 1, sizeBytes);
  if (last !== "" && Number(last) < from) return undefined;
  return from >= sizeBytes ? "unsatisfiable" : { from, to };
}
