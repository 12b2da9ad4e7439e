/** Seed disks, against mtools, dosfstools, sfdisk, sgdisk and a shell. */
import { afterAll, describe, expect, test } from "bun:test";
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { thrownProblem } from "../base/testing.ts";
import { readAtOf, readFat, readMbr, readRuns } from "../formats/index.ts";
import { seedDisk, type SeedFields, seedFiles } from "./seed.ts";
import { SEED, SEED_PRIVATE_KEY } from "./seed.testing.ts";

const scratch = mkdtempSync(join(tmpdir(), "garth-seed-"));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));
const run = (tool: string, ...args: readonly string[]): string => execFileSync(tool, args, { encoding: "utf8" });
const textOf = (name: string, fields: SeedFields = SEED): string =>
  seedFiles(fields).find((one) => one.name === name)?.text ?? "";

const NAMES = ["coppice-authorized-key.pub", "coppice-instance.env", "meta-data", "network-config", "user-data"];

/** Names and texts, by our own reader. */
function readBack(disk: Uint8Array): Readonly<Record<string, string>> {
  const [partition] = readMbr(readAtOf(disk))?.partitions ?? [];
  if (partition === undefined) throw new Error("no partition");
  const readAt = readAtOf(disk.subarray(partition.firstByte, partition.firstByte + partition.sizeBytes));
  const { entries } = readFat(readAt);
  return Object.fromEntries(
    entries.map((one) => [one.path, one.type === "file" ? Buffer.from(readRuns(readAt, one.runs)).toString() : "a directory"]),
  );
}

describe("a seed disk", () => {
  const path = join(scratch, "seed.img");
  const partition = `${path}@@32768`;
  writeFileSync(path, seedDisk(SEED));

  test("is an MBR disk with one FAT partition", () => {
    expect(run("sfdisk", "--verify", path)).toContain("No errors detected.");
    expect(JSON.parse(run("sfdisk", "--json", path))).toMatchObject({
      partitiontable: { label: "dos", partitions: [{ start: 64, size: 384, type: "1" }] },
    });
    expect(run("sgdisk", "--verify", path)).toContain("No problems found.");
    writeFileSync(`${path}.part`, seedDisk(SEED).subarray(32 << 10, 224 << 10));
    const checked = spawnSync("fsck.fat", ["-n", "-v", `${path}.part`], { encoding: "utf8" });
    expect([checked.status, checked.stdout]).toEqual([0, expect.stringContaining("64 hidden sectors")]);
    expect(run("blkid", "-p", "-o", "export", `${path}.part`)).toContain("\nLABEL=CIDATA\n");
  });

  test("holds exactly five files", () => {
    expect(run("mdir", "-b", "-i", partition, "::").trim().split("\n").toSorted()).toEqual(NAMES.map((name) => `::/${name}`));
    for (const name of NAMES) expect(run("mtype", "-i", partition, `::/${name}`)).toBe(textOf(name));
    expect(run("mlabel", "-s", "-i", partition, "::")).toContain("CIDATA");
  });

  test("is the same for the same fields, and has another number for another machine", () => {
    expect(Buffer.from(seedDisk(SEED)).equals(seedDisk({ ...SEED }))).toBe(true);
    const numbers = ["a", "b"].map((instanceId) => readMbr(readAtOf(seedDisk({ ...SEED, instanceId })))?.diskId);
    expect(new Set(numbers).size).toBe(2);
  });

  test("is read back, whatever the fields", () => {
    const word = fc.stringMatching(/^[a-z][a-z0-9-]{0,20}[a-z0-9]$/);
    const octet = fc.integer({ min: 0, max: 255 });
    const quad = fc.tuple(octet, octet, octet, octet).map((parts) => parts.join("."));
    const fields = fc.record({
      instanceId: word,
      hostname: word,
      user: word,
      host: fc.integer({ min: 2, max: 253 }),
      nameServers: fc.array(quad, { maxLength: 3 }),
      comment: fc.string({ unit: "grapheme", minLength: 1, maxLength: 50 }).filter((text) => !/\p{Cc}/u.test(text)),
    });
    fc.assert(
      fc.property(fields, ({ host, comment, ...rest }) => {
        const authorizedKey = `${SEED.authorizedKey.split(" ").slice(0, 2).join(" ")} ${comment}`;
        const given: SeedFields = { ...SEED, ...rest, address: `10.77.0.${host}`, authorizedKey };
        const found = readBack(seedDisk(given));
        expect(Object.keys(found).toSorted()).toEqual(NAMES);
        for (const { name, text } of seedFiles(given)) expect(found[name]).toBe(text);
        expect(found["coppice-authorized-key.pub"]).toBe(`${authorizedKey}\n`);
      }),
      { numRuns: 50 },
    );
  });
});

