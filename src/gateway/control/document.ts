/** Sandboxes as E2B's API shows them. */
import type { Usage } from "../../pool/index.ts";
import { ENVD_VERSION } from "../envd/index.ts";
import type { SandboxRecord } from "./types.ts";

/** Deprecated, and still required. */
const CLIENT_ID = "garth";

function time(ms: number): string {
  return new Date(ms).toISOString();
}

export function sandboxDocument(record: SandboxRecord, domain: string | undefined): Record<string, unknown> {
  return {
    templateID: record.template,
    sandboxID: record.id,
    clientID: CLIENT_ID,
    envdVersion: ENVD_VERSION,
    // Always: without it a signed URL would carry no signature, and nothing would tell whose file it is.
    envdAccessToken: record.envdAccessToken,
    trafficAccessToken: record.trafficAccessToken,
    domain: domain ?? null,
    ...(record.alias === undefined ? {} : { alias: record.alias }),
  };
}

export function listedDocument(record: SandboxRecord): Record<string, unknown> {
  return {
    templateID: record.template,
    sandboxID: record.id,
    clientID: CLIENT_ID,
    envdVersion: ENVD_VERSION,
    ...(record.alias === undefined ? {} : { alias: record.alias }),
    startedAt: time(record.startedAtMs),
    // A paused sandbox has no end; the field is required, so it says when its last window closed.
    endAt: time(record.endAtMs ?? record.pausedAtMs ?? record.startedAtMs),
    state: record.state,
    cpuCount: record.cpuCount,
    memoryMB: record.memoryMiB,
    diskSizeMB: record.diskMiB,
    metadata: record.metadata,
    volumeMounts: [],
  };
}

export function detailDocument(record: SandboxRecord, domain: string | undefined): Record<string, unknown> {
  const { policy } = record;
  return {
    ...listedDocument(record),
    envdAccessToken: record.envdAccessToken,
    domain: domain ?? null,
    allowInternetAccess: policy.allowInternetAccess,
    network: {
      allowOut: policy.allowOut,
      denyOut: policy.denyOut,
      allowPublicTraffic: record.allowPublicTraffic,
      ...(record.maskRequestHost === undefined ? {} : { maskRequestHost: record.maskRequestHost }),
    },
    lifecycle: { onTimeout: record.lifecycle.onTimeout, autoResume: record.lifecycle.autoResume },
  };
}

export function metricDocument(usage: Usage): Record<string, unknown> {
  return {
    timestamp: time(usage.atMs),
    timestampUnix: Math.floor(usage.atMs / 1000),
    cpuUsedPct: usage.cpuUsedPct,
    cpuCount: usage.cpuCount,
    memUsed: usage.memoryUsedBytes,
    memTotal: usage.memoryTotalBytes,
    // The hypervisor cannot tell what the guest holds as a cache.
    memCache: 0,
    diskUsed: usage.diskUsedBytes,
    diskTotal: usage.diskTotalBytes,
  };
}
