/** Routes of the control plane as values: what is asked, by whom it may be, and what answers. */
import type { z } from "zod";
import { readJson } from "./body.ts";
import type { Control } from "./context.ts";
import { notFound } from "./life.ts";
import type { Live } from "./registry.ts";
import { isSandboxId } from "./route.ts";
import type { Caller, Scope } from "./types.ts";

export interface RouteRequest {
  readonly request: Request;
  readonly query: URLSearchParams;
  readonly caller: Caller;
  param(name: string): string;
}

export interface Route {
  readonly method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  /** As Hono has it: "/sandboxes/:sandboxID". */
  readonly path: string;
  readonly scope: Scope;
  readonly answer: (asked: RouteRequest) => Promise<Response> | Response;
}

/** A sandbox of the caller's tenant. Another tenant's is none. @throws Refusal 404 */
export function sandboxOf({ registry }: Control, { caller, param }: RouteRequest): Live {
  const id = param("sandboxID");
  // What is no id is not looked up, and not repeated.
  const live = isSandboxId(id) ? registry.find(id) : undefined;
  if (live === undefined || live.record.tenant !== caller.tenant) throw notFound(isSandboxId(id) ? id : "of that name");
  return live;
}

export function bodyOf<T>({ configuration }: Control, { request }: RouteRequest, schema: z.ZodType<T>): Promise<T> {
  return readJson(request, schema, configuration);
}

export const NO_CONTENT_STATUS = 204;

export function noContent(): Response {
  return new Response(null, { status: NO_CONTENT_STATUS });
}
