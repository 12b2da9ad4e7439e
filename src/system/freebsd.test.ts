import { describe, expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { golden, thrownProblem } from "../base/testing.ts";
import { parseMtree } from "../formats/index.ts";
import { freebsdAccounts, freebsdBoot, planFreebsd } from "./freebsd.ts";
import { generationLines, renderFstab, renderHosts, renderLoaderConf, renderRcConf } from "./freebsd-conf.ts";
import { renderRootMtree } from "./freebsd-mtree.ts";
import { SAMPLE, SAMPLE_COMPOSITION, SAMPLE_SYSTEM, sampleService } from "./freebsd-sample.ts";
import type { SystemSpec } from "./types.ts";

const directory = join(import.meta.dir, "golden/freebsd");
const sameAsGolden = (name: string, text: string): void => expect(text).toBe(golden(join(directory, name), text));
const plan = (more: Partial<SystemSpec> = {}) => planFreebsd({ ...SAMPLE_COMPOSITION, spec: { ...SAMPLE, ...more } });
const textOf = (found: ReturnType<typeof plan>, path: string): string | undefined => {
  const entry = found.tree.get(path);
  return entry?.type === "file" && entry.content.kind === "text" ? entry.content.text : undefined;
};

describe("loader.conf", () => {
  test("of the sample", () => sameAsGolden("loader.conf", renderLoaderConf(SAMPLE)));

  test("another program as process 1, and two consoles", () => {
    const text = renderLoaderConf({ ...SAMPLE, init: { exec: "/usr/local/sbin/one" }, console: "efi,comconsole,9600" });
    expect(text).not.toContain("init_exec");
    expect(generationLines({ ...SAMPLE, init: { exec: "/usr/local/sbin/one" } }, SAMPLE_SYSTEM, 7)).toBe(
      `kernel="garth/7/kernel"
module_path="/boot/garth/7/modules;/boot/garth/7/firmware"
init_exec="/boot/garth/7/pid1"
garth.system="${SAMPLE_SYSTEM}"
garth.generation="7"
`,
    );
    expect(text).toContain('console="efi,comconsole"\ncomconsole_speed="9600"\nboot_multicons="YES"\n');
    expect(text).not.toContain("boot_serial");
    expect(renderLoaderConf({ ...SAMPLE, console: "efi" })).not.toContain("comconsole");
  });

  test("which system it is stands beside it, and is never cut short", () => {
    expect(generationLines(SAMPLE, SAMPLE_SYSTEM, 1)).toContain(`garth.system="${SAMPLE_SYSTEM}"\n`);
    const longest = `${SAMPLE_SYSTEM}${"x".repeat(127 - SAMPLE_SYSTEM.length)}` as const;
    expect(generationLines(SAMPLE, longest, 1)).toContain(longest);
    expect(thrownProblem(() => generationLines(SAMPLE, `${longest}x`, 1)).code).toBe("E_SYSTEM_INVALID");
  });

  for (const [settings, field] of [
    [{ currdev: "md0:" }, "currdev"],
    [{ rootdev: "/dev/md0" }, "rootdev"],
    [{ motto: 'a "b"' }, "motto"],
    [{ motto: "größe" }, "motto"],
  ] as const) {
    test(`refuses ${JSON.stringify(settings)}`, () => {
      const problem = thrownProblem(() => renderLoaderConf({ ...SAMPLE, loaderSettings: settings }));
      expect([problem.code, problem.message.split(":")[1]]).toEqual(["E_SYSTEM_INVALID", ` loaderSettings["${field}"]`]);
    });
  }
  test("a memory disk as the root is not refused", () => {
    const text = renderLoaderConf({ ...SAMPLE, loaderSettings: { "vfs.root.mountfrom": "ufs:/dev/md0", mdroot_load: "YES" } });
    expect(text.match(/^vfs\.root\.mountfrom=.*$/gm)).toEqual(['vfs.root.mountfrom="ufs:/dev/md0"']);
  });
});

describe("rc.conf", () => {
  test("of the sample", () => sameAsGolden("rc.conf", renderRcConf(SAMPLE)));

  test("a shell reads the values that were declared", () => {
    const read = spawnSync(
      "sh",
      ["-c", `${renderRcConf(SAMPLE)}\nprintf '%s|' "$motto" "$hostname" "$ifconfig_vtnet1" "$web_server_enable"`],
      {
        encoding: "utf8",
      },
    );
    expect(read.stdout).toBe(`${SAMPLE.rcSettings["motto"]}|sample.example.org|inet 10.0.2.15/24|YES|`);
  });

  test("any interface, and a declared line in place of one that follows", () => {
    const network = [{ interface: "*", address: "dhcp" as const }];
    const text = renderRcConf({ ...SAMPLE, network, rcSettings: { clear_tmp_enable: "NO" } });
    expect(text).toContain('ifconfig_DEFAULT="DHCP"\n');
    expect(text.match(/clear_tmp_enable=.*/g)).toEqual(['clear_tmp_enable="NO"']);
  });
});

describe("fstab", () => {
  test("of the sample", () => sameAsGolden("fstab", renderFstab(SAMPLE)));

  test("only UFS is checked: another number aborts the boot", () => {
    const lines = renderFstab(SAMPLE).split("\n").slice(1, -1);
    expect(
      lines.map((line) =>
        line
          .split("\t")
          .slice(1)
          .filter((_, index) => index !== 2),
      ),
    ).toEqual([
      ["/", "ufs", "1 1"],
      ["/dev", "devfs", "0 0"],
      ["/proc", "procfs", "0 0"],
      ["/tmp", "tmpfs", "0 0"],
      ["/data", "ufs", "2 2"],
      ["/boot/efi", "msdosfs", "0 0"],
    ]);
  });

  test("blanks are escaped, no options are rw, no root is refused", () => {
    const one = (mountPoint: string): SystemSpec => ({
      ...SAMPLE,
      fileSystems: [
        { mountPoint: "/", type: "ufs", source: { label: "r" }, options: [] },
        { mountPoint, type: "nullfs", source: { device: "/a b" }, options: [] },
      ],
    });
    expect(renderFstab(one("/mnt/c d"))).toEndWith("/dev/gpt/r\t/\tufs\trw\t1 1\n/a\\040b\t/mnt/c\\040d\tnullfs\trw\t0 0\n");
    expect(thrownProblem(() => renderFstab({ ...SAMPLE, fileSystems: [] })).message).toStartWith("system sample: fileSystems: ");
  });
});

test("hosts", () => expect(renderHosts({ ...SAMPLE, hostName: "one" })).toBe("::1\tlocalhost one\n127.0.0.1\tlocalhost one\n"));

describe("accounts", () => {
  test("a base without a passwd has those that programs of the base change to", () => {
    const names = (spec: SystemSpec): readonly string[] =>
      freebsdAccounts({ spec: { ...spec, users: [], groups: [] }, baseTexts: new Map() }).users.map(({ name }) => name);
    expect(names(SAMPLE)).toEqual(["root", "nobody", "sshd", "_dhcp"]);
    expect(names({ ...SAMPLE, services: [], network: [] })).toEqual(["root", "nobody"]);
  });
  test("of the base are not repeated", () => {
    const { users, groups } = freebsdAccounts(SAMPLE_COMPOSITION);
    expect(users.filter(({ name }) => name === "sshd").length).toBe(1);
    expect(groups.filter(({ name }) => name === "nobody").length).toBe(1);
  });
});

describe("the system item", () => {
  const found = plan();

  test("every path of it", () => {
    const lines = [...found.tree].map(([path, entry]) => {
      if (entry.type === "directory") return `${path}/`;
      if (entry.type === "symlink") return `${path} -> ${entry.target}`;
      return `${path}${entry.executable ? "*" : ""}${entry.content.kind === "part" ? ` = ${entry.content.part}` : ""}`;
    });
    sameAsGolden("tree.txt", lines.map((line) => `${line}\n`).join(""));
  });

  test("its texts", () => {
    for (const path of found.tree.keys()) {
      const text = textOf(found, path);
      // The program of generations lies here as it is.
      if (text !== undefined && !path.endsWith(".json") && path !== "generations") sameAsGolden(`item/${path}`, text);
    }
  });

  test("owners and modes: master.passwd is root's alone, others as the base and the declaration say", () => {
    expect(Object.fromEntries(found.etcOwners)).toEqual({
      "master.passwd": { mode: 0o600, uid: 0, gid: 0 },
      "newsyslog.conf.d/web.conf": { mode: 0o600, uid: 8080, gid: 80 },
      "motd.template": { mode: 0o644, uid: 0, gid: 0 },
      ntp: { mode: 0o700, uid: 0, gid: 0 },
    });
  });

  test("a directory comes before what is in it", () => {
    const seen = new Set<string>();
    for (const path of found.tree.keys()) {
      if (path.includes("/")) expect(seen).toContain(path.slice(0, path.lastIndexOf("/")));
      seen.add(path);
    }
  });

  test("no database of the base is taken: it would let root in without a password", () => {
    for (const name of ["pwd.db", "spwd.db", "login.conf.db"]) expect(found.tree.has(`etc/${name}`)).toBe(false);
    expect(textOf(found, "etc/master.passwd")).toContain("root:*:0:0:");
  });

  test("sshd asks for no PAM, which a small slice lacks; a declared file replaces that", () => {
    expect(textOf(found, "etc/ssh/sshd_config")).toContain("UsePAM no\n");
    const own = { text: "Port 2222\n", mode: 0o644, user: "root", group: "wheel" };
    expect(textOf(plan({ etc: { "ssh/sshd_config": own } }), "etc/ssh/sshd_config")).toBe("Port 2222\n");
    const without = plan({ services: [], readiness: [] }).tree.get("etc/ssh/sshd_config");
    expect(without).toMatchObject({ content: { kind: "part" } });
  });

  test("another process 1: a launcher in the item, which quotes its path, and no file of rc(8) less", () => {
    const other = plan({ init: { exec: "/data/it's one" } });
    expect([...other.tree.keys()].filter((path) => !found.tree.has(path))).toEqual(["boot/pid1"]);
    sameAsGolden("item/boot/pid1", textOf(other, "boot/pid1") ?? "");
  });

  test("/boot of the root: what the loader reads, kept by a root of its own, and settings that say which item it is", () => {
    const loader = SAMPLE_COMPOSITION.bootloader.path;
    const { tree } = plan({ init: { exec: "/usr/local/bin/web" } });
    const listing = [...tree].map(([path, entry]) => {
      const target = entry.type === "symlink" ? { target: entry.target } : {};
      return { path, type: entry.type, executable: false, sizeBytes: 0, ...target };
    });
    expect(freebsdBoot(SAMPLE, { path: SAMPLE_SYSTEM, listing })).toEqual([
      { path: "boot", kind: "directory" },
      ...[
        ["defaults", `${loader}/boot/defaults`],
        ["device.hints", `${loader}/boot/device.hints`],
        ["kernel", "garth/1/kernel"],
        ["loader", `${loader}/boot/loader`],
        ["loader.efi", `${loader}/boot/loader.efi`],
        ["lua", `${loader}/boot/lua`],
        ["modules", "garth/1/modules"],
      ].map(([name = "", target = ""]) => ({ path: `boot/${name}`, kind: "link" as const, target })),
      { path: "boot/garth", kind: "directory" },
      { path: "boot/garth/1", kind: "link", target: `${SAMPLE_SYSTEM}/boot` },
      {
        path: "boot/loader.conf",
        kind: "text",
        text: `${textOf(found, "boot/loader.conf")}${generationLines(SAMPLE, SAMPLE_SYSTEM, 1)}`,
      },
      { path: "frx/var/garth", kind: "directory" },
      { path: "frx/var/garth/roots", kind: "directory" },
      { path: "frx/var/garth/roots/loader", kind: "link", target: loader },
    ]);
  });

  test("two plans are one", () => expect(plan()).toEqual(found));
});

describe("refused", () => {
  for (const [what, more, message] of [
    [
      "services that rc(8) takes for one",
      { services: ["a-b", "a_b"].map((name) => sampleService({ name, command: ["/bin/sh"] })), readiness: [] },
      "services[1].name",
    ],
    [
      "a file that follows from the rest",
      { etc: { "rc.conf": { text: "", mode: 0o644, user: "root", group: "wheel" } } },
      'etc["rc.conf"]',
    ],
    [
      "a script of Garth",
      { etc: { "garth/ready": { text: "", mode: 0o644, user: "root", group: "wheel" } } },
      'etc["garth/ready"]',
    ],
    ["an owner nobody knows", { etc: { motd: { text: "", mode: 0o644, user: "root", group: "root" } } }, 'etc["motd"].group'],
    [
      "a service of nobody's",
      { services: [sampleService({ name: "x", command: ["/x"], user: "y" })], readiness: [] },
      "services[0].user",
    ],
  ] as const) {
    test(what, () => {
      const problem = thrownProblem(() => plan(more));
      expect([problem.code, problem.exit]).toEqual(["E_SYSTEM_INVALID", 2]);
      expect(problem.message).toStartWith(`system sample: ${message}: `);
    });
  }

  for (const [code, part, path] of [
    ["E_KERNEL_SLICE", "kernel", "boot/kernel/kernel"],
    ["E_BOOT_SLICE", "bootloader", "boot/loader.efi"],
  ] as const) {
    test(`a slice without ${path}`, () => {
      const whole = SAMPLE_COMPOSITION[part];
      const cut = { ...whole, listing: whole.listing.filter((entry) => entry.path !== path) };
      const problem = thrownProblem(() => planFreebsd({ ...SAMPLE_COMPOSITION, [part]: cut }));
      expect([problem.code, problem.message]).toEqual([code, `the slice ${whole.name} (${whole.path}) has no ${path}`]);
    });
  }

  test("two slices with one file of etc", () => {
    const base = [...SAMPLE_COMPOSITION.base, ...SAMPLE_COMPOSITION.base];
    expect(thrownProblem(() => planFreebsd({ ...SAMPLE_COMPOSITION, base })).code).toBe("E_FILE_CONFLICT");
  });
});

test("the manifest of a root for makefs", () => {
  const about = { uid: 0, gid: 0, timeSeconds: 1_700_000_000 };
  const text = renderRootMtree([
    { path: "bin", type: "directory", mode: 0o755, ...about },
    {
      path: "bin/su",
      type: "file",
      mode: 0o4555,
      content: { kind: "file", file: "/frx/store/a?=+/su", sizeBytes: 12 },
      ...about,
    },
    { path: "bin/do", type: "hardlink", target: "bin/su", mode: 0, ...about },
    { path: "lib", type: "symlink", mode: 0o777, target: "/run/current-system/profile/lib", ...about },
    { path: "etc/master.passwd", type: "file", mode: 0o600, content: { kind: "bytes", bytes: new Uint8Array(3) }, ...about },
    { path: "data", type: "directory", mode: 0o1770, ...about, uid: 8080, gid: 80 },
  ]);
  sameAsGolden("root.mtree", text);
  expect(parseMtree(text, "root.mtree").map(({ path, contents }) => [path, contents])).toEqual([
    ["", undefined],
    ["bin", undefined],
    ["bin/su", "/frx/store/a?=+/su"],
    ["bin/do", "/frx/store/a?=+/su"],
    ["lib", undefined],
    ["etc/master.passwd", undefined],
    ["data", undefined],
  ]);
  const listed = spawnSync("bsdtar", ["--numeric-owner", "-tvf", "-"], { input: text, encoding: "utf8" });
  expect(listed.status).toBe(0);
  expect(listed.stdout).toMatch(/^drwxrwx--T .* 8080 +80 .* \.\/data$/m);
  const fifo = { path: "fifo", type: "fifo", mode: 0o600, ...about } as const;
  expect(() => renderRootMtree([fifo])).toThrow("fifo is a fifo");
});
