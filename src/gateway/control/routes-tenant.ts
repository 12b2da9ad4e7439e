/** What a tenant is told about itself: key, quota, events, webhooks; and the operator's view of the audit log. */
import { auditQuery } from "./audit.ts";
import type { Control } from "./context.ts";
import { eventsQuery } from "./events.ts";
import { limitOf } from "./list.ts";
import { Refusal } from "./refusal.ts";
import { bodyOf, noContent, type Route, type RouteRequest } from "./routes.ts";
import { type Webhook, webhookBody, webhookChange } from "./webhooks.ts";

/** Without its secret. */
function webhookDocument({ id, tenant, name, url, enabled, events, createdAt }: Webhook): Readonly<Record<string, unknown>> {
  return { id, teamId: tenant, name, url, enabled, events, createdAt };
}

export function tenantRoutes(control: Control): readonly Route[] {
  const { registry, events, webhooks, audit, configuration } = control;

  const whoami = ({ caller }: RouteRequest): Response =>
    Response.json({
      tenant: caller.tenant,
      scopes: caller.scopes,
      keyID: caller.keyId,
      expiresAt: caller.expiresAtMs === undefined ? null : new Date(caller.expiresAtMs).toISOString(),
      sandboxes: {
        used: registry.count(caller.tenant),
        max: caller.sandboxesMax ?? control.limitOf(caller.tenant) ?? configuration.sandboxesMax,
      },
    });
  const teams = ({ caller }: RouteRequest): Response =>
    Response.json([{ teamID: caller.tenant, name: caller.tenant, apiKey: `${caller.keyId}...`, isDefault: true }]);

  const eventsOf = ({ query, caller }: RouteRequest): Response =>
    Response.json(events.list(caller.tenant, undefined, eventsQuery(query)));
  const eventsOfSandbox = ({ query, caller, param }: RouteRequest): Response =>
    Response.json(events.list(caller.tenant, param("sandboxID"), eventsQuery(query)));

  const auditEvents = ({ query }: RouteRequest): Response => {
    const { events: found, total } = audit.list(auditQuery(query));
    return Response.json(found, { headers: { "x-total-count": String(total) } });
  };

  const hook = "/events/webhooks/:webhookID";
  return [
    { method: "GET", path: "/auth/whoami", scope: "read", answer: whoami },
    { method: "GET", path: "/teams", scope: "read", answer: teams },
    { method: "GET", path: "/audit/events", scope: "admin", answer: auditEvents },
    { method: "GET", path: "/events/sandboxes", scope: "read", answer: eventsOf },
    { method: "GET", path: "/events/sandboxes/:sandboxID", scope: "read", answer: eventsOfSandbox },
    {
      method: "GET",
      path: "/events/webhooks",
      scope: "read",
      answer: ({ caller }) => Response.json(webhooks.list(caller.tenant).map(webhookDocument)),
    },
    {
      method: "POST",
      path: "/events/webhooks",
      scope: "exec",
      answer: async (asked) => {
        const webhook = webhooks.add(asked.caller.tenant, await bodyOf(control, asked, webhookBody));
        return Response.json(webhookDocument(webhook), { status: 201 });
      },
    },
    {
      method: "GET",
      path: hook,
      scope: "read",
      answer: ({ caller, param }) => Response.json(webhookDocument(webhooks.find(caller.tenant, param("webhookID")))),
    },
    {
      method: "PATCH",
      path: hook,
      scope: "exec",
      answer: async (asked) => {
        const body = await bodyOf(control, asked, webhookChange);
        return Response.json(webhookDocument(webhooks.change(asked.caller.tenant, asked.param("webhookID"), body)));
      },
    },
    {
      method: "DELETE",
      path: hook,
      scope: "exec",
      answer: ({ caller, param }) => {
        webhooks.remove(caller.tenant, param("webhookID"));
        return noContent();
      },
    },
    {
      method: "GET",
      path: `${hook}/deliveries`,
      scope: "read",
      answer: ({ caller, param, query }) => {
        const limit = limitOf(query.get("limit"), configuration.deliveriesKeptMax, configuration.deliveriesKeptMax);
        return Response.json(webhooks.deliveries(caller.tenant, param("webhookID"), limit));
      },
    },
  ];
}

/** Of E2B's API, and not of this gateway: said plainly instead of as a path that nobody knows. */
export function absentRoutes(): readonly Route[] {
  const answer = (): never => {
    throw new Refusal(501, "this gateway does not offer that");
  };
  const paths = [
    "/volumes",
    "/volumes/*",
    "/volumecontent/*",
    "/secrets",
    "/secrets/*",
    "/v3/templates",
    "/v2/templates/*",
    "/templates/*",
    "/teams/*",
    "/schedules",
    "/schedules/*",
  ];
  const methods = ["GET", "POST", "PUT", "PATCH", "DELETE"] as const;
  return paths.flatMap((path) => methods.map((method): Route => ({ method, path, scope: "read", answer })));
}
