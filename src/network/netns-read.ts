/** What ip(8) and nft(8) print as JSON, as far as it is used. Pure. */
import type { Port } from "./types.ts";

export interface Link {
  readonly name: string;
  readonly up: boolean;
  readonly alias: string | undefined;
}

type Json = Readonly<Record<string, unknown>>;

function isObject(value: unknown): value is Json {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** ip(8) prints nothing where there is nothing to list. */
function objects(text: string): readonly Json[] {
  const parsed: unknown = text.trim() === "" ? [] : JSON.parse(text);
  return Array.isArray(parsed) ? parsed.filter(isObject) : [];
}

const textOf = (value: unknown): string | undefined => (typeof value === "string" ? value : undefined);

export function linksOf(text: string): readonly Link[] {
  return objects(text).flatMap((link) => {
    const name = textOf(link["ifname"]);
    const { flags } = link;
    return name === undefined ? [] : [{ name, up: Array.isArray(flags) && flags.includes("UP"), alias: textOf(link["ifalias"]) }];
  });
}

/** IPv4 addresses of every interface. */
export function addressesOf(text: string): readonly string[] {
  return objects(text).flatMap((link) => {
    const info = link["addr_info"];
    return Array.isArray(info) ? info.filter(isObject).flatMap((one) => textOf(one["local"]) ?? []) : [];
  });
}

export function isDefaultRoute(text: string, device: string): boolean {
  return objects(text).some((route) => route["dst"] === "default" && route["dev"] === device);
}

function nftObjects(text: string): readonly Json[] {
  const parsed: unknown = JSON.parse(text);
  const list = isObject(parsed) ? parsed["nftables"] : undefined;
  return Array.isArray(list) ? list.filter(isObject) : [];
}

export function tablesOf(text: string): readonly string[] {
  return nftObjects(text).flatMap(({ table }) => (isObject(table) ? (textOf(table["name"]) ?? []) : []));
}

/** Of the set `bound`: what the interface may say it is. */
export function boundPort(text: string, name: string): Port | undefined {
  const elements = nftObjects(text).flatMap(({ set }) => (isObject(set) && Array.isArray(set["elem"]) ? set["elem"] : []));
  for (const element of elements) {
    const parts = isObject(element) ? element["concat"] : undefined;
    if (!Array.isArray(parts) || parts[0] !== name) continue;
    const [mac, address] = [textOf(parts[1]), textOf(parts[2])];
    if (mac !== undefined && address !== undefined) return { interface: name, mac, address };
  }
  return undefined;
}
