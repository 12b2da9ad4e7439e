/** JSON bodies: read in chunks (E2B's SDK sends them without a length), up to a size and a time. */
import type { z } from "zod";
import { Refusal } from "./refusal.ts";

export interface BodyLimits {
  readonly bodyMaxBytes: number;
  readonly bodyTimeoutMs: number;
}

async function readBounded(request: Request, { bodyMaxBytes, bodyTimeoutMs }: BodyLimits): Promise<Uint8Array> {
  const tooLarge = (): Refusal => new Refusal(413, `the body is larger than ${bodyMaxBytes} bytes`);
  if (Number(request.headers.get("content-length") ?? "0") > bodyMaxBytes) throw tooLarge();
  if (request.body === null) return new Uint8Array(0);
  const reader = request.body.getReader();
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new Refusal(408, `the body took longer than ${bodyTimeoutMs} ms`)), bodyTimeoutMs);
  const chunks: Uint8Array[] = [];
  let sizeBytes = 0;
  try {
    for (;;) {
      const { done, value } = await Promise.race([reader.read(), late.promise]);
      if (done) return Buffer.concat(chunks, sizeBytes);
      sizeBytes += value.byteLength;
      if (sizeBytes > bodyMaxBytes) throw tooLarge();
      chunks.push(value);
    }
  } catch (error) {
    // What is still to come is not waited for.
    reader.cancel().catch(() => undefined);
    if (error instanceof Refusal) throw error;
    throw new Refusal(400, "the body broke off", {}, { cause: error });
  } finally {
    clearTimeout(timer);
  }
}

/** An absent body is the empty object. @throws Refusal 400, 408, 413 */
export async function readJson<T>(request: Request, schema: z.ZodType<T>, limits: BodyLimits): Promise<T> {
  const bytes = await readBounded(request, limits);
  let value: unknown = {};
  if (bytes.byteLength > 0) {
    try {
      value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
    } catch (error) {
      throw new Refusal(400, "the body is not JSON", {}, { cause: error });
    }
  }
  return parsed(value, schema);
}

/** @throws Refusal 400 naming the field */
export function parsed<T>(value: unknown, schema: z.ZodType<T>): T {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  const field = issue?.path.map(String).join(".") ?? "";
  throw new Refusal(400, `${field === "" ? "the body" : field}: ${issue?.message ?? "is not what is expected"}`);
}
