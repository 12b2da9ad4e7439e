/** A system of the host's own world put onto a disk by other ways than an image, and booted from there. */
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { type Case, MINUTE_MS } from "../case.ts";
import { bootable, bootGuest, keptDisk } from "../guest.ts";
import { liveProject, shipLive } from "../live.ts";
import { openHere } from "../ours.ts";
import { BOOTS } from "./image.ts";

/** Of the empty disk that the medium installs on: larger than the system, which is grown to it. */
const DISK_BYTES = 8 * 1024 ** 3;

export const installCases: readonly Case[] = [
  {
    name: "install: onto a file here, which boots to ready",
    only: "freebsd",
    kernel: true,
    needs: [BOOTS],
    limitMs: 60 * MINUTE_MS,
    run: async (trial, suite) => {
      bootable(trial, suite);
      const { garth: run } = await suite.ours();
      const disk = keptDisk(suite, "installed");
      const said = await run(trial, ["system", "install", "./garth.ts#one", disk.file, "--size", "6G", "--json"], {
        cwd: liveProject(trial, suite),
        limitMs: 30 * MINUTE_MS,
      });
      trial.must("it is installed", said.status === 0, said.stdout || said.stderr);
      const garth = openHere(suite, trial);
      const guest = await bootGuest(trial, suite, garth, { name: "installed", disks: [disk] });
      await guest.says("garth: ready ");
      const there = await guest.sh("cat /etc/greeting; kenv -q garth.generation; df -k / | tail -1; gpart show");
      trial.ok("it is the first generation of the system", there.stdout.startsWith("one\n1\n"), there.stdout);
      await guest.shutDown();
    },
  },
  {
    name: "install: from a medium onto an empty disk, unattended, which boots to ready",
    only: "freebsd",
    kernel: true,
    needs: [BOOTS],
    limitMs: 90 * MINUTE_MS,
    run: async (trial, suite) => {
      bootable(trial, suite);
      const { garth: run } = await suite.ours();
      const medium = join(suite.here, "files", "medium.iso");
      const words = ["system", "iso", "./garth.ts#target", "--out", medium, "--target", "vtbd0", "--then", "poweroff", "--json"];
      const said = await run(trial, words, { cwd: liveProject(trial, suite), limitMs: 30 * MINUTE_MS });
      trial.must("the medium is made", said.status === 0, said.stdout || said.stderr);
      const disk = keptDisk(suite, "target");
      execFileSync("truncate", ["-s", String(DISK_BYTES), disk.file]);
      const garth = openHere(suite, trial);
      const cd = { file: medium, format: "raw", device: "cdrom", mode: "read-only" } as const;
      const installer = await bootGuest(trial, suite, garth, { name: "installer", disks: [disk, cd], onReboot: "exit" });
      const failed = installer.says("not installed: ", 60 * MINUTE_MS).then(() => undefined);
      // The machine's end also ends the waiting for that.
      const end = await Promise.race([installer.machine.exited, failed.catch(() => installer.machine.exited)]);
      trial.must("the medium installs and switches the machine off", end?.kind === "powered-off", end ?? "it was not installed");
      trial.matches("what it says at its end", installer.console(), /installed \/frx\/store\/\S+ on \S+/);
      const { closure } = await shipLive(trial, suite, garth, "target", "system");
      const guest = await bootGuest(trial, suite, garth, { name: "target", disks: [disk] });
      await guest.says("garth: ready ");
      const there = await guest.sh("cat /etc/greeting; readlink /run/current-system; df -k / | tail -1; gpart show");
      trial.ok("it is the system of the medium", there.stdout.startsWith(`target\n${closure}\n`), there.stdout);
      await guest.shutDown();
    },
  },
];
