/** Stock parts, held against those who read them: sshd, cloud-init, a shell. */
import { afterAll, describe, expect, test } from "bun:test";
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { thrownProblem } from "../base/testing.ts";
import { CLOUD_CONFIG, poolGuest, type PoolGuestOptions, SEED_SCRIPT, sshd, type SystemOptions } from "./index.ts";
import { planLinux } from "./linux.ts";
import { BASE_TEXTS, composition, RUNTIME, specOf } from "./linux.testing.ts";
import { machine } from "./machine.testing.ts";
import type { ClosurePlan } from "./types.ts";

const scratch = mkdtempSync(`${tmpdir()}/garth-stock-`);
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

const etcOf = (options?: PoolGuestOptions) => specOf(poolGuest(options)).etc;

function textIn({ tree }: ClosurePlan, path: string): string {
  const entry = tree.get(path);
  return entry?.type === "file" && entry.content.kind === "text" ? entry.content.text : "";
}

describe("a guest of a pool", () => {
  test("is one service and a seed under busybox; cloud-init comes where it is asked for", () => {
    expect(specOf(poolGuest({ init: "busybox" }))).toMatchObject({
      init: "busybox",
      seed: true,
      coldplug: false,
      services: [{ name: "sshd" }],
      readiness: ["sshd"],
      users: [{ name: "user", uid: 1000, home: "/home/user", shell: "/bin/bash" }],
    });
    const { services, readiness } = specOf(poolGuest({ cloudInit: true }));
    expect(services.map(({ name }) => name)).toEqual(["sshd", "cloud-init-local", "cloud-init", "cloud-config", "cloud-final"]);
    expect(readiness).toEqual(["sshd"]);
    expect(Object.keys(etcOf())).not.toContain("cloud/cloud.cfg.d/90_garth_nocloud.cfg");
    expect(etcOf({ cloudInit: true })["cloud/cloud.cfg.d/90_garth_nocloud.cfg"]?.text).toBe(CLOUD_CONFIG);
  });

  test("is added to by name", () => {
    const guest = poolGuest({ init: "busybox" });
    const more = {
      services: [...guest.services, { name: "web", command: ["/usr/bin/web"] }],
      etc: { ...guest.etc, motd: "hello\n" },
    };
    const { services, etc } = specOf({ ...guest, ...more });
    expect(services.map(({ name }) => name)).toEqual(["sshd", "web"]);
    expect(etc["motd"]?.text).toBe("hello\n");
    expect(etc["ssh/sshd_config"]).toBeDefined();
  });

  test("has settings that sshd takes, as it understands them", () => {
    const file = `${scratch}/sshd_config`;
    writeFileSync(file, etcOf()["ssh/sshd_config"]?.text ?? "");
    const key = `${scratch}/key`;
    execFileSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", key]);
    execFileSync("mkdir", ["-p", "/run/sshd"]);
    const said = execFileSync("/usr/sbin/sshd", ["-T", "-f", file, "-h", key], { encoding: "utf8" }).split("\n");
    expect(said).toEqual(
      expect.arrayContaining([
        "permitrootlogin without-password",
        "passwordauthentication no",
        "kbdinteractiveauthentication no",
        "pubkeyauthentication yes",
        "usedns no",
        "usepam no",
        "maxsessions 64",
        "maxstartups 64:30:256",
        "subsystem sftp internal-sftp",
      ]),
    );
  });

  test("says nothing of penalties to an OpenSSH that has none", () => {
    expect(etcOf()["ssh/sshd_config"]?.text).not.toContain("PerSourcePenalties");
    expect(etcOf({ penalties: true })["ssh/sshd_config"]?.text).toContain("PerSourcePenalties no\n");
  });

  test("names modules of cloud-init that there are, and looks for data in one place", () => {
    const etc = etcOf({ cloudInit: true });
    for (const name of ["90_garth_nocloud.cfg", "91_garth_modules.cfg"])
      writeFileSync(`${scratch}/${name}`, etc[`cloud/cloud.cfg.d/${name}`]?.text ?? "");
    const script = `
import importlib, sys, yaml
from cloudinit.config.modules import form_module_name
source, modules = [yaml.safe_load(open(path)) for path in sys.argv[1:]]
print(source["datasource_list"], source["datasource"]["NoCloud"]["fs_label"])
for name in sum(modules.values(), []): print(importlib.import_module("cloudinit.config." + form_module_name(name)).__name__)
`;
    const words = ["-c", script, `${scratch}/90_garth_nocloud.cfg`, `${scratch}/91_garth_modules.cfg`];
    const said = execFileSync("/usr/bin/python3", words, { encoding: "utf8" }).trimEnd().split("\n");
    expect(said[0]).toBe("['NoCloud', 'None'] CIDATA");
    expect(said).toEqual(expect.arrayContaining(["cloudinit.config.cc_ssh", "cloudinit.config.cc_set_hostname"]));
  });

  test("has a seed only on Linux", () => {
    const problem = thrownProblem(() => specOf({ family: "freebsd", init: "rc", seed: true } as Partial<SystemOptions>));
    expect(problem.message).toContain("seed: expected nothing: freebsd has no such thing");
  });
});

