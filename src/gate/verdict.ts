/**
 * A verdict as files, which become one store item, and back.
 *
 *     verdict.json       what was decided and why (`Verdict`), canonical JSON
 *     gate.toml          every rule that applied (`gateText`); its SHA-256 is the gate's
 *     console.log        the serial console, each line with the seconds since the start
 *     command-line.txt   the hypervisor's, one argument to a line
 *     screenshot.png     of a machine with a display: when it was asked for, and of every failure
 *     public-key.pem     of the host that ran the gate
 *     digests            SHA-256 of each file above, as sha256sum(1) writes and checks it
 *     signature          ed25519 of the bytes of `digests`, 64 bytes
 *
 * To check one by hand: `sha256sum -c digests` and
 * `openssl pkeyutl -verify -pubin -inkey public-key.pem -rawin -in digests -sigfile signature`.
 *
 * Limits: a signature says which key signed, not whose it is: who cares compares the public key with one he knows.
 */
import { createPublicKey, type KeyObject, sign, verify } from "node:crypto";
import { canonicalJson, type JsonValue, Problem, sha256, type StorePath } from "../base/index.ts";
import type { Host } from "../host/index.ts";
import type { Store } from "../store/index.ts";
import { type HostKey, keyFingerprint } from "./key.ts";
import type { Verdict } from "./types.ts";

export interface VerdictFiles {
  readonly verdict: Verdict;
  readonly gateText: string;
  readonly consoleLog: string;
  readonly commandLine: readonly string[];
}

/** A verdict that was read and whose signature holds. */
export interface SignedVerdict {
  readonly path: StorePath;
  readonly verdict: Verdict;
  readonly gateText: string;
  readonly consoleLog: string;
  readonly commandLine: readonly string[];
  /** Physical path, when there is one. */
  readonly screenshot: string | undefined;
  readonly publicPem: string;
  readonly publicKeySha256: string;
}

const SCREENSHOT = "screenshot.png";
const TEXTS = ["command-line.txt", "console.log", "gate.toml", "public-key.pem", "verdict.json"] as const;

/** Fills the directory, in which a `screenshot.png` may lie already. */
export function writeVerdict(host: Host, directory: string, contents: VerdictFiles, key: HostKey): void {
  const texts: Readonly<Record<(typeof TEXTS)[number], string>> = {
    "command-line.txt": contents.commandLine.map((word) => `${word}\n`).join(""),
    "console.log": contents.consoleLog,
    "gate.toml": contents.gateText,
    "public-key.pem": key.publicPem,
    "verdict.json": `${canonicalJson(asJson(contents.verdict))}\n`,
  };
  for (const [name, text] of Object.entries(texts)) host.files.writeFile(`${directory}/${name}`, text);
  const names = host.files.exists(`${directory}/${SCREENSHOT}`) ? [...TEXTS, SCREENSHOT].toSorted() : TEXTS;
  const digests = names.map((name) => `${sha256(host.files.readFile(`${directory}/${name}`))}  ${name}\n`).join("");
  host.files.writeFile(`${directory}/digests`, digests);
  host.files.writeFile(`${directory}/signature`, sign(null, Buffer.from(digests), key.privateKey));
}

/** What JSON leaves out is left out before the canonical form is made. */
function asJson(verdict: Verdict): JsonValue {
  const value: JsonValue = JSON.parse(JSON.stringify(verdict));
  return value;
}

const DIGEST_LINE = /^([0-9a-f]{64}) {2}([a-z.-]+)$/;

/**
 * `trusted` is the public key in PEM that must have signed; without it any key will do, and the reader looks at
 * `publicKeySha256`.
 *
 * @throws Problem E_NO_VERDICT (there is none at this path; exit 2), E_VERDICT_FORGED (exit 1)
 */
export function readVerdict(
  host: Host,
  store: Store,
  path: StorePath,
  options: { readonly trusted?: string } = {},
): SignedVerdict {
  const directory = store.physical(path);
  const { files } = host;
  if (!store.isValid(path) || !files.exists(`${directory}/verdict.json`)) {
    throw new Problem({
      code: "E_NO_VERDICT",
      message: `${path} is no verdict of a gate`,
      hint: "garth gate run makes one and prints its path",
      where: directory,
      exit: 2,
    });
  }
  const forged = (why: string): Problem =>
    new Problem({
      code: "E_VERDICT_FORGED",
      message: `the verdict ${path} is not what its key signed: ${why}`,
      hint: "do not rely on it; run the gate again",
      where: directory,
    });
  const present = files
    .list(directory)
    .map((name) => new TextDecoder().decode(name))
    .toSorted();
  for (const name of ["digests", "signature", ...TEXTS]) if (!present.includes(name)) throw forged(`${name} is missing`);

  const digests = files.readText(`${directory}/digests`);
  const publicPem = files.readText(`${directory}/public-key.pem`);
  const key = publicKey(publicPem);
  if (key === undefined) throw forged("public-key.pem is no ed25519 key");
  if (!verify(null, Buffer.from(digests), key, files.readFile(`${directory}/signature`))) throw forged("the signature is wrong");
  if (options.trusted !== undefined && !sameKey(options.trusted, key)) {
    throw forged(`it was signed with another key than the trusted one (${keyFingerprint(publicPem)})`);
  }
  const listed = new Map<string, string>();
  for (const line of digests.trimEnd().split("\n")) {
    const [, digest, name] = DIGEST_LINE.exec(line) ?? [];
    if (digest === undefined || name === undefined) throw forged("a line of digests is not of their form");
    listed.set(name, digest);
  }
  for (const name of present) {
    if (name === "digests" || name === "signature") continue;
    if (listed.get(name) === undefined) throw forged(`${name} was added`);
    if (listed.get(name) !== sha256(files.readFile(`${directory}/${name}`))) throw forged(`${name} was changed`);
  }
  for (const name of listed.keys()) if (!present.includes(name)) throw forged(`${name} was removed`);

  const gateText = files.readText(`${directory}/gate.toml`);
  const verdict = parseVerdict(files.readText(`${directory}/verdict.json`));
  if (verdict === undefined) throw forged("verdict.json is no verdict of a form that is known here");
  if (verdict.gate.sha256 !== sha256(gateText)) throw forged("gate.toml is not the gate that verdict.json names");
  return {
    path,
    verdict,
    gateText,
    consoleLog: files.readText(`${directory}/console.log`),
    commandLine: files.readText(`${directory}/command-line.txt`).split("\n").slice(0, -1),
    screenshot: present.includes(SCREENSHOT) ? `${directory}/${SCREENSHOT}` : undefined,
    publicPem,
    publicKeySha256: keyFingerprint(publicPem),
  };
}

function publicKey(pem: string): KeyObject | undefined {
  try {
    const key = createPublicKey(pem);
    // A private key would give its public half.
    return key.asymmetricKeyType === "ed25519" && pem.includes("BEGIN PUBLIC KEY") ? key : undefined;
  } catch {
    return undefined;
  }
}

function sameKey(trusted: string, key: KeyObject): boolean {
  return publicKey(trusted)?.equals(key) ?? false;
}

/** What a signature covers was written by this program: its form is asked for by its schema alone. */
function parseVerdict(text: string): Verdict | undefined {
  const value: unknown = JSON.parse(text);
  return isVerdict(value) ? value : undefined;
}

function isVerdict(value: unknown): value is Verdict {
  return (
    typeof value === "object" &&
    value !== null &&
    "schema" in value &&
    value.schema === 1 &&
    "verdict" in value &&
    (value.verdict === "pass" || value.verdict === "fail") &&
    "gate" in value
  );
}
