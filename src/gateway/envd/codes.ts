/** Errors as the Connect protocol has them: a code, its HTTP status, a sentence. https://connectrpc.com/docs/protocol#error-codes */
import { Problem } from "../../base/index.ts";

const HTTP_STATUS = {
  canceled: 499,
  unknown: 500,
  invalid_argument: 400,
  deadline_exceeded: 504,
  not_found: 404,
  already_exists: 409,
  permission_denied: 403,
  resource_exhausted: 429,
  failed_precondition: 400,
  aborted: 409,
  out_of_range: 400,
  unimplemented: 501,
  internal: 500,
  unavailable: 503,
  data_loss: 500,
  unauthenticated: 401,
} as const;

export type RpcCode = keyof typeof HTTP_STATUS;

/** What a call ends with instead of an answer. The message goes to the client. */
export class RpcError extends Error {
  override readonly name = "RpcError";
  readonly code: RpcCode;

  constructor(code: RpcCode, message: string, options?: { readonly cause?: unknown }) {
    super(message, options);
    this.code = code;
  }

  get status(): number {
    return HTTP_STATUS[this.code];
  }

  /** The `code` is text: with a number the clients take the answer for no Connect error at all. */
  get document(): { readonly code: RpcCode; readonly message: string } {
    return { code: this.code, message: this.message };
  }
}

const CODE_OF: Readonly<Record<string, RpcCode>> = {
  E_NO_FILE: "not_found",
  E_NO_DIRECTORY: "invalid_argument",
  E_IS_DIRECTORY: "invalid_argument",
  E_NOT_DIRECTORY: "invalid_argument",
  E_FILE_EXISTS: "already_exists",
  E_FILE_DENIED: "permission_denied",
  E_GUEST_FULL: "resource_exhausted",
  E_GUEST_LOST: "unavailable",
  E_GUEST_UNREACHABLE: "unavailable",
  E_NO_USER: "unauthenticated",
  E_TIMEOUT: "deadline_exceeded",
};

/** A `Problem` of the guest by its code; anything else is a fault of ours, and its text is not the client's business. */
export function rpcErrorOf(error: unknown): RpcError {
  if (error instanceof RpcError) return error;
  if (error instanceof Problem) return new RpcError(CODE_OF[error.code] ?? "internal", error.message, { cause: error });
  return new RpcError("internal", "internal error", { cause: error });
}

/** Of a sandbox that went while somebody waited: `reason` is its `AbortSignal`'s. */
export function unavailable(reason: unknown): RpcError {
  return new RpcError("unavailable", reason instanceof Problem ? reason.message : "the sandbox was killed");
}
