/** The rows of pools: nothing is handed out twice, by however many processes; addresses and numbers are each machine's own. */
import { afterAll, expect, test } from "bun:test";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { problemOf } from "../base/testing.ts";
import { localHost } from "../host/index.ts";
import { openLedger } from "../ledger/index.ts";
import { machineAddresses } from "../network/index.ts";
import { type NewEntry, Records } from "./records.ts";
import { POOL_MIGRATION } from "./schema.ts";
import { poolSpec } from "./testing.ts";

const host = localHost();
const directory = fs.mkdtempSync(`${tmpdir()}/garth-records-`);
afterAll(() => host.files.removeTree(directory));
let databases = 0;

function open(file?: string) {
  databases += 1;
  const path = file ?? `${directory}/${databases}.db`;
  const ledger = openLedger(path, [POOL_MIGRATION]);
  return {
    path,
    ledger,
    records: new Records(
      ledger,
      () => 5,
      () => undefined,
    ),
    close: () => ledger.close(),
  };
}

const fresh: NewEntry = {
  pool: "micro",
  template: "micro",
  generation: 1,
  owner: "me",
  from: "snapshot",
  snapshot: undefined,
  holder: undefined,
  memoryBytes: 1,
  cpus: 1,
  policy: poolSpec().policy,
};
const place = (subnet = "10.77.0.0/24") => ({
  addresses: machineAddresses(subnet),
  subnet,
  directoryOf: (id: string) => `/x/${id}`,
});

test("numbers are never used again, addresses only when all others were", () => {
  const { records, close } = open();
  records.putPool(poolSpec(), "d");
  const first = records.add(fresh, place());
  records.remove(first.id);
  const second = records.add(fresh, place());
  expect([first.id, second.id]).toEqual(["micro-1", "micro-2"]);
  expect([first.address, second.address]).toEqual(["10.77.0.50", "10.77.0.51"]);
  expect(second.mac).toBe("52:54:0a:4d:00:33");
  close();
});

test("a subnet that is full is said so, and nothing is left of the attempt", async () => {
  const { records, close } = open();
  records.putPool(poolSpec(), "d");
  const small = place("10.77.0.0/26");
  for (const _ of small.addresses) records.add(fresh, small);
  const before = records.list().length;
  const problem = await problemOf(Promise.resolve().then(() => records.add(fresh, small)));
  expect(problem.code).toBe("E_ADDRESSES_EXHAUSTED");
  expect(problem.hint).toContain("--subnet");
  expect(records.list()).toHaveLength(before);
  expect(new Set(records.list().map(({ address }) => address)).size).toBe(before);
  close();
});

test("a state is left once: the second who moves an entry hears that it went", () => {
  const { records, close } = open();
  records.putPool(poolSpec(), "d");
  const { id } = records.add(fresh, place());
  expect(records.move(id, ["preparing"], "booting")?.state).toBe("booting");
  expect(records.move(id, ["preparing"], "booting")).toBeUndefined();
  expect(() => records.move(id, ["booting"], "in-use")).toThrow("from booting to in-use");
  records.move(id, ["booting"], "warming", { process: "boot:77:1", ssh: { address: "127.0.0.1", port: 4022 } });
  const row = records.move(id, ["warming"], "available");
  expect(row).toMatchObject({ pid: 77, ssh: { address: "127.0.0.1", port: 4022 }, state: "available" });
  close();
});

test("a holder has one machine, and hears which", async () => {
  const { records, close } = open();
  records.putPool(poolSpec(), "d");
  const { id } = records.add({ ...fresh, holder: "somebody" }, place());
  const refused = async (work: () => unknown) => await problemOf(Promise.resolve().then(work));
  for (const again of [() => records.add({ ...fresh, holder: "somebody" }, place()), () => records.claim("micro", 1, "somebody")])
    expect(await refused(again)).toMatchObject({ code: "E_ALREADY_HELD", exit: 2, message: expect.stringContaining(id) });
  expect(records.list()).toHaveLength(1);
  expect(records.claim("micro", 1, "somebody else")).toBeUndefined();
  close();
});

test("another template is another generation; another size is not", () => {
  const { records, close } = open();
  expect(records.putPool(poolSpec(), "a").generation).toBe(1);
  expect(records.putPool(poolSpec({ size: 9 }), "a").generation).toBe(1);
  expect(records.putPool(poolSpec({ size: 9 }), "b").generation).toBe(2);
  expect(records.putPool(poolSpec({ size: 9, memoryBytes: 512 * 1024 ** 2 }), "b").generation).toBe(3);
  close();
});

test("eight processes that claim from one pool get each machine once, and all of them", async () => {
  const { path, records, close } = open();
  records.putPool(poolSpec(), "d");
  const MACHINES = 100;
  for (let index = 0; index < MACHINES; index += 1) {
    const { id } = records.add(fresh, place());
    records.move(id, ["preparing"], "booting");
    records.move(id, ["booting"], "warming");
    records.move(id, ["warming"], "available");
  }
  const program = `
    import { openLedger } from ${JSON.stringify(`${import.meta.dir}/../ledger/index.ts`)};
    import { Records } from ${JSON.stringify(`${import.meta.dir}/records.ts`)};
    import { POOL_MIGRATION } from ${JSON.stringify(`${import.meta.dir}/schema.ts`)};
    const records = new Records(openLedger(process.argv[2], [POOL_MIGRATION]), () => 5, () => undefined);
    for (let number = 0; ; number += 1) {
      const row = records.claim("micro", 1, process.argv[3] + "-" + number);
      if (row === undefined) break;
      console.log(row.id);
    }`;
  fs.writeFileSync(`${directory}/claim.ts`, program);
  const claims = await Promise.all(
    Array.from({ length: 8 }, async (_, index) => {
      const done = await host.run({ argv: [process.execPath, `${directory}/claim.ts`, path, `p${index}`] });
      return done
        .text()
        .split("\n")
        .filter((line) => line !== "");
    }),
  );
  const all = claims.flat();
  expect(all).toHaveLength(MACHINES);
  expect(new Set(all).size).toBe(MACHINES);
  expect(records.list().every(({ state, holder }) => state === "in-use" && holder !== undefined)).toBe(true);
  close();
});
