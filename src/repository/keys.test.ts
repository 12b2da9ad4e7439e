import { afterAll, describe, expect, test } from "bun:test";
import { execFileSync } from "node:child_process";
import { chmodSync, lstatSync, mkdirSync, readFileSync, readlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { sha256 } from "../base/index.ts";
import { generateKey, loadKey, publicKeyFile, publish, readRepository, signRepository, sourceOf, type Trust } from "./index.ts";
import { codeOf, packageBytes, smallManifest, workshop, writeKey } from "./testing.ts";

const shop = workshop();
afterAll(() => shop[Symbol.dispose]());
const { host, keyFile, pack, publicPem } = shop;
const KEY: Trust = { mode: "pubkey", publicPem };
const NOW = Date.UTC(2026, 10, 21, 12);
let counter = 0;
const fresh = (): string => shop.directory(`repository-${(counter += 1)}`);
const catalogueBytes = (directory: string): string =>
  ["data.pkg", "packagesite.pkg", "meta.conf", "meta"].map((file) => sha256(readFileSync(join(directory, file)))).join(" ");

describe("keys", () => {
  const other = shop.directory("other-key");
  test("are made once, readable by their owner alone, of 4096 bits", async () => {
    const file = shop.directory("made");
    const key = await generateKey(host, file);
    expect(lstatSync(file).mode & 0o777).toBe(0o600);
    expect(
      execFileSync("openssl", ["rsa", "-in", file, "-pubout"], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }),
    ).toBe(key.publicPem);
    expect(execFileSync("openssl", ["rsa", "-in", file, "-noout", "-text"], { encoding: "utf8" })).toContain("4096 bit");
    expect(readFileSync(publicKeyFile(file), "utf8")).toBe(key.publicPem);
    expect(await codeOf(() => generateKey(host, file))).toBe("E_KEY_EXISTS");
    expect(loadKey(host, file, [])).toEqual(key);
  });
  test("that others may read, that are none, or that lie where they would be published, are refused", async () => {
    writeKey(other);
    const load = (file: string, exposed: readonly string[] = []) => codeOf(() => loadKey(host, file, exposed));
    for (const mode of [0o640, 0o604, 0o660, 0o700 | 0o001]) {
      chmodSync(other, mode);
      expect(await load(other)).toBe("E_KEY_PERMISSIONS");
    }
    chmodSync(other, 0o600);
    expect(await load(other)).toBe("nothing was refused");
    expect(await load(other, [shop.root])).toBe("E_KEY_EXPOSED");
    expect(await load(shop.directory("none"))).toBe("E_KEY_MISSING");
    const text = shop.directory("text-key");
    writeFileSync(text, "hello", { mode: 0o600 });
    expect(await load(text)).toBe("E_BAD_KEY");
    const ec = shop.directory("ec-key");
    execFileSync("openssl", ["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", ec], { stdio: "ignore" });
    chmodSync(ec, 0o600);
    expect(await load(ec)).toBe("E_KEY_TYPE");
    const stored = shop.directory("other-root/frx/store/item");
    mkdirSync(stored, { recursive: true });
    writeKey(join(stored, "key"));
    expect(await load(join(stored, "key"))).toBe("E_KEY_EXPOSED");
  });
  test("a repository signed with another key is not taken over silently; sign does it, and time goes on", async () => {
    const directory = fresh();
    await publish(host, { directory, add: [pack({ name: "a" }), pack({ name: "b" })], keyFile, nowMs: NOW });
    const { record } = await readRepository(host, sourceOf(host, directory), { trust: KEY, nowMs: NOW });
    const otherPem = writeKey(other);
    expect(await codeOf(() => publish(host, { directory, add: [pack({ name: "c" })], keyFile: other, nowMs: NOW }))).toBe(
      "E_SIGNATURE_INVALID",
    );
    await signRepository(host, { directory, keyFile: other, nowMs: NOW - 1000, previousPublicPem: publicPem });
    const read = await readRepository(host, sourceOf(host, directory), {
      trust: { mode: "pubkey", publicPem: otherPem },
      record,
      nowMs: NOW,
    });
    expect(read.catalogue.entries.length).toBe(2);
    expect(read.record.issuedAtMs).toBeGreaterThan(record.issuedAtMs ?? 0);
  });
  test("sign makes a damaged catalogue again, byte for byte", async () => {
    const directory = fresh();
    await publish(host, { directory, add: [pack({ name: "a" }), pack({ name: "b" })], keyFile, nowMs: NOW });
    const before = catalogueBytes(directory);
    writeFileSync(join(directory, ".garth/generations/1/packagesite.pkg"), "damaged");
    expect(await codeOf(() => publish(host, { directory, add: [], keyFile, nowMs: NOW }))).toBe("E_REPOSITORY_DAMAGED");
    await signRepository(host, { directory, keyFile, nowMs: NOW });
    expect(catalogueBytes(directory)).toBe(before);
    const hashed = join(directory, "All", readlinkSync(join(directory, "All/a-1.0.pkg")));
    const manifest = smallManifest({ name: "a", comment: "Changed" }, {});
    writeFileSync(hashed, packageBytes(manifest, {}));
    expect(await codeOf(() => signRepository(host, { directory, keyFile, nowMs: NOW }))).toBe("E_PACKAGE_CONTENT");
  });
});
