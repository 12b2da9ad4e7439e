/** Bodies of requests, read with a bound. */
import { RpcError } from "./codes.ts";

/** Chunks of a body; a client that goes away in the middle makes it throw. @throws RpcError resource_exhausted past the limit, canceled */
export async function* bodyChunks(request: Request, maxBytes: number): AsyncGenerator<Uint8Array<ArrayBuffer>, void> {
  const tooLarge = () => new RpcError("resource_exhausted", `the body is larger than the limit of ${maxBytes} bytes`);
  if (Number(request.headers.get("content-length") ?? 0) > maxBytes) throw tooLarge();
  if (request.body === null) return;
  let totalBytes = 0;
  try {
    for await (const chunk of request.body) {
      totalBytes += chunk.byteLength;
      if (totalBytes > maxBytes) throw tooLarge();
      yield chunk;
    }
  } catch (error) {
    if (error instanceof RpcError) throw error;
    throw new RpcError("canceled", "the client went away before its request was whole", { cause: error });
  }
}

/** The whole body. @throws RpcError resource_exhausted past the limit */
export async function readBody(request: Request, maxBytes: number): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of bodyChunks(request, maxBytes)) chunks.push(chunk);
  const [first] = chunks;
  return chunks.length === 1 && first !== undefined ? first : Buffer.concat(chunks);
}

/** What follows the first `;` is left out: "application/json; charset=utf-8". */
export function mediaType(request: Request): string {
  return (request.headers.get("content-type") ?? "").split(";", 1)[0]?.trim().toLowerCase() ?? "";
}
