/** Every number and name that an operator may change, and what holds when nobody did. */
import { Problem } from "../../base/index.ts";

export interface GatewayConfiguration {
  /** "sbx.example.org" or "sbx.localhost:3000": sandboxes are `<port>-<id>.<domain>`. undefined: clients are told none. */
  readonly domain: string | undefined;
  /** Serves without keys; whoever reaches it is the tenant "local". Only where it listens on loopback. */
  readonly open: boolean;
  /** Where it listens, for the check of `open`. */
  readonly listenAddress: string;
  /** `tenant:key:scope|scope[:max]`, separated by commas, blanks or lines. */
  readonly apiKeys: string;
  /** Sandboxes of a tenant at once: `a=2,*=4`. */
  readonly tenantLimits: string;
  /** Names of templates that clients ask for, and the pools that stand for them. */
  readonly aliases: Readonly<Record<string, string>>;
  /** When nothing was said: POST /sandboxes and POST /v2/sandboxes. */
  readonly timeoutV1Ms: number;
  readonly timeoutV2Ms: number;
  /** The longest window that may be asked for. */
  readonly timeoutMaxMs: number;
  /** Of all tenants together. */
  readonly sandboxesMax: number;
  /** Machines that are being checked out at once; more get 429. */
  readonly creatingMax: number;
  /** A checkout that takes longer is given up. */
  readonly createTimeoutMs: number;
  /** Snapshots of a tenant that are shown; more get 403. */
  readonly snapshotsPerTenantMax: number;
  /** Sandboxes that one fork makes. */
  readonly forkMax: number;
  /** Requests that wait for one sandbox's turn; more get 429. */
  readonly waitingMax: number;
  /** Requests to ports of one sandbox at once; each is a connection of its own. More get 429. */
  readonly portConnectionsMax: number;
  /** JSON bodies of the control plane; longer ones get 413. */
  readonly bodyMaxBytes: number;
  /** Until a JSON body has arrived whole; 408 then. */
  readonly bodyTimeoutMs: number;
  /** Between two looks at every machine. */
  readonly sweepMs: number;
  /** Kept of each sandbox's usage: one figure every `sampleMs`. */
  readonly samplesMax: number;
  readonly sampleMs: number;
  /** Of the audit log in memory, and of its file and the file before it together. */
  readonly auditMax: number;
  readonly auditFileBytes: number;
  /** Of the life of sandboxes, kept in the ledger. */
  readonly eventsMax: number;
  readonly webhooksPerTenantMax: number;
  /** Deliveries that wait or are under way; more are dropped, and counted. */
  readonly deliveriesWaitingMax: number;
  /** Deliveries remembered for each webhook. */
  readonly deliveriesKeptMax: number;
  /** Before the second attempt, the third, ...: one attempt more than there are numbers. */
  readonly webhookBackoffMs: readonly number[];
  readonly webhookTimeoutMs: number;
  /** Lets webhooks go to addresses that only this machine or its network knows. */
  readonly webhooksPrivate: boolean;
}

const DEFAULTS: GatewayConfiguration = {
  domain: undefined,
  open: false,
  listenAddress: "127.0.0.1",
  apiKeys: "",
  tenantLimits: "",
  aliases: {},
  timeoutV1Ms: 15_000,
  timeoutV2Ms: 300_000,
  timeoutMaxMs: 24 * 3_600_000,
  sandboxesMax: 1000,
  creatingMax: 64,
  createTimeoutMs: 180_000,
  snapshotsPerTenantMax: 100,
  forkMax: 20,
  waitingMax: 64,
  portConnectionsMax: 128,
  bodyMaxBytes: 1024 * 1024,
  bodyTimeoutMs: 30_000,
  sweepMs: 5000,
  samplesMax: 120,
  sampleMs: 15_000,
  auditMax: 2048,
  auditFileBytes: 16 * 1024 * 1024,
  eventsMax: 10_000,
  webhooksPerTenantMax: 32,
  deliveriesWaitingMax: 1000,
  deliveriesKeptMax: 100,
  webhookBackoffMs: [1000, 5000, 25_000],
  webhookTimeoutMs: 10_000,
  webhooksPrivate: false,
};

/** 127.0.0.0/8, ::1 and their name. */
export function isLoopback(address: string): boolean {
  const bare = address.replace(/^\[|\]$/g, "").replace(/^::ffff:/i, "");
  return bare === "::1" || bare.toLowerCase() === "localhost" || /^127(?:\.\d{1,3}){3}$/.test(bare);
}

/** @throws Problem E_GATEWAY_SETTING, E_GATEWAY_OPEN (exit 2) */
export function configured(changes: Partial<GatewayConfiguration> = {}): GatewayConfiguration {
  const configuration = { ...DEFAULTS, ...changes };
  if (configuration.open && !isLoopback(configuration.listenAddress)) {
    throw new Problem({
      code: "E_GATEWAY_OPEN",
      message: `a gateway without keys was to listen on ${configuration.listenAddress}`,
      hint: "let it listen on 127.0.0.1, or make keys",
      exit: 2,
    });
  }
  if (configuration.domain !== undefined && !/^[a-z0-9.-]+(?::\d{1,5})?$/i.test(configuration.domain)) {
    throw new Problem({
      code: "E_GATEWAY_SETTING",
      message: `${JSON.stringify(configuration.domain)} is not a domain`,
      hint: "a name, with a port where it is another one than 443: sbx.localhost:3000",
      exit: 2,
    });
  }
  return configuration;
}

/** Sandboxes of a tenant: its own line, or that of `*`; undefined: nothing is said. @throws Problem E_GATEWAY_SETTING (exit 2) */
export function tenantLimits(text: string): (tenant: string) => number | undefined {
  const limits = new Map<string, number>();
  for (const part of text.split(/[\s,]+/).filter((word) => word !== "")) {
    const match = /^([^=]+)=(\d{1,6})$/.exec(part);
    if (match?.[1] === undefined) {
      throw new Problem({
        code: "E_GATEWAY_SETTING",
        message: `${JSON.stringify(part)} is not the limit of a tenant`,
        hint: "tenants and numbers, * for all others: acme=2,*=4",
        exit: 2,
      });
    }
    limits.set(match[1], Number(match[2]));
  }
  return (tenant) => limits.get(tenant) ?? limits.get("*");
}
