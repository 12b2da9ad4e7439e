/** Arithmetic of addresses, held against the runtime's own (node:net's BlockList). */
import { expect, test } from "bun:test";
import { BlockList } from "node:net";
import fc from "fast-check";
import { thrownProblem } from "../base/testing.ts";
import {
  contains,
  formatAddress,
  formatBlock,
  gatewayAddress,
  machineAddresses,
  mergeBlocks,
  prefixLength,
  readAddress,
  readBlock,
} from "./address.ts";

const address = fc.nat({ max: 2 ** 32 - 1 });
const block = fc.tuple(address, fc.nat({ max: 32 })).map(([first, prefix]) => `${formatAddress(first)}/${prefix}`);

test("addresses survive a round trip, and nothing else is one", () => {
  fc.assert(fc.property(address, (number) => readAddress(formatAddress(number)) === number));
  for (const text of [
    "",
    "1.2.3",
    "1.2.3.4.5",
    "1.2.3.256",
    "01.2.3.4",
    "1.2.3.4 ",
    "::1",
    "example.org",
    "1.2.3.-4",
    "1e1.2.3.4",
  ])
    expect([text, readAddress(text)]).toEqual([text, undefined]);
  for (const text of ["1.2.3.4/33", "1.2.3.4/", "1.2.3.4/8/8", "1.2.3.4/08", "/8", "1.2.3.4/-1", "example.org/24"])
    expect([text, readBlock(text)]).toEqual([text, undefined]);
});

test("a block holds what the runtime's block list says it holds", () => {
  fc.assert(
    fc.property(block, address, fc.integer({ min: -2, max: 2 }), (text, far, near) => {
      const [base = "", prefix = ""] = text.split("/");
      const theirs = new BlockList();
      theirs.addSubnet(base, Number(prefix));
      const edge = (readBlock(text)?.last ?? 0) + near;
      const candidates = [far, edge].filter((one) => one >= 0 && one < 2 ** 32).map(formatAddress);
      return candidates.every((one) => contains(text, one) === theirs.check(one));
    }),
  );
});

test("merged blocks hold the same addresses, in order, with a gap between any two", () => {
  fc.assert(
    fc.property(fc.array(block, { maxLength: 12 }), address, (texts, probe) => {
      const blocks = texts.flatMap((text) => readBlock(text) ?? []);
      const merged = mergeBlocks(blocks);
      const holds = (all: typeof merged, one: number) => all.some(({ first, last }) => first <= one && one <= last);
      const probes = [probe, ...blocks.flatMap(({ first, last }) => [first - 1, first, last, last + 1])];
      return (
        probes.every((one) => holds(blocks, one) === holds(merged, one)) &&
        merged.every((one, index) => index === 0 || one.first > (merged[index - 1]?.last ?? 0) + 1)
      );
    }),
  );
});

test("blocks are written as the kernel's tools read them", () => {
  const written = (...texts: string[]) => mergeBlocks(texts.flatMap((text) => readBlock(text) ?? [])).map(formatBlock);
  expect(written("0.0.0.0/0", "10.0.0.0/8")).toEqual(["0.0.0.0/0"]);
  expect(written("10.0.0.1", "10.0.0.0", "10.0.1.0/24", "10.0.0.5/32")).toEqual(["10.0.0.0/31", "10.0.0.5", "10.0.1.0/24"]);
  expect(written("10.0.0.1", "10.0.0.2")).toEqual(["10.0.0.1-10.0.0.2"]);
});

test("machines have .50 to the last but five, the gateway the first", () => {
  const addresses = machineAddresses("10.77.0.0/24");
  expect([addresses.at(0), addresses.at(-1), addresses.length]).toEqual(["10.77.0.50", "10.77.0.249", 200]);
  expect(gatewayAddress("10.77.0.0/24")).toBe("10.77.0.1");
  expect(prefixLength("10.77.0.0/24")).toBe(24);
  expect(machineAddresses("192.168.7.64/26")).toEqual([
    "192.168.7.114",
    "192.168.7.115",
    "192.168.7.116",
    "192.168.7.117",
    "192.168.7.118",
    "192.168.7.119",
    "192.168.7.120",
    "192.168.7.121",
  ]);
  expect(machineAddresses("10.8.0.0/16").at(-1)).toBe("10.8.255.249");
});

test.each([
  ["10.77.0.0", "ADDRESS/PREFIX"],
  ["10.77.0.1/24", "begins at 10.77.0.0"],
  ["10.77.0.0/27", "from 16 to 26"],
  ["10.0.0.0/8", "from 16 to 26"],
  ["127.0.0.0/24", "cannot have"],
  ["224.0.0.0/24", "cannot have"],
  ["fd77::/64", "ADDRESS/PREFIX"],
])("%s is no subnet of a pool", (subnet, why) => {
  const problem = thrownProblem(() => machineAddresses(subnet));
  expect([problem.code, problem.exit]).toEqual(["E_BAD_SUBNET", 2]);
  expect(problem.message).toContain(why);
});
