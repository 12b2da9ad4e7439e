/** Machines under the real QEMU, emulated, with boot sectors for guests: how each ends, and what it leaves. */
import { afterAll, describe, expect, test } from "bun:test";
import { createServer } from "node:net";
import { copyFileSync, existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { problemOf } from "../base/testing.ts";
import { localHost } from "../host/index.ts";
import { scriptedHost } from "../host/testing.ts";
import type { Machine, MachineSpec } from "./index.ts";
import { boot, consoleText, machinePlace, sampleSpec } from "./testing.ts";

const place = machinePlace();
afterAll(() => place.remove());
const { machines } = place;

const hello = place.disk("hello.img", [...boot.print("hello\r\n"), ...boot.wait, ...boot.powerOff]);
const halted = place.disk("halted.img", [...boot.print("halted\n"), ...boot.halt]);
const mac = "52:54:00:12:34:56";

/** Nothing of the machine is left: no process of its number, no directory. */
function expectGone(machine: Machine): void {
  expect([existsSync(`/proc/${machine.pid}`), existsSync(machine.directory), place.left()]).toEqual([false, false, []]);
}

describe("a guest that", () => {
  test.each([
    ["powers off", boot.powerOff, "powered-off", "the guest switched itself off"],
    ["resets itself", boot.reset, "rebooted", "the guest reset itself"],
    ["faults three times over", boot.tripleFault, "rebooted", "the guest reset itself"],
    ["panics", boot.panic, "panicked", "the guest reported a panic"],
  ] as const)("%s has its end told", async (_name, code, kind, detail) => {
    const machine = await machines.start(sampleSpec(place.disk("guest.img", code)));
    expect(await machine.exited).toEqual({ kind, status: 0, detail });
    expectGone(machine);
  });

  test.each(["virtio-blk", "nvme", "ahci-hd"] as const)("boots from %s", async (device) => {
    const file = place.disk("comma, and 'quote'.img", boot.powerOff);
    const machine = await machines.start(sampleSpec(file, { disks: [{ file, format: "raw", device, mode: "snapshot" }] }));
    expect((await machine.exited).kind).toBe("powered-off");
  });

  test("prints, is typed to, and powers off", async () => {
    const console = consoleText();
    const times: number[] = [];
    const machine = await machines.start(sampleSpec(hello), {
      onConsole: (chunk, atMs) => (times.push(atMs), console.onConsole(chunk)),
    });
    await console.until("hello\r\n");
    await machine.write("x");
    expect((await machine.exited).kind).toBe("powered-off");
    expect(console.text).toBe("hello\r\n");
    expect(times).toEqual(times.toSorted((a, b) => a - b));
    expect(times[0]).toBeGreaterThan(0);
    await machine.write("after the end");
    await machine.stop();
    expectGone(machine);
  });

  test("answers as fast as it is typed to", async () => {
    const console = consoleText();
    const machine = await machines.start(sampleSpec(place.disk("echo.img", [...boot.print("go\n"), ...boot.echo])), console);
    await console.until("go\n");
    await machine.write("abc".repeat(200));
    await console.until("ABC".repeat(200));
    await machine.stop();
    expect((await machine.exited).kind).toBe("stopped");
  });

  test("floods its console can still be stopped", async () => {
    const enough = Promise.withResolvers<void>();
    let bytes = 0;
    const machine = await machines.start(sampleSpec(place.disk("flood.img", [...boot.flood])), {
      onConsole: (chunk) => {
        bytes += chunk.byteLength;
        if (bytes > 20_000) enough.resolve();
      },
    });
    await enough.promise;
    await machine.stop();
    expect((await machine.exited).kind).toBe("stopped");
    expectGone(machine);
  });

  test("halts stays until it is stopped, by a signal too", async () => {
    const abort = new AbortController();
    const console = consoleText();
    const machine = await machines.start(sampleSpec(halted), { onConsole: console.onConsole, signal: abort.signal });
    await console.until("halted\n");
    expect(await machine.qmp("query-status")).toMatchObject({ running: true });
    expect((await problemOf(machine.qmp("no-such-command"))).code).toBe("E_QMP");
    abort.abort();
    expect(await machine.exited).toEqual({ kind: "stopped", status: 0, detail: "it was stopped" });
    expect((await problemOf(machine.qmp("query-status"))).message).toContain("the connection is closed");
    expectGone(machine);
  });
});

describe("a machine", () => {
  test("whose QEMU is killed died", async () => {
    const machine = await machines.start(sampleSpec(halted));
    process.kill(machine.pid, "SIGKILL");
    expect(await machine.exited).toEqual({ kind: "died", status: null, detail: "QEMU was ended by SIGKILL" });
    expectGone(machine);
  });

  test("whose QEMU is told to end by somebody died, and QEMU says by whom", async () => {
    const machine = await machines.start(sampleSpec(halted));
    process.kill(machine.pid, "SIGTERM");
    const end = await machine.exited;
    expect([end.kind, end.status]).toEqual(["died", 0]);
    expect(end.detail).toContain("terminating on signal 15");
  });

  test("has a screen of which a picture can be taken, or none", async () => {
    const console = consoleText();
    const machine = await machines.start(sampleSpec(halted, { display: true }), console);
    // By then the BIOS has drawn its screen.
    await console.until("halted");
    const file = join(place.directory, "screen.png");
    await machine.screenshot(file);
    const png = readFileSync(file);
    expect(png.subarray(0, 8)).toEqual(Buffer.from("\x89PNG\r\n\x1a\n", "latin1"));
    // IHDR: the BIOS is in text mode, 80 by 25 characters of 9 by 16 points.
    expect([png.readUInt32BE(16), png.readUInt32BE(20)]).toEqual([720, 400]);
    await machine.stop();
    const blind = await machines.start(sampleSpec(halted));
    expect((await problemOf(blind.screenshot(file))).code).toBe("E_NO_DISPLAY");
    await blind.stop();
  });

  test("reaches its port through one that is free, and each has its own", async () => {
    const network = {
      kind: "user",
      mac,
      forward: [
        { hostPort: 0, guestPort: 22 },
        { hostPort: 0, guestPort: 80 },
      ],
    } as const;
    const both = await Promise.all([1, 2].map(() => machines.start(sampleSpec(halted, { network }))));
    const ports = both.flatMap((machine) => [machine.port(22), machine.port(80)]);
    expect(new Set(ports).size).toBe(4);
    for (const port of ports) {
      const connection = await localHost().connectTcp("127.0.0.1", port, () => undefined);
      connection.close();
    }
    expect(() => both[0]?.port(23)).toThrow("not forwarded");
    await Promise.all(both.map((machine) => machine.stop()));
  });

  test("hands credentials over without showing them", async () => {
    const console = consoleText();
    const machine = await machines.start(sampleSpec(halted, { credentials: { "my.secret": "xyzzy" } }), console);
    const [inMemory, shown] = [Buffer.from("xyzzy").toString("base64"), readFileSync(`/proc/${machine.pid}/cmdline`, "latin1")];
    expect(shown).toContain("credential-my.secret");
    expect(shown).not.toContain(inMemory);
    expect(existsSync(join(machine.directory, "credential-my.secret"))).toBe(false);
    await console.until("halted");
    // The firmware put the table into the guest's memory, where systemd looks for it.
    const dump = join(place.directory, "memory");
    await machine.qmp("pmemsave", { val: 0, size: 64 * 1024 ** 2, filename: dump });
    expect(readFileSync(dump).includes(`io.systemd.credential.binary:my.secret=${inMemory}\0`)).toBe(true);
    await machine.stop();
  });

  test("runs under the command line that it says", async () => {
    const machine = await machines.start(sampleSpec(halted));
    const words = readFileSync(`/proc/${machine.pid}/cmdline`, "utf8").split("\0").slice(0, -1);
    expect(machine.commandLine.slice(-words.length)).toEqual(words);
    expect(machine.accelerator).toEqual({ accelerator: "tcg", reason: "it was asked for" });
    await machine.stop();
  });

  test("keeps what was written to a persistent disk from other machines, and a snapshot's from the file", async () => {
    const file = join(place.directory, "own.img");
    copyFileSync(halted, file);
    const disks = (mode: "persistent" | "snapshot") => [{ file, format: "raw", device: "virtio-blk", mode } as const];
    const first = await machines.start(sampleSpec(file, { disks: disks("persistent") }));
    const problem = await problemOf(machines.start(sampleSpec(file, { disks: disks("persistent") })));
    expect([problem.code, problem.hint]).toEqual([
      "E_MACHINE_NOT_STARTED",
      "another machine or program has one of its images open",
    ]);
    await first.stop();
    const snapshots = await Promise.all([1, 2].map(() => machines.start(sampleSpec(file, { disks: disks("snapshot") }))));
    for (const machine of snapshots) {
      await machine.qmp("human-monitor-command", { "command-line": 'qemu-io disk0 "write -P 7 0 64k"' });
      await machine.stop();
    }
    expect(readFileSync(file).equals(readFileSync(halted))).toBe(true);
  });
});

describe("a machine that cannot start", () => {
  const refused = async (spec: MachineSpec, host = localHost()): Promise<unknown[]> => {
    const other = machinePlace(host);
    const problem = await problemOf(other.machines.start(spec));
    expect(other.left()).toEqual([]);
    other.remove();
    return [problem.code, problem.exit, problem.message];
  };
  const without = (program: string) => {
    const host = localHost();
    return scriptedHost(host, () => undefined, { which: (name) => (name.startsWith(program) ? undefined : host.which(name)) });
  };

  test("for want of QEMU", async () => {
    expect(await refused(sampleSpec(hello), without("qemu"))).toEqual([
      "E_QEMU_MISSING",
      3,
      "running a machine for x86_64-linux: there is no qemu-system-x86_64 on this machine",
    ]);
  });

  test("for want of firmware", async () => {
    const firmware = { kind: "uefi", code: "/none/code.fd", variables: "/none/vars.fd" } as const;
    expect((await refused(sampleSpec(hello, { firmware }))).slice(0, 2)).toEqual(["E_FIRMWARE_MISSING", 3]);
  });

  test("for want of an image", async () => {
    expect(await refused(sampleSpec("/none/a.img"))).toEqual([
      "E_DISK_MISSING",
      2,
      "starting the machine sample: /none/a.img is not there",
    ]);
  });

  test("for its faults", async () => {
    expect((await refused(sampleSpec(hello, { cpus: 0 }))).slice(0, 2)).toEqual(["E_MACHINE_SPEC", 2]);
  });

  test("for a port that is in use", async () => {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const address = server.address();
    const hostPort = typeof address === "object" && address !== null ? address.port : 0;
    const network = { kind: "user", mac, forward: [{ hostPort, guestPort: 22 }] } as const;
    expect(await refused(sampleSpec(hello, { network }))).toEqual([
      "E_PORT_IN_USE",
      3,
      `starting the machine sample: the port ${hostPort} of 127.0.0.1 is in use`,
    ]);
    server.close();
  });

  test("because QEMU says no, with what it said", async () => {
    const file = join(place.directory, "no.qcow2");
    writeFileSync(file, "this is no image");
    const disks = [{ file, format: "qcow2", device: "virtio-blk", mode: "persistent" } as const];
    const [code, exit, message] = await refused(sampleSpec(file, { disks }));
    expect([code, exit]).toEqual(["E_MACHINE_NOT_STARTED", 3]);
    expect(message).toContain("ended with status 1");
    expect(message).toContain("Image is not in qcow2 format");
  });

  test("because it is not wanted any more", async () => {
    const abort = new AbortController();
    abort.abort(new Error("enough"));
    await expect(machines.start(sampleSpec(halted), { signal: abort.signal })).rejects.toThrow("enough");
    expect(place.left()).toEqual([]);
  });

  test("because it is not wanted any more while QEMU comes up", async () => {
    const abort = new AbortController();
    const host = localHost();
    const pids: number[] = [];
    const other = machinePlace({
      ...host,
      processIdentity: host.processIdentity,
      spawn: (command, options) => {
        const running = host.spawn(command, options);
        pids.push(running.pid);
        abort.abort(new Error("enough"));
        return running;
      },
    });
    await expect(other.machines.start(sampleSpec(halted), { signal: abort.signal })).rejects.toThrow("enough");
    expect(pids.map((pid) => existsSync(`/proc/${pid}`))).toEqual([false]);
    expect(other.left()).toEqual([]);
    other.remove();
  });
});
