/** The scripts of a pool on a FreeBSD host, run under dash and busybox with stand-ins for FreeBSD's tools. */
import { afterEach, describe, expect, test } from "bun:test";
import * as fs from "node:fs";
import { join } from "node:path";
import { parseSlot } from "../machine/index.ts";
import { openWorld, type Shell, type World, type WorldOptions } from "./freebsd-world.testing.ts";
import { DIGEST } from "./freebsd.testing.ts";
import { readBhyvePoolEvent } from "./index.ts";

const worlds: World[] = [];
afterEach(() => {
  for (const world of worlds.splice(0)) world.close();
});
function open(options: WorldOptions): World {
  const world = openWorld(options);
  worlds.push(world);
  return world;
}
/** Steps and facts; numbers of processes are no fact here. */
const steps = (lines: readonly string[]): readonly string[] =>
  lines.map((line) => {
    const event = readBhyvePoolEvent(line);
    return event === undefined
      ? line
      : [event.step, ...event.facts.map((fact) => (/^\d{3,}$/.test(fact) ? "N" : fact))].join(" ");
  });
const SNAPSHOT = `zroot/garth/templates/debian-12@${DIGEST}`;
const CLONE = "zroot/garth/pools/debian-12/debian-12-17";

describe.each<Shell>(["dash", "busybox sh"])("under %s", (shell) => {
  test("a machine is made, booted, frozen, handed out, returned", () => {
    const world = open({ shell });
    const port = world.entry.interface;
    const init = world.init();
    expect(init).toMatchObject({ status: 0, stderr: "" });
    expect(steps(init.stdout)).toEqual(["template made", "network made", "ready"]);
    expect(init.log).toEqual([
      "lockf -k -t 3600",
      "zfs create zroot/garth/templates",
      "zfs create zroot/garth/pools",
      "zfs create zroot/garth/pools/debian-12",
      "zfs create zroot/garth/templates/debian-12",
      `zfs snapshot ${SNAPSHOT}`,
      "network.sh make",
    ]);
    const prepared = world.verb("prepare");
    expect(prepared).toMatchObject({ status: 0, stderr: "" });
    expect(steps(prepared.stdout)).toEqual(["disk cloned", "identity seed-disk", `port ${port}`, "prepared"]);
    expect(prepared.log).toEqual([
      `network.sh drop ${port}`,
      `zfs clone ${SNAPSHOT} ${CLONE}`,
      `network.sh add ${port} 52:54:0a:4d:00:32 10.77.0.50`,
      `network.sh policy ${port} 10.77.0.50`,
    ]);
    expect(fs.readFileSync(join(world.entryDirectory, "disk/disk.img"), "utf8")).toBe("the template\n");
    expect(fs.statSync(join(world.entryDirectory, "disk/disk.img")).mode & 0o777).toBe(0o600);

    const booted = world.verb("boot");
    expect(booted).toMatchObject({ status: 0, stderr: "" });
    expect(steps(booted.stdout)).toEqual(["started N", "answered"]);
    expect(booted.log.map((line) => line.split(" ")[0])).toEqual(["network.sh", "daemon", "bhyve", "ssh"]);
    expect(booted.log[2]).toStartWith("bhyve -A -H -P -w -u -c 1 -m 256M -s 0,hostbridge ");
    expect(booted.log[3]).toEndWith(" -l root 10.77.0.50 true");
    const bhyve = world.pidOf("bhyve");
    expect(steps(world.verb("freeze").stdout)).toEqual(["frozen N"]);
    expect(world.stateOf(bhyve)).toBe("T");
    expect(steps(world.verb("policy").stdout)).toEqual([]);
    expect(steps(world.verb("thaw").stdout)).toEqual(["thawed N"]);
    expect(world.stateOf(bhyve)).toMatch(/^[SR]/);

    const destroyed = world.verb("destroy");
    expect(destroyed).toMatchObject({ status: 0, stderr: "" });
    expect(steps(destroyed.stdout)).toEqual(["destroyed"]);
    expect(destroyed.log).toEqual([
      `bhyvectl --vm=${world.entry.machine} --destroy`,
      `network.sh drop ${port}`,
      `zfs destroy ${CLONE}`,
    ]);
    expect([world.stateOf(bhyve), world.left(), fs.readdirSync(world.poolDirectory).toSorted()]).toEqual([
      "",
      ["(nothing)"],
      ["network.sh", "pool.sh"],
    ]);
    expect(world.verb("destroy")).toMatchObject({ status: 0, stdout: [], stderr: "", log: [] });
  });

  test("without ZFS its disk is a copy", () => {
    const world = open({ shell, storage: "copy" });
    expect(world.init().log).toEqual(["lockf -k -t 3600", "network.sh make"]);
    expect(steps(world.verb("prepare").stdout)[0]).toBe("disk copied");
    expect(fs.readFileSync(join(world.entryDirectory, "disk/disk.img"), "utf8")).toBe("the template\n");
    expect(world.verb("destroy").status).toBe(0);
    expect(world.left()).toEqual(["(nothing)"]);
  });

  test("each may be done again", () => {
    const world = open({ shell });
    world.init();
    const again = world.init();
    expect([again.status, steps(again.stdout)[0], again.log]).toEqual([
      0,
      "template there",
      ["lockf -k -t 3600", "network.sh make"],
    ]);
    world.verb("prepare");
    expect(world.verb("prepare")).toMatchObject({ status: 0, stdout: ["garth-pool: debian-12-17 prepared"], log: [] });
    world.verb("boot");
    const bhyve = world.pidOf("bhyve");
    const booted = world.verb("boot");
    expect([booted.status, booted.log.length, world.pidOf("bhyve")]).toEqual([0, 1, bhyve]);
    world.verb("freeze");
    expect(steps(world.verb("freeze").stdout)).toEqual(["frozen N"]);
    expect(steps(world.verb("boot").stdout)).toEqual(["frozen N"]);
    world.verb("thaw");
    expect(steps(world.verb("thaw").stdout)).toEqual(["thawed N"]);
  });

  test("a guest that reboots is started again; one that powers off has ended", async () => {
    const world = open({ shell });
    world.init();
    world.verb("prepare");
    world.set("turns", "0\n0\n");
    const booted = world.verb("boot");
    expect(steps(booted.stdout)).toEqual(["started N", "rebooted 1", "started N", "rebooted 2", "started N", "answered"]);
    expect(booted.log.filter((line) => line.startsWith("bhyvectl")).length).toBe(2);
    expect(booted.log.filter((line) => line.includes("is there"))).toEqual([]);
    await world.end(1);
    expect(await world.told("ended")).toBe("garth-pool: debian-12-17 ended 1 powered-off");
    expect(world.get(`vmm/${world.entry.machine}`)).toBeUndefined();
    const thawed = world.verb("thaw");
    expect([thawed.status, steps(thawed.stdout)]).toEqual([1, ["failed thaw 1"]]);
    expect(thawed.stderr).toBe("debian-12-17: bhyve does not run\n");
    expect(world.verb("destroy").status).toBe(0);
    expect(world.left()).toEqual(["(nothing)"]);
  });
});

