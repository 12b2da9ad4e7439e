import { expect, test } from "bun:test";
import { diffSystems, type SystemFacts } from "./index.ts";
import { listing, SAMPLE_SYSTEM } from "./linux.testing.ts";

const part = (digit: string, sizeBytes: number, text: string) =>
  ({ path: `/frx/store/${digit.repeat(64)}-part`, sizeBytes, listing: listing(text) }) as const;
const LEFT: SystemFacts = {
  path: SAMPLE_SYSTEM,
  parts: new Map([
    ["base", part("a", 1 << 20, "bin/sh* lib/x gone")],
    ["old", part("b", 2 << 20, "x")],
    ["same", part("c", 1, "x")],
  ]),
  services: ["cron", "sshd"],
  files: new Map([
    ["etc/motd", "1"],
    ["etc/hosts", "2"],
    ["etc/old", "3"],
  ]),
  sizeBytes: 10 << 20,
};

test("systems that are one differ in nothing", () => {
  const { lines, packages, services, files } = diffSystems(LEFT, LEFT);
  expect(lines).toEqual(["the same system", "closure  10 MiB -> 10 MiB"]);
  expect([packages, services, files]).toEqual([[], [], []]);
});

test("parts, services and files that came, went and changed are told as in diff", () => {
  const right: SystemFacts = {
    path: `/frx/store/${"6".repeat(64)}-system-sample`,
    parts: new Map([
      ["base", part("d", 512 << 10, "bin/sh lib/x new")],
      ["new", part("e", 3, "x")],
      ["same", part("c", 1, "x")],
    ]),
    services: ["sshd", "web"],
    files: new Map([
      ["etc/motd", "9"],
      ["etc/hosts", "2"],
      ["etc/new", "3"],
    ]),
    sizeBytes: 9 << 20,
  };
  // Of base, sh is no program any more, one path went and one came.
  expect(diffSystems(LEFT, right).lines).toEqual([
    "packages",
    "  ~ base  -512 KiB, 3 paths",
    "  + new  +3 B",
    "  - old  -2 MiB",
    "services",
    "  - cron",
    "  + web",
    "files",
    "  ~ /etc/motd",
    "  + /etc/new",
    "  - /etc/old",
    "closure  10 MiB -> 9 MiB",
  ]);
});
