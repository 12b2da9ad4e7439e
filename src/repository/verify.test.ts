/** Everything a hostile or broken repository can do to its reader, each refused by name. */
import { afterAll, describe, expect, test } from "bun:test";
import { execFileSync } from "node:child_process";
import { createHash, generateKeyPairSync, sign } from "node:crypto";
import { cpSync, readFileSync, readlinkSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { sha256 } from "../base/index.ts";
import { tarArchive, type TarMember } from "../formats/index.ts";
import { fingerprintOf, type FreshnessRecord, publish, readRepository, sourceOf, type Trust, verifyRepository } from "./index.ts";
import { codeOf, rawFile as member, type RawMember, workshop, writeKey } from "./testing.ts";

const shop = workshop();
afterAll(() => shop[Symbol.dispose]());
const { host, keyFile, pack, publicPem } = shop;
const KEY: Trust = { mode: "pubkey", publicPem };
const FINGERPRINT: Trust = { mode: "fingerprints", trusted: [fingerprintOf(publicPem)], revoked: [] };
const NOW = Date.UTC(2026, 10, 21, 12);
const good = shop.directory("good");
await publish(host, { directory: good, add: [pack({ name: "a" }), pack({ name: "b" })], keyFile, nowMs: NOW });
let counter = 0;

/** A copy that is a plain directory, as a mirror would have it, to be spoiled. */
function copy(from = good): string {
  const to = shop.directory(`copy-${(counter += 1)}`);
  cpSync(from, to, { recursive: true, dereference: true });
  return to;
}
function rebuild(directory: string, edit: (members: RawMember[]) => readonly RawMember[]): string {
  const archive = join(directory, "data.pkg");
  const names = execFileSync("bsdtar", ["-tf", archive], { encoding: "utf8" }).trim().split("\n");
  const members = names.map((name) => member(name, execFileSync("bsdtar", ["-xOf", archive, name])));
  writeFileSync(archive, Bun.zstdCompressSync(tarArchive(edit(members))));
  return directory;
}
const read = (directory: string, trust: Trust = KEY, record?: FreshnessRecord) =>
  codeOf(() =>
    readRepository(host, sourceOf(host, directory), { trust, nowMs: NOW, ...(record === undefined ? {} : { record }) }),
  );
const edited = (members: readonly RawMember[]): readonly RawMember[] =>
  members.map((m) =>
    m.member.path === "data"
      ? member(
          "data",
          Buffer.from(m.content ?? [])
            .toString()
            .replace("Greets", "Steals"),
        )
      : m,
  );

describe("catalogues", () => {
  test("the good one is read in both modes", async () => {
    expect(await read(copy())).toBe("nothing was refused");
    expect(await read(copy(), FINGERPRINT)).toBe("nothing was refused");
  });
  test("edited, under the old signature", async () => {
    expect(await read(rebuild(copy(), edited))).toBe("E_SIGNATURE_INVALID");
    expect(await read(rebuild(copy(), edited), FINGERPRINT)).toBe("E_SIGNATURE_INVALID");
  });
  test("with the signature taken out, or half of it", async () => {
    expect(await read(rebuild(copy(), (all) => all.filter((m) => m.member.path !== "signature")))).toBe("E_SIGNATURE_MISSING");
    for (const path of ["data.sig", "data.pub"])
      expect(
        await read(
          rebuild(copy(), (all) => all.filter((m) => m.member.path !== path)),
          FINGERPRINT,
        ),
      ).toBe("E_SIGNATURE_MISSING");
  });
  test("signed with another key, also one that brings its own certificate", async () => {
    const theirs = shop.directory("their-key");
    const theirPem = writeKey(theirs);
    const directory = shop.directory("theirs");
    await publish(host, { directory, add: [pack({ name: "a" })], keyFile: theirs, nowMs: NOW });
    expect(await read(directory)).toBe("E_SIGNATURE_INVALID");
    expect(await read(directory, FINGERPRINT)).toBe("E_KEY_UNTRUSTED");
    expect(await read(directory, { ...FINGERPRINT, revoked: [fingerprintOf(theirPem)] })).toBe("E_KEY_REVOKED");
    // One trusted good signature is enough, unless any of the keys is revoked.
    const added = rebuild(copy(), (all) => [member("other.sig", "x"), member("other.pub", theirPem), ...all]);
    expect(await read(added, FINGERPRINT)).toBe("nothing was refused");
    expect(await read(added, { ...FINGERPRINT, revoked: [fingerprintOf(theirPem)] })).toBe("E_KEY_REVOKED");
  });
  test("cut off anywhere, or with noise instead", async () => {
    const whole = readFileSync(join(good, "data.pkg"));
    const directory = copy();
    for (const length of [0, 3, 20, 200, whole.length - 1]) {
      writeFileSync(join(directory, "data.pkg"), whole.subarray(0, length));
      expect([length, await read(directory)]).toEqual([length, expect.stringMatching(/^E_ARCHIVE_/)]);
    }
  });
  test("with any byte changed, is refused or still says exactly what was signed", async () => {
    const whole = readFileSync(join(good, "data.pkg"));
    const directory = copy();
    await fc.assert(
      fc.asyncProperty(fc.nat(whole.length - 1), fc.integer({ min: 1, max: 255 }), async (at, change) => {
        const bytes = Buffer.from(whole);
        bytes[at] = (bytes[at] ?? 0) ^ change;
        writeFileSync(join(directory, "data.pkg"), bytes);
        expect(await read(directory)).toMatch(/^E_|^nothing/);
        expect(await read(directory)).not.toBe("E_BAD_CATALOGUE");
      }),
      { numRuns: 150 },
    );
  });
  test("with members twice, too many, or of another kind", async () => {
    expect(await read(rebuild(copy(), (all) => [...all, ...all.slice(-1)]))).toBe("E_CATALOGUE_INCOMPLETE");
    expect(
      await read(rebuild(copy(), (all) => [...Array.from({ length: 9 }, (_, n) => member(`${n}.sig`, "x")), ...all])),
    ).toMatch(/^E_CATALOGUE_INCOMPLETE|^E_ARCHIVE_LIMIT/);
    const link: TarMember = {
      path: "data",
      type: "symlink",
      mode: 0o777,
      uname: "root",
      gname: "wheel",
      sizeBytes: 0,
      mtimeSeconds: 0,
      target: "/etc/passwd",
    };
    expect(await read(rebuild(copy(), (all) => [{ member: link }, ...all]))).toBe("E_CATALOGUE_INCOMPLETE");
    expect(await read(rebuild(copy(), (all) => all.filter((m) => m.member.path !== "data")))).toBe("E_CATALOGUE_INCOMPLETE");
  });
  test("that claim to be huge, before they are unpacked", async () => {
    const directory = copy();
    const zeros = Buffer.alloc(8 << 20);
    writeFileSync(join(directory, "data.pkg"), Bun.zstdCompressSync(tarArchive([member("signature", zeros)])));
    expect(await read(directory)).toBe("E_ARCHIVE_LIMIT");
  });
  test("of an unknown version, or none at all", async () => {
    const directory = copy();
    writeFileSync(join(directory, "meta.conf"), "version = 3;\n");
    expect(await read(directory)).toBe("E_META_VERSION");
    rmSync(join(directory, "meta.conf"));
    expect(await read(directory)).toBe("nothing was refused");
    for (const file of ["data.pkg", "packagesite.pkg"]) rmSync(join(directory, file));
    expect(await read(directory)).toBe("E_CATALOGUE_MISSING");
  });
  test("packagesite that says something else than data", async () => {
    const other = shop.directory("other-content");
    await publish(host, { directory: other, add: [pack({ name: "a" })], keyFile, nowMs: NOW });
    const directory = copy();
    cpSync(join(other, "packagesite.pkg"), join(directory, "packagesite.pkg"), { dereference: true });
    const { lint } = await verifyRepository(host, sourceOf(host, directory), { trust: KEY, nowMs: NOW });
    expect(lint.map(({ field }) => field)).toEqual(["packagesite"]);
  });
  test("what clients that trust in the other way would refuse", async () => {
    const fields = async (directory: string, trust: Trust) =>
      (await verifyRepository(host, sourceOf(host, directory), { trust, nowMs: NOW })).lint.map(({ field }) => field);
    const without = (name: string) => rebuild(copy(), (all) => all.filter((each) => each.member.path !== name));
    const changed = (name: string) =>
      rebuild(copy(), (all) => all.map((each) => (each.member.path === name ? member(name, Buffer.alloc(512, 7)) : each)));
    expect(await fields(copy(), KEY)).toEqual([]);
    for (const name of ["data.sig", "data.pub"]) {
      expect([name, await fields(without(name), KEY)]).toEqual([name, ["data"]]);
      expect([name, await fields(changed(name), KEY)]).toEqual([name, ["data"]]);
    }
    expect(await fields(changed("signature"), FINGERPRINT)).toEqual(["data"]);
  });
  test("a meta.conf that clients refuse, and a packagesite that is not there", async () => {
    const directory = copy();
    writeFileSync(join(directory, "meta.conf"), "");
    rmSync(join(directory, "packagesite.pkg"));
    const { lint } = await verifyRepository(host, sourceOf(host, directory), { trust: KEY, nowMs: NOW });
    expect(lint.map(({ severity, field }) => `${severity} ${field}`)).toEqual(["error meta.conf", "warning packagesite"]);
  });
});

describe("other kinds of signature", () => {
  const inner = Buffer.from('{"packages":[]}');
  const archive = (...members: readonly RawMember[]): string => {
    const directory = shop.directory(`kind-${(counter += 1)}`);
    cpSync(join(good, "meta.conf"), join(directory, "meta.conf"), { dereference: true });
    writeFileSync(join(directory, "data.pkg"), Bun.zstdCompressSync(tarArchive([...members, member("data", inner)])));
    return directory;
  };
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "secp384r1" });
  const der = publicKey.export({ type: "spki", format: "der" });
  const marked = (type: string, signature: Uint8Array): Uint8Array =>
    Buffer.concat([Buffer.from(`$PKGSIGN:${type}$`), signature]);
  test("ecdsa: over BLAKE2b with a key, over the hex SHA-256 with fingerprints", async () => {
    const withKey = sign("sha256", createHash("blake2b512").update(inner).digest(), privateKey);
    const pem = publicKey.export({ type: "spki", format: "pem" }).toString();
    for (const tail of ["", "\0"]) {
      const signature = marked("ecdsa", Buffer.concat([withKey, Buffer.from(tail)]));
      expect(await read(archive(member("signature", signature)), { mode: "pubkey", publicPem: pem })).toBe("nothing was refused");
    }
    const withPrint = sign("sha256", Buffer.from(sha256(inner)), privateKey);
    const trust: Trust = { mode: "fingerprints", trusted: [sha256(der)], revoked: [] };
    expect(await read(archive(member("k.sig", marked("ecdsa", withPrint)), member("k.pub", der)), trust)).toBe(
      "nothing was refused",
    );
    expect(await read(archive(member("k.sig", marked("ecdsa", withKey)), member("k.pub", der)), trust)).toBe(
      "E_SIGNATURE_INVALID",
    );
    expect(await read(archive(member("signature", marked("ecdsa", withKey))))).toBe("E_SIGNATURE_INVALID");
  });
  test("eddsa and unknown ones are said to be so", async () => {
    for (const type of ["eddsa", "dilithium"])
      expect(await read(archive(member("signature", marked(type, Buffer.alloc(64)))))).toBe("E_SIGNATURE_TYPE");
    const trust: Trust = { mode: "fingerprints", trusted: [sha256("pkg")], revoked: [] };
    expect(await read(archive(member("k.sig", marked("eddsa", Buffer.alloc(64))), member("k.pub", "pkg")), trust)).toBe(
      "E_SIGNATURE_TYPE",
    );
  });
  test("an RSA signature that ends in a zero of its own", async () => {
    // Tried until one does: one in 256.
    const key = shop.directory("zero-key");
    const pem = writeKey(key);
    for (let n = 0; ; n++) {
      const content = Buffer.from(`{"packages":[],"n":${n}}`);
      const signature = sign("sha256", Buffer.from(sha256(content)), readFileSync(key, "utf8"));
      if (signature.at(-1) !== 0) continue;
      for (const tail of [Buffer.alloc(0), Buffer.alloc(1)]) {
        const directory = shop.directory(`zero-${tail.length}`);
        cpSync(join(good, "meta.conf"), join(directory, "meta.conf"), { dereference: true });
        const members = [member("signature", Buffer.concat([signature, tail])), member("data", content)];
        writeFileSync(join(directory, "data.pkg"), Bun.zstdCompressSync(tarArchive(members)));
        expect(await read(directory, { mode: "pubkey", publicPem: pem })).toBe("nothing was refused");
      }
      return;
    }
  });
});

