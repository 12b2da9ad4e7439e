import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { golden } from "../base/testing.ts";
import { parseUcl } from "../formats/index.ts";
import { clientConfiguration, type ClientSettings, fingerprintFile, nginxConfiguration } from "./index.ts";
import { codeOf } from "./testing.ts";

const matches = (name: string, text: string) => expect(text).toBe(golden(join(import.meta.dir, "golden", name), text));
const SETTINGS: ClientSettings = {
  name: "ours",
  url: "https://pkg.example.org/${ABI}",
  priority: 10,
  trust: { mode: "pubkey", publicKeyPath: "/usr/share/keys/pkg/ours.pub" },
};
const PRINTS: ClientSettings = {
  ...SETTINGS,
  trust: { mode: "fingerprints", directory: "/usr/local/etc/pkg/fingerprints/ours" },
};

describe("for clients", () => {
  test("with a public key", () => matches("client-pubkey.conf", clientConfiguration(SETTINGS)));
  test("with fingerprints", () => matches("client-fingerprints.conf", clientConfiguration(PRINTS)));
  test("the fingerprint", () => matches("fingerprint", fingerprintFile("ab".repeat(32))));
  test("is UCL that says what it should", () => {
    expect(parseUcl(clientConfiguration(PRINTS), "ours.conf")).toEqual({
      ours: {
        url: "https://pkg.example.org/${ABI}",
        mirror_type: "none",
        signature_type: "fingerprints",
        fingerprints: "/usr/local/etc/pkg/fingerprints/ours",
        priority: 10,
        enabled: true,
      },
    });
    expect(parseUcl(fingerprintFile("ab".repeat(32)), "x")).toEqual({ function: "sha256", fingerprint: "ab".repeat(32) });
  });
  test("refuses what pkg would misunderstand", async () => {
    for (const change of [
      { name: "FreeBSD" },
      { name: "freebsd-ports" },
      { name: "a b" },
      { url: "file:///repo" },
      { url: "pkg+https://pkg.example.org" },
      { url: 'https://x"y' },
      { priority: 1.5 },
      { trust: { mode: "pubkey", publicKeyPath: "key.pub" } },
    ] as const) {
      expect([change, await codeOf(() => clientConfiguration({ ...SETTINGS, ...change }))]).toEqual([
        change,
        "E_BAD_CLIENT_CONF",
      ]);
    }
    expect(await codeOf(() => fingerprintFile("x"))).toBe("E_BAD_CLIENT_CONF");
  });
});

describe("for nginx", () => {
  const settings = { serverName: "pkg.example.org", root: "/frx/var/garth/repos/main" };
  const tls = { certificate: "/etc/ssl/pkg.pem", key: "/etc/ssl/pkg.key" };
  test("plain", () => matches("nginx.conf", nginxConfiguration(settings)));
  test("with TLS", () => matches("nginx-tls.conf", nginxConfiguration({ ...settings, tls })));
  test("refuses what would break out of its line", async () => {
    for (const change of [{ serverName: "a;b" }, { root: "/a b" }, { root: "/a;" }, { root: "relative" }]) {
      expect(await codeOf(() => nginxConfiguration({ ...settings, ...change }))).toBe("E_BAD_SERVER_CONF");
    }
  });
});