describe("a boot that fails is undone", () => {
  const prepared = (options: Partial<WorldOptions> = {}): World => {
    const world = open({ shell: "dash", ...options });
    world.init();
    world.verb("prepare");
    return world;
  };
  const AFTER = ["disk", "disk/disk.img", "prepared", "variables.fd"];

  test.each([
    [1, "powered-off"],
    [2, "halted"],
    [3, "triple-fault"],
    [4, "error"],
    [9, "killed"],
  ])("bhyve ends with %d", (status, word) => {
    const world = prepared();
    world.set("turns", `${status}\n`);
    const { status: ended, stdout, stderr } = world.verb("boot");
    expect([ended, steps(stdout)]).toEqual([1, ["started N", `ended ${status} ${word}`, "undone end_machine", "failed boot 1"]]);
    expect(stderr).toContain("bhyve ended before its SSH server answered");
    expect(world.left().filter((name) => !/^console\.log|^events/.test(name))).toEqual(AFTER);
    expect(fs.readFileSync(join(world.entryDirectory, "console.log"), "utf8")).toBe(`console: ${status}\n`);
    // And may be tried again.
    expect(world.verb("boot").status).toBe(0);
  });

  test("its SSH server does not answer", () => {
    const world = prepared({ bootTimeoutMs: 1_000 });
    world.set("silent", "");
    const { status, stdout, stderr, log } = world.verb("boot");
    expect([status, steps(stdout)]).toEqual([1, ["undone end_machine", "failed boot 1"]]);
    expect(stderr).toContain("did not let us in within 1 s");
    expect(log.at(-1)).toBe(`bhyvectl --vm=${world.entry.machine} --destroy`);
    expect(world.stateOf(world.pidOf("bhyve"))).toBe("");
    expect(world.events().at(-1)).toBe("garth-pool: debian-12-17 ended 143 stopped");
  });

  test("it is told to end", async () => {
    const world = prepared();
    world.set("silent", "");
    const boot = world.start("boot");
    await world.told("started");
    boot.signal("SIGTERM");
    const { status, stdout } = await boot.ended;
    expect([status, steps(stdout)]).toEqual([143, ["undone end_machine", "failed boot N"]]);
    expect(world.stateOf(world.pidOf("bhyve"))).toBe("");
    expect(world.get(`vmm/${world.entry.machine}`)).toBeUndefined();
  });

  test("a machine that is not prepared", () => {
    const world = open({ shell: "dash" });
    expect(world.verb("boot")).toMatchObject({ status: 1, stderr: "debian-12-17: it is not prepared\n", log: [] });
    expect(world.verb("freeze")).toMatchObject({ status: 1, stderr: "debian-12-17: bhyve does not run\n" });
  });
});

