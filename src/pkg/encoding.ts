/** The percent encoding pkg uses inside manifests for paths, descriptions and scripts: `%` and every byte that is not ASCII. */
const encoder = new TextEncoder();

export function percentEncode(text: string): string {
  // oxlint-disable-next-line no-control-regex -- the whole of ASCII is meant
  return text.replace(/[^\x00-\x7f]+|%/gu, (found) =>
    [...encoder.encode(found)].map((byte) => `%${byte.toString(16).padStart(2, "0")}`).join(""),
  );
}

/** Text that is not percent encoding stays as it is; undefined where the decoded bytes are not UTF-8. */
export function percentDecode(text: string): string | undefined {
  if (!text.includes("%")) return text;
  const bytes = encoder.encode(text);
  const decoded: number[] = [];
  for (let at = 0; at < bytes.length; at++) {
    const byte = bytes[at] ?? 0;
    const pair = byte === 0x25 ? String.fromCharCode(bytes[at + 1] ?? 0, bytes[at + 2] ?? 0) : "";
    if (/^[0-9A-Fa-f]{2}$/.test(pair)) {
      decoded.push(Number.parseInt(pair, 16));
      at += 2;
    } else decoded.push(byte);
  }
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(new Uint8Array(decoded));
  } catch {
    return undefined;
  }
}
