/**
 * Bodies as clients send them, turned into what the gateway works with. Seconds and milliseconds, camelCase and snake_case: Coppice's
 * clients and E2B's both come. A field that asks for something that is not there is refused with 501; unknown fields are ignored.
 */
import { isIP } from "node:net";
import { z } from "zod";
import type { Lifecycle } from "../types.ts";
import type { GatewayConfiguration } from "./configuration.ts";
import { Refusal } from "./refusal.ts";
import type { NetworkRequest, NewSandbox } from "./types.ts";

const ENTRIES_MAX = 256;
const DOCUMENT_MAX_CHARACTERS = 65_536;
const LIST_MAX = 256;
/** Coppice keeps the tenant there; nobody is to think that it could be chosen. */
const RESERVED_METADATA = "coppice_tenant_id";

const seconds = z.number().int().min(0).nullish();
const words = z.array(z.string().max(256)).max(LIST_MAX).nullish();
const texts = z
  .record(z.string().max(1024), z.string())
  .refine((value) => Object.keys(value).length <= ENTRIES_MAX, `has more than ${ENTRIES_MAX} entries`)
  .refine(
    (value) => JSON.stringify(value).length <= DOCUMENT_MAX_CHARACTERS,
    `is longer than ${DOCUMENT_MAX_CHARACTERS} characters`,
  )
  .nullish();
const anything = z.unknown().optional();
const onTimeout = z.union([
  z.enum(["kill", "pause"]),
  z.object({ action: z.enum(["kill", "pause"]) }).transform((one) => one.action),
]);
const enabled = z.union([z.boolean(), z.object({ enabled: z.boolean() }).transform((one) => one.enabled)]);

const egress = { allowOut: words, denyOut: words, rules: anything, egressProxy: anything };

export const timeoutBody = z.object({ timeout: z.number().int().min(0) });
export const refreshBody = z.object({ duration: seconds });
export const connectBody = z.object({ timeout: seconds, memory: z.boolean().nullish() });
export const resumeBody = z.object({ timeout: seconds, autoPause: z.boolean().nullish(), memory: z.boolean().nullish() });
export const pauseBody = z.object({ memory: z.boolean().nullish() });
export const networkBody = z.object({ ...egress, allow_internet_access: z.boolean().nullish() });
export const snapshotBody = z.object({ name: z.string().min(1).max(128).nullish() });
export const forkBody = z.object({ count: z.number().int().min(1).nullish(), timeout: seconds });

export const newSandboxBody = z.object({
  templateID: z.string().min(1).max(256),
  timeout: seconds,
  timeoutSeconds: seconds,
  timeout_seconds: seconds,
  timeoutMs: seconds,
  timeout_ms: seconds,
  metadata: texts.refine((value) => value?.[RESERVED_METADATA] === undefined, `${RESERVED_METADATA} is reserved`),
  envVars: texts,
  allow_internet_access: z.boolean().nullish(),
  network: z
    .object({
      ...egress,
      allowPublicTraffic: z.boolean().nullish(),
      maskRequestHost: z
        .string()
        .max(253)
        .regex(/^[a-z0-9.:${}_-]+$/i, "is not a host name")
        .nullish(),
      httpsPorts: z.array(z.number()).nullish(),
    })
    .nullish(),
  autoPause: z.boolean().nullish(),
  autoPauseMemory: z.boolean().nullish(),
  autoResume: enabled.nullish(),
  onTimeout: onTimeout.nullish(),
  on_timeout: onTimeout.nullish(),
  lifecycle: z
    .object({
      onTimeout: onTimeout.nullish(),
      on_timeout: onTimeout.nullish(),
      autoResume: enabled.nullish(),
      auto_resume: enabled.nullish(),
    })
    .nullish(),
  volumeMounts: z.array(z.unknown()).nullish(),
  iam: anything,
});

type NewSandboxBody = z.infer<typeof newSandboxBody>;

function isSomething(value: unknown): boolean {
  if (value === undefined || value === null) return false;
  return typeof value !== "object" || Object.keys(value).length > 0;
}

/** @throws Refusal 501 */
function mustBeAbsent(fields: Readonly<Record<string, unknown>>): void {
  const asked = Object.keys(fields).find((name) => isSomething(fields[name]));
  if (asked !== undefined) throw new Refusal(501, `${asked} is not offered by this gateway`);
}