describe("age", () => {
  test("an older catalogue, validly signed, is refused unless that is said to be right", async () => {
    const directory = shop.directory("ageing");
    await publish(host, { directory, add: [pack({ name: "a" })], keyFile, nowMs: NOW });
    const old = copy(directory);
    const first = await readRepository(host, sourceOf(host, directory), { trust: KEY, nowMs: NOW });
    await publish(host, { directory, add: [pack({ name: "b" })], keyFile, nowMs: NOW });
    const second = await readRepository(host, sourceOf(host, directory), { trust: KEY, nowMs: NOW, record: first.record });
    expect(second.record.issuedAtMs).toBe(NOW + 1);
    expect(await read(old, KEY, second.record)).toBe("E_CATALOGUE_ROLLED_BACK");
    expect(await read(directory, KEY, second.record)).toBe("nothing was refused");
    const allowed = await readRepository(host, sourceOf(host, old), {
      trust: KEY,
      nowMs: NOW,
      record: second.record,
      allowRollback: true,
    });
    expect(await read(old, KEY, allowed.record)).toBe("nothing was refused");
    // Without its statement, with that of another catalogue, with a forged one.
    cpSync(join(directory, "freshness.json"), join(old, "freshness.json"), { dereference: true });
    expect(await read(old)).toBe("E_CATALOGUE_ROLLED_BACK");
    rmSync(join(old, "freshness.json"));
    expect(await read(old, KEY, first.record)).toBe("E_CATALOGUE_ROLLED_BACK");
    const stripped = copy(directory);
    writeFileSync(
      join(stripped, "freshness.json"),
      readFileSync(join(stripped, "freshness.json"), "utf8").replace(/"issuedAtMs":\d+/, '"issuedAtMs":9999999999999'),
    );
    expect(await read(stripped)).toBe("E_FRESHNESS_INVALID");
  });
  test("a statement that is too old can be refused", async () => {
    const stale = (nowMs: number) =>
      codeOf(() => readRepository(host, sourceOf(host, good), { trust: KEY, nowMs, maximumAgeMs: 86_400_000 }));
    expect(await stale(NOW + 86_400_000)).toBe("nothing was refused");
    expect(await stale(NOW + 86_400_001)).toBe("E_CATALOGUE_STALE");
  });
  test("of a repository without statements, what was replaced is remembered", async () => {
    const [one, two] = ["one", "two"].map((name) => shop.directory(`plain-${name}`));
    if (one === undefined || two === undefined) throw new Error("unreachable");
    await publish(host, { directory: one, add: [pack({ name: "a" })], keyFile, nowMs: NOW });
    await publish(host, { directory: two, add: [pack({ name: "b" })], keyFile, nowMs: NOW });
    const [a, b] = [copy(one), copy(two)];
    for (const directory of [a, b]) rmSync(join(directory, "freshness.json"));
    const first = await readRepository(host, sourceOf(host, a), { trust: KEY, nowMs: NOW });
    const second = await readRepository(host, sourceOf(host, b), { trust: KEY, nowMs: NOW, record: first.record });
    expect(await read(a, KEY, second.record)).toBe("E_CATALOGUE_ROLLED_BACK");
    expect(await read(b, KEY, second.record)).toBe("nothing was refused");
  });
});

