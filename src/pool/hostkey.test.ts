/** Keys made here, read by ssh-keygen. */
import { afterAll, expect, test } from "bun:test";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { localHost } from "../host/index.ts";
import { makeSshKeyPair } from "./hostkey.ts";

const host = localHost();
const directory = fs.mkdtempSync(`${tmpdir()}/garth-hostkey-`);
afterAll(() => host.files.removeTree(directory));

test("ssh-keygen finds the public half in the private one, whatever the length of the comment", async () => {
  for (const comment of ["", "a", "debian-12-17", "x".repeat(63)]) {
    const { privateKey, publicKey } = makeSshKeyPair(comment);
    const file = `${directory}/key`;
    fs.rmSync(file, { force: true });
    fs.writeFileSync(file, privateKey, { mode: 0o600 });
    const read = await host.run({ argv: ["ssh-keygen", "-y", "-P", "", "-f", file] });
    expect(read.text().trim()).toBe(publicKey.trim());
  }
});

test("no two are the same", () => {
  const keys = Array.from({ length: 20 }, () => makeSshKeyPair("x").publicKey);
  expect(new Set(keys).size).toBe(20);
});
