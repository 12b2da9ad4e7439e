import { describe, expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import fc from "fast-check";
import { golden, thrownProblem } from "../base/testing.ts";
import type { SystemOptions } from "./index.ts";
import { GENERATIONS_PROGRAM } from "./generations.ts";
import { planLinux } from "./linux.ts";
import { BASE_TEXTS, BOOT, composition, FULL, KERNEL, PACKAGE, partOf, RELEASE, RUNTIME } from "./linux.testing.ts";
import type { ClosurePlan, Composition, PlannedTree } from "./types.ts";

const SYSTEMD: Partial<SystemOptions> = {
  ...FULL,
  init: "systemd",
  services: [
    ...(FULL.services ?? []),
    "getty@tty1",
    { name: "ssh", after: ["queue"] },
    { name: "my.app", command: ["/usr/local/bin/web"] },
  ],
};
const BUSYBOX = planLinux(composition(FULL));
const WITH_SYSTEMD = planLinux(composition(SYSTEMD));

/** Every path and what it is; text files by their content, beside. */
function rendered(tree: PlannedTree): ReadonlyMap<string, string> {
  const files = new Map<string, string>();
  const lines = [...tree].map(([path, entry]) => {
    if (entry.type === "directory") return `${path}/`;
    if (entry.type === "symlink") return `${path} -> ${entry.target}`;
    const { content } = entry;
    if (content.kind === "text") files.set(path, content.text);
    const from = content.kind === "part" ? ` = ${content.part}/${content.path}` : content.kind === "initrd" ? " initrd" : "";
    return `${path}${entry.executable ? "*" : ""}${from}`;
  });
  return new Map([["tree.txt", `${lines.join("\n")}\n`], ...files]);
}

function initrdOf({ tree }: Pick<ClosurePlan, "tree">): PlannedTree {
  const entry = tree.get("boot/initrd");
  if (entry?.type !== "file" || entry.content.kind !== "initrd") throw new Error("there is no initrd");
  return entry.content.tree;
}

const textOf = (tree: PlannedTree, path: string): string => rendered(tree).get(path) ?? `there is no text ${path}`;

describe("everything that is rendered", () => {
  for (const [name, plan] of [
    ["busybox", BUSYBOX],
    ["systemd", WITH_SYSTEMD],
  ] as const) {
    for (const [path, text] of rendered(plan.tree)) {
      // The same for both, and held to its own in generations.test.ts.
      if (path === GENERATIONS_PROGRAM) continue;
      test(`for ${name}: ${path}`, () => expect(text).toBe(golden(join(import.meta.dir, "golden/linux", name, path), text)));
    }
  }

  test("in the initial RAM disk", () => {
    for (const [path, text] of rendered(initrdOf(BUSYBOX)))
      expect(text).toBe(golden(join(import.meta.dir, "golden/linux/initrd", path), text));
  });

  test("twice is the same", () => expect(planLinux(composition(FULL))).toEqual(BUSYBOX));

  test("is clean to shellcheck, where it is a script", () => {
    const scripts = [...rendered(BUSYBOX.tree), ...rendered(WITH_SYSTEMD.tree), ...rendered(initrdOf(BUSYBOX))].filter(
      ([, text]) => text.startsWith("#!"),
    );
    expect(scripts.map(([path]) => path)).toEqual(
      expect.arrayContaining([
        "activate",
        "init",
        "etc/garth/start",
        "etc/garth/supervise",
        "etc/garth/services/web-server",
        "etc/garth/dhcp",
      ]),
    );
    // One text after the other: a process for each would take most of a second.
    const input = scripts.map(([, text]) => text);
    const said = [...new Set(input)].map((text) => {
      // SC2154: what udhcpc gives its script. SC2016: programs of awk, and words that are declared with a $ in them.
      const { stdout } = spawnSync("shellcheck", ["-s", "sh", "-e", "SC2016,SC2154", "-f", "gcc", "-"], {
        input: text,
        encoding: "utf8",
      });
      return stdout;
    });
    expect(said.filter((text) => text !== "")).toEqual([]);
  });
});

describe("what is taken of the base's etc", () => {
  test("not what is another machine's or starts what nobody declared; owners as in the base, links without one", () => {
    const paths = [...BUSYBOX.tree.keys()];
    for (const gone of ["etc/ssh/ssh_host_rsa_key", "etc/rc2.d", "etc/systemd/system", "etc/.garth-system"])
      expect(paths).not.toContain(gone);
    expect(paths).toEqual(expect.arrayContaining(["etc/ssh/sshd_config", "etc/alternatives/editor", "etc/opt", "etc/sudoers"]));
    expect(Object.fromEntries(BUSYBOX.etcOwners)).toEqual({
      opt: { mode: 0o2750, uid: 0, gid: 33 },
      shadow: { mode: 0o640, uid: 0, gid: 42 },
      sudoers: { mode: 0o440, uid: 0, gid: 0 },
      "sudoers.d/alice": { mode: 0o440, uid: 0, gid: 0 },
      "web/web.conf": { mode: 0o400, uid: 8080, gid: 33 },
      motd: { mode: 0o644, uid: 0, gid: 0 },
    });
  });
});

describe("units of systemd", () => {
  const etc = WITH_SYSTEMD.tree;

  test("words come out of systemd.syntax(7) as they went in", () => {
    const line = /^ExecStart=(.*)$/m.exec(textOf(etc, "etc/systemd/system/web-server.service"))?.[1];
    expect(line).toBe(`/usr/local/bin/web --greeting "it's $$HOME 100%%" ""`);
    expect(textOf(etc, "etc/systemd/system/web-server.service")).toContain(
      String.raw`Environment="MOTTO=say \"hi\"\nback\\slash"`,
    );
  });

  test("what is enabled is linked where it lies, a template by its own name; an order for it is written beside", () => {
    const wants = "etc/systemd/system/multi-user.target.wants";
    expect(etc.get(`${wants}/getty@tty1.service`)).toEqual({ type: "symlink", target: "/usr/lib/systemd/system/getty@.service" });
    expect(textOf(etc, "etc/systemd/system/ssh.service.d/garth.conf")).toBe("[Unit]\nAfter=queue.service\nWants=queue.service\n");
    expect(etc.has("etc/systemd/system/my.app.service")).toBe(true);
    const declared = planLinux(
      composition({ services: ["mine.timer"], etc: { "systemd/system/mine.timer": "[Timer]\nOnBootSec=1\n" } }),
    );
    expect(declared.tree.get(`${wants}/mine.timer`)).toEqual({ type: "symlink", target: "/etc/systemd/system/mine.timer" });
  });
});

describe("a declaration that does not fit its parts", () => {
  const fault = (options: Partial<SystemOptions>, more: Partial<Composition> = {}) => {
    const { code, message, exit } = thrownProblem(() => planLinux(composition({ init: "busybox", ...options }, more)));
    return [code, message.replace("system sample: ", ""), exit];
  };
  const service = (command: string, more: object = {}) => ({ services: [{ name: "a", command: [command], ...more }] });

  test("a user or group nobody knows", () => {
    expect(fault(service("/bin/sh", { user: "nobody" }))).toEqual([
      "E_SYSTEM_INVALID",
      "services[0].user: there is no user nobody, neither declared nor in the base",
      2,
    ]);
    expect(fault({ secrets: [{ name: "s", group: "staff" }] })[1]).toStartWith("secrets[0].group: there is no group staff");
    expect(fault({ etc: { x: { text: "", user: "bob" } } })[1]).toStartWith('etc["x"].user: there is no user bob');
    expect(fault({ etc: { x: { text: "", group: "bob" } } })[1]).toStartWith('etc["x"].group: there is no group bob');
  });

  test("a service without its package, with what the system is made of", () => {
    expect(fault(service("/usr/local/bin/none"))).toEqual([
      "E_SERVICE_WITHOUT_PACKAGE",
      "services[0]: the service a needs /usr/local/bin/none, which nothing in the system brings",
      2,
    ]);
    const problem = thrownProblem(() => planLinux(composition({ services: ["nginx"] })));
    expect(problem.message).toContain("/etc/systemd/system/nginx.service or /usr/lib/systemd/system/nginx.service");
    expect(problem.details).toEqual(["the system is made of:", `runtime (${RUNTIME.path})`, `web-1.0 (${PACKAGE.path})`]);
  });

  const fine = [
    "/bin/sh",
    "/usr/bin/editor",
    "/usr/local/current/web",
    "/opt/later/x",
    "/srv/x",
    "/frx/store/x",
    "/data/bin/x",
    "/usr/local/bin/web",
  ];
  for (const command of fine) {
    test(`but ${command} is there, or may be when it is wanted`, () => {
      const fileSystems = [{ mountPoint: "/data", type: "ext4", label: "data" }];
      expect(planLinux(composition({ init: "busybox", fileSystems, ...service(command) })).tree.has("etc/garth/services/a")).toBe(
        true,
      );
    });
  }
  for (const command of ["/usr/bin/none", "/bin/none", "/usr/bin/sh/none", "/tool"]) {
    test(`and ${command} is not`, () => expect(fault(service(command))[0]).toBe("E_SERVICE_WITHOUT_PACKAGE"));
  }

  test("a process 1 that nothing brings", () => {
    expect(fault({ init: { exec: "/usr/bin/none" } })[1]).toBe(
      "init: process 1 would be /usr/bin/none, which nothing in the system brings",
    );
    expect(fault({ init: "systemd" }, { base: [partOf("bare", "d", "usr/bin/sh* etc/passwd")] })[1]).toContain(
      "/usr/lib/systemd/systemd",
    );
    expect(planLinux(composition({ init: { exec: "/usr/bin/vi" } })).tree.get("init")).toEqual({
      type: "symlink",
      target: "/usr/bin/vi",
    });
  });

  test("a home or a mount point in a tree of the store", () => {
    expect(fault({ users: [{ name: "a", home: "/usr/local/a" }] })[1]).toStartWith(
      "users[0].home: /usr/local/a would have to be made",
    );
    expect(fault({ fileSystems: [{ mountPoint: "/usr/data", type: "ext4", label: "d" }] })[1]).toStartWith(
      "fileSystems: /usr/data would",
    );
    expect(
      planLinux(
        composition({
          users: [
            { name: "a", home: "/usr/sbin" },
            { name: "b", home: "/" },
          ],
        }),
      ).tree.size,
    ).toBeGreaterThan(0);
  });

  test("a file that follows from the rest, or lies where a directory is", () => {
    expect(fault({ etc: { fstab: "" } })[1]).toBe('etc["fstab"]: /etc/fstab follows from the rest of the declaration');
    expect(fault({ etc: { ssh: "" } })).toEqual(["E_FILE_CONFLICT", "/etc/ssh would be a directory and something else", 2]);
    expect(fault({ etc: { "sudoers/x": "" } })[1]).toBe(
      "/etc/sudoers would be a directory and something else: /etc/sudoers/x is to lie in it",
    );
  });

  test("two slices with one file of /etc or /var", () => {
    const other = partOf("other", "f", "etc/sudoers var/lib/dpkg/status");
    expect(fault({}, { base: [RUNTIME, other] })).toEqual([
      "E_FILE_CONFLICT",
      "runtime and other both bring /var/lib/dpkg/status",
      2,
    ]);
    const etc = partOf("other", "f", "etc/sudoers var/lib/other");
    expect(fault({}, { base: [RUNTIME, etc] })[1]).toBe("runtime and other both bring /etc/sudoers");
  });

  test("slices that do not boot", () => {
    expect(fault({}, { bootloader: RUNTIME })[0]).toBe("E_BOOT_SLICE");
    expect(fault({}, { kernel: RUNTIME })).toEqual([
      "E_KERNEL_SLICE",
      "the slice runtime has no modules below usr/lib/modules",
      2,
    ]);
    const two = partOf("two", "f", `boot/vmlinuz-1 boot/vmlinuz-2 usr/lib/modules/${RELEASE}/`);
    expect(fault({}, { kernel: two })[1]).toBe("the slice two has 2 kernels at boot/vmlinuz-*");
    const releases = partOf("two", "f", "boot/vmlinuz-1 usr/lib/modules/1/ usr/lib/modules/2/");
    expect(fault({}, { kernel: releases })[1]).toBe("the slice two has the modules of 2 kernels: 1, 2");
    expect(fault({ rootModules: ["virtio_blkk"] })[0]).toBe("E_KERNEL_MODULE");
    expect(thrownProblem(() => planLinux(composition({ rootModules: ["virtio_blkk"] }))).hint).toBe("did you mean virtio_blk?");
  });
});

describe("modules of the initial RAM disk", () => {
  const order = (modules: readonly string[], dependencies?: string): readonly string[] => {
    const baseTexts = new Map([
      ...BASE_TEXTS,
      ...(dependencies === undefined ? [] : [[`usr/lib/modules/${RELEASE}/modules.dep`, dependencies] as const]),
    ]);
    const tree = initrdOf(planLinux(composition({ rootModules: modules }, { baseTexts })));
    return [...textOf(tree, "init").matchAll(/insmod \/modules\/(\S+)\.ko /g)].map(([, name = ""]) => name);
  };

  test("as Debian's kernel has them: what is built in is not loaded, - and _ are one", () => {
    expect(order(["virtio_pci", "virtio-blk", "ext4"])).toEqual([
      "virtio_ring",
      "virtio",
      "virtio_pci_modern_dev",
      "virtio_pci_legacy_dev",
      "virtio_pci",
      "virtio_blk",
    ]);
    expect(order(["raid456"]).at(-1)).toBe("raid456");
    expect(order([])).toEqual([]);
  });

  test("each after all it needs, once, and no other, whatever the order in modules.dep", () => {
    const graphs = fc.integer({ min: 1, max: 9 }).chain((count) =>
      fc.record({
        count: fc.constant(count),
        edges: fc.array(fc.tuple(fc.nat(count - 1), fc.nat(count - 1))),
        wanted: fc.uniqueArray(fc.nat(count - 1), { minLength: 1 }),
        isShuffled: fc.boolean(),
      }),
    );
    fc.assert(
      fc.property(graphs, ({ count, edges, wanted, isShuffled }) => {
        const direct = Array.from({ length: count }, (_, from) =>
          edges.flatMap(([a, b]) => (Math.max(a, b) === from && a !== b ? [Math.min(a, b)] : [])),
        );
        const all = (from: number): ReadonlySet<number> => new Set((direct[from] ?? []).flatMap((to) => [to, ...all(to)]));
        const needs = Array.from({ length: count }, (_, from) => [...all(from)]);
        const lines = needs.map(
          (list, from) => `k/m${from}.ko: ${(isShuffled ? list.toReversed() : list).map((to) => `k/m${to}.ko`).join(" ")}`,
        );
        const found = order(
          wanted.map((each) => `m${each}`),
          `${lines.join("\n")}\n`,
        ).map((name) => Number(name.slice(1)));
        expect(found.toSorted()).toEqual([...new Set(wanted.flatMap((each) => [each, ...(needs[each] ?? [])]))].toSorted());
        found.forEach((each, at) => {
          for (const need of needs[each] ?? []) expect(found.slice(0, at)).toContain(need);
        });
      }),
      { numRuns: 50 },
    );
  });
});

describe("the running system", () => {
  const everything = ({ tree }: ClosurePlan): string => [...rendered(tree), ...rendered(initrdOf({ tree }))].flat().join("\n");

  test("does not know of its development profile", () => {
    const development = [partOf("headers", "a", "usr/include/stdio.h")];
    expect(planLinux(composition(FULL, { development }))).toEqual(BUSYBOX);
  });

  test("has the places of secrets and no password", () => {
    expect(everything(BUSYBOX)).toContain("/run/secrets/alice-password");
    const shadow = textOf(BUSYBOX.tree, "etc/shadow")
      .split("\n")
      .filter((line) => line !== "");
    expect(shadow.map((line) => line.split(":")[1])).toEqual(
      shadow.map((line) => (/^(?:daemon|www-data):/.test(line) ? "*" : "!")),
    );
  });

  test("refers to every part but the development slices", () => {
    const text = everything(WITH_SYSTEMD);
    for (const { path } of [KERNEL, BOOT, RUNTIME, PACKAGE]) expect(text).toContain(path);
  });
});