describe("packages of a catalogue", () => {
  const spoiled = async (spoil: (bytes: Buffer) => Uint8Array | undefined): Promise<readonly string[]> => {
    const directory = copy();
    const file = join(directory, "All", readlinkSync(join(good, "All/a-1.0.pkg")));
    const bytes = spoil(readFileSync(file));
    if (bytes === undefined) rmSync(file);
    else writeFileSync(file, bytes);
    const { bad } = await verifyRepository(host, sourceOf(host, directory), { trust: KEY, nowMs: NOW });
    return bad.map(({ package: of, problem }) => `${of} ${problem.code}`);
  };
  test("missing, longer, shorter, or with one bit flipped", async () => {
    expect(await spoiled((bytes) => bytes)).toEqual([]);
    expect(await spoiled(() => undefined)).toEqual(["a-1.0 E_PACKAGE_MISSING"]);
    expect(await spoiled((bytes) => Buffer.concat([bytes, Buffer.from("x")]))).toEqual(["a-1.0 E_PACKAGE_SIZE"]);
    expect(await spoiled((bytes) => bytes.subarray(1))).toEqual(["a-1.0 E_PACKAGE_SIZE"]);
    expect(await spoiled((bytes) => bytes.with(bytes.length >> 1, (bytes[bytes.length >> 1] ?? 0) ^ 1))).toEqual([
      "a-1.0 E_PACKAGE_SUM",
    ]);
  });
});
