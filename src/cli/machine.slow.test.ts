/** Machines by their commands: QEMU, emulated, started by a BIOS from a boot sector. */
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { boot, runs, until } from "../machine/testing.ts";
import { type CommandPlace, commandPlace, SMALL } from "./systems.testing.ts";

// The first call may have to compile the program.
setDefaultTimeout(240_000);
let place: CommandPlace;
beforeAll(() => {
  place = commandPlace();
  place.disk("off.raw", [...boot.print("hello\r\nbye\r\n"), ...boot.powerOff]);
  place.disk("reset.raw", [...boot.print("hello\r\n"), ...boot.reset]);
  place.disk("talker.raw", [...boot.print("hello\r\n"), ...boot.echo]);
});
afterAll(() => place.remove());

const machines = () => join(place.directory, "root/frx/var/garth/machines");

test("a machine's console comes with its times, and how it ended is the status", () => {
  const off = place.call("machine", "run", "off.raw", ...SMALL);
  expect(off.status).toBe(0);
  expect(off.stdout).toMatch(
    /^00:0\d:\d\d\.\d{3} hello\n00:0\d:\d\d\.\d{3} bye\nmachine off: powered-off after .*: the guest switched itself off\n$/,
  );
  expect(off.stderr).toBe("machine    off runs on tcg: it was asked for\n");
  const reset = place.call("machine", "run", "reset.raw", "--json", ...SMALL);
  expect(reset.status).toBe(1);
  expect(JSON.parse(reset.stdout)).toMatchObject({ name: "reset", end: { kind: "rebooted" } });
  expect(reset.stderr).toMatch(/^00:0\d:\d\d\.\d{3} hello$/m);
  expect(place.document("machine", "ls")).toMatchObject([
    { name: "off", state: "ended", ended: { kind: "powered-off" } },
    { name: "reset", state: "ended", ended: { kind: "rebooted" } },
  ]);
  expect(place.call("machine", "console", "off").stdout).toMatch(/ hello\n.* bye\n$/);
  expect(place.call("machine", "ls", "--sweep")).toEqual({ status: 0, stdout: "", stderr: "" });
});

test("what is typed goes to the console; Ctrl-C ends the machine with 130, and its console stays", async () => {
  const running = place.start("machine", "run", "talker.raw", "--name", "here", ...SMALL);
  await running.until(" hello\n");
  running.child.stdin.write("garth\n");
  await running.child.stdin.flush();
  await running.until(" GARTH\n");
  const [record] = Object(place.document("machine", "ls"));
  expect(record).toMatchObject({ name: "here", state: "running" });
  running.child.kill("SIGINT");
  const said = await running.ended();
  expect(said.status).toBe(130);
  expect(said.stderr).toContain("E_INTERRUPTED: the machine here was stopped");
  expect(runs(record.pid)).toBe(false);
  expect(place.document("machine", "console", "here")).toMatchObject({
    state: "ended",
    ended: { kind: "stopped" },
    log: expect.stringContaining(" GARTH\n"),
  });
});

