import { describe, expect, test } from "bun:test";
import { abandonedCgroups, cgroupLayout, cgroupName, cgroupOwner, planCgroup } from "./cgroup.ts";
import { defaultLimits } from "./plan.ts";

const none = (): string => "";

describe("cgroupLayout", () => {
  test("version 1 with all controllers apart, below the group of this process", () => {
    const mountinfo = [
      "24 1 0:22 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755",
      "31 24 0:28 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory",
      "35 24 0:32 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids",
      "37 24 0:34 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw",
    ].join("\n");
    expect(cgroupLayout(mountinfo, "8:pids:/\n4:memory:/user/a:b\n0::/\n", none)).toEqual({
      kind: "v1",
      memory: "/sys/fs/cgroup/memory/user/a:b",
      pids: "/sys/fs/cgroup/pids",
    });
  });

  test("version 1 in a container, whose mount shows the hierarchy from its own group on", () => {
    const mountinfo = "31 24 0:28 /docker/c1 /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory";
    expect(cgroupLayout(mountinfo, "4:memory:/docker/c1/init", none)).toEqual({
      kind: "v1",
      memory: "/sys/fs/cgroup/memory/init",
      pids: undefined,
    });
    expect(cgroupLayout(mountinfo, "4:memory:/docker/c12", none)).toMatchObject({ memory: "/sys/fs/cgroup/memory" });
  });

  test("version 2, when it has the controllers", () => {
    const mountinfo = "30 24 0:27 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate";
    expect(cgroupLayout(mountinfo, "0::/user.slice", () => "cpuset cpu io memory hugetlb pids rdma misc\n")).toEqual({
      kind: "v2",
      mount: "/sys/fs/cgroup",
    });
    expect(cgroupLayout(mountinfo, "0::/", () => "cpu\n").kind).toBe("none");
  });

  test("none", () => expect(cgroupLayout("22 1 0:20 / /proc rw - proc proc rw\n", "", none).kind).toBe("none"));
});

describe("planCgroup", () => {
  const limits = { ...defaultLimits, memoryBytes: 1 << 30, processes: 100 };

  test("version 2: limits, no swap, one process out of memory ends all", () => {
    const plan = planCgroup({ kind: "v2", mount: "/c" }, "garth-1-2-35001-x", limits);
    expect(plan?.directories).toEqual(["/c/garth/garth-1-2-35001-x"]);
    expect(plan?.settings.map(({ file, value }) => `${file.split("/").at(-1)}=${value}`)).toEqual([
      "memory.max=1073741824",
      "memory.swap.max=0",
      "memory.oom.group=1",
      "pids.max=102",
    ]);
  });

  test("version 1: a group in each hierarchy, and with one controller missing only in the other", () => {
    const both = planCgroup({ kind: "v1", memory: "/m", pids: "/p" }, "g", limits);
    expect(both?.procs).toEqual(["/m/g/cgroup.procs", "/p/g/cgroup.procs"]);
    expect(both?.joins).toEqual(["/m/g/tasks", "/p/g/tasks"]);
    const one = planCgroup({ kind: "v1", memory: undefined, pids: "/p" }, "g", limits);
    expect(one?.procs).toEqual(["/p/g/cgroup.procs"]);
    expect(one?.counters.map(({ limit }) => limit)).toEqual(["processes"]);
  });

  test("nothing where there is nothing", () => expect(planCgroup({ kind: "none", reason: "" }, "g", limits)).toBeUndefined());
});

describe("names of groups", () => {
  const identity = { kind: "drop", uid: 35_001, gid: 35_001 } as const;
  const owner = cgroupOwner("boot:12:345");
  const name = cgroupName(owner, { scratch: "/s", identity });

  test("tell owner, user and scratch directory apart", () => {
    expect(name).toMatch(/^garth-12-345-35001-[0-9a-f]{12}$/);
    expect(cgroupName(owner, { scratch: "/t", identity })).not.toBe(name);
  });

  test("a group is abandoned when the process in its name is dead, and only then", async () => {
    const { localHost } = await import("../host/index.ts");
    const local = localHost();
    const names = [name, cgroupName(cgroupOwner("boot:99:1"), { scratch: "/s", identity }), "other", "garth-x"];
    const host = {
      ...local,
      processIdentity: "boot:1:1",
      files: { ...local.files, list: () => names.map((text) => new TextEncoder().encode(text)) },
      isAlive: (who: string) => who === "boot:12:345",
    };
    expect(abandonedCgroups(host, { kind: "v1", memory: "/m", pids: undefined })).toEqual([`/m/${names[1]}`]);
  });
});
