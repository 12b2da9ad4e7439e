/** What the probe makes of this machine's own KVM: some have none, some have one that hangs. */
import { afterAll, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { localHost } from "../host/index.ts";
import { chooseAccelerator, probeAccelerator } from "./accelerator.ts";
import { qemuProgramOf } from "./programs.ts";

const host = localHost();
const directory = mkdtempSync(join(tmpdir(), "garth-kvm-"));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

test("it settles, and the choice follows it and stays", async () => {
  const qemu = qemuProgramOf(host, "x86_64-linux");
  const answer = await probeAccelerator(host, { qemu, accelerator: "kvm", scratchBelow: directory });
  const places = { file: join(directory, "accelerator.json"), scratchBelow: directory };
  const spec = { system: "x86_64-linux", accelerator: "auto" } as const;
  const chosen = await chooseAccelerator(host, spec, places);
  expect(chosen.accelerator).toBe(answer.kind === "ran" ? "kvm" : "tcg");
  if (answer.kind === "failed") expect(chosen.reason).toMatch(/^\/dev\/kvm |^there is no \/dev\/kvm$|^this user may not/);
  expect(await chooseAccelerator(host, spec, places)).toEqual(chosen);
  if (chosen.reason.includes("opens")) expect(readFileSync(places.file, "utf8")).toContain(chosen.reason);
}, 20_000);
