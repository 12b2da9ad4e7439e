/**
 * Systems of the host's own world on a disk: made here, held to FreeBSD's tools there, booted here under QEMU and UEFI from its own loader and
 * kernel, and given other systems while they run.
 */
import { readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { shellQuote } from "../../src/host/index.ts";
import type { StorePath } from "../../src/base/index.ts";
import type { Machine } from "../../src/deploy/index.ts";
import type { Garth } from "../../src/app/index.ts";
import { type Case, MINUTE_MS, type Suite, type Trial } from "../case.ts";
import { bootable, bootGuest, diskOf, type Guest, keptDisk } from "../guest.ts";
import { runHere } from "../hand.ts";
import { liveKey, liveProject, shipLive, SHORT_TRIAL_SECONDS, type SystemName, TRIAL_SECONDS } from "../live.ts";
import { openHere } from "../ours.ts";
import { SLICED } from "./world.ts";

const MADE = "image: a disk of a system of the host's own world, made here";
export const BOOTS = "image: it boots here under QEMU and UEFI to ready, with sshd up, and is what it was declared to be";
const SWITCHED = "switch: a second generation is started on trial, confirmed when it is ready, and gone back from";
const MIB = 1 << 20;
/** What cases about one disk leave for each other. */
const DISK = "one";

/** Reads the image as it lies in the store here. */
function imageOf(trial: Trial, garth: Garth, image: { readonly path: StorePath } | undefined): string {
  return garth.store.physical(trial.must("there is an image", image).path);
}

/** Of 1.5 GB of a world two thirds are gone on the way; what arrives takes the room of the whole disk. */
async function sendImage(trial: Trial, suite: Suite, file: string, manifest: string): Promise<void> {
  const sizeBytes = statSync(file).size;
  const room = await trial.sh(`df -k . | awk 'NR == 2 { print $4 }'`);
  const freeBytes = Number(room.stdout) * 1024;
  if (!(freeBytes > sizeBytes + 512 * MIB))
    trial.skip(
      `the image has ${Math.round(sizeBytes / MIB)} MiB, and the host ${Math.round(freeBytes / MIB)} MiB of room in ${suite.root}`,
    );
  const place = (await trial.sh('printf "%s" "$W"')).stdout;
  const send = async (from: string, to: string): Promise<void> => {
    const command = `gzip -dc | dd of=${shellQuote(`${place}/${to}`)} bs=128k conv=sparse 2>/dev/null`;
    const ssh = suite.hand.argv(command, { shared: true }).map(shellQuote).join(" ");
    const sent = await runHere(["sh", "-c", `gzip -1c ${shellQuote(from)} | ${ssh}`], {
      limitMs: 40 * MINUTE_MS,
      signal: trial.signal,
    });
    trial.must(`${to} is sent`, sent.status === 0, sent.stderr);
    trial.note(`${to}: ${Math.round(statSync(from).size / MIB)} MiB, sent in ${sent.seconds.toFixed(0)} s`);
  };
  await send(file, "disk.img");
  await send(manifest, "manifest");
  // What ends in a hole is shorter when holes were left out.
  await trial.sh(`truncate -s ${sizeBytes} disk.img`);
}

/** What a machine says of itself once it is ready. */
async function says(trial: Trial, guest: Guest, closure: StorePath, greeting: string, generation: number): Promise<void> {
  const said = await guest.sh(`echo "uname $(uname -a)"
echo "system $(readlink /run/current-system)"
echo "greeting $(cat /etc/greeting)"
echo "bootfile $(sysctl -n kern.bootfile)"
echo "modules $(sysctl -n kern.module_path)"
echo "generation $(kenv -q garth.generation)"
echo "root $(mount -p | awk '$2 == "/" { print $1, $3, $4 }')"
echo "sshd $(service sshd onestatus 2>&1 | head -1)"
echo "first $(ps -o comm= -p 1)"
echo "root's shell $(getent passwd root | cut -d: -f7)"
echo "links $(ls -l /bin /usr 2>&1 | head -1)"
echo "failed $(grep -c 'ABORTING' /var/run/dmesg.boot 2>/dev/null)"
touch /root/written && echo written`);
  trial.must("it lets us in", said.status === 0, said.stderr);
  const value = (name: string): string =>
    said.stdout
      .split("\n")
      .find((line) => line.startsWith(`${name} `))
      ?.slice(name.length + 1) ?? "";
  trial.note(value("uname"));
  trial.matches("uname -a", value("uname"), /^FreeBSD /);
  trial.equal("the system that runs", value("system"), closure);
  trial.equal("its own file in /etc", value("greeting"), greeting);
  trial.equal("its generation", value("generation"), String(generation));
  trial.equal("its kernel", value("bootfile"), `/boot/garth/${generation}/kernel/kernel`);
  trial.matches("where its modules are looked for", value("modules"), new RegExp(`^/boot/garth/${generation}/kernel;`));
  trial.equal("its root, by its label, is written to", value("root").replace(/,.*/, ""), "/dev/gpt/garth-root ufs rw");
  trial.matches("sshd", value("sshd"), /^sshd is running as pid \d+/);
  trial.equal("process 1", value("first"), "init");
  trial.equal("the databases of accounts are there", value("root's shell"), "/bin/sh");
  trial.ok("the root takes a file", said.stdout.includes("\nwritten\n"));
}

async function boot(trial: Trial, suite: Suite, garth: Garth): Promise<{ readonly guest: Guest; readonly machine: Machine }> {
  const guest = await bootGuest(trial, suite, garth, { name: "live", disks: [keptDisk(suite, DISK)] });
  await guest.says("garth: ready ");
  const machine = await garth.systemMachine({ machine: guest.url, hostKey: "new", identityFile: liveKey(suite) });
  trial.undo("the way to the machine", () => machine.close());
  return { guest, machine };
}

/** Gives a running machine a system that never becomes good, and sees that it comes back to what it ran. */
function fallsBack(what: string, name: SystemName, trialSeconds: number, told: RegExp): Case {
  return {
    name: `switch: ${what} is given up by the machine itself, which is ready again`,
    only: "freebsd",
    kernel: true,
    needs: [SWITCHED],
    limitMs: 60 * MINUTE_MS,
    run: async (trial, suite) => {
      const garth = openHere(suite, trial);
      const { closure } = await shipLive(trial, suite, garth, name, "system");
      const { guest, machine } = await boot(trial, suite, garth);
      const before = await machine.status(trial.signal);
      trial.record("what it was before", JSON.stringify(before, undefined, 2));
      const report = await machine.switchTo(closure, { trialSeconds, reboot: true, signal: trial.signal });
      trial.record("what was done", JSON.stringify(report, undefined, 2));
      trial.equal("how it came back", [report.reboot?.result, report.reboot?.running], ["fell-back", before.running]);
      trial.matches("what its console said", guest.console(), told);
      const after = await machine.status(trial.signal);
      trial.equal(
        "what it starts",
        [after.running, after.current, after.next, after.onTrial],
        [before.running, before.current, undefined, false],
      );
      trial.equal("what became of it", after.generations.find(({ system }) => system === closure)?.state, "failed");
      await guest.shutDown();
    },
  };
}

export const imageCases: readonly Case[] = [
  {
    name: MADE,
    only: "freebsd",
    kernel: true,
    needs: [SLICED],
    limitMs: 30 * MINUTE_MS,
    run: async (trial, suite) => {
      bootable(trial, suite);
      const garth = openHere(suite, trial);
      const { closure, image } = await shipLive(trial, suite, garth, "one", "image");
      const file = imageOf(trial, garth, image);
      trial.note(
        `${closure}: ${garth.store.closure([closure]).length} items; the disk has ${Math.round(statSync(file).size / MIB)} MiB`,
      );
      const again = await shipLive(trial, suite, garth, "one", "image");
      trial.equal("it is the same image", again.image?.path, image?.path);
    },
  },
  {
    name: "image: the host's own tools find its partitions, its ESP and its root whole, and every path as it was planned",
    only: "freebsd",
    kernel: true,
    tools: ["mdconfig", "mtree"],
    needs: [MADE],
    limitMs: 90 * MINUTE_MS,
    run: async (trial, suite) => {
      const garth = openHere(suite, trial);
      const { image } = await shipLive(trial, suite, garth, "one", "image");
      const file = imageOf(trial, garth, image);
      const ours = await suite.ours();
      const planned = await ours.garth(trial, ["system", "rootfs", "./garth.ts#one"], { cwd: liveProject(trial, suite) });
      trial.must("its paths are told", planned.status === 0, planned.stderr);
      const manifest = join(suite.here, "files", "root.mtree");
      // makefs(8) alone knows where contents are.
      writeFileSync(manifest, planned.stdout.replaceAll(/ contents=\S+/g, ""));
      await sendImage(trial, suite, file, manifest);
      const said = await trial.sh(
        `MD=$(mdconfig -a -t vnode -f "$W/disk.img") || exit 98
trap 'umount "$W/m" 2>/dev/null; umount "$W/esp" 2>/dev/null; mdconfig -d -u "$MD"' EXIT
gpart show -l "$MD"; echo "gpart $?"
gpart show -p "$MD"
fsck_msdosfs -n "/dev/\${MD}p1"; echo "fsck esp $?"
fsck_ffs -n "/dev/\${MD}p2"; echo "fsck root $?"
mkdir m esp
mount_msdosfs -o ro "/dev/\${MD}p1" "$W/esp"; echo "mount esp $?"
cmp esp/EFI/BOOT/BOOTX64.EFI /boot/loader.efi; echo "loader $?"
mount -o ro "/dev/\${MD}p2" "$W/m"; echo "mount root $?"
mtree -f manifest -p m >differences; echo "mtree $?"
wc -l <differences; head -50 differences
[ "$(readlink m/run/current-system)" = "$(readlink m/boot/garth/1 | sed 's|/boot$||')" ] && echo "one system"
chroot m /bin/sh -c 'echo "a shell of its own"; /usr/bin/env true && echo "and programs"'
cmp m$(readlink m/boot/garth/1)/kernel/kernel /boot/kernel/kernel 2>/dev/null; echo "kernel $?"
df -k m | tail -1; umount "$W/m" "$W/esp"; echo "umount $?"`,
        { limitMs: 60 * MINUTE_MS },
      );
      for (const part of [
        "gpart 0",
        "fsck esp 0",
        "fsck root 0",
        "mount esp 0",
        "loader 0",
        "mount root 0",
        "mtree 0",
        "one system",
        "a shell of its own",
        "and programs",
        "umount 0",
      ])
        trial.ok(`it says ${JSON.stringify(part)}`, `\n${said.stdout}`.includes(`\n${part}\n`));
      for (const label of ["efiboot", "garth-root"]) trial.ok(`a partition is called ${label}`, said.stdout.includes(label));
      trial.ok(
        "fsck finds nothing",
        !/UNEXPECTED|INCONSISTEN|UNREF|SALVAGE|FIX\?/.test(said.stdout),
        said.stdout.slice(0, 4_000),
      );
    },
  },
  {
    name: "image: its gate boots it under QEMU and UEFI and passes it, with a signed verdict",
    only: "freebsd",
    kernel: true,
    needs: [MADE],
    limitMs: 40 * MINUTE_MS,
    run: async (trial, suite) => {
      bootable(trial, suite);
      const garth = openHere(suite, trial);
      const shipped = await shipLive(trial, suite, garth, "one", "gate").catch((error: unknown) => {
        const code = error instanceof Error && "code" in error ? error.code : undefined;
        if (code === "E_QEMU_MISSING" || code === "E_FIRMWARE_MISSING") trial.skip(String(error));
        throw error;
      });
      const verdict = trial.must("there is a verdict", shipped.verdict);
      const directory = garth.store.physical(verdict);
      trial.record("the verdict", readFileSync(`${directory}/verdict.json`, "utf8"));
      trial.note(verdict);
    },
  },
  {
    name: BOOTS,
    only: "freebsd",
    kernel: true,
    needs: [MADE],
    limitMs: 40 * MINUTE_MS,
    run: async (trial, suite) => {
      const garth = openHere(suite, trial);
      const { closure, image } = await shipLive(trial, suite, garth, "one", "image");
      diskOf(suite, DISK, imageOf(trial, garth, image));
      const began = performance.now();
      const { guest, machine } = await boot(trial, suite, garth);
      trial.note(
        `ready ${((performance.now() - began) / 1000).toFixed(0)} s after its start (${guest.machine.accelerator.accelerator})`,
      );
      await says(trial, guest, closure, "one", 1);
      const status = await machine.status(trial.signal);
      trial.equal(
        "what its own program says",
        [status.family, status.running, status.current, status.next, status.onTrial, status.runningSystem],
        ["freebsd", 1, 1, undefined, false, closure],
      );
      await guest.shutDown();
      trial.equal("it switched itself off", (await guest.machine.exited).kind, "powered-off");
    },
  },
  {
    name: SWITCHED,
    only: "freebsd",
    kernel: true,
    needs: [BOOTS],
    limitMs: 60 * MINUTE_MS,
    run: async (trial, suite) => {
      const garth = openHere(suite, trial);
      const one = await shipLive(trial, suite, garth, "one", "system");
      const two = await shipLive(trial, suite, garth, "two", "system");
      const { guest, machine } = await boot(trial, suite, garth);
      const options = { trialSeconds: TRIAL_SECONDS, reboot: true, signal: trial.signal } as const;
      const report = await machine.switchTo(two.closure, options);
      trial.record("what was done", JSON.stringify(report, undefined, 2));
      trial.equal("how it came back", [report.generation, report.reboot?.result, report.reboot?.running], [2, "confirmed", 2]);
      trial.note(
        `${report.sentItems} items, ${Math.round(report.sentBytes / MIB)} MiB sent; back in ${Math.round((report.reboot?.durationMs ?? 0) / 1000)} s`,
      );
      await says(trial, guest, two.closure, "two", 2);
      const status = await machine.status(trial.signal);
      trial.equal("what it starts", [status.running, status.current, status.rollback, status.next], [2, 2, 1, undefined]);
      const back = await machine.rollback(undefined, options);
      trial.record("what was done to go back", JSON.stringify(back, undefined, 2));
      trial.equal("how it went back", [back.generation, back.reboot?.result, back.reboot?.running], [1, "started", 1]);
      await says(trial, guest, one.closure, "one", 1);
      const after = await machine.status(trial.signal);
      trial.equal(
        "both are good",
        after.generations.map(({ number, state }) => `${number} ${state}`),
        ["1 good", "2 good"],
      );
      await guest.shutDown();
    },
  },
  fallsBack("one that is never ready", "stuck", SHORT_TRIAL_SECONDS, /garth: not ready within/),
  fallsBack("one whose kernel panics", "panicking", TRIAL_SECONDS, /panic: /),
  fallsBack(
    "one whose process 1 is not there",
    "lost",
    TRIAL_SECONDS,
    /init died|Going nowhere without my init|not ready within|panic: /,
  ),
  {
    name: "switch: a system whose process 1 is a program of its own is ready, and confirms itself",
    only: "freebsd",
    kernel: true,
    needs: [SWITCHED],
    limitMs: 60 * MINUTE_MS,
    run: async (trial, suite) => {
      const garth = openHere(suite, trial);
      const { closure } = await shipLive(trial, suite, garth, "own", "system");
      const { guest, machine } = await boot(trial, suite, garth);
      const report = await machine.switchTo(closure, { trialSeconds: TRIAL_SECONDS, reboot: true, signal: trial.signal });
      trial.record("what was done", JSON.stringify(report, undefined, 2));
      trial.equal("how it came back", report.reboot?.result, "confirmed");
      const said = await guest.sh(
        `echo "system $(readlink /run/current-system)"; echo "first $(ps -o args= -p 1)"; hostname; mount -p`,
      );
      trial.ok("it runs", said.stdout.includes(`system ${closure}\n`), said.stdout);
      trial.matches("process 1 is its own", said.stdout, /^first .*own-init/m);
    },
  },
];
