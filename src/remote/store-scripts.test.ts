/** What the scripts of a host's store look like, and that every shell takes them. */
import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import type { StorePath, System } from "../base/index.ts";
import { golden } from "../base/testing.ts";
import { wholeScript } from "../host/index.ts";
import { collectInner, collectScript } from "./collect-script.ts";
import { fetchScript } from "./fetch-script.ts";
import { askScript, sendScript } from "./send-script.ts";

const path = (digit: string, name: string): StorePath => `/frx/store/${digit.repeat(64)}-${name}`;
const libc = path("a", "libc-1.0");
const hello = path("b", "what?-2=3+4_5.6");
/** It refers to itself, too. */
const items = [
  { path: libc, references: [] },
  { path: hello, references: [libc, hello] },
];
const root = "/frx/var/garth/remote";

const others = (system: System) =>
  ({ root, system, storeDirectory: "/frx/store", id: "send-1", archiveBytes: 4096, neededBytes: 5000 }) as const;

const scripts: readonly (readonly [name: string, text: (system: System) => string])[] = [
  ["ask", (system) => askScript({ root, system }, [libc, hello])],
  ["ask-others", (system) => askScript({ root, system, storeDirectory: "/frx/store" }, [libc, hello])],
  ["send", (system) => sendScript({ root, system, id: "send-1", items, archiveBytes: 4096, neededBytes: 5000 })],
  ["send-others", (system) => sendScript({ ...others(system), items })],
  [
    "send-others-nar",
    (system) => sendScript({ ...others(system), items: items.map((item) => ({ ...item, narSha256: "c".repeat(64) })) }),
  ],
  ["fetch", (system) => fetchScript({ root, system, id: "fetch-1", from: `${root}/tmp/1/out` })],
  ["collect", (system) => collectScript({ root, system, id: "collect-1", olderThanMs: 90_000 })],
  ["collect-inner", (system) => collectInner(system, 0)],
];

describe.each(["x86_64-linux", "aarch64-freebsd"] as const)("for %s", (system) => {
  test.each(scripts)("%s", (name, text) => {
    const body = text(system);
    const file = join(import.meta.dir, "golden/store", `${name}-${system.replace(/.*-/, "")}.sh`);
    expect(body).toBe(golden(file, body));
    const whole = wholeScript(body);
    for (const shell of [["dash"], ["busybox", "sh"]]) {
      const said = Bun.spawnSync([...shell, "-n"], { stdin: Buffer.from(whole) });
      expect([said.exitCode, said.stderr.toString()]).toEqual([0, ""]);
    }
    const said = Bun.spawnSync(["shellcheck", "-s", "sh", "-"], { stdin: Buffer.from(`#!/bin/sh\n${body}`) });
    expect(said.stdout.toString()).toBe("");
  });
});

test("a script asks for thousands of names with few processes", () => {
  const many = Array.from({ length: 5000 }, (_, index) => path("c", `item-${index}`));
  expect(
    askScript({ root: "/r", system: "x86_64-linux" }, many)
      .split("\n")
      .filter((line) => line.startsWith("ask ")).length,
  ).toBeLessThan(50);
});
