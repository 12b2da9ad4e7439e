/** Choosing the accelerator: the probe for real, and what is made of its answer. */
import { afterAll, describe, expect, test } from "bun:test";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { problemOf } from "../base/testing.ts";
import { type Host, localHost } from "../host/index.ts";
import { chooseAccelerator, probeAccelerator } from "./accelerator.ts";
import { qemuProgramOf } from "./programs.ts";

const host = localHost();
const directory = mkdtempSync(join(tmpdir(), "garth-accelerator-"));
afterAll(() => rmSync(directory, { recursive: true, force: true }));
const qemu = qemuProgramOf(host, "x86_64-linux");
const scratchBelow = join(directory, "scratch");
const places = (name: string) => ({ file: join(directory, name), scratchBelow });

/** A program in place of QEMU. */
function standIn(name: string, script: string): string {
  const path = join(directory, name);
  writeFileSync(path, `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  return path;
}

/** A host where /dev/kvm is as the test says, and QEMU too. */
function hostWith(device: "there" | "absent" | "EACCES" | "ENODEV", program: string): Host {
  const files: Host["files"] = {
    ...host.files,
    exists: (path) => (path === "/dev/kvm" ? device !== "absent" : host.files.exists(path)),
    open: (path, flags, mode) => {
      if (path !== "/dev/kvm") return host.files.open(path, flags, mode);
      if (device === "there") return host.files.open("/dev/null", "r+");
      throw Object.assign(new Error(device), { code: device });
    },
  };
  const which = (name: string) => (name.startsWith("qemu") ? program : host.which(name));
  return { ...host, processIdentity: host.processIdentity, files, which };
}

describe("the probe", () => {
  test("is answered by a guest that runs", async () => {
    expect(await probeAccelerator(host, { qemu, accelerator: "tcg", scratchBelow, limitMs: 60_000 })).toEqual({ kind: "ran" });
    expect(readdirSync(scratchBelow)).toEqual([]);
  });

  test.each([
    ["hangs", "exec sleep 1000", "a guest did not run within 200ms"],
    ["ends as if nothing had happened", "exit 0", "QEMU ended with status 0"],
    ["cannot", "echo 'failed to initialize kvm' >&2; exit 1", "QEMU ended with status 1: failed to initialize kvm"],
    ["is killed", "kill -SEGV $$", "QEMU was ended by SIGSEGV"],
  ])("is not answered by one that %s", async (name, script, why) => {
    const probe = { qemu: standIn(name.slice(0, 4), script), accelerator: "kvm", scratchBelow, limitMs: 200 } as const;
    // Whatever ends by itself is given its time.
    const found = await probeAccelerator(host, name === "hangs" ? probe : { ...probe, limitMs: 60_000 });
    expect(found).toEqual({ kind: "failed", why });
    expect(readdirSync(scratchBelow)).toEqual([]);
  });
});

describe("the choice", () => {
  const auto = { system: "x86_64-linux", accelerator: "auto" } as const;

  test("is kvm only where a guest ran, and is remembered for this boot and this QEMU", async () => {
    const count = join(directory, "count");
    const program = standIn("qemu-good", `echo ran >>${count}; exit 85`);
    const there = hostWith("there", program);
    const meant = { accelerator: "kvm", reason: "a guest ran on /dev/kvm" } as const;
    expect(await chooseAccelerator(there, auto, places("good"))).toEqual(meant);
    expect(await chooseAccelerator(there, { ...auto, accelerator: "kvm" }, places("good"))).toEqual(meant);
    expect(readFileSync(count, "utf8")).toBe("ran\n");
    const rebooted = { ...there, processIdentity: `another:${host.processIdentity}` };
    expect(await chooseAccelerator(rebooted, auto, places("good"))).toEqual(meant);
    expect(readFileSync(count, "utf8")).toBe("ran\nran\n");
    for (const broken of ["", "[]", "null", "{", `{"boot":"${host.processIdentity.split(":")[0]}"}`]) {
      writeFileSync(places("good").file, broken);
      expect(await chooseAccelerator(there, auto, places("good"))).toEqual(meant);
    }
  });

  test("is tcg where none did, and asking for kvm is refused with the reason", async () => {
    const bad = hostWith("there", standIn("qemu-bad", "echo 'no KVM support' >&2; exit 1"));
    const reason = "/dev/kvm opens, but QEMU ended with status 1: no KVM support";
    expect(await chooseAccelerator(bad, auto, places("bad"))).toEqual({ accelerator: "tcg", reason });
    const problem = await problemOf(chooseAccelerator(bad, { ...auto, accelerator: "kvm" }, places("bad")));
    expect([problem.code, problem.exit]).toEqual(["E_KVM_UNUSABLE", 3]);
    expect(problem.message).toContain(reason);
  });

  test.each([
    ["absent", auto, "there is no /dev/kvm"],
    ["EACCES", auto, "this user may not open /dev/kvm; members of the group kvm may"],
    ["ENODEV", auto, "/dev/kvm is there, but no KVM behind it"],
    ["there", { ...auto, system: "aarch64-freebsd" }, "a guest of aarch64-freebsd is emulated on x86_64-linux"],
    ["there", { ...auto, accelerator: "tcg" }, "it was asked for"],
  ] as const)("needs no guest where /dev/kvm is %s", async (device, spec, reason) => {
    const other = { ...hostWith(device, "/none/qemu"), system: "x86_64-linux" as const };
    expect(await chooseAccelerator(other, spec, places("none"))).toEqual({ accelerator: "tcg", reason });
    expect(existsSync(places("none").file)).toBe(false);
  });
});
