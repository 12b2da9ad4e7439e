/**
 * The jail's script on stand-ins for FreeBSD that are odd: csh for the login shell, busybox for sh, racct on; with a world for a root, and
 * with what is in the way.
 */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import * as fs from "node:fs";
import { problemOf } from "../base/testing.ts";
import { type ScriptEvent, shellQuote } from "../host/index.ts";
import { defaultLimits, planSandbox, renderJob, type SandboxPlan, type SandboxRequest } from "../sandbox/index.ts";
import { outputPath, sampleRequest } from "../sandbox/testing.ts";
import { type Farm, openFarm } from "./site.testing.ts";
import { startScript } from "./site-script.ts";
import { openTestHost, type TestHost } from "./testing.ts";

setDefaultTimeout(60_000);
const ROOT = "/frx/var/a b";
const VIEW = ["/bin", "/lib", "/libexec", "/usr/bin", "/usr/lib", "/usr/libexec"];
const OUT = `${ROOT}/out`;

let there: TestHost;
let farm: Farm;
let count = 0;

beforeAll(async () => {
  there = await openTestHost({
    kind: "freebsd",
    name: "odd",
    root: ROOT,
    shell: "/bin/csh",
    sh: "busybox",
    sysctl: { "kern.racct.enable": "1" },
  });
  farm = openFarm();
  const { report } = await farm.hosts.add(there.wish);
  expect(report.findings.filter(({ state, key }) => state !== "ok" && !["zfs", "vmm", "clock"].includes(key))).toEqual([]);
});
afterAll(async () => {
  await farm[Symbol.asyncDispose]();
  await there.close();
});

/** A plan in a scratch directory of its own. */
function planned(script: string, changes: Partial<SandboxRequest> = {}): SandboxPlan {
  count += 1;
  return planSandbox(
    sampleRequest({
      system: "x86_64-freebsd",
      root: { kind: "host", paths: VIEW },
      scratch: `${ROOT}/tmp/${count}`,
      identity: { kind: "choose", uid: 35_001, gid: 35_001, count: 1000, taken: `${ROOT}/users` },
      outputs: { out: { path: outputPath("0", "hello-1.0"), physical: OUT } },
      argv: ["/bin/sh", "-c", script],
      limits: defaultLimits,
      ...changes,
    }),
  );
}

type Entries = Parameters<typeof renderJob>[1];
const directories = (paths: readonly string[], from = ""): Entries =>
  paths.map((path) => ({ kind: "mount", type: "directory", source: `${from}${path}`, target: path }));

/** Runs it to its end; `atStart` when the builder has begun. */
async function run(plan: SandboxPlan, entries: Entries = directories(VIEW), atStart?: () => void) {
  const events: ScriptEvent[] = [];
  let printed = "";
  const { files } = renderJob(plan, entries);
  const running = farm.hosts.connection("odd").start(
    { doing: "trying a jail", body: startScript({ system: plan.system, scratch: plan.scratch, files }) },
    {
      onEvent: (event) => {
        events.push(event);
        if (event.name === "started") atStart?.();
        if (event.name === "hold") running.send("done");
      },
      onOutput: (chunk) => (printed += Buffer.from(chunk).toString()),
    },
  );
  const { status, words } = await running.ended;
  return { status, words, printed, events: events.map(({ name, rest }) => `${name} ${rest}`.trim()) };
}

/** Mounts and jails, and what is in directories of builds. */
const left = (): string =>
  there.look(
    `mount -p | grep -v '^/dev/gpt' | grep -cv '^devfs.*/dev	'; jls name; ls ${shellQuote(`${ROOT}/tmp`)} ${shellQuote(`${ROOT}/users`)}`,
  );
const NOTHING = `0\n${ROOT}/tmp:\n\n${ROOT}/users:\n`;
const nameOf = (plan: SandboxPlan): string => /^"([^"]+)" \{/.exec(renderJob(plan, []).files["jail.conf"] ?? "")?.[1] ?? "";

