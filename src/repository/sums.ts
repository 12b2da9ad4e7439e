/** Sums as pkg writes them: `<type>$<digest>`, or 64 bare hexadecimal digits, which are SHA-256. */
import { createHash, type Hash } from "node:crypto";
import { isSha256, Problem } from "../base/index.ts";
import { pkgBase32 } from "../formats/index.ts";

type Algorithm = "sha256" | "blake2b512" | "blake2s256";

interface Sum {
  readonly algorithm: Algorithm;
  readonly written: (digest: Buffer) => string;
  readonly expected: string;
}

const hex = (digest: Buffer): string => digest.toString("hex");
const FORMS: ReadonlyMap<string, Omit<Sum, "expected">> = new Map([
  ["0", { algorithm: "sha256", written: pkgBase32 }],
  ["1", { algorithm: "sha256", written: hex }],
  ["2", { algorithm: "blake2b512", written: pkgBase32 }],
  ["5", { algorithm: "blake2s256", written: pkgBase32 }],
] as const);

/** Fed with the content, it says whether the sum is right. */
export interface SumCheck {
  update(chunk: Uint8Array): void;
  matches(): boolean;
}

/** @throws Problem E_SUM_TYPE for a kind of sum this version cannot compute */
export function sumCheck(sum: string, of: string): SumCheck {
  const { algorithm, written, expected } = parseSum(sum, of);
  const hash: Hash = createHash(algorithm);
  return { update: (chunk) => void hash.update(chunk), matches: () => written(hash.digest()) === expected };
}

function parseSum(sum: string, of: string): Sum {
  if (isSha256(sum)) return { algorithm: "sha256", written: hex, expected: sum };
  const [, type = "", expected = ""] = /^([0-9]+)\$(.+)$/.exec(sum) ?? [];
  const form = FORMS.get(type);
  if (form === undefined) {
    throw new Problem({
      code: "E_SUM_TYPE",
      message: `the sum ${JSON.stringify(sum)} of ${of} is of a kind that cannot be checked here`,
    });
  }
  return { ...form, expected };
}
