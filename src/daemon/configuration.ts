/** What the settings, the keys' file and the command line make of the gateway. */
import type { Garth } from "../app/index.ts";
import { Problem } from "../base/index.ts";
import { type GatewayConfiguration, isLoopback } from "../gateway/index.ts";
import type { Settings } from "./types.ts";

export interface Place {
  readonly address: string;
  readonly port: number;
}

/** "127.0.0.1:8080", "[::1]:8080", ":8080". @throws Problem E_USAGE (exit 2) */
export function readPlace(text: string): Place {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]\s]*)):(\d{1,5})$/.exec(text);
  const port = Number(match?.[3]);
  if (match === null || port > 65_535) {
    throw new Problem({
      code: "E_USAGE",
      message: `${JSON.stringify(text)} is no place to listen at: expected ADDRESS:PORT`,
      hint: "127.0.0.1:3000, [::1]:3000, 0.0.0.0:3000; port 0 takes a free one",
      exit: 2,
    });
  }
  return { address: match[1] ?? (match[2] === "" ? "127.0.0.1" : (match[2] ?? "")), port };
}

/** Readable by its owner alone. @throws Problem E_KEYS_FILE (exit 2) */
export function readKeysFile({ host }: Pick<Garth, "host">, file: string): string {
  if (file === "") return "";
  const refuse = (why: string, hint: string): never => {
    throw new Problem({ code: "E_KEYS_FILE", message: `the file of API keys ${why}`, where: file, hint, exit: 2 });
  };
  const stat = host.files.lstatIfAny(file) ?? refuse("is not there", "the setting gateway.keys_file names it");
  if (stat.type !== "file") refuse("is no ordinary file", "the setting gateway.keys_file names it");
  if ((stat.mode & 0o077) !== 0) refuse("can be read by others", `chmod 600 ${file}`);
  const lines = host.files.readText(file).split("\n");
  return lines.filter((line) => !line.trimStart().startsWith("#")).join("\n");
}

/** "base=debian-12,micro=micro" */
function aliasesOf(text: string): Readonly<Record<string, string>> {
  const pairs = text.split(",").flatMap((pair): readonly (readonly [string, string])[] => {
    const at = pair.indexOf("=");
    return at < 1 ? [] : [[pair.slice(0, at), pair.slice(at + 1)]];
  });
  return Object.fromEntries(pairs);
}

export interface Wanted {
  readonly settings: Settings;
  readonly keys: string;
  readonly place: Place;
  readonly open: boolean;
}

/** `ownerKey` is what comes by the Unix socket: of the tenant that a gateway without keys has for everybody. */
export function gatewayConfiguration({ settings, keys, place, open }: Wanted, ownerKey: string): Partial<GatewayConfiguration> {
  return {
    domain: settings.gatewayDomain === "" ? undefined : settings.gatewayDomain,
    open,
    listenAddress: place.address,
    apiKeys: `${keys}\nlocal:${ownerKey}:admin`,
    tenantLimits: settings.gatewayTenantLimits,
    aliases: aliasesOf(settings.gatewayAliases),
  };
}

/** Keys travel as they are: to other machines only under somebody's TLS. */
export function isExposed({ address }: Place): boolean {
  return !isLoopback(address);
}