describe("what fails in the middle is undone in reverse", () => {
  test.each<readonly [string, string, readonly string[]]>([
    ["a clone that is not mounted", "fail-mount", ["undone remove_disk"]],
    ["an identity that cannot be written", "fail-instance.sh-apply", ["undone remove_identity", "undone remove_disk"]],
    [
      "a tap that cannot be made",
      "fail-network.sh-add",
      ["remove_port", "remove_variables", "remove_identity", "remove_disk"].map((each) => `undone ${each}`),
    ],
    [
      "rules that pf refuses",
      "fail-network.sh-policy",
      ["remove_port", "remove_variables", "remove_identity", "remove_disk"].map((each) => `undone ${each}`),
    ],
  ])("%s", (_what, fault, undone) => {
    const world = open({ shell: "dash", sidecar: { patchMode: "instance-file" } });
    world.init();
    world.set(fault, "");
    const failed = world.verb("prepare");
    expect(failed.status).toBe(1);
    expect(steps(failed.stdout).filter((line) => !/^(disk|identity) /.test(line))).toEqual([...undone, "failed prepare 1"]);
    expect([world.left(), world.datasets().includes(CLONE)]).toEqual([[], false]);
    world.set(fault, undefined);
    const again = world.verb("prepare");
    expect(steps(again.stdout)).toEqual(["disk cloned", "identity instance-file", `port ${world.entry.interface}`, "prepared"]);
    expect(world.verb("destroy").log).toEqual([
      `network.sh drop ${world.entry.interface}`,
      "instance.sh destroy",
      `zfs destroy ${CLONE}`,
    ]);
  });

  test("what cannot be undone is told, and what comes after it is undone all the same", () => {
    const world = open({ shell: "dash" });
    world.init();
    world.set("fail-network.sh-add", "");
    world.set("fail-zfs-destroy", "");
    const failed = world.verb("prepare");
    expect(steps(failed.stdout).slice(2)).toEqual([
      "undone remove_port",
      "undone remove_variables",
      "left remove_disk",
      "failed prepare 1",
    ]);
    world.set("fail-zfs-destroy", undefined);
    world.set("fail-network.sh-add", undefined);
    // The next one finds it.
    const again = world.verb("prepare");
    expect([again.status, again.log[1]]).toEqual([0, `zfs destroy ${CLONE}`]);
  });

  test.each<readonly [string, string, number]>([
    ["an image that is another", "image", 1],
    ["a dataset that cannot be made", "fail-zfs-create", 1],
    ["a snapshot that is refused", "fail-zfs-snapshot", 1],
    ["a network that cannot be made", "fail-network.sh-make", 1],
    ["a host that has no virtualization", "no-vmm", 3],
  ])("init with %s", (_what, fault, status) => {
    const world = open({ shell: "dash" });
    if (fault === "image") fs.writeFileSync(join(world.poolDirectory, "../../an image's.img"), "another");
    else world.set(fault, "");
    const failed = world.init();
    expect([failed.status, world.datasets()]).toEqual([status, []]);
    expect(steps(failed.stdout).at(-1)).toBe(`failed init ${status}`);
  });

  test("init where a device of the host is not reserved, or nobody is root", () => {
    const slot = parseSlot("20:0,passthru,ppt0");
    const world = open({ shell: "dash", sidecar: slot === undefined ? {} : { extraSlots: [slot] } });
    expect(world.init()).toMatchObject({
      status: 3,
      stderr: "debian-12: ppt0 is not reserved for guests: pptdevs in /boot/loader.conf, see vmm(4)\n",
    });
    world.set("ppt0", "");
    expect(world.init().status).toBe(0);
    world.set("uid", "1001");
    expect(world.verb("prepare")).toMatchObject({ status: 3, stderr: "debian-12-17: this needs root\n", log: [] });
  });

  test("a pool without init has no machines", () => {
    const world = open({ shell: "dash" });
    const { status, stderr } = world.verb("prepare");
    expect([status, stderr]).toEqual([3, `debian-12-17: there is no ${SNAPSHOT}: init of its pool makes it\n`]);
    expect(world.left()).toEqual([]);
  });
});

