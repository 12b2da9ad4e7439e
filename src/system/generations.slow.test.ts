/** The program of generations of a Linux system, on a disk, under both shells: what each verb says, writes and refuses. */
import { afterEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import { join } from "node:path";
import { linuxBootEntry, SORT_KEYS } from "./generations.ts";
import { FIRST, LABEL, namesOf, PARAMETERS, SECOND, THIRD } from "./generations-sample.testing.ts";
import { GenerationsMachine, lackOf, type Said, troubleOf } from "./generations.testing.ts";

// Each call is in namespaces and on loop devices of its own.
setDefaultTimeout(300_000);

const machines: GenerationsMachine[] = [];
afterEach(() => machines.splice(0).forEach((machine) => machine[Symbol.dispose]()));
function fresh(sizes: Parameters<typeof GenerationsMachine.fresh>[0] = {}): GenerationsMachine {
  const machine = GenerationsMachine.fresh(sizes);
  machines.push(machine);
  return machine;
}
const add = (machine: GenerationsMachine, system: typeof SECOND): void =>
  expect(machine.call(["add", system.path], { stdin: namesOf(system) })).toMatchObject({ status: 0, stdout: "" });
/** Lines of `status`, less what is free. */
const facts = (machine: GenerationsMachine): readonly string[] =>
  machine
    .call(["status"])
    .stdout.split("\n")
    .filter((line) => line !== "" && !/-free /.test(line));
const ok = (...stderr: readonly string[]): Said => ({ status: 0, killed: false, stdout: "", stderr });
const refused = (...stderr: readonly string[]): Said => ({ status: 1, killed: false, stdout: "", stderr });
const seenOf = (machine: GenerationsMachine): readonly (readonly [string, string])[] => {
  machine.sh(":");
  return [...machine.seen];
};

for (const shell of ["dash", "busybox"] as const) {
  test(`${shell}: a generation is added, tried, confirmed; the one before is selected, and the other removed`, () => {
    const machine = fresh();
    const call = (argv: readonly string[], stdin = ""): Said => machine.call(argv, { shell, stdin });
    expect(call(["confirm"])).toEqual(ok());
    expect(machine.call(["status"], { shell }).stdout).toMatch(
      new RegExp(
        [
          "^running 1",
          `running-system ${FIRST.path}`,
          "current 1",
          "rollback -",
          "next -",
          "booted-trial no",
          String.raw`boot-free [1-9]\d{4,}`,
          String.raw`root-free [1-9]\d{5,}`,
          `generation 1 good ${FIRST.path} image\n$`,
        ].join("\n"),
      ),
    );

    expect(call(["add", SECOND.path, "77"], namesOf(SECOND))).toEqual(ok("generation 2"));
    expect(troubleOf(machine)).toEqual([]);
    const commandLine = PARAMETERS;
    const texts = new Map(machine.entries().map(({ file, text }) => [file, text]));
    expect(texts).toEqual(
      new Map([
        ["garth-1.conf", linuxBootEntry({ system: FIRST.path, generation: 1, sortKey: SORT_KEYS.menu, commandLine })],
        ["garth-2.conf", linuxBootEntry({ system: SECOND.path, generation: 2, sortKey: SORT_KEYS.menu, commandLine })],
        ["garth-current.conf", linuxBootEntry({ system: FIRST.path, generation: 1, sortKey: SORT_KEYS.current, commandLine })],
        [
          "garth-next+1.conf",
          linuxBootEntry({ system: SECOND.path, generation: 2, sortKey: SORT_KEYS.next, trialSeconds: 77, commandLine }),
        ],
      ]),
    );
    const record = (name: string): string => machine.seen.get(`var/lib/garth/system/generations/2/${name}`) ?? "";
    expect(record("items")).toBe(`${namesOf(SECOND).trim().split("\n").toSorted().join("\n")}\n`);
    expect(record("made")).toMatch(/^by=switch\nat=\d{10}\n$/);
    expect(record("state")).toBe("trial\n");
    expect(facts(machine)).toEqual([
      "running 1",
      `running-system ${FIRST.path}`,
      "current 1",
      "rollback -",
      "next 2",
      "booted-trial no",
      `generation 1 good ${FIRST.path} image`,
      `generation 2 trial ${SECOND.path} switch`,
    ]);

    const booted = machine.boot();
    expect(booted).toMatchObject({ file: "garth-next+1.conf", system: SECOND.path, generation: 2, trialSeconds: 77 });
    expect(lackOf(machine, booted)).toEqual([]);
    expect(facts(machine).slice(0, 6)).toEqual([
      "running 2",
      `running-system ${SECOND.path}`,
      "current 1",
      "rollback -",
      "next 2",
      "booted-trial yes",
    ]);
    expect(call(["confirm"])).toEqual(ok("confirmed 2"));
    expect(troubleOf(machine)).toEqual([]);
    expect(call(["confirm"])).toEqual(ok());
    expect(call(["watch", "1"])).toEqual(ok());
    expect(facts(machine).slice(2)).toEqual([
      "current 2",
      "rollback 1",
      "next -",
      "booted-trial no",
      `generation 1 good ${FIRST.path} image`,
      `generation 2 good ${SECOND.path} switch`,
    ]);
    expect(machine.boot().file).toBe("garth-current.conf");

    expect(call(["select"])).toEqual(ok("generation 1"));
    expect(troubleOf(machine)).toEqual([]);
    expect(facts(machine).slice(2, 5)).toEqual(["current 1", "rollback 2", "next -"]);
    expect(call(["remove", "2"])).toEqual(refused("in-use 2 running"));
    expect(machine.boot()).toMatchObject({ file: "garth-current.conf", generation: 1 });
    expect(call(["remove", "2", "2"])).toEqual(
      ok(
        "removed 2",
        ...["profile-web", "system-web"].map((name) => `collected ${"2".repeat(64)}-${name}`),
        `collected ${"e".repeat(64)}-kernel`,
      ),
    );
    expect(troubleOf(machine)).toEqual([]);
    expect(facts(machine).slice(2)).toEqual([
      "current 1",
      "rollback -",
      "next -",
      "booted-trial no",
      `generation 1 good ${FIRST.path} image`,
    ]);
    expect(call(["select"])).toEqual(refused("unknown -"));
  });
}

describe("a trial", () => {
  test("that nobody confirms is over with the start after it; it can be had once more", () => {
    const machine = fresh();
    add(machine, SECOND);
    expect(machine.boot().generation).toBe(2);
    expect(machine.boot()).toMatchObject({ generation: 1, file: "garth-current.conf" });
    // Nobody has settled it yet, and it is known.
    expect(facts(machine).slice(2, 8)).toEqual([
      "current 1",
      "rollback -",
      "next -",
      "booted-trial no",
      `generation 1 good ${FIRST.path} image`,
      `generation 2 failed ${SECOND.path} switch`,
    ]);
    expect(machine.call(["confirm"])).toEqual(ok("failed 2"));
    expect(troubleOf(machine)).toEqual([]);
    expect(machine.call(["confirm"])).toEqual(ok());
    expect(machine.call(["select", "2", "5"])).toEqual(ok("generation 2"));
    expect(machine.boot()).toMatchObject({ generation: 2, trialSeconds: 5 });
    expect(machine.call(["confirm"])).toEqual(ok("confirmed 2"));
    expect(facts(machine).slice(2, 5)).toEqual(["current 2", "rollback 1", "next -"]);
    expect(troubleOf(machine)).toEqual([]);
  });

  test("that is not ready in time ends with a start; one that was ready in time does not", () => {
    const machine = fresh();
    add(machine, SECOND);
    machine.boot();
    expect(machine.call(["watch", "1"], { killAt: -1 })).toEqual(
      ok("not ready within 1 s: what was started before is started again"),
    );
    expect(fs.readFileSync(join(machine.directory, "test/reboot"), "utf8")).toBe("-n -f\n");
    fs.rmSync(join(machine.directory, "test/reboot"));
    expect(machine.call(["confirm"]).stderr).toEqual(["confirmed 2"]);
    expect(machine.call(["watch", "1"], { killAt: -1 })).toEqual(ok());
    expect(fs.existsSync(join(machine.directory, "test/reboot"))).toBe(false);
  });

  test("gives way to another one, waiting or running", () => {
    const machine = fresh();
    add(machine, SECOND);
    add(machine, THIRD);
    expect(troubleOf(machine)).toEqual([]);
    expect(facts(machine).slice(4)).toEqual([
      "next 3",
      "booted-trial no",
      `generation 1 good ${FIRST.path} image`,
      `generation 2 failed ${SECOND.path} switch`,
      `generation 3 trial ${THIRD.path} switch`,
    ]);
    expect(machine.boot().generation).toBe(3);
    expect(machine.call(["select", "2"])).toEqual(ok("generation 2"));
    expect(troubleOf(machine)).toEqual([]);
    // It was ready too late.
    expect(machine.call(["confirm"])).toEqual(ok());
    expect(facts(machine).slice(0, 5)).toEqual([
      "running 3",
      `running-system ${THIRD.path}`,
      "current 1",
      "rollback -",
      "next 2",
    ]);
    expect(machine.boot().generation).toBe(2);
    expect(machine.call(["confirm"])).toEqual(ok("confirmed 2"));
  });

  test("is called off by a return to what is good", () => {
    const machine = fresh();
    add(machine, SECOND);
    expect(machine.call(["select", "1"])).toEqual(ok("generation 1"));
    expect(troubleOf(machine)).toEqual([]);
    expect(facts(machine).slice(2)).toEqual([
      "current 1",
      "rollback -",
      "next -",
      "booted-trial no",
      `generation 1 good ${FIRST.path} image`,
      `generation 2 failed ${SECOND.path} switch`,
    ]);
    expect(machine.boot().generation).toBe(1);
  });

  test("is not known to a machine that was started directly", () => {
    const machine = fresh();
    add(machine, SECOND);
    fs.writeFileSync(join(machine.directory, "cmdline"), `garth.system=${SECOND.path} quiet\n`);
    expect(machine.call(["confirm"])).toEqual(ok());
    expect(machine.call(["watch", "1"])).toEqual(ok());
    expect(facts(machine).slice(0, 6)).toEqual([
      "running -",
      `running-system ${FIRST.path}`,
      "current 1",
      "rollback -",
      "next 2",
      "booted-trial no",
    ]);
  });
});

describe("nothing is written", () => {
  const rest = (machine: GenerationsMachine): Buffer => fs.readFileSync(join(machine.directory, "esp.img"));

  test("when the loader's file system has no room: byte for byte it is what it was", () => {
    const machine = fresh();
    machine.sh(`dd if=/dev/zero of="$work/esp/other" bs=1k 2>/dev/null; truncate -s -40k "$work/esp/other"`);
    const seen = seenOf(machine);
    const before = rest(machine);
    const said = machine.call(["add", SECOND.path], { stdin: namesOf(SECOND) });
    expect(said).toEqual(refused(...said.stderr));
    expect(said.stderr[0]).toMatch(/^full boot \d+ \d+$/);
    const [needed = 0, free = 0] = (said.stderr[0] ?? "").split(" ").slice(2).map(Number);
    expect(needed).toBeGreaterThan(80_000);
    expect(free).toBeGreaterThan(30_000);
    expect(free).toBeLessThan(50_000);
    expect(rest(machine).equals(before)).toBe(true);
    expect(seenOf(machine)).toEqual(seen);
    // A system with the same kernel finds it there only if it is the same system: it has a directory of its own.
    machine.sh(`truncate -s -60k "$work/esp/other"`);
    add(machine, SECOND);
  });

  test("when the root has none; the way back is open all the same", () => {
    const machine = fresh();
    add(machine, SECOND);
    machine.boot();
    machine.call(["confirm"]);
    machine.sh(`dd if=/dev/zero of="$at/other" bs=1k 2>/dev/null; df -Pk "$at" | grep -q " 0 *100%"`);
    const seen = seenOf(machine);
    const said = machine.call(["add", THIRD.path], { stdin: namesOf(THIRD) });
    expect(said).toEqual(refused(...said.stderr));
    expect(said.stderr.join("\n")).toMatch(/^full root 262144 \d{1,4}$/);
    expect(seenOf(machine)).toEqual(seen);
    expect(machine.call(["select"])).toEqual(ok("generation 1"));
    expect(troubleOf(machine)).toEqual([]);
  });

  test("for what is not there, is not a name, or is no system", () => {
    const machine = fresh();
    machine.sh(`mkdir "$at/frx/store/${"4".repeat(64)}-system-bare"`);
    const seen = seenOf(machine);
    const names = namesOf(SECOND);
    const usage =
      "usage: generations status | add SYSTEM [SECONDS] | select [N [SECONDS]] | confirm | watch SECONDS | remove N...";
    for (const [argv, stdin, words] of [
      [["add", SECOND.path], `${names}${"9".repeat(64)}-gone\n`, `missing ${"9".repeat(64)}-gone`],
      [["add", SECOND.path], `${names}../../etc\n`, "missing ../../etc"],
      [["add", SECOND.path], `${names}it's "a $name\n`, `missing it's "a $name`],
      [
        ["add", `/frx/store/${"4".repeat(64)}-system-bare`],
        "",
        `broken /frx/store/${"4".repeat(64)}-system-bare has no boot/parameters`,
      ],
      [["add", `/frx/store/${"5".repeat(64)}-system-none`], "", `missing ${"5".repeat(64)}-system-none`],
      [["add", "/frx/store/../../etc"], names, usage],
      [["add", "/etc"], names, usage],
      [["add", SECOND.path, "soon"], names, usage],
      [["add"], names, usage],
      [["select", "7"], "", "unknown 7"],
      [["select", "../1"], "", "unknown ../1"],
      [["remove", "1"], "", "in-use 1 current"],
      [["remove", "3"], "", "unknown 3"],
      [["remove"], "", usage],
      [["watch"], "", usage],
      [["destroy"], "", usage],
      [[], "", usage],
    ] as const)
      expect([argv, machine.call(argv, { stdin })]).toEqual([argv, refused(words)]);
    expect(seenOf(machine)).toEqual(seen);
  });

  test("where an item of the older one was lost, which is said; and what waits is not removed", () => {
    const machine = fresh();
    add(machine, SECOND);
    machine.sh(`rm -r "$at/frx/store/${"2".repeat(64)}-profile-web"`);
    const seen = seenOf(machine);
    expect(facts(machine).at(-1)).toBe(`generation 2 broken ${SECOND.path} switch`);
    expect(machine.call(["select", "2"])).toEqual(refused(`missing ${"2".repeat(64)}-profile-web`));
    expect(machine.call(["remove", "2"])).toEqual(refused("in-use 2 next"));
    expect(seenOf(machine)).toEqual(seen);
  });

  test("while another call is at work; after one that died its lock is nobody's", () => {
    const machine = fresh();
    const locks = join(machine.directory, "run/garth/generations.lock");
    fs.mkdirSync(locks, { recursive: true });
    // The first process of the session that the call is in.
    fs.writeFileSync(join(locks, "9"), "");
    const held = `started=$(sed 's/.*) //' "$at/proc/1/stat" | cut -d' ' -f20); echo "1 $started" >"$work/run/garth/generations.lock/9"`;
    machine.before = held;
    expect(machine.call(["select", "1"])).toEqual(refused("busy"));
    expect(machine.call(["status"]).status).toBe(0);
    machine.before = held.replace("1 $started", "1 1$started");
    expect(machine.call(["select", "1"])).toEqual(ok("generation 1"));
    expect(fs.readdirSync(locks)).toEqual(["10"]);
  });
});

describe("what is collected", () => {
  const prepared = (): GenerationsMachine => {
    const machine = fresh();
    for (const system of [SECOND, THIRD]) {
      add(machine, system);
      machine.boot();
      expect(machine.call(["confirm"]).status).toBe(0);
    }
    return machine;
  };
  const [one, shop] = ["1".repeat(64), "3".repeat(64)];

  test("is what no other generation names, no root leads to, and nobody else keeps", () => {
    const machine = prepared();
    machine.sh(`
      ln -s "/frx/store/${one}-profile-web/usr" "$at/frx/var/garth/roots/mine"
      mkdir -p "$at/frx/store/.packaged" && ln -s x "$at/frx/store/.packaged/${"e".repeat(64)}-kernel"
      ln -s ../results/two "$at/frx/var/garth/roots/auto-1"; mkdir "$at/frx/var/garth/results"
      ln -s "/frx/store/${"2".repeat(64)}-profile-web" "$at/frx/var/garth/results/two"`);
    expect(machine.call(["remove", "1", "2"])).toEqual(
      ok("removed 1", "removed 2", `collected ${one}-system-web`, `collected ${"2".repeat(64)}-system-web`),
    );
    expect(machine.seen.has(`frx/store/${one}-profile-web/usr/share/name`)).toBe(true);
    expect(machine.seen.has("frx/store/.removed-x")).toBe(false);
    expect(facts(machine).slice(2)).toEqual([
      "current 3",
      "rollback -",
      "next -",
      "booted-trial no",
      `generation 3 good ${THIRD.path} switch`,
    ]);
    expect([...machine.seen.keys()].filter((path) => /^esp\/garth\/[^/]+$/.test(path))).toEqual([
      `esp/garth/${shop.slice(0, 16)}`,
    ]);
  });

  test("is nothing where a Garth keeps the store", () => {
    const machine = prepared();
    machine.sh(`: >"$at/frx/var/garth/garth.db"`);
    expect(machine.call(["remove", "1", "2"])).toEqual(ok("removed 1", "removed 2"));
    expect(machine.seen.has(`frx/store/${one}-system-web/boot/initrd`)).toBe(true);
  });
});

test("without the loader's file system: said, and looked at without it", () => {
  const machine = fresh();
  add(machine, SECOND);
  machine.label = "another";
  expect(machine.call(["select", "1"])).toEqual(refused("broken no partition beside the root is labelled efi boot"));
  // It is ready all the same; one on trial would not be.
  expect(machine.call(["confirm"])).toEqual(ok("broken no partition beside the root is labelled efi boot"));
  const { status, stdout } = machine.call(["status"]);
  expect([status, stdout]).toEqual([0, expect.stringContaining("next 2\nbooted-trial no\nboot-free -\n")]);
  machine.label = LABEL;
  machine.boot();
  machine.label = "another";
  expect(machine.call(["confirm"])).toEqual(refused("broken no partition beside the root is labelled efi boot"));
});

test("files that were changed by hand or lost are put right by the loader's", () => {
  const machine = fresh();
  add(machine, SECOND);
  machine.boot();
  machine.call(["confirm"]);
  machine.sh(`
    cd "$at/var/lib/garth/system" && rm rollback && ln -sfn generations/1 current && ln -s generations/9 next
    cd "$at/frx/var/garth/roots" && rm system-1 && ln -s /frx/store/gone system-9
    mkdir "$work/esp/garth/0123456789abcdef" && : >"$work/esp/garth/0123456789abcdef/kernel"
    echo version 12 >"$work/esp/loader/entries/garth-12.conf"`);
  expect(troubleOf(machine)).not.toEqual([]);
  expect(machine.call(["select", "2"])).toEqual(ok("generation 2"));
  expect(troubleOf(machine)).toEqual([]);
  expect(facts(machine).slice(2, 5)).toEqual(["current 2", "rollback 1", "next -"]);
});

test("GARTH_ROOT: on a root that is mounted elsewhere, in a place with a blank", () => {
  const machine = fresh();
  machine.elsewhere = "/test/a root";
  add(machine, SECOND);
  expect(machine.boot().generation).toBe(2);
  expect(machine.call(["confirm"])).toEqual(ok("confirmed 2"));
  expect(troubleOf(machine)).toEqual([]);
  expect(execFileSync("ls", [join(machine.directory, "test")], { encoding: "utf8" })).not.toContain("run");
});
