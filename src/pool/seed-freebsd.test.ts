/** The file by which a FreeBSD guest learns who it is: as text, and the script that writes it, run with stand-ins for FreeBSD's tools. */
import { afterEach, describe, expect, test } from "bun:test";
import { execFileSync, spawnSync } from "node:child_process";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { golden, thrownProblem } from "../base/testing.ts";
import { type InstanceFacts, instanceFile, type InstancePlan, planInstance } from "./seed-freebsd.ts";
import { SEED, SEED_PRIVATE_KEY } from "./seed.testing.ts";
import { seedFiles } from "./seed.ts";

const facts: InstanceFacts = {
  system: "freebsd",
  image: "/frx/var/garth/pools/free bsd/free-1/disk.img",
  format: "raw",
  directory: "/frx/var/garth/pools/free bsd/free-1",
  lockFile: "/var/run/garth/md.lock",
};

function planned(change: Partial<InstanceFacts> = {}): Extract<InstancePlan, { kind: "instance-file" }> {
  const plan = planInstance(SEED, { ...facts, ...change });
  if (plan.kind !== "instance-file") throw new Error(plan.why);
  return plan;
}

test("the file says what the seed disk says, to a shell", () => {
  const text = instanceFile(SEED);
  const lines = seedFiles(SEED).find(({ name }) => name === "coppice-instance.env")?.text ?? "-";
  expect(text).toStartWith(lines);
  const shown = execFileSync("sh", ["-euc", `${text}\nprintf '%s|' "$COPPICE_ADDRESS" "$COPPICE_AUTHORIZED_KEY"`], {
    encoding: "utf8",
  });
  expect(shown).toBe(`10.77.0.50|${SEED.authorizedKey}|`);
  expect(thrownProblem(() => instanceFile({ ...SEED, hostname: "a b" })).code).toBe("E_SEED_FIELD");
});

test("a host that cannot mount the image gives a seed disk, and says why", () => {
  expect(planInstance(SEED, { ...facts, system: "linux" })).toEqual({
    kind: "seed-disk",
    why: "a linux host does not write to UFS",
  });
  expect(planInstance(SEED, { ...facts, format: "qcow2" })).toEqual({
    kind: "seed-disk",
    why: "md(4) attaches raw disks, not qcow2",
  });
});

test("the script", () => {
  const { script, path } = planned();
  expect(path).toBe("/etc/coppice-instance");
  expect(script).toBe(golden(join(import.meta.dir, "golden/instance.sh"), script));
  const checked = Bun.spawnSync(["shellcheck", "-s", "sh", "-"], { stdin: Buffer.from(script) });
  expect(checked.stdout.toString()).toBe("");
});

