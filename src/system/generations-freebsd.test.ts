/**
 * What the loader of FreeBSD reads, as its part of the program `generations` writes it: run by two shells with stand-ins for the tools that
 * only FreeBSD has, and read by a model of that loader.
 */
import { afterAll, describe, expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import { join } from "node:path";
import { golden } from "../base/testing.ts";
import { start } from "./freebsd-loader.testing.ts";
import { SAMPLE } from "./freebsd-sample.ts";
import { freebsdGenerations } from "./generations-freebsd.ts";
import { generationsProgram } from "./generations-program.ts";
import {
  KINDS,
  loaderMachines,
  namesOf,
  NEW,
  OLD,
  OWN_PATH,
  PLAIN,
  SHELLS,
  system,
  troubleOf,
  whole,
} from "./generations-freebsd.testing.ts";

const { bin, machine, write, [Symbol.dispose]: remove } = loaderMachines();
afterAll(remove);
const directory = join(import.meta.dir, "golden/freebsd");

/** What the loader makes of it, less what says that it is a trial. */
function cameUp({ kernel, environment, modules, said }: ReturnType<typeof start>): object {
  const ours = [...environment].filter(([name, value]) => {
    if (name === "nextboot_enable" || name === "garth.trial") return false;
    // Of a module that is not loaded, or as it would be named without.
    return !/_(load|name|type|flags|before|after|error)$/.test(name) || (value !== "NO" && value !== "" && value !== "echo");
  });
  return {
    kernel,
    modules: modules.toSorted(),
    said,
    environment: Object.fromEntries(ours.filter(([name]) => !name.endsWith("_name")).toSorted()),
  };
}

test("sh -n and shellcheck find nothing in the program", () => {
  const input = generationsProgram(freebsdGenerations());
  const checked = spawnSync("shellcheck", ["-s", "sh", "-"], { input, encoding: "utf8" });
  expect([checked.stdout, checked.status]).toEqual(["", 0]);
  expect(spawnSync("sh", ["-n"], { input, encoding: "utf8" })).toMatchObject({ status: 0, stderr: "" });
});

test("lines of a generation are those of an image, byte for byte", () => {
  for (const spec of [SAMPLE, OLD, OWN_PATH]) {
    const { call, read } = machine([PLAIN, spec]);
    expect(call(`boot_put 2 ${system(2)} && boot_keep 2 ${system(2)}`)).toMatchObject({ status: 0, stderr: "" });
    expect(read("boot/loader.conf")).toBe(whole(spec, 2));
  }
});

for (const shell of SHELLS) {
  for (const kind of KINDS) {
    describe(`${shell}, ${kind}`, () => {
      test("a generation is started once; the loader goes back by itself", () => {
        const { root, call, list, read } = machine([OLD, NEW], kind, shell);
        expect(call(`boot_put 2 ${system(2)} && boot_try 2 ${system(2)} 900`)).toMatchObject({ status: 0, stderr: "" });
        if (shell === "dash") {
          const text = read("boot/nextboot.conf");
          expect(text).toBe(golden(join(directory, `nextboot-${kind}.conf`), text));
        }
        expect(list("boot").filter((name) => name.startsWith("."))).toEqual([]);
        const first = start(root, kind);
        expect([first.environment.get("garth.generation"), first.environment.get("garth.trial")]).toEqual(["2", "900"]);
        expect(first.kernel).toBe("/frx/store/2-kernel/boot/kernel/kernel");
        const second = start(root, kind);
        expect([second.environment.get("garth.generation"), second.environment.has("garth.trial")]).toEqual(["1", false]);
        expect(second.kernel).toBe("/frx/store/1-kernel/boot/kernel/kernel");
      });

      test("what is on trial is what it will be", () => {
        for (const [before, after] of [
          [OLD, NEW],
          [NEW, OLD],
          [OLD, PLAIN],
          [OWN_PATH, PLAIN],
          [PLAIN, OWN_PATH],
          [SAMPLE, OLD],
        ] as const) {
          const { root, call } = machine([before, after], kind, shell);
          expect(call(`boot_put 2 ${system(2)} && boot_try 2 ${system(2)} 900`).status).toBe(0);
          const onTrial = cameUp(start(root, kind));
          expect(call(`boot_keep 2 ${system(2)} && boot_drop`).status).toBe(0);
          expect(onTrial).toEqual(cameUp(start(root, kind)));
        }
      });

      test("the truth: current, next, and whether the loader has used it", () => {
        const { root, call } = machine([OLD, NEW], kind, shell);
        const truth = (): string => call('boot_truth\necho "$boot_current $boot_next $boot_tried"').stdout.trimEnd();
        expect(truth()).toBe("1  yes");
        call(`boot_put 2 ${system(2)} && boot_try 2 ${system(2)} 900`);
        expect(truth()).toBe("1 2 no");
        start(root, kind);
        expect(truth()).toBe("1 2 yes");
        // rc(8) takes the file away.
        fs.rmSync(join(root, "boot/nextboot.conf"));
        expect(truth()).toBe("1 2 yes");
        // What was never where the loader reads was not used.
        if (kind === "ufs") {
          write(join(root, "boot/garth/next-2"), 'nextboot_enable="YES"\ngarth.generation="2"\n');
          expect(truth()).toBe("1  yes");
        }
        call(`boot_keep 2 ${system(2)} && boot_drop`);
        expect(truth()).toBe("2  yes");
        expect(fs.existsSync(join(root, "boot/garth/next-2"))).toBe(false);
        expect(fs.readlinkSync(join(root, "boot/kernel"))).toBe("garth/2/kernel");
        expect(call("boot_drop").status).toBe(0);
      });
    });
  }
}

test("what somebody keeps in loader.conf.local stands above both", () => {
  const { root, call, read } = machine([OLD, NEW]);
  write(join(root, "boot/loader.conf.local"), 'verbose_loading="YES"\nmotto="mine"\n');
  write(join(root, "boot/loader.conf.d/a.conf"), 'kern.racct.enable="0"\n');
  call(`boot_put 2 ${system(2)} && boot_try 2 ${system(2)} 900`);
  expect(read("boot/nextboot.conf")).not.toMatch(/motto|verbose_loading|racct/);
  const { environment } = start(root);
  expect([environment.get("motto"), environment.get("kern.racct.enable"), environment.get("garth.generation")]).toEqual([
    "mine",
    "0",
    "2",
  ]);
});

test("what another program asked the loader for once is left alone", () => {
  const { root, call, read } = machine([OLD]);
  write(join(root, "boot/nextboot.conf"), 'nextboot_enable="YES"\nboot_verbose="YES"\n');
  expect(call('boot_drop && boot_truth && echo "$boot_next."').stdout).toBe(".\n");
  expect(read("boot/nextboot.conf")).toContain("boot_verbose");
});

describe("refused", () => {
  test("a module whose type cannot be undone, and nothing is left of it", () => {
    const typed = { ...PLAIN, loaderSettings: { image_load: "YES", image_type: "md_image" } };
    const { call, list } = machine([typed, { ...PLAIN, loaderSettings: { image_load: "YES" } }]);
    const before = list("boot");
    expect(call(`boot_try 2 ${system(2)} 900`)).toMatchObject({
      status: 1,
      stderr: "garth: broken generation 1 has settings of the loader that another cannot undo\n",
    });
    expect(list("boot")).toEqual(before);
  });

  test("a root in which the loader counts no tries", () => {
    const { root, call } = machine([PLAIN]);
    fs.renameSync(join(bin, "mount"), join(bin, "mount.kept"));
    try {
      write(join(bin, "mount"), "#!/bin/sh\n", 0o755);
      expect(call("echo never").stderr).toBe("garth: broken the root is of no known kind, in which the loader counts no tries\n");
    } finally {
      fs.renameSync(join(bin, "mount.kept"), join(bin, "mount"));
    }
    expect(fs.existsSync(join(root, "boot/nextboot.conf"))).toBe(false);
  });

  test("a system without a kernel, and without settings", () => {
    const { root, call } = machine([PLAIN, PLAIN]);
    expect(call(`boot_room ${system(2)} && echo "$boot_needed $((boot_free > 0))"`).stdout).toBe("262144 1\n");
    fs.rmSync(join(root, "frx/store/2-kernel"), { recursive: true });
    expect(call(`boot_room ${system(2)}`)).toMatchObject({ status: 1, stderr: `garth: broken ${system(2)} has no kernel\n` });
    expect(call(`boot_room ${system(3)}`).stderr).toBe(`garth: broken ${system(3)} has no boot/loader.conf\n`);
  });
});

test("one at a time; a process that ended has it no more", () => {
  const { root, call } = machine([PLAIN]);
  const kept = spawnSync("flock", ["-n", join(root, "var/lib/garth/system/lock"), "sh", "-c", "exit 0"]).status;
  expect(kept).toBe(0);
  // Of another open file, as another call has one.
  expect(call('lock && echo first; (exec 9>&-; lock; echo "then $?")').stdout).toBe("first\nthen 75\n");
  expect(call("lock").status).toBe(0);
});

test("forgotten and swept: links of no generation go, what the loader starts stays", () => {
  const { root, call, list } = machine([PLAIN, PLAIN]);
  fs.mkdirSync(join(root, "var/lib/garth/system/generations/2"));
  call(`boot_put 2 ${system(2)} && boot_put 2 ${system(2)}`);
  expect(list("boot/garth")).toEqual(["1", "2"]);
  call(`boot_forget 2 ${system(2)}`);
  expect(list("boot/garth")).toEqual(["1"]);
  fs.symlinkSync(`${system(7)}/boot`, join(root, "boot/garth/7"));
  fs.rmSync(join(root, "var/lib/garth/system/generations"), { recursive: true });
  call("boot_sweep");
  expect(list("boot/garth")).toEqual(["1"]);
});

test("restarts: by shutdown(8), and without it a minute later", () => {
  const { call, read } = machine([PLAIN]);
  call("reboot_now");
  expect(read("said")).toBe("shutdown -r now\nsleep 60\nreboot -q\n");
});

test("what runs is what the kernel says", () => {
  const { root, call } = machine([PLAIN]);
  expect(call('running; echo "$running/$trial"').stdout).toBe("/\n");
  write(join(root, "kenv/garth.generation"), "4\n");
  write(join(root, "kenv/garth.trial"), "60\n");
  expect(call('running; echo "$running/$trial"').stdout).toBe("4/60\n");
});

for (const kind of KINDS) {
  test(`${kind}: the life of a generation: on trial, not ready, tried again, confirmed, left and removed`, () => {
    const one = machine([OLD, NEW], kind);
    one.boot();
    const facts = (): readonly string[] =>
      one
        .run(["status"])
        .stdout.split("\n")
        .filter((line) => !/-free |^running-system |^$/.test(line))
        .map((line) => line.replaceAll(/\/frx\/store\/(\d)\d+-system-sample/g, "$1"));
    expect(one.run(["add", system(2), "60"], { stdin: namesOf(2) })).toMatchObject({
      status: 0,
      stderr: "garth: generation 2\n",
    });
    expect(facts()).toEqual([
      "running 1",
      "current 1",
      "rollback -",
      "next 2",
      "booted-trial no",
      "generation 1 good 1 image",
      "generation 2 trial 2 switch",
    ]);
    one.boot();
    expect(facts()).toContain("booted-trial yes");
    one.boot();
    expect(one.run(["confirm"])).toMatchObject({ status: 0, stderr: "garth: failed 2\n" });
    expect(one.run(["select", "2", "60"])).toMatchObject({ status: 0, stderr: "garth: generation 2\n" });
    one.boot();
    expect(one.run(["confirm"])).toMatchObject({ status: 0, stderr: "garth: confirmed 2\n" });
    expect(facts().slice(0, 5)).toEqual(["running 2", "current 2", "rollback 1", "next -", "booted-trial no"]);
    expect(one.run(["select"])).toMatchObject({ status: 0, stderr: "garth: generation 1\n" });
    one.boot();
    expect(facts().slice(0, 5)).toEqual(["running 1", "current 1", "rollback 2", "next -", "booted-trial no"]);
    expect(one.run(["remove", "2"])).toMatchObject({ status: 0, stderr: expect.stringContaining("garth: removed 2\n") });
    expect([...troubleOf(one), ...one.list("frx/store").filter((name) => name.startsWith("2"))]).toEqual([]);
    expect(one.list("boot/garth")).toEqual(["1"]);
  });
}

test("a full root is noticed before anything is written", () => {
  const one = machine([OLD, NEW]);
  one.boot();
  const before = one.state();
  write(join(bin, "df"), `#!/bin/sh\nPATH=/usr/bin:/bin df "$@" | awk '{ $4 = NR == 1 ? $4 : 12; print }'\n`, 0o755);
  try {
    expect(one.run(["add", system(2)], { stdin: namesOf(2) })).toMatchObject({
      status: 1,
      stderr: "garth: full root 262144 12288\n",
    });
  } finally {
    fs.rmSync(join(bin, "df"));
  }
  fs.rmSync(join(one.root, "var/lib/garth/system/lock"));
  expect(one.state()).toBe(before);
});