describe("a jail by its script", () => {
  test("made, run and undone; its limits with racct come and go", async () => {
    const plan = planned("id -u; exit 3", { limits: { ...defaultLimits, memoryBytes: 2 ** 30, processes: 77 } });
    const before = there.recorded().length;
    const { status, events, printed } = await run(plan);
    expect([status, printed]).toEqual([0, "35001\n"]);
    expect(events).toEqual(["user 35001 35001", "created", "limits all", "started", "exited 3", "hold"]);
    const name = nameOf(plan);
    const calls = there.recorded().slice(before);
    expect(calls.filter((call) => call.startsWith("rctl"))).toEqual([
      `rctl -a jail:${name}:memoryuse:sigkill=${2 ** 30} jail:${name}:maxproc:deny=77`,
      `rctl -r jail:${name}`,
    ]);
    expect(left()).toBe(NOTHING);
  });

  test("a world for a root has its own chroot(8), and nothing of the host", async () => {
    const world = "/frx/store/world 'x'";
    const tops = ["/bin", "/lib", "/libexec", "/usr"];
    there.look(
      `mkdir -p ${shellQuote(world)} && cp -a ${tops.join(" ")} ${shellQuote(world)} && rm -r ${shellQuote(`${world}/usr/home`)}`,
    );
    const root = { kind: "world", path: outputPath("c", "world"), physical: world } as const;
    const { status, events, printed } = await run(
      planned("ls / /usr; [ -e /usr/home ] || echo none", { root }),
      directories(tops, world),
    );
    expect([status, events.at(-2)]).toEqual([0, "exited 0"]);
    expect(printed).toMatch(/^\/:\nbin\nbuild\ndev\nfrx\nlib\nlibexec\ntmp\nusr\n\n\/usr:\nbin\n[^]*none\n$/);
    expect(left()).toBe(NOTHING);
  });

  test("a mount point of a world that is a symlink out of it is refused before anything is mounted", async () => {
    const world = "/frx/store/crooked";
    there.look(`mkdir -p ${world} && cp -a /bin /lib /libexec /usr ${world} && ln -s /etc ${world}/usr/build`);
    const root = { kind: "world", path: outputPath("c", "world"), physical: world } as const;
    const input = { path: outputPath("a", "in"), physical: "/bin", type: "directory" } as const;
    const plan = planned("true", { root, inputs: [input] });
    // As if an input were to be seen below it.
    const mounts = plan.mounts.map((mount) => (mount.kind === "read-only" ? { ...mount, target: "/usr/build/in" } : mount));
    const before = there.recorded().length;
    const { status, events } = await run({ ...plan, mounts }, directories(["/bin", "/lib", "/libexec", "/usr"], world));
    expect([status, events.filter((event) => /^(refused|created)/.test(event))]).toEqual([3, ["refused 0"]]);
    expect(
      there
        .recorded()
        .slice(before)
        .filter((call) => /^mount(_nullfs)? .*(nullfs|-o)/.test(call)),
    ).toEqual([]);
    expect(left()).toBe(NOTHING);
  });

  test("a jail of its name that is somebody else's stays as it is", async () => {
    const plan = planned("true");
    const name = nameOf(plan);
    there.look(`jail -qc name=${name} path=/ persist`);
    const { status, events } = await run(plan);
    expect([status, events.filter((event) => /^(taken|created)/.test(event))]).toEqual([3, [`taken ${name}`]]);
    expect(there.look("jls name path")).toBe(`${name} /\n`);
    there.look(`jail -R ${name}`);
    expect(left()).toBe(NOTHING);
  });

  test("what somebody of the host holds busy is unmounted by force", async () => {
    const plan = planned("until [ -e /tmp/held ]; do sleep 0.05; done");
    const held = shellQuote(`${plan.scratch}/tmp`);
    const at = shellQuote(`${plan.scratch}/jail-root/tmp`);
    const before = there.recorded().length;
    const { status, events } = await run(plan, directories(VIEW), () => {
      there.look(
        `(cd ${at} && : >${held}/held && exec sleep 1000 >/dev/null 2>&1 </dev/null) & until [ -e ${held}/held ]; do sleep 0.05; done`,
      );
    });
    expect([status, events.at(-1)]).toEqual([0, "hold"]);
    expect(
      there
        .recorded()
        .slice(before)
        .some((call) => call.startsWith("umount -f ")),
    ).toBe(true);
    there.look("pkill -f 'sleep 1000'");
    expect(left()).toBe(NOTHING);
  });

  test("a source that is not there, and a view without chroot(8)", async () => {
    const missing = { path: outputPath("a", "in"), physical: "/frx/store/nothing", type: "directory" } as const;
    const { status, events } = await run(planned("true", { inputs: [missing] }));
    expect([status, events.filter((event) => /^(missing|created)/.test(event))]).toEqual([3, ["missing 0"]]);
    const hostless = planned("true", { root: { kind: "world", path: outputPath("c", "world"), physical: "/frx/store/crooked" } });
    fs.rmSync(there.path("/frx/store/crooked/usr/sbin/chroot"));
    const refused = await run(hostless, directories(["/bin", "/lib", "/libexec", "/usr"], "/frx/store/crooked"));
    expect([refused.status, refused.words.at(-1)]).toEqual([3, expect.stringContaining("/usr/sbin/chroot")]);
    expect(left()).toBe(NOTHING);
  });
});

describe("the host's directory", () => {
  test("is not purged while something is mounted below it; then nothing of ours is left", async () => {
    const at = `${ROOT}/tmp/a directory with a name of some length`;
    const from = "/boot/something of the host with a name of some length";
    there.look(`mkdir '${from}' ${shellQuote(at)} && : >'${from}/kernel' && mount_nullfs '${from}' ${shellQuote(at)}`);
    const problem = await problemOf(farm.hosts.remove("odd", { purge: true }));
    expect([problem.code, problem.details]).toEqual(["E_HOST_BUSY", [`mounted: ${at}`]]);
    there.look(`umount ${shellQuote(at)}`);
    await farm.hosts.remove("odd", { purge: true });
    expect(there.look(`ls ${shellQuote(ROOT)} 2>/dev/null; find '${from}' -type f`)).toBe(`out\n${from}/kernel\n`);
  });
});
