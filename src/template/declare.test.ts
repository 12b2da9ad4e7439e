/** What a project file may say of a template, and what it is told when it may not. */
import { describe, expect, test } from "bun:test";
import { thrownProblem } from "../base/testing.ts";
import { gate } from "../gate/index.ts";
import { slices, world } from "../world/index.ts";
import { system } from "../system/index.ts";
import { sidecarOf, template, type TemplateFields } from "./index.ts";

const { kernel, boot, runtime } = slices(world({ name: "tiny", directory: "/nonexistent" }));
const web = system({ name: "web", kernel, bootloader: boot, base: [runtime], init: { exec: "/bin/sh" } });

describe("a declaration", () => {
  test("needs a system and nothing else", async () => {
    const declared = template({ system: web });
    expect(declared).toEqual({ kind: "template", name: "web", system: web, gate: undefined, sidecar: {}, description: "" });
    expect(await sidecarOf(declared.sidecar, "web")).toMatchObject({
      bootMode: "uefi",
      memoryBytes: 256 << 20,
      shell: "/bin/sh",
    });
  });

  test("says of a sidecar what a file would say", async () => {
    const judged = gate({ system: web });
    const declared = template({
      system: web,
      name: "web-large",
      gate: judged,
      description: "Large.",
      sidecar: {
        gatewayMode: "ssh",
        bootMode: "direct",
        patchMode: "none",
        diskDevice: "nvme",
        netDevice: "e1000",
        sshUser: "agent",
        shell: "/bin/bash",
        shellArgs: ["-c", "echo 'a b'; exec sh"],
        memory: "2G",
        cpus: 4,
        wiredMemory: true,
        extraSlots: ["20:0,passthru,ppt0", "21:0,virtio-rnd"],
      },
    });
    expect([declared.name, declared.gate, declared.description]).toEqual(["web-large", judged, "Large."]);
    expect(await sidecarOf(declared.sidecar, "web")).toMatchObject({
      bootMode: "direct",
      shellArgs: ["-c", "echo 'a b'; exec sh"],
      memoryBytes: 2 * 1024 ** 3,
      cpus: 4,
      wiredMemory: true,
      extraSlots: [{ text: "20:0,passthru,ppt0" }, { text: "21:0,virtio-rnd" }],
    });
  });

  test("is held against machines when the template is made", async () => {
    const { sidecar } = template({ system: web, sidecar: { extraSlots: ["3:0,virtio-rnd"] } });
    expect(sidecarOf(sidecar, "web")).rejects.toMatchObject({ code: "E_BAD_SIDECAR" });
  });

  test.each<readonly [string, object, string, string]>([
    ["no system", {}, "template: system: it is not what system({ ... }) returned", ""],
    ["a gate for a system", { system: gate({ system: web }) }, "template: system: ", ""],
    ["a system for a gate", { system: web, gate: web }, "template: gate: it is not what gate({ ... }) returned", ""],
    ["an unknown field", { system: web, sidcar: {} }, "template: sidcar: there is no such field", "did you mean sidecar?"],
    ["a name with an underscore", { system: web, name: "a_b" }, 'template: name: "a_b" cannot name a template', "hyphens"],
    ["a name that is none", { system: web, name: 3 }, "template: name: 3 cannot name a template", ""],
    ["a description that is none", { system: web, description: 3 }, "template: description: ", ""],
    ["a sidecar that is a list", { system: web, sidecar: [] }, "template: sidecar: it is not an object", ""],
    [
      "an unknown field of it",
      { system: web, sidecar: { memoryBytes: 1 } },
      "template: sidecar.memoryBytes: there is no",
      "memory",
    ],
    ["another boot", { system: web, sidecar: { bootMode: "efi" } }, 'template: sidecar.bootMode: "efi" is not one of', "uefi"],
    ["memory as a number", { system: web, sidecar: { memory: 256 } }, "template: sidecar.memory: 256 is not a text", ""],
    ["memory without a unit", { system: web, sidecar: { memory: "256" } }, 'template: sidecar.memory: "256" has no unit', "256M"],
    ["processors as text", { system: web, sidecar: { cpus: "2" } }, 'template: sidecar.cpus: "2" is not a number', ""],
    ["half a processor", { system: web, sidecar: { cpus: 1.5 } }, 'template: sidecar.cpus: "1.5" is not a number from 1', ""],
    ["wired memory as text", { system: web, sidecar: { wiredMemory: "yes" } }, "template: sidecar.wiredMemory: ", ""],
    ["arguments in one text", { system: web, sidecar: { shellArgs: "-i" } }, "template: sidecar.shellArgs: ", ""],
    [
      "an argument that a shell would expand",
      { system: web, sidecar: { shellArgs: ["a\nb"] } },
      "template: sidecar.shellArgs: ",
      "",
    ],
    ["two slots in one text", { system: web, sidecar: { extraSlots: ["5,a;6,b"] } }, "template: sidecar.extraSlots: ", ""],
  ])("with %s is refused", (_what, fields, message, hint) => {
    // What a project file passes when nothing checked its types.
    const problem = thrownProblem(() => template(fields as TemplateFields));
    expect([problem.code, problem.exit]).toEqual(["E_BAD_TEMPLATE", 2]);
    expect(problem.message).toStartWith(message);
    expect(problem.hint ?? "").toContain(hint);
  });
});
