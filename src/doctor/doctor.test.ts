import { expect, test } from "bun:test";
import { localHost } from "../host/index.ts";
import { judge, type Observations, packageOf, planInstall, renderReport, toolsFor } from "./plan.ts";
import { TOOLS } from "./table.ts";

const healthy: Observations = {
  system: "linux",
  isRoot: true,
  sandboxFailure: undefined,
  limiters: ["memory", "processes"],
  stateDirectory: "/frx/var/garth",
  freeBytes: 20 * 1024 ** 3,
  nowMs: 1_800_000_000_000,
  newestKnownMs: 1_790_000_000_000,
};

const absent = (system: "x86_64-linux" | "aarch64-linux" | "x86_64-freebsd", withTests: boolean) =>
  toolsFor(system, withTests).map((tool) => ({ tool, path: undefined }));

test("what a bare Debian is told to install", () => {
  expect(planInstall("linux", absent("x86_64-linux", false)).commands.map((argv) => argv.join(" "))).toEqual([
    "apt-get update --quiet",
    "apt-get install --yes --quiet --no-install-recommends apt bubblewrap ca-certificates coreutils dosfstools dpkg e2fsprogs gdisk git iproute2 mmdebstrap nftables npm openssh-client ovmf qemu-system-x86 qemu-utils socat tar util-linux",
  ]);
});

test("each processor gets its own machines and firmware", () => {
  const { packages } = planInstall("linux", absent("aarch64-linux", false));
  expect(packages).toContain("qemu-system-arm");
  expect(packages).toContain("qemu-efi-aarch64");
  expect(packages.filter((name) => name === "ovmf" || name === "qemu-system-x86")).toEqual([]);
});

test("a program for systems comes from the package that is named for it", () => {
  const host = localHost();
  const tools = toolsFor(host.system, false).flatMap((tool) => {
    const path = tool.proof.startsWith("/") ? tool.proof : (host.which(tool.proof) ?? "/missing");
    return tool.need === "systems" ? [{ ...tool, path }] : [];
  });
  // dpkg knows some files by the places they had before /usr was merged.
  const places = tools.flatMap(({ path }) => [path, path.replace(/^\/usr/, "")]);
  const owners = Bun.spawnSync(["dpkg-query", "-S", ...places]).stdout.toString();
  const wrong = tools.filter(({ path, debian }) => {
    const lines = [`${debian}: ${path}\n`, `${debian}: ${path.replace(/^\/usr/, "")}\n`];
    return !lines.some((line) => `\n${owners}`.includes(`\n${line}`));
  });
  expect(wrong).toEqual([]);
});

test("a FreeBSD host installs from packages only what is not in its base system", () => {
  expect(planInstall("freebsd", absent("x86_64-freebsd", false)).commands).toEqual([
    ["pkg", "install", "--yes", "dosfstools", "e2fsprogs", "edk2-qemu-x64", "gdisk", "git", "npm", "qemu", "socat"],
  ]);
});

test("nothing missing, nothing to run", () => {
  const states = toolsFor("x86_64-linux", true).map((tool) => ({ tool, path: "/usr/bin/x" }));
  expect(planInstall("linux", states)).toEqual({ packages: [], commands: [] });
});

test("every tool is for some system, and no tool twice", () => {
  for (const tool of TOOLS) expect(packageOf(tool, "linux") ?? packageOf(tool, "freebsd")).toBeString();
  expect(new Set(TOOLS.map((tool) => tool.proof)).size).toBe(TOOLS.length);
});

test("a healthy machine passes every check", () => {
  expect(judge(healthy).map((check) => check.state)).toEqual(["ok", "ok", "ok", "ok"]);
});

test("each thing that can be wrong is found, with a hint", () => {
  const found = (change: Partial<Observations>) => judge({ ...healthy, ...change }).find((check) => check.state !== "ok");
  expect(found({ sandboxFailure: "No permissions to create new namespace", isRoot: false })).toMatchObject({
    name: "sandbox",
    state: "fail",
    hint: expect.stringContaining("unprivileged_userns_clone"),
  });
  expect(found({ limiters: ["processes"] })).toMatchObject({
    name: "limits",
    state: "warn",
    detail: expect.stringContaining("memory"),
  });
  expect(found({ freeBytes: 1024 })).toMatchObject({ name: "space", state: "warn" });
  expect(found({ nowMs: 0 })).toMatchObject({ name: "clock", state: "fail" });
});

test("the report for a person", () => {
  const tools = toolsFor("x86_64-linux", false)
    .slice(0, 3)
    .map((tool, index) => ({ tool, path: index === 0 ? undefined : "/usr/bin/it" }));
  const checks = judge({ ...healthy, freeBytes: 1024 ** 3 });
  const report = { tools, checks, install: planInstall("linux", tools), healthy: false };
  expect(renderReport(report, "linux")).toBe(
    `needed for every build:
  MISSING  bwrap               the sandbox of a build on Linux (package bubblewrap)
  ok       setpriv             /usr/bin/it
  ok       prlimit             /usr/bin/it
this machine:
  ok       sandbox             starts
  ok       limits              memory and processes of a build as a whole
  WARNING  space               1 GiB free under /frx/var/garth
                               a world and a build want 2 GiB: free some, or choose another --root
  ok       clock               2027-01-15T08:00:00.000Z
\`garth doctor --install\` would run:
  apt-get update --quiet
  apt-get install --yes --quiet --no-install-recommends bubblewrap`,
  );
});
