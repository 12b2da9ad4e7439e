import { expect, test } from "bun:test";
import { localHost } from "../host/index.ts";
import { problemOf } from "../base/testing.ts";
import { abiOfHostView, abiOfSystem } from "./index.ts";

const host = { ...localHost(), system: "x86_64-linux" } as const;

test("the host's own, wherever it was, and never this machine's in its place", async () => {
  expect(abiOfHostView(host, "x86_64-linux", undefined)).toEqual(abiOfSystem(host, "/"));
  const on = { host: "build", release: "15.1-RELEASE-p2", osVersion: 1_501_000 };
  expect(abiOfHostView(host, "x86_64-freebsd", on)).toEqual({
    system: "FreeBSD",
    release: "15",
    architecture: "amd64",
    osVersion: 1_501_000,
  });
  expect(abiOfHostView(host, "aarch64-freebsd", { ...on, osVersion: 1_600_005 })).toMatchObject({
    release: "16",
    architecture: "aarch64",
  });
  for (const [system, built] of [
    ["x86_64-freebsd", undefined],
    ["x86_64-linux", { host: "tux", release: "6.1.0" }],
  ] as const) {
    const problem = await problemOf(Promise.resolve().then(() => abiOfHostView(host, system, built)));
    expect([problem.code, problem.exit]).toEqual(["E_ABI_UNKNOWN", 2]);
  }
});