describe("a supervisor", () => {
  const running = (options: Partial<WorldOptions> = {}): World => {
    const world = open({ shell: "dash", ...options });
    world.init();
    world.verb("prepare");
    return world;
  };

  test("that was killed leaves bhyve running: it can be frozen, and destroyed", () => {
    const world = running();
    world.verb("boot");
    const bhyve = world.pidOf("bhyve");
    process.kill(world.pidOf("supervisor"), "SIGKILL");
    expect(world.stateOf(bhyve)).toMatch(/^[SR]/);
    expect(steps(world.verb("freeze").stdout)).toEqual(["frozen N"]);
    const destroyed = world.verb("destroy");
    expect([destroyed.status, destroyed.log[0], world.left()]).toEqual([
      0,
      `bhyvectl --vm=${world.entry.machine} --destroy`,
      ["(nothing)"],
    ]);
    expect(world.stateOf(bhyve)).toMatch(/^Z?$/);
  });

  test("that was killed is replaced by the next boot, and bhyve with it", () => {
    const world = running();
    world.verb("boot");
    const bhyve = world.pidOf("bhyve");
    process.kill(world.pidOf("supervisor"), "SIGKILL");
    const booted = world.verb("boot");
    expect([booted.status, steps(booted.stdout)]).toEqual([0, ["started N", "answered"]]);
    expect(world.stateOf(bhyve)).toMatch(/^Z?$/);
    expect(world.pidOf("bhyve")).not.toBe(bhyve);
    expect(booted.log.filter((line) => line.includes("is there"))).toEqual([]);
  });

  test("that is told to end takes bhyve with it, also a frozen one", async () => {
    const world = running();
    world.verb("boot");
    world.verb("freeze");
    process.kill(world.pidOf("supervisor"), "SIGTERM");
    expect(await world.told("ended")).toBe("garth-pool: debian-12-17 ended 143 stopped");
    expect(world.stateOf(world.pidOf("bhyve"))).toBe("");
    expect(world.get(`vmm/${world.entry.machine}`)).toBeUndefined();
  });

  test("keeps the console within its bound, and hands on what is typed", async () => {
    const world = running({ consoleBytes: 16 });
    world.set("typed", "");
    world.verb("boot");
    fs.appendFileSync(join(world.entryDirectory, "console.in"), "who are you?\n");
    await world.end(2);
    expect(await world.told("ended")).toBe("garth-pool: debian-12-17 ended 2 halted");
    const kept = ["console.log.0", "console.log"].map((name) => fs.readFileSync(join(world.entryDirectory, name), "utf8"));
    expect(kept).toEqual(["console: \ntyped:", " who are you?\n"]);
    expect(kept[0]?.length).toBe(16);
  });

  test("ends a guest that does nothing but reboot", () => {
    const world = running();
    world.set("turns", "0\n".repeat(101));
    const { status, stdout } = world.verb("boot");
    expect([status, steps(stdout).slice(-4)]).toEqual([
      1,
      ["started N", "ended 0 reboot-loop", "undone end_machine", "failed boot 1"],
    ]);
    expect(steps(stdout).filter((line) => line.startsWith("rebooted")).length).toBe(100);
  });
});