test("a machine that is detached goes on, is reached by its name, and ends when it is told to", async () => {
  const started = place.document("machine", "run", "talker.raw", "--name", "far", "--detach", "--forward", "0:22", ...SMALL);
  expect(started).toMatchObject({ name: "far", state: "running", forward: [{ hostPort: expect.any(Number), guestPort: 22 }] });
  const { pid, directory } = Object(started);
  expect([runs(pid), directory]).toEqual([true, join(machines(), "far")]);
  const listed = place.call("machine", "ls").stdout;
  expect(listed).toMatch(
    new RegExp(`^far +running +${pid} +tcg +1 x 64 MiB .* 127\\.0\\.0\\.1:\\d+ -> 22 +\\S+/talker\\.raw$`, "m"),
  );

  const watching = place.start("machine", "console", "far", "--send", "abc");
  await watching.until(" ABC\n");
  expect(place.call("machine", "console", "far", "--no-follow").stdout).toMatch(/ hello\n.* ABC\n$/);
  expect(place.call("machine", "screenshot", "far", "far.png").status).toBe(0);
  const picture = readFileSync(join(place.directory, "far.png"));
  expect(picture.subarray(0, 8).toString("latin1")).toBe("\x89PNG\r\n\x1a\n");

  const second = place.call("machine", "run", "off.raw", "--name", "far", "--detach", "--json", ...SMALL);
  expect(second.status).toBe(2);
  expect(JSON.parse(second.stdout)).toMatchObject({ error: { code: "E_MACHINE_EXISTS", where: directory } });

  expect(place.call("machine", "stop", "far")).toEqual({ status: 0, stdout: "machine far: stopped\n", stderr: "" });
  expect(await watching.ended()).toMatchObject({ status: 0, stdout: expect.stringMatching(/ hello\n.* ABC\n$/) });
  expect(runs(pid)).toBe(false);
  expect(
    await until(() => readFileSync(join(directory, "supervisor.log"), "utf8") === "machine far: stopped: it was stopped\n"),
  ).toBe(true);
  expect(place.call("machine", "stop", "far").stderr).toContain("does not run any more");
});

test("a detached machine that cannot start is this command's failure, with the same problem, and leaves nothing", () => {
  for (const detach of [[], ["--detach"]]) {
    const said = place.call("machine", "run", "off.raw", "--cpus", "999", "--name", "wrong", "--json", ...detach, ...SMALL);
    expect(said.status).toBe(2);
    expect(JSON.parse(said.stdout)).toMatchObject({
      error: { code: "E_MACHINE_SPEC", details: ["cpus: 999 is not a number from 1 to 255"] },
    });
  }
  expect(readdirSync(machines()).filter((name) => name.startsWith(".") || name === "wrong")).toEqual([]);
});

test("Ctrl-C on the terminal of a command that detached a machine does not reach the machine", async () => {
  // A process group of its own, as a shell makes one for each command.
  const { directory } = place;
  const program = join(import.meta.dir, "../../garth");
  const script = '"$0" "$@" >/dev/null && kill -INT 0; exit 9';
  const env = { PATH: process.env["PATH"] ?? "", GARTH_ROOT: join(directory, "root") };
  const words = ["machine", "run", "talker.raw", "--name", "kept", "--detach", ...SMALL];
  const shell = Bun.spawn(["setsid", "-w", "sh", "-c", script, program, ...words], { cwd: directory, env, stdout: "ignore" });
  expect(await shell.exited).not.toBe(9);
  expect(place.document("machine", "ls")).toContainEqual(expect.objectContaining({ name: "kept", state: "running" }));
  expect(place.call("machine", "stop", "kept").status).toBe(0);
});

test("a dry run starts nothing, and shows the command line: of a disk, and of a system's own kernel", () => {
  const planned = place.document("machine", "run", "off.raw", "--dry-run", "--forward", "8080:80", ...SMALL);
  const { argv, spec } = Object(planned);
  expect(argv.join(" ")).toContain("hostfwd=tcp:127.0.0.1:8080-:80");
  expect(argv.join(" ")).toContain(`snapshot=on,cache=unsafe,file=${place.directory}/off.raw`);
  expect(spec.network.mac).toMatch(/^52:54:00(?::[0-9a-f]{2}){3}$/);
  const direct = Object(place.document("machine", "run", "#web", "--direct", "--dry-run", "--accelerator", "tcg")).argv;
  for (const option of ["-kernel", "-initrd"]) expect(existsSync(direct[direct.indexOf(option) + 1])).toBe(true);
  expect(direct[direct.indexOf("-append") + 1]).toMatch(/^garth\.system=\/frx\/store\/\S+-system-web .*console=ttyS0/);
  expect(existsSync(join(machines(), "web"))).toBe(false);
  const persistent = place.call("machine", "run", "image-web", "--persistent");
  expect(persistent).toMatchObject({ status: 2, stderr: expect.stringContaining("lies in the store") });
});
