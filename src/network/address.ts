/** IPv4 addresses and blocks of them, as numbers. Pure. IPv6 has no place in a pool's network: every variant drops it. */
import { Problem } from "../base/index.ts";

/** A block of addresses: both ends included. */
export interface Block {
  readonly first: number;
  readonly last: number;
  /** undefined where it is no CIDR block: the union of several. */
  readonly prefix: number | undefined;
}

const OCTET = "(?:0|[1-9]\\d{0,2})";
const ADDRESS = new RegExp(`^${OCTET}(?:\\.${OCTET}){3}$`);

/** undefined for what is no address: names, leading zeros (octal to some readers), fewer than four numbers. */
export function readAddress(text: string): number | undefined {
  if (!ADDRESS.test(text)) return undefined;
  const octets = text.split(".").map(Number);
  if (octets.some((octet) => octet > 255)) return undefined;
  return octets.reduce((all, octet) => all * 256 + octet, 0);
}

export function formatAddress(address: number): string {
  return [24, 16, 8, 0].map((shift) => (address >>> shift) & 255).join(".");
}

/** "10.77.0.0/24", or one address. undefined for anything else; bits behind the prefix are cleared, as pf and nft do. */
export function readBlock(text: string): Block | undefined {
  const [addressText = "", prefixText, ...more] = text.split("/");
  const address = readAddress(addressText);
  if (address === undefined || more.length > 0) return undefined;
  if (prefixText === undefined) return { first: address, last: address, prefix: 32 };
  if (!/^(?:0|[1-9]\d?)$/.test(prefixText) || Number(prefixText) > 32) return undefined;
  const prefix = Number(prefixText);
  const size = 2 ** (32 - prefix);
  const first = address - (address % size);
  return { first, last: first + size - 1, prefix };
}

/** As nft(8) and pf.conf(5) take it: an address, a CIDR block, or both ends. */
export function formatBlock({ first, last, prefix }: Block): string {
  if (first === last) return formatAddress(first);
  return prefix === undefined ? `${formatAddress(first)}-${formatAddress(last)}` : `${formatAddress(first)}/${prefix}`;
}

/** In order, none of them touching another: sets of the kernel refuse blocks that overlap. */
export function mergeBlocks(blocks: readonly Block[]): readonly Block[] {
  const merged: Block[] = [];
  for (const block of blocks.toSorted((a, b) => a.first - b.first || b.last - a.last)) {
    const before = merged.at(-1);
    if (before === undefined || block.first > before.last + 1) merged.push(block);
    else if (block.last > before.last) merged[merged.length - 1] = { first: before.first, last: block.last, prefix: undefined };
  }
  return merged.map(({ first, last }) => ({ first, last, prefix: prefixOf(first, last) }));
}

function prefixOf(first: number, last: number): number | undefined {
  const size = last - first + 1;
  const prefix = 32 - Math.log2(size);
  return Number.isInteger(prefix) && first % size === 0 ? prefix : undefined;
}

/** A smaller one has no addresses for machines; a larger one would list 65,000 of them. */
const PREFIX_MIN = 16;
const PREFIX_MAX = 26;
/** The first machine is network + 50; behind the last one are six addresses, the last of them for broadcasts. */
const FIRST_MACHINE = 50;
const BEHIND_LAST_MACHINE = 6;

/** @throws Problem E_BAD_SUBNET (exit 2) */
function subnetBlock(subnet: string): Block & { readonly prefix: number } {
  const block = readBlock(subnet);
  const refuse = (why: string): Problem =>
    new Problem({
      code: "E_BAD_SUBNET",
      message: `${JSON.stringify(subnet)} is not the subnet of a pool: ${why}`,
      hint: 'a private block from /16 to /26, such as "10.77.0.0/24"',
      exit: 2,
    });
  if (block?.prefix === undefined || !subnet.includes("/")) throw refuse("it is not written as ADDRESS/PREFIX");
  if (!subnet.startsWith(`${formatAddress(block.first)}/`)) throw refuse(`the block begins at ${formatAddress(block.first)}`);
  if (block.prefix < PREFIX_MIN || block.prefix > PREFIX_MAX)
    throw refuse(`its prefix is not from ${PREFIX_MIN} to ${PREFIX_MAX}`);
  const top = block.first / 2 ** 24;
  if (top < 1 || top >= 224 || Math.trunc(top) === 127) throw refuse("machines cannot have such addresses");
  return { ...block, prefix: block.prefix };
}

/** @throws Problem E_BAD_SUBNET (exit 2) */
export function prefixLength(subnet: string): number {
  return subnetBlock(subnet).prefix;
}

/** The first address: the bridge's. @throws Problem E_BAD_SUBNET (exit 2) */
export function gatewayAddress(subnet: string): string {
  return formatAddress(subnetBlock(subnet).first + 1);
}

/** The addresses that machines get, in order: .50 to .249 of a /24. @throws Problem E_BAD_SUBNET (exit 2) */
export function machineAddresses(subnet: string): readonly string[] {
  const { first, last } = subnetBlock(subnet);
  const from = first + FIRST_MACHINE;
  return Array.from({ length: last - BEHIND_LAST_MACHINE - from + 1 }, (_, index) => formatAddress(from + index));
}

/** Whether a block, or a single address, holds an address. false where one of them is neither. */
export function contains(block: string, address: string): boolean {
  const [outer, inner] = [readBlock(block), readAddress(address)];
  return outer !== undefined && inner !== undefined && outer.first <= inner && inner <= outer.last;
}
