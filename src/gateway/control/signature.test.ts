/** Against the SDK's own signatures. */
import { expect, test } from "bun:test";
import { getSignature } from "e2b";
import fc from "fast-check";
import { isSignedBy, signature, signedRequest } from "./signature.ts";

const TOKEN = "0123456789abcdef".repeat(4);

test("is what the SDK makes of path, operation, user, token and time", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.string(),
      fc.constantFrom("read" as const, "write" as const),
      fc.option(fc.string()),
      async (path, operation, user) => {
        const made = await getSignature({ path, operation, user: user ?? undefined, envdAccessToken: TOKEN });
        expect(signature({ path, operation, user: user ?? "", expiration: undefined }, TOKEN)).toBe(made.signature);
      },
    ),
  );
});

test("opens what it was made for until its time is over, and nothing else", async () => {
  const made = await getSignature({
    path: "/a b",
    operation: "read",
    user: "ann",
    expirationInSeconds: 60,
    envdAccessToken: TOKEN,
  });
  const query = (change: Readonly<Record<string, string>> = {}) =>
    new URLSearchParams({
      path: "/a b",
      username: "ann",
      signature: made.signature,
      signature_expiration: String(made.expiration),
      ...change,
    });
  const opens = (method: string, given: URLSearchParams, token = TOKEN, atMs = Date.now()): boolean => {
    const signed = signedRequest(method, given);
    return signed !== undefined && isSignedBy(signed, token, atMs);
  };
  expect(opens("GET", query())).toBe(true);
  expect(opens("HEAD", query())).toBe(true);
  expect(opens("POST", query())).toBe(false);
  expect(opens("GET", query({ path: "/a" }))).toBe(false);
  expect(opens("GET", query({ username: "" }))).toBe(false);
  expect(opens("GET", query({ signature_expiration: String(Number(made.expiration) + 1) }))).toBe(false);
  expect(opens("GET", query({ signature_expiration: "" }))).toBe(false);
  expect(opens("GET", query(), "f".repeat(64))).toBe(false);
  expect(opens("GET", query(), TOKEN, (Number(made.expiration) + 1) * 1000)).toBe(false);
  expect(opens("GET", query({ signature: "" }))).toBe(false);
  const without = query();
  without.delete("signature");
  expect(signedRequest("GET", without)).toBeUndefined();
});

test("survives a client that leaves a plus sign as it was", () => {
  const paths = Array.from({ length: 200 }, (_, index) => `/file-${index}`);
  const unsigned = { operation: "read", user: "", expiration: undefined } as const;
  const path = paths.find((one) => signature({ ...unsigned, path: one }, TOKEN).includes("+")) ?? "";
  const text = `path=${path}&signature=${signature({ ...unsigned, path }, TOKEN)}`;
  expect(text).toContain("+");
  const signed = signedRequest("GET", new URLSearchParams(text));
  expect(signed !== undefined && isSignedBy(signed, TOKEN, 0)).toBe(true);
});
