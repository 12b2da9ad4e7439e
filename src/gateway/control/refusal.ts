/** What a client is told when a request fails: a status, and the document that E2B's SDKs branch on. */
import { Problem } from "../../base/index.ts";

/** An answer that is thrown. */
export class Refusal extends Error {
  override readonly name = "Refusal";
  constructor(
    readonly status: number,
    message: string,
    readonly headers: Readonly<Record<string, string>> = {},
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/** Problems of the rooms below, as HTTP has them. What is not here is 500. */
const STATUS_OF: Readonly<Partial<Record<string, number>>> = {
  E_NO_POOL: 404,
  E_NO_TEMPLATE: 404,
  E_NO_SNAPSHOT: 404,
  E_NO_ENTRY: 404,
  E_BAD_POLICY: 400,
  E_NETWORK_FIXED: 409,
  E_ENTRY_STATE: 409,
  E_SNAPSHOT_UNSUPPORTED: 501,
  E_MACHINE_DIED: 503,
  E_ADDRESSES_EXHAUSTED: 503,
  E_GUEST_SILENT: 503,
  E_GUEST_BUSY: 503,
  E_GUEST_UNREACHABLE: 502,
  E_GUEST_LOST: 502,
};

/** undefined: nobody expected it, and the client learns nothing of it. */
export function refusalOf(error: unknown): Refusal | undefined {
  if (error instanceof Refusal) return error;
  if (error instanceof Problem) return new Refusal(STATUS_OF[error.code] ?? 500, error.message, {}, { cause: error });
  if (error instanceof Error && (error.name === "AbortError" || error.name === "TimeoutError")) {
    return new Refusal(error.name === "TimeoutError" ? 504 : 499, error.message);
  }
  return undefined;
}

/** `code` is the number of the status: the SDK turns kill() into false, and pause() too, only for that. */
export function refused(status: number, message: string, headers: Readonly<Record<string, string>> = {}): Response {
  return Response.json({ code: status, message }, { status, headers });
}
