/** What the scripts for machines look like, and that every shell takes them. */
import { expect, test } from "bun:test";
import { join } from "node:path";
import type { StorePath } from "../base/index.ts";
import { golden } from "../base/testing.ts";
import { wholeScript } from "../host/index.ts";
import { addScript, itemsScript, lookScript, rebootScript, removeScript, selectScript } from "./scripts.ts";

const path = (digit: string, name: string): StorePath => `/frx/store/${digit.repeat(64)}-${name}`;
const system = path("b", "system-web");

const scripts = {
  look: lookScript(),
  items: itemsScript(12),
  add: addScript(system, [system, path("a", "what?-2=3+4_5.6")], 900),
  select: selectScript(3, 900),
  remove: removeScript([2, 4]),
  reboot: rebootScript(),
};

test.each(Object.entries(scripts))("%s", (name, body) => {
  expect(body).toBe(golden(join(import.meta.dir, `golden/${name}.sh`), body));
  for (const shell of [["dash"], ["busybox", "sh"]]) {
    const said = Bun.spawnSync([...shell, "-n"], { stdin: Buffer.from(wholeScript(body)) });
    expect([said.exitCode, said.stderr.toString()]).toEqual([0, ""]);
  }
  const said = Bun.spawnSync(["shellcheck", "-s", "sh", "-"], { stdin: Buffer.from(`#!/bin/sh\n${body}`) });
  expect(said.stdout.toString()).toBe("");
});
