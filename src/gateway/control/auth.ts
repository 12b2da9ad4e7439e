/** Who asks, and whether they may. */
import { isLoopback } from "./configuration.ts";
import type { KeyRing } from "./keys.ts";
import { Refusal } from "./refusal.ts";
import type { Caller, Scope } from "./types.ts";

/** Everybody, where the gateway is open. */
export const LOCAL: Caller = {
  tenant: "local",
  scopes: ["admin"],
  keyId: "open",
  sandboxesMax: undefined,
  expiresAtMs: undefined,
};

const KEY_MAX_CHARACTERS = 256;

function keyIn(headers: Headers): string | undefined {
  const direct = headers.get("x-api-key");
  if (direct !== null && direct !== "") return direct;
  return /^Bearer +(\S+)$/i.exec(headers.get("authorization") ?? "")?.[1];
}

/** @throws Refusal 401 */
export function callerOf(headers: Headers, ring: KeyRing, open: boolean, nowMs: number): Caller {
  const key = keyIn(headers);
  if (key === undefined) {
    if (open) return LOCAL;
    throw new Refusal(401, "no API key: send it as X-API-KEY, or as Authorization: Bearer");
  }
  const caller = key.length > KEY_MAX_CHARACTERS ? undefined : ring.find(key);
  if (caller === undefined) {
    if (open) return LOCAL;
    throw new Refusal(401, "the API key is not one of this gateway");
  }
  if (caller.expiresAtMs !== undefined && caller.expiresAtMs <= nowMs) throw new Refusal(401, "the API key has expired");
  return caller;
}

/** admin may do everything, exec may read what it works with. */
export function may(caller: Caller, scope: Scope): boolean {
  const { scopes } = caller;
  return scopes.includes(scope) || scopes.includes("admin") || (scope === "read" && scopes.includes("exec"));
}

/** @throws Refusal 403 */
export function mustHave(caller: Caller, scope: Scope): void {
  if (!may(caller, scope))
    throw new Refusal(403, `the API key has the scope ${caller.scopes.join(" and ")}, and this takes ${scope}`);
}

/**
 * Without keys anybody on this machine may ask, but no web page that happens to be open on it: neither from another origin, nor by a
 * name of its own that it lets point here.
 *
 * @throws Refusal 403
 */
export function mustBeLocal(headers: Headers, peer: string | undefined, domain: string | undefined): void {
  const named = (text: string): string => text.toLowerCase().replace(/:\d+$/, "");
  const host = named(headers.get("host") ?? "localhost");
  const ours = (name: string): boolean =>
    isLoopback(name) ||
    name.endsWith(".localhost") ||
    (domain !== undefined && (name === named(domain) || name.endsWith(`.${named(domain)}`)));
  if (peer !== undefined && !isLoopback(peer)) throw new Refusal(403, "a gateway without keys serves this machine alone");
  if (!ours(host)) throw new Refusal(403, "a gateway without keys is reached by a name of this machine alone");
  const origin = headers.get("origin");
  if (origin === null) return;
  if (!URL.canParse(origin) || !ours(named(new URL(origin).host)))
    throw new Refusal(403, "a gateway without keys serves no other site's pages");
}
