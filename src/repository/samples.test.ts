/** Repositories and packages of the real pkg(8), 2.4.2 and 2.8.4. */
import { afterAll, describe, expect, test } from "bun:test";
import { execFileSync } from "node:child_process";
import { cpSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fingerprintOf, inspectPackage, readManifest, readRepository, sourceOf, type Trust, verifyRepository } from "./index.ts";
import { codeOf, workshop } from "./testing.ts";

const DATA = join(import.meta.dir, "testdata");
const shop = workshop();
afterAll(() => shop[Symbol.dispose]());
const { host } = shop;
const publicPem = readFileSync(join(DATA, "sample.pub"), "utf8");
const KEY: Trust = { mode: "pubkey", publicPem };
const FINGERPRINT: Trust = { mode: "fingerprints", trusted: [fingerprintOf(publicPem)], revoked: [] };
const nowMs = Date.UTC(2026, 11, 1);

for (const version of ["2.4.2", "2.8.4"]) {
  describe(`pkg ${version}`, () => {
    test("a repository for a public key verifies whole", async () => {
      const report = await verifyRepository(host, sourceOf(host, join(DATA, version, "pubkey")), { trust: KEY, nowMs });
      expect(report).toMatchObject({ packageCount: 2, lint: [], bad: [] });
    });
    test("a repository for fingerprints, catalogue alone", async () => {
      const source = sourceOf(host, join(DATA, version, "fingerprints"));
      const { catalogue } = await readRepository(host, source, { trust: FINGERPRINT, nowMs });
      expect(catalogue.signatureMode).toBe("fingerprints");
      expect(catalogue.entries.map(({ manifest }) => manifest.name)).toEqual(["demo-dep", "demo"]);
    });
    test("the packages hold what their manifests say", async () => {
      const file = join(DATA, version, "pubkey/All/demo-1.0_2,1.pkg");
      const { manifest, sizeBytes } = await inspectPackage(host, file);
      expect(manifest.files.length).toBe(6);
      expect(sizeBytes).toBe(readFileSync(file).length);
      expect(manifest.scripts).toEqual({ "post-install": "echo installed", "pre-deinstall": "echo going" });
      expect(await readManifest(host, file)).toEqual(manifest);
    });
    test("is read whatever it is compressed with", async () => {
      const copy = shop.directory(`packed-${version}`);
      cpSync(join(DATA, version, "pubkey"), copy, { recursive: true });
      const tar = execFileSync("zstd", ["-dc", join(DATA, version, "pubkey/data.pkg")]);
      for (const [tool, ...args] of [["xz", "-c"], ["gzip", "-c"], ["bzip2", "-c"], ["cat"]] as const) {
        writeFileSync(join(copy, "data.pkg"), execFileSync(tool, args, { input: tar }));
        const { catalogue } = await readRepository(host, sourceOf(host, copy), { trust: KEY, nowMs });
        expect([tool, catalogue.entries.length]).toEqual([tool, 2]);
      }
    });
    test("with packagesite alone, and with no meta.conf", async () => {
      const copy = shop.directory(`alone-${version}`);
      cpSync(join(DATA, version, "pubkey/packagesite.pkg"), join(copy, "packagesite.pkg"));
      const { catalogue } = await readRepository(host, sourceOf(host, copy), { trust: KEY, nowMs });
      expect(catalogue.entries.length).toBe(2);
    });
    test("the other mode, another key, a revoked or unknown fingerprint are refused", async () => {
      const read = (mode: string, trust: Trust) =>
        codeOf(() => readRepository(host, sourceOf(host, join(DATA, version, mode)), { trust, nowMs }));
      expect(await read("fingerprints", KEY)).toBe("E_SIGNATURE_MISSING");
      expect(await read("pubkey", FINGERPRINT)).toBe("E_SIGNATURE_MISSING");
      expect(await read("pubkey", { mode: "pubkey", publicPem: shop.publicPem })).toBe("E_SIGNATURE_INVALID");
      expect(await read("fingerprints", { ...FINGERPRINT, trusted: ["0".repeat(64)] })).toBe("E_KEY_UNTRUSTED");
      expect(await read("fingerprints", { ...FINGERPRINT, revoked: FINGERPRINT.trusted })).toBe("E_KEY_REVOKED");
    });
  });
}
