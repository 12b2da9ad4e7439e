/** Against the mirrors that apt and npm of this machine are set up for. */
import { describe, expect, test } from "bun:test";
import { existsSync, readdirSync } from "node:fs";
import { debianSource, npmTarball } from "../../recipe/index.ts";
import { fileDigests, localHost } from "../../host/index.ts";
import { knownFetchPath, realiseFetch } from "./index.ts";
import { openFetchBench } from "./testing.ts";

const HELLO = "31e066137a962676e89f69d1b65382de95a7ef7d914b8cb956f41ea72e0f516b";
const MS = "sha512-6FlzubTLZG3J2a/NVCAleEhjzq5oxgHyaCU9yYXvcLsvoVaHJq/s5xXI6/XXP6tz7R9xAOtHnSO/tXtF3WRTlA==";
const TIMEOUT = 120_000;

describe("Debian's source of hello", () => {
  test(
    "is fetched by upstream version, and changes nothing of the host's apt",
    async () => {
      using bench = openFetchBench();
      const before = existsSync("/etc/apt/sources.list.d") ? readdirSync("/etc/apt/sources.list.d") : [];
      const fetch = debianSource({ package: "hello", version: "2.10", sha256: HELLO });
      const { path, from } = await realiseFetch(bench.context(), fetch);
      expect(from).toBe("apt-get source hello");
      expect(fileDigests(localHost(), bench.store.physical(path)).sha256).toBe(HELLO);
      expect(existsSync("/etc/apt/sources.list.d") ? readdirSync("/etc/apt/sources.list.d") : []).toEqual(before);
      expect(readdirSync(bench.distfiles).filter((name) => name.startsWith(".part"))).toEqual([]);

      const wrong = debianSource({ package: "hello", version: "2.10", sha256: "0".repeat(64) });
      await expect(realiseFetch(bench.context(), wrong)).rejects.toMatchObject({
        code: "E_HASH_MISMATCH",
        details: expect.arrayContaining([`expected sha256 ${"0".repeat(64)}`, `found    sha256 ${HELLO}`]),
      });

      const other = debianSource({ package: "hello", version: "9.99", sha256: "0".repeat(64) });
      await expect(realiseFetch(bench.context(), other)).rejects.toMatchObject({
        code: "E_FETCH_FAILED",
        hint: expect.stringContaining("apt-cache showsrc hello"),
      });
    },
    TIMEOUT,
  );
});

describe("a package of npm", () => {
  test(
    "is fetched once, checked against its integrity, and known afterwards",
    async () => {
      using bench = openFetchBench();
      const fetch = npmTarball({ package: "ms", version: "2.1.3", integrity: MS });
      expect(knownFetchPath(bench.context(), fetch)).toBeUndefined();
      const { path, from } = await realiseFetch(bench.context(), fetch);
      expect(from).toMatch(/^https?:.*ms-2\.1\.3\.tgz$/);
      expect(knownFetchPath(bench.context(), fetch)).toBe(path);

      using other = openFetchBench();
      const offline = other.context({ distfiles: bench.distfiles, environment: { npm_config_registry: "http://127.0.0.1:1/" } });
      expect(await realiseFetch(offline, fetch)).toEqual({ path, from: "distfiles" });

      const wrong = npmTarball({ package: "ms", version: "2.1.3", integrity: `sha512-${"A".repeat(86)}==` });
      await expect(realiseFetch(bench.context(), wrong)).rejects.toMatchObject({ code: "E_HASH_MISMATCH" });

      const missing = npmTarball({ package: "ms", version: "0.0.999", integrity: MS });
      await expect(realiseFetch(other.context(), missing)).rejects.toMatchObject({
        code: "E_FETCH_FAILED",
        details: [expect.stringContaining("npm view ms@0.0.999")],
      });
    },
    TIMEOUT,
  );
});