describe("the plain file", () => {
  test("gives a shell what the fields say, the private key included", () => {
    const path = join(scratch, "instance.env");
    writeFileSync(path, textOf("coppice-instance.env"));
    const shown = (expression: string): string =>
      run("env", "-i", "PATH=/usr/bin:/bin", "sh", "-euc", `. "${path}"; printf %s ${expression}`);
    expect(shown('"$COPPICE_HOSTNAME $COPPICE_ADDRESS/$COPPICE_PREFIX_LENGTH $COPPICE_GATEWAY"')).toBe(
      `${SEED.hostname} 10.77.0.50/24 10.77.0.1`,
    );
    expect(shown('"$COPPICE_NAME_SERVERS|$COPPICE_MAC|$COPPICE_USER|$COPPICE_INSTANCE_ID"')).toBe(
      "10.77.0.3 9.9.9.9|52:54:00:0a:4d:32|agent|debian-12-17",
    );
    expect(shown('"$(printf %s "$COPPICE_HOST_KEY_BASE64" | base64 -d)"')).toBe(SEED_PRIVATE_KEY.trimEnd());
    // One line a value: what is between the quotes means nothing to a shell.
    expect(textOf("coppice-instance.env")).toMatch(/^(?:COPPICE_[A-Z0-9_]+='[A-Za-z0-9 ._:/+=-]*'\n)+$/);
  });

  test("has no key where none is given", () => {
    const { hostKey: _, ...without } = SEED;
    expect(textOf("coppice-instance.env", without)).not.toContain("HOST_KEY");
    expect(textOf("user-data", without)).not.toContain("ssh_keys");
  });
});

describe("a field that cannot be", () => {
  test.each<readonly [string, Partial<SeedFields>]>([
    ["instanceId", { instanceId: "" }],
    ["instanceId", { instanceId: "a b" }],
    ["hostname", { hostname: "-a" }],
    ["hostname", { hostname: "a_b" }],
    ["hostname", { hostname: "a..b" }],
    ["hostname", { hostname: `${"a".repeat(40)}.${"b".repeat(40)}` }],
    ["address", { address: "10.77.0" }],
    ["address", { address: "10.77.0.050" }],
    ["address", { address: "10.77.0.256" }],
    ["address", { address: "10.77.0.50." }],
    ["address", { address: "10.77.0.255" }],
    ["address", { address: "10.77.0.0" }],
    ["prefixLength", { prefixLength: 31 }],
    ["prefixLength", { prefixLength: 24.5 }],
    ["gateway", { gateway: "10.78.0.1" }],
    ["gateway", { gateway: "10.77.0.50" }],
    ["nameServers", { nameServers: ["1.1.1.1", "1.1.1.2", "1.1.1.3", "1.1.1.4"] }],
    ["nameServers[1]", { nameServers: ["1.1.1.1", "::1"] }],
    ["mac", { mac: "52:54:00:0a:4d" }],
    ["user", { user: "a:b" }],
    ["authorizedKey", { authorizedKey: "ssh-ed25519" }],
    ["authorizedKey", { authorizedKey: `${SEED.authorizedKey}\n${SEED.authorizedKey}` }],
    ["authorizedKey", { authorizedKey: 'command="x" ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI' }],
    ["publicKey", { hostKey: { privateKey: SEED_PRIVATE_KEY, publicKey: "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAB" } }],
    ["privateKey", { hostKey: { privateKey: "secret\n", publicKey: SEED.hostKey?.publicKey ?? "" } }],
  ])("%s: %j", (field, change) => {
    const problem = thrownProblem(() => seedDisk({ ...SEED, ...change }));
    expect([problem.code, problem.exit]).toEqual(["E_SEED_FIELD", 2]);
    expect(problem.message).toStartWith(`making a seed disk: ${field} is `);
    expect(problem.message).not.toContain("secret");
  });
});
