import { afterAll, describe, expect, test } from "bun:test";
import { execFileSync, spawnSync } from "node:child_process";
import { generateKeyPairSync } from "node:crypto";
import { appendFileSync, chmodSync, cpSync, lstatSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { sha256, type StorePath } from "../base/index.ts";
import { problemOf, thrownProblem } from "../base/testing.ts";
import { localHost } from "../host/index.ts";
import { openTestStore } from "../store/testing.ts";
import { gate, gateDigest, gateText, resolveGate } from "./index.ts";
import { keyFingerprint, loadHostKey } from "./key.ts";
import type { Verdict } from "./types.ts";
import { readVerdict, writeVerdict } from "./verdict.ts";

const host = localHost();
const stores = openTestStore();
afterAll(() => stores[Symbol.dispose]());
const { store } = stores;
const keyFile = `${stores.root}/keys/host.pem`;
const GATE = resolveGate(gate({ extends: "linux" }), "linux");
const VERDICT: Verdict = {
  schema: 1,
  name: "web",
  verdict: "pass",
  reasons: [],
  image: { path: "/images/web.raw", sha256: sha256("image") },
  gate: { name: "gate", sha256: gateDigest(GATE) },
  machine: {
    system: "x86_64-linux",
    accelerator: "tcg",
    acceleratorReason: "there is no /dev/kvm",
    memoryBytes: 1024 ** 3,
    cpus: 2,
    end: "stopped",
    endDetail: "by the gate",
  },
  markers: [{ name: "ready", pattern: "^garth: ready ", line: "garth: ready /frx/store/x", atS: 12.345 }],
  probes: [],
  bootS: 12.345,
  startedAt: "2026-01-01T00:00:00.000Z",
  host: "x86_64-linux",
};

function write(change: Partial<Verdict> = {}, screenshot = true): string {
  const directory = stores.directory();
  if (screenshot) writeFileSync(`${directory}/screenshot.png`, "not looked at");
  const contents = {
    verdict: { ...VERDICT, ...change },
    gateText: gateText(GATE),
    consoleLog: "00:00:01.000 hello\n",
    commandLine: ["qemu", "-m", "a b"],
  };
  writeVerdict(host, directory, contents, loadHostKey(host, keyFile));
  return directory;
}

const add = async (directory: string): Promise<StorePath> => (await store.add(directory, "verdict-web")).path;
const GOOD = write();

describe("a verdict", () => {
  test("is read back as it was written", async () => {
    const path = await add(GOOD);
    const { publicPem } = loadHostKey(host, keyFile);
    expect(readVerdict(host, store, path, { trusted: publicPem })).toEqual({
      path,
      verdict: VERDICT,
      gateText: gateText(GATE),
      consoleLog: "00:00:01.000 hello\n",
      commandLine: ["qemu", "-m", "a b"],
      screenshot: `${store.physical(path)}/screenshot.png`,
      publicPem,
      publicKeySha256: keyFingerprint(publicPem),
    });
    expect(readVerdict(host, store, await add(write({}, false))).screenshot).toBeUndefined();
  });
  test("holds by the judgement of sha256sum and openssl too", () => {
    const options = { cwd: GOOD, encoding: "utf8" } as const;
    expect(execFileSync("sha256sum", ["--strict", "-c", "digests"], options).match(/: OK/g)).toHaveLength(6);
    const check = [
      "pkeyutl",
      "-verify",
      "-pubin",
      "-inkey",
      "public-key.pem",
      "-rawin",
      "-in",
      "digests",
      "-sigfile",
      "signature",
    ];
    expect(execFileSync("openssl", check, options)).toContain("Signature Verified Successfully");
    const forged = `${stores.directory()}/copy`;
    cpSync(GOOD, forged, { recursive: true });
    appendFileSync(`${forged}/digests`, "x");
    expect(spawnSync("openssl", check, { ...options, cwd: forged }).status).not.toBe(0);
  });
});

describe("a forged verdict is found", () => {
  const swapText = (file: string, from: string, to: string): void => {
    const text = readFileSync(file, "utf8");
    expect(text).toContain(from);
    writeFileSync(file, text.replace(from, to));
  };
  const renewDigest = (directory: string, name: string): void => {
    const digest = sha256(readFileSync(`${directory}/${name}`));
    const lines = readFileSync(`${directory}/digests`, "utf8").replace(new RegExp(`^.{64}(  ${name})$`, "m"), `${digest}$1`);
    writeFileSync(`${directory}/digests`, lines);
  };
  test.each<[string, (directory: string) => void, string]>([
    ["a byte of each file", (d) => swapText(`${d}/verdict.json`, '"pass"', '"fail"'), "verdict.json was changed"],
    ["console", (d) => appendFileSync(`${d}/console.log`, "x"), "console.log was changed"],
    ["gate", (d) => appendFileSync(`${d}/gate.toml`, "#"), "gate.toml was changed"],
    ["command line", (d) => appendFileSync(`${d}/command-line.txt`, "-x\n"), "command-line.txt was changed"],
    ["screenshot", (d) => appendFileSync(`${d}/screenshot.png`, "x"), "screenshot.png was changed"],
    ["a file more", (d) => writeFileSync(`${d}/notes.txt`, "x"), "notes.txt was added"],
    ["a screenshot less", (d) => rmSync(`${d}/screenshot.png`), "screenshot.png was removed"],
    ["no signature", (d) => rmSync(`${d}/signature`), "signature is missing"],
    ["an empty signature", (d) => writeFileSync(`${d}/signature`, ""), "the signature is wrong"],
    ["another order of digests", (d) => appendFileSync(`${d}/digests`, "\n"), "the signature is wrong"],
    [
      "digest and file",
      (d) => {
        swapText(`${d}/verdict.json`, '"web"', '"www"');
        renewDigest(d, "verdict.json");
      },
      "the signature is wrong",
    ],
    [
      "another key beside the old signature",
      (d) => {
        const { publicKey } = generateKeyPairSync("ed25519");
        writeFileSync(`${d}/public-key.pem`, publicKey.export({ type: "spki", format: "pem" }));
        renewDigest(d, "public-key.pem");
      },
      "the signature is wrong",
    ],
    ["no key", (d) => writeFileSync(`${d}/public-key.pem`, "hello"), "public-key.pem is no ed25519 key"],
  ])("%s", async (_what, forge, why) => {
    const directory = `${stores.directory()}/copy`;
    cpSync(GOOD, directory, { recursive: true });
    forge(directory);
    const path = await add(directory);
    const problem = thrownProblem(() => readVerdict(host, store, path));
    expect([problem.code, problem.exit]).toEqual(["E_VERDICT_FORGED", 1]);
    expect(problem.message).toContain(why);
  });
  test("signed whole by another key, by whoever knows the right one", async () => {
    const directory = stores.directory();
    const contents = { verdict: VERDICT, gateText: gateText(GATE), consoleLog: "", commandLine: [] };
    writeVerdict(host, directory, contents, loadHostKey(host, `${stores.root}/keys/other.pem`));
    const path = await add(directory);
    expect(readVerdict(host, store, path).verdict.verdict).toBe("pass");
    const trusted = loadHostKey(host, keyFile).publicPem;
    expect(thrownProblem(() => readVerdict(host, store, path, { trusted })).message).toContain("another key");
  });
  test("of another gate than it names", async () => {
    const path = await add(write({ gate: { name: "gate", sha256: sha256("other") } }));
    expect(thrownProblem(() => readVerdict(host, store, path)).message).toContain("gate.toml is not the gate");
  });
  test("and what is no verdict is said to be none", async () => {
    mkdirSync(`${stores.root}/other`);
    const { path } = await store.add(`${stores.root}/other`, "other");
    expect(thrownProblem(() => readVerdict(host, store, path)).code).toBe("E_NO_VERDICT");
    const nothing = thrownProblem(() => readVerdict(host, store, `/frx/store/${"0".repeat(64)}-verdict-x` as StorePath));
    expect([nothing.code, nothing.exit]).toEqual(["E_NO_VERDICT", 2]);
  });
});

describe("the host's key", () => {
  test("is made once, for its owner alone, and is one that openssl reads", () => {
    const file = `${stores.root}/fresh/host.pem`;
    const first = loadHostKey(host, file);
    expect(loadHostKey(host, file).publicPem).toBe(first.publicPem);
    expect(lstatSync(file).mode & 0o777).toBe(0o600);
    expect(lstatSync(`${stores.root}/fresh`).mode & 0o777).toBe(0o700);
    expect(execFileSync("openssl", ["pkey", "-in", file, "-pubout"], { encoding: "utf8" })).toBe(first.publicPem);
    expect(host.files.list(`${stores.root}/fresh`)).toHaveLength(1);
  });
  test("is refused where others read it, or where it is of another kind", async () => {
    const file = `${stores.root}/open.pem`;
    loadHostKey(host, file);
    chmodSync(file, 0o640);
    expect((await problemOf(() => loadHostKey(host, file))).code).toBe("E_KEY_PERMISSIONS");
    const rsa = generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey.export({ type: "pkcs8", format: "pem" });
    writeFileSync(`${stores.root}/rsa.pem`, rsa, { mode: 0o600 });
    expect(thrownProblem(() => loadHostKey(host, `${stores.root}/rsa.pem`)).code).toBe("E_KEY_TYPE");
    writeFileSync(`${stores.root}/text.pem`, "hello", { mode: 0o600 });
    expect(thrownProblem(() => loadHostKey(host, `${stores.root}/text.pem`)).code).toBe("E_BAD_KEY");
  });
});
