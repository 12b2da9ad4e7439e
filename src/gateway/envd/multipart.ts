/**
 * multipart/form-data (RFC 7578) as it comes: a part is handed on while it is still arriving, and no more of it is kept than could be the
 * beginning of a boundary. Pure.
 */
import { HttpError } from "./http-error.ts";

const HEADERS_MAX_BYTES = 16 * 1024;
const BOUNDARY_MAX_BYTES = 256;
const PARTS_MAX = 4096;

export interface FormPart {
  /** Of the field. */
  readonly name: string | undefined;
  readonly filename: string | undefined;
  /** To be read before the next part; what is left unread is skipped. */
  readonly body: AsyncIterable<Uint8Array<ArrayBuffer>>;
}

/** @throws HttpError 400 */
export function boundaryOf(contentType: string): string {
  const [, quoted, plain] = /;\s*boundary=(?:"([^"]+)"|([^\s;"]+))/i.exec(contentType) ?? [];
  const boundary = quoted ?? plain;
  if (boundary === undefined || Buffer.byteLength(boundary) > BOUNDARY_MAX_BYTES) {
    throw new HttpError(400, "error parsing multipart form: no boundary in the content type");
  }
  return boundary;
}

/**
 * What a disposition says of a parameter. Browsers and fetch write `%22`, `%0D` and `%0A` for what cannot stand between quotes, older
 * programs a backslash before the quote; `filename*` is RFC 5987's.
 */
function parameterOf(disposition: string, name: string): string | undefined {
  const [, extended] = new RegExp(`;\\s*${name}\\*=(?:utf-8)''([^;\\s]+)`, "i").exec(disposition) ?? [];
  if (extended !== undefined) {
    try {
      return decodeURIComponent(extended);
    } catch {
      throw new HttpError(400, `error reading form: ${name}* is not valid`);
    }
  }
  const [, quoted, plain] = new RegExp(`;\\s*${name}=(?:"((?:\\\\"|[^"])*)"|([^;\\s"]+))`, "i").exec(disposition) ?? [];
  return quoted === undefined
    ? plain
    : quoted
        .replaceAll('\\"', '"')
        .replace(/%(22|0D|0A)/gi, (_all, hex: string) => String.fromCodePoint(Number.parseInt(hex, 16)));
}

function headersOf(text: string): Pick<FormPart, "name" | "filename"> {
  for (const line of text.split("\r\n")) {
    const [, value] = /^content-disposition:\s*(.*)$/i.exec(line) ?? [];
    if (value !== undefined) return { name: parameterOf(value, "name"), filename: parameterOf(value, "filename") };
  }
  return { name: undefined, filename: undefined };
}

/** @throws HttpError 400 for what is no form, and for one that ends before its last boundary */
export async function* formParts(
  chunks: AsyncIterable<Uint8Array<ArrayBuffer>>,
  boundary: string,
): AsyncGenerator<FormPart, void> {
  const source = chunks[Symbol.asyncIterator]();
  const delimiter = Buffer.from(`\r\n--${boundary}`);
  // A line end before the first boundary, which may stand at the very beginning.
  let kept: Buffer<ArrayBuffer> = Buffer.from("\r\n");

  /** false: there is nothing more. */
  const more = async (): Promise<boolean> => {
    const next = await source.next();
    if (next.done === true) return false;
    const chunk = Buffer.from(next.value.buffer, next.value.byteOffset, next.value.byteLength);
    kept = kept.byteLength === 0 ? chunk : Buffer.concat([kept, chunk]);
    return true;
  };
  const broken = () => new HttpError(400, "error reading form: it ends before its last boundary");

  /** What comes before the next boundary, which is passed over. */
  async function* untilDelimiter(): AsyncGenerator<Uint8Array<ArrayBuffer>, void> {
    for (;;) {
      const found = kept.indexOf(delimiter);
      if (found >= 0) {
        const last = kept.subarray(0, found);
        kept = kept.subarray(found + delimiter.byteLength);
        if (last.byteLength > 0) yield last;
        return;
      }
      const safeBytes = kept.byteLength - (delimiter.byteLength - 1);
      if (safeBytes > 0) {
        const safe = kept.subarray(0, safeBytes);
        kept = kept.subarray(safeBytes);
        yield safe;
      }
      if (!(await more())) throw broken();
    }
  }

  /** Position of `text` in what is kept, reading on for it. */
  const seek = async (text: string): Promise<number> => {
    for (;;) {
      const found = kept.indexOf(text);
      if (found >= 0) return found;
      if (kept.byteLength > HEADERS_MAX_BYTES) throw new HttpError(400, "error reading form: the headers of a part are too long");
      if (!(await more())) throw broken();
    }
  };

  const skip = async (body: AsyncGenerator<Uint8Array<ArrayBuffer>, void>) => {
    while ((await body.next()).done !== true);
  };

  try {
    await skip(untilDelimiter());
    for (let parts = 0; ; parts += 1) {
      while (kept.byteLength < 2) if (!(await more())) throw broken();
      if (kept.subarray(0, 2).equals(Buffer.from("--"))) return;
      if (parts >= PARTS_MAX) throw new HttpError(400, `error reading form: more than ${PARTS_MAX} parts`);
      // Blanks may follow a boundary; then a line end, the headers, an empty line.
      const line = await seek("\r\n");
      if (kept.subarray(0, line).toString("latin1").trim() !== "")
        throw new HttpError(400, "error reading form: no line end after a boundary");
      kept = kept.subarray(line);
      const end = await seek("\r\n\r\n");
      const headers = headersOf(kept.subarray(0, end).toString());
      kept = kept.subarray(end + 4);
      const body = untilDelimiter();
      yield { ...headers, body: { [Symbol.asyncIterator]: () => ({ next: async () => await body.next() }) } };
      await skip(body);
    }
  } finally {
    await source.return?.();
  }
}
