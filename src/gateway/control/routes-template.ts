/** Snapshots, and what clients call templates: the pools and their aliases. Templates are made by the operator, not over the API. */
import { snapshotSandbox } from "./branch.ts";
import type { Control } from "./context.ts";
import { ENVD_VERSION } from "../envd/index.ts";
import { collectSnapshots } from "./life.ts";
import { pageOf, pageQuery } from "./list.ts";
import { Refusal } from "./refusal.ts";
import { bodyOf, noContent, type Route, type RouteRequest, sandboxOf } from "./routes.ts";
import { isCalled, type SnapshotRecord, snapshotName } from "./snapshots.ts";
import { snapshotBody } from "./wire.ts";

const MIB = 1024 * 1024;

function snapshotDocument({ id, name }: SnapshotRecord): Readonly<Record<string, unknown>> {
  return { snapshotID: id, names: name === undefined ? [] : [name] };
}

export function templateRoutes(control: Control): readonly Route[] {
  const { pools, snapshots, configuration, diskMiB } = control;

  const snapshot = async (asked: RouteRequest): Promise<Response> => {
    const live = sandboxOf(control, asked);
    const { name } = await bodyOf(control, asked, snapshotBody);
    const { tenant } = live.record;
    const { snapshotsPerTenantMax } = configuration;
    if (snapshots.list(tenant).length >= snapshotsPerTenantMax) {
      throw new Refusal(403, `${tenant} has ${snapshotsPerTenantMax} snapshots, and no more`);
    }
    const called = name === undefined || name === null ? undefined : snapshotName(name);
    return Response.json(snapshotDocument(await snapshotSandbox(control, live, called)), { status: 201 });
  };

  const listSnapshots = ({ query, caller }: RouteRequest): Response => {
    const [sandbox, name] = [query.get("sandboxID") || undefined, query.get("name") || undefined];
    const found = snapshots
      .list(caller.tenant)
      .filter((one) => (name === undefined || isCalled(one, name)) && (sandbox === undefined || one.sandbox === sandbox));
    const { items, nextToken } = pageOf(found, ({ createdAtMs, id }) => ({ atMs: createdAtMs, id }), pageQuery(query));
    return Response.json(items.map(snapshotDocument), { headers: nextToken === undefined ? {} : { "x-next-token": nextToken } });
  };

  const remove = ({ caller, param }: RouteRequest): Response => {
    const id = param("templateID");
    const found = snapshots.find(caller.tenant, id);
    if (found !== undefined && snapshots.hide(caller.tenant, found.id)) {
      collectSnapshots(control);
      return noContent();
    }
    if (pools.pools().some(({ name }) => name === id) || Object.hasOwn(configuration.aliases, id)) {
      throw new Refusal(403, "this template belongs to the operator of the gateway");
    }
    throw new Refusal(404, "the template was not found");
  };

  const aliasesOf = (pool: string): readonly string[] =>
    Object.entries(configuration.aliases).flatMap(([alias, name]) => (name === pool ? [alias] : []));

  const list = (): Response =>
    Response.json(
      pools.pools().map((pool) => {
        const entry = pools.list(pool.name).at(0);
        const time = new Date(pool.createdAtMs).toISOString();
        const names = [pool.name, ...aliasesOf(pool.name)];
        return {
          templateID: pool.name,
          buildID: pool.templateDigest,
          buildStatus: "ready",
          buildCount: pool.generation,
          cpuCount: pool.cpus ?? entry?.cpus ?? 0,
          memoryMB: Math.round((pool.memoryBytes ?? entry?.memoryBytes ?? 0) / MIB),
          diskSizeMB: diskMiB.get(pool.name) ?? 0,
          public: true,
          aliases: aliasesOf(pool.name),
          names,
          createdAt: time,
          updatedAt: time,
          createdBy: null,
          lastSpawnedAt: null,
          spawnCount: 0,
          envdVersion: ENVD_VERSION,
        };
      }),
    );

  const alias = ({ param }: RouteRequest): Response => {
    const name = param("alias");
    const { aliases } = configuration;
    const pool = Object.hasOwn(aliases, name) ? aliases[name] : name;
    if (!pools.pools().some((one) => one.name === pool)) throw new Refusal(404, "the alias was not found");
    return Response.json({ templateID: pool, public: true });
  };

  return [
    { method: "POST", path: "/sandboxes/:sandboxID/snapshots", scope: "exec", answer: snapshot },
    { method: "GET", path: "/snapshots", scope: "read", answer: listSnapshots },
    { method: "GET", path: "/templates", scope: "read", answer: list },
    { method: "GET", path: "/v2/templates", scope: "read", answer: list },
    { method: "GET", path: "/templates/aliases/:alias", scope: "read", answer: alias },
    { method: "DELETE", path: "/templates/:templateID", scope: "exec", answer: remove },
  ];
}