/** Memory always goes along: what a client wants to leave behind on purpose would come back. @throws Refusal 501 */
export function mustKeepMemory(memory: boolean | null | undefined, field: string): void {
  if (memory === false) throw new Refusal(501, `${field}: false is not offered: a paused sandbox keeps its memory here`);
}

function isBlock(text: string): boolean {
  const [address, bits, ...rest] = text.split("/");
  const version = isIP(address ?? "");
  if (version === 0 || rest.length > 0) return false;
  return bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) <= (version === 4 ? 32 : 128));
}

function blocks(list: readonly string[] | null | undefined, field: string): readonly string[] | undefined {
  const wrong = list?.find((text) => !isBlock(text));
  if (wrong !== undefined) {
    throw new Refusal(
      400,
      `${field}: ${JSON.stringify(wrong)} is neither an address nor a CIDR block (names are not looked up here)`,
    );
  }
  return list ?? undefined;
}

/** undefined: nothing is said about it. @throws Refusal 400, 501 */
export function networkOf(body: z.infer<typeof networkBody>): NetworkRequest | undefined {
  mustBeAbsent({ "network.rules": body.rules, "network.egressProxy": body.egressProxy });
  const network = {
    allowInternetAccess: body.allow_internet_access ?? undefined,
    allowOut: blocks(body.allowOut, "allowOut"),
    denyOut: blocks(body.denyOut, "denyOut"),
  };
  return Object.values(network).some((value) => value !== undefined) ? network : undefined;
}

/** @throws Refusal 400 */
export function windowMs(
  seconds: number | null | undefined,
  defaultMs: number,
  { timeoutMaxMs }: Pick<GatewayConfiguration, "timeoutMaxMs">,
): number {
  const ms = seconds === undefined || seconds === null ? Math.min(defaultMs, timeoutMaxMs) : seconds * 1000;
  if (ms > timeoutMaxMs) throw new Refusal(400, `the timeout is longer than ${timeoutMaxMs / 1000} seconds`);
  return ms;
}

function lifecycleOf(body: NewSandboxBody): Lifecycle {
  const { lifecycle } = body;
  const said = lifecycle?.onTimeout ?? lifecycle?.on_timeout ?? body.onTimeout ?? body.on_timeout;
  const onTimeout = said ?? (body.autoPause === true ? "pause" : "kill");
  const autoResume = lifecycle?.autoResume ?? lifecycle?.auto_resume ?? body.autoResume ?? false;
  if (autoResume && onTimeout !== "pause")
    throw new Refusal(400, "autoResume takes a sandbox that is paused at its timeout (autoPause)");
  return { onTimeout, autoResume };
}

function environmentOf(given: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  const wrong = Object.entries(given).find(([name, value]) => !/^[A-Za-z_][A-Za-z0-9_]*$/.test(name) || value.includes("\0"));
  if (wrong !== undefined) throw new Refusal(400, `envVars: ${JSON.stringify(wrong[0])} cannot be a variable of the environment`);
  return given;
}

/** @throws Refusal 400, 501 */
export function newSandboxOf(body: NewSandboxBody, defaultMs: number, configuration: GatewayConfiguration): NewSandbox {
  mustBeAbsent({ volumeMounts: body.volumeMounts, iam: body.iam, "network.httpsPorts": body.network?.httpsPorts });
  mustKeepMemory(body.autoPauseMemory, "autoPauseMemory");
  const inMs = body.timeoutMs ?? body.timeout_ms;
  const inSeconds =
    body.timeout ?? body.timeoutSeconds ?? body.timeout_seconds ?? (typeof inMs === "number" ? inMs / 1000 : undefined);
  return {
    timeoutMs: windowMs(inSeconds, defaultMs, configuration),
    lifecycle: lifecycleOf(body),
    metadata: body.metadata ?? {},
    environment: environmentOf(body.envVars ?? {}),
    network: networkOf({ ...body.network, allow_internet_access: body.allow_internet_access }),
    allowPublicTraffic: body.network?.allowPublicTraffic ?? true,
    maskRequestHost: body.network?.maskRequestHost ?? undefined,
  };
}