describe("the script, with stand-ins for the tools", () => {
  const places: string[] = [];
  afterEach(() => {
    for (const place of places.splice(0)) fs.rmSync(place, { recursive: true });
  });

  interface Ran {
    readonly status: number | null;
    readonly stderr: string;
    readonly log: readonly string[];
    readonly file: string | undefined;
    readonly mode: number | undefined;
    readonly left: readonly string[];
  }

  /** md0 is attached while there is a file `md0`; what is mounted at `root` is the directory `ufs`, moved there and back. */
  function run(verb: string, { stale = false, failing = "", partition = "freebsd-ufs" } = {}): Ran {
    const place = fs.mkdtempSync(join(tmpdir(), "garth-instance-"));
    places.push(place);
    const at = (name: string): string => join(place, name);
    fs.mkdirSync(at("bin"));
    fs.mkdirSync(at("machine"));
    fs.mkdirSync(at("ufs/etc"), { recursive: true });
    fs.writeFileSync(at("dev-md0p2"), "");
    if (stale) {
      fs.writeFileSync(at("md0"), "");
      fs.renameSync(at("ufs"), at("machine/root"));
      fs.mkdirSync(at("unmounted"));
    }
    const log = (name: string) => `echo "${name} $*" >>${at("log")}`;
    const stand: Readonly<Record<string, string>> = {
      lockf: `${log("lockf")}; shift 4; exec "$@"`,
      mdconfig: `case $1 in
-l) [ ! -e ${at("md0")} ] || echo md0 ;;
-a) ${log("mdconfig")}; : >${at("md0")}; echo md0 ;;
-d) ${log("mdconfig")}; rm ${at("md0")} ;;
esac`,
      gpart: `printf '=>  40 8388528 md0 GPT (4.0G)\\n 40 1024 md0p1 freebsd-boot (512K)\\n 1064 8385000 md0p2 ${partition} (4.0G)\\n'`,
      fsck_ffs: log("fsck_ffs"),
      mount: `case $1 in
-p) [ ! -e ${at("unmounted")} ] || echo "/dev/md0p2 ${at("machine/root")} ufs rw 0 0" ;;
*) ${log("mount")}; [ "${failing}" != mount ] || exit 1; rmdir ${at("machine/root")}; mv ${at("ufs")} ${at("machine/root")}; mkdir ${at("unmounted")} ;;
esac`,
      umount: `${log("umount")}; mv ${at("machine/root")} ${at("ufs")}; mv ${at("unmounted")} ${at("machine/root")}`,
    };
    for (const [name, body] of Object.entries(stand))
      fs.writeFileSync(at(`bin/${name}`), `#!/bin/sh\n${body}\n`, { mode: 0o755 });
    const { script } = planned({ image: at("disk.img"), directory: at("machine"), lockFile: at("lock") });
    fs.writeFileSync(
      at("instance.sh"),
      script.replace("PATH=/sbin:", `PATH=${at("bin")}:/sbin:`).replaceAll('"/dev/$part"', `"${at("dev-$part")}"`),
    );
    const ran = spawnSync("sh", [at("instance.sh"), verb], { encoding: "utf8", timeout: 30_000 });
    const written = at("ufs/etc/coppice-instance");
    return {
      status: ran.status,
      stderr: ran.stderr,
      log: fs.existsSync(at("log")) ? fs.readFileSync(at("log"), "utf8").replaceAll(place, "").trimEnd().split("\n") : [],
      file: fs.existsSync(written) ? fs.readFileSync(written, "utf8") : undefined,
      mode: fs.existsSync(written) ? fs.statSync(written).mode & 0o777 : undefined,
      left: ["md0", "unmounted", "machine/root", "ufs/etc/coppice-instance.new"].filter((name) => fs.existsSync(at(name))),
    };
  }

  test("writes the file, for root alone, and leaves nothing attached", () => {
    const { log, ...rest } = run("apply");
    expect(rest).toEqual({ status: 0, stderr: "", file: instanceFile(SEED), mode: 0o600, left: [] });
    expect(rest.file).toContain(Buffer.from(SEED_PRIVATE_KEY.trimEnd()).toString("base64").slice(0, 40));
    expect(log).toEqual([
      "lockf -k -t 300 /lock sh /instance.sh locked-apply",
      "mdconfig -a -t vnode -f /disk.img",
      "fsck_ffs -p /dev-md0p2",
      "mount -t ufs -o noatime /dev-md0p2 /machine/root",
      "umount /machine/root",
      "mdconfig -d -u md0",
    ]);
  });

  test("undoes first what a killed run has left", () => {
    const { status, log, left } = run("apply", { stale: true });
    expect([status, left]).toEqual([0, []]);
    expect(log.slice(1, 4)).toEqual(["umount /machine/root", "mdconfig -d -u md0", "mdconfig -a -t vnode -f /disk.img"]);
    const destroyed = run("destroy", { stale: true });
    expect([destroyed.status, destroyed.left, destroyed.log.slice(1)]).toEqual([
      0,
      [],
      ["umount /machine/root", "mdconfig -d -u md0"],
    ]);
    expect(run("destroy").log.slice(1)).toEqual([]);
  });

  test("that fails leaves nothing attached", () => {
    const mounting = run("apply", { failing: "mount" });
    expect([mounting.status, mounting.file, mounting.left]).toEqual([1, undefined, []]);
    const zfs = run("apply", { partition: "freebsd-zfs" });
    expect([zfs.status, zfs.file, zfs.left]).toEqual([1, undefined, []]);
    expect(zfs.stderr).toContain("has no partition of the type freebsd-ufs");
    expect(run("else").status).toBe(2);
  });
});
