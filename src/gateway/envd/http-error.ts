/** Errors of the plain HTTP routes: a status and `{"code": <number>, "message"}`. */
import { Problem } from "../../base/index.ts";
import { RpcError } from "./codes.ts";

export class HttpError extends Error {
  override readonly name = "HttpError";
  readonly status: number;

  constructor(status: number, message: string, options?: { readonly cause?: unknown }) {
    super(message, options);
    this.status = status;
  }
}

const STATUS_OF: Readonly<Record<string, number>> = {
  E_NO_FILE: 404,
  E_NO_DIRECTORY: 400,
  E_IS_DIRECTORY: 400,
  E_NOT_DIRECTORY: 400,
  E_FILE_EXISTS: 400,
  E_FILE_DENIED: 403,
  E_NO_USER: 401,
  E_GUEST_FULL: 507,
  // Clients take it for a sandbox that is gone, as it is.
  E_GUEST_LOST: 502,
  E_GUEST_UNREACHABLE: 502,
  E_TIMEOUT: 504,
};

export function httpErrorOf(error: unknown): HttpError {
  if (error instanceof HttpError) return error;
  if (error instanceof RpcError) {
    // Of a body that is too large, or a path that cannot be one.
    return new HttpError(error.code === "resource_exhausted" ? 413 : error.status, error.message, { cause: error });
  }
  if (error instanceof Problem) return new HttpError(STATUS_OF[error.code] ?? 500, error.message, { cause: error });
  return new HttpError(500, "internal error", { cause: error });
}

export function jsonError({ status, message }: HttpError): Response {
  return Response.json({ code: status, message }, { status });
}