describe("garth-seed", () => {
  test("is a script for every shell", () => {
    for (const shell of [["dash"], ["bash", "--posix"], ["busybox", "sh"]]) {
      const [program = "", ...words] = shell;
      expect([shell, spawnSync(program, [...words, "-n"], { input: SEED_SCRIPT, encoding: "utf8" }).stderr]).toEqual([shell, ""]);
    }
  });

  test("is a unit before the network and sshd, run by the shell that starts soonest", () => {
    const plan = planLinux(composition({ seed: true }));
    const unit = textIn(plan, "etc/systemd/system/garth-seed.service");
    expect(unit).toMatch(/^ExecStart=\/frx\/store\/b{64}-boot\/usr\/bin\/busybox sh \/etc\/garth\/seed$/m);
    expect(unit).toMatch(/^Before=network-pre.target .*systemd-networkd.service/m);
    expect(textIn(plan, "etc/garth/seed")).toBe(SEED_SCRIPT);
    expect(plan.tree.get("etc/systemd/system/multi-user.target.wants/garth-seed.service")).toEqual({
      type: "symlink",
      target: "../garth-seed.service",
    });
    expect(planLinux(composition()).tree.has("etc/garth/seed")).toBe(false);
  });

  /** What process 1 of busybox starts with, in a network of its own. */
  const addresses = (seed: string): string => {
    using on = machine();
    const options = { init: "busybox", seed: true, coldplug: false } as const;
    const plan = planLinux(composition({ ...options, network: [{ interface: "lo", address: { cidr: "10.9.9.9/24" } }] }));
    on.bring("frx/store/system", plan);
    expect(on.run("/frx/store/system/activate", "/frx/store/system").status).toBe(0);
    on.write("etc/garth/seed", seed, 0o755);
    on.write("srv/process-1", "#!/bin/sh\n/etc/garth/start\nip -4 -o address show lo\ncat /proc/sys/kernel/hostname\n", 0o755);
    return on.run("/srv/process-1").console.join("\n");
  };

  test("goes before what was declared of the network, which holds where there is no seed", () => {
    expect(addresses("#!/bin/sh\nexit 0\n")).toContain("10.9.9.9/24");
    expect(addresses("#!/bin/sh\necho garth-seed: it is somebody\n")).not.toContain("10.9.9.9/24");
  });
});

describe("a unit that is enabled as it is", () => {
  const links = (text: string | undefined, more: Partial<SystemOptions> = {}): readonly string[] => {
    const baseTexts = new Map([
      ...BASE_TEXTS,
      ...(text === undefined ? [] : [["usr/lib/systemd/system/ssh.service", text] as const]),
    ]);
    const plan = planLinux(composition({ services: ["ssh"], ...more }, { baseTexts, base: [RUNTIME] }));
    return [...plan.tree].flatMap(([path, entry]) =>
      entry.type === "symlink" && entry.target.endsWith("system/ssh.service") ? [path.slice("etc/systemd/system/".length)] : [],
    );
  };
  const unit = (install: string): string => `[Unit]\nDescription=x\n\n[Install]\n${install}`;

  test("starts with what it says it belongs to", () => {
    expect(links(unit("WantedBy=cloud-init.target\n"))).toEqual(["cloud-init.target.wants/ssh.service"]);
    expect(links(unit("# WantedBy=no.target\nWantedBy=a.target b.target\nRequiredBy=c.target\nAlias=sshd.service\n"))).toEqual([
      "a.target.wants/ssh.service",
      "b.target.wants/ssh.service",
      "c.target.requires/ssh.service",
      "sshd.service",
    ]);
  });

  test("starts at each boot where it says nothing", () => {
    for (const text of [undefined, "[Unit]\nWantedBy=x.target\n", unit(""), unit("\n[Service]\nWantedBy=x.target\n")])
      expect(links(text)).toEqual(["multi-user.target.wants/ssh.service"]);
  });

  test("is read in the declaration where it is declared", () => {
    const etc = { "systemd/system/ssh.service": unit("WantedBy=own.target\n") };
    expect(links(unit("WantedBy=other.target\n"), { etc })).toEqual(["own.target.wants/ssh.service"]);
  });
});

test("a server for SSH makes its key where it was given none", () => {
  expect(sshd({ port: 2222 })).toMatchObject({ name: "sshd", listens: 2222 });
  expect(sshd().prepare?.[1]?.[2]).toStartWith("[ -e /etc/ssh/ssh_host_ed25519_key ] || ");
});