describe("drain", () => {
  test("destroys machines in whatever state, the network, and what init made but the template", () => {
    const world = open({ shell: "dash" });
    world.init();
    world.verb("prepare");
    world.verb("boot");
    world.verb("freeze");
    // Of a machine that was destroyed by a process that was killed at the end.
    fs.mkdirSync(join(world.poolDirectory, "debian-12-3"));
    const drained = world.drain();
    expect(drained).toMatchObject({ status: 0, stderr: "" });
    expect(steps(drained.stdout)).toEqual(["destroyed", "drained"]);
    expect(drained.log.at(-2)).toBe("network.sh remove");
    expect(fs.existsSync(world.poolDirectory)).toBe(false);
    expect(world.datasets()).toEqual(["zroot/garth/pools", "zroot/garth/templates", "zroot/garth/templates/debian-12", SNAPSHOT]);
    expect(world.drain()).toMatchObject({ status: 0, stdout: [], log: [] });
    world.write();
    expect(steps(world.init().stdout)[0]).toBe("template there");
  });

  test("with a machine that cannot be undone leaves the network to it, and says so", () => {
    const world = open({ shell: "dash" });
    world.init();
    world.verb("prepare");
    world.set("fail-zfs-destroy", "");
    const failed = world.drain();
    expect([failed.status, failed.log.includes("network.sh remove")]).toEqual([1, false]);
    expect(failed.stderr).toContain(`not all of it could be undone: ${world.entryDirectory}`);
    world.set("fail-zfs-destroy", undefined);
    expect(world.drain().status).toBe(0);
  });

  test("what a template was before goes at init, where no machine stands on it; what somebody else made stays", () => {
    const world = open({ shell: "dash" });
    world.init();
    const old = `zroot/garth/templates/debian-12@${"ab".repeat(32)}`;
    for (const name of [old, "zroot/garth/templates/debian-12@daily", "zroot/garth/templates/debian-12@abcd"])
      world.set(`zfs/${name.replaceAll("/", "%")}`, "");
    world.init();
    expect(world.datasets().filter((name) => name.includes("@"))).toEqual(
      ["zroot/garth/templates/debian-12@abcd", "zroot/garth/templates/debian-12@daily", SNAPSHOT].toSorted(),
    );
    world.set(`zfs/${old.replaceAll("/", "%")}`, "");
    world.set("zfs/zroot%garth%pools%debian-12%debian-12-1", `none\norigin ${old}\n`);
    expect(world.init().status).toBe(0);
    expect(world.datasets()).toContain(old);
  });
});
