/** The control plane's routes behind Hono: who asks, whether they may, who answers. */
import { type Context, Hono } from "hono";
import { callerOf, mustHave } from "./auth.ts";
import type { Control } from "./context.ts";
import type { KeyRing } from "./keys.ts";
import { Refusal } from "./refusal.ts";
import type { Route } from "./routes.ts";
import { sandboxRoutes } from "./routes-sandbox.ts";
import { templateRoutes } from "./routes-template.ts";
import { absentRoutes, tenantRoutes } from "./routes-tenant.ts";
import type { Trace } from "./trace.ts";

export type Rest = (request: Request, trace: Trace) => Promise<Response>;

/** What stands first is asked first: absent paths come behind those that they would cover. */
export function allRoutes(control: Control): readonly Route[] {
  return [...sandboxRoutes(control), ...templateRoutes(control), ...tenantRoutes(control), ...absentRoutes()];
}

type Environment = { Bindings: { trace: Trace } };

/** What it throws is the caller's to answer. */
export function openRest(control: Control, ring: KeyRing): Rest {
  const app = new Hono<Environment>();
  const answer =
    (route: Route) =>
    async (context: Context<Environment>): Promise<Response> => {
      const { raw } = context.req;
      const { trace } = context.env;
      trace.route = route.path;
      const caller = callerOf(raw.headers, ring, control.configuration.open, control.now());
      trace.caller = caller;
      mustHave(caller, route.scope);
      const param = (name: string): string => context.req.param(name) ?? "";
      trace.sandbox = context.req.param("sandboxID");
      return route.answer({ request: raw, query: new URL(raw.url).searchParams, caller, param });
    };
  for (const route of allRoutes(control)) app.on(route.method, route.path, answer(route));
  app.get("/health", ({ env }) => {
    env.trace.route = "/health";
    return Response.json({ status: "ok" });
  });
  app.get("/metrics", async ({ env }) => {
    env.trace.route = "/metrics";
    return new Response(await control.metrics.text(), { headers: { "Content-Type": control.metrics.contentType } });
  });
  app.notFound(() => {
    throw new Refusal(404, "there is no such path");
  });
  app.onError((error) => {
    throw error;
  });
  return async (request, trace) => app.fetch(request, { trace });
}
