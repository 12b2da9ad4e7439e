/** Whole builds on a Linux host over a real sshd, through the scheduler: what comes back, and what is left there. */
import { afterAll, beforeAll, beforeEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import { spawn } from "node:child_process";
import * as fs from "node:fs";
import { createInterface } from "node:readline";
import { parseStorePath } from "../base/index.ts";
import { problemOf } from "../base/testing.ts";
import { buildReceipt, type BuildEvent } from "../build/index.ts";
import { tiny } from "../build/testing.ts";
import { hostView, instantiate } from "../recipe/index.ts";
import { defaultLimits } from "../sandbox/index.ts";
import { openSite } from "./site.ts";
import { type Farm, leftOn, openFarm, untilClean } from "./site.testing.ts";
import { openTestHost, type TestHost } from "./testing.ts";

setDefaultTimeout(60_000);
/** A host that starts anew answers within these, on a busy machine too. */
const WAITS_MS = Array.from({ length: 100 }, () => 200);

let there: TestHost;
let farm: Farm;
let onEvent: (event: BuildEvent) => void;

beforeAll(async () => {
  there = await openTestHost({ kind: "linux", name: "far" });
  farm = openFarm({ onEvent: (event) => onEvent(event), answerWaitsMs: WAITS_MS });
  await farm.hosts.add(there.wish);
});
beforeEach(() => {
  farm.bench.forget();
  onEvent = () => undefined;
});
afterAll(async () => {
  await farm[Symbol.asyncDispose]();
  await there.close();
});

function eventsOf<Kind extends BuildEvent["kind"]>(kind: Kind) {
  return farm.bench.events.filter((event): event is Extract<BuildEvent, { kind: Kind }> => event.kind === kind);
}

async function built(...args: Parameters<Farm["bench"]["build"]>) {
  const { bench } = farm;
  const { goals, steps } = await bench.build(...args);
  const [goal] = goals.values();
  const out = goal?.outputs["out"];
  if (goal === undefined || out === undefined) throw new Error("there is one goal, and it has an output");
  return { goal, out, steps, read: (file: string) => fs.readFileSync(`${bench.store.physical(out)}/${file}`, "utf8") };
}

describe("a build on a host", () => {
  test("an output, its references, its receipt and its log", async () => {
    const { store, builder } = farm.bench;
    const lib = tiny("lib", "echo library > $out/lib");
    const text = 'echo "@garth phase link"; cat $lib/lib; id -u; echo "$lib/lib $out" > $out/uses';
    const { goal, out, steps, read } = await built(tiny("app", text, { inputs: [lib] }));
    expect(steps.map(({ how }) => how)).toEqual(["built", "built"]);
    const libPath = read("uses").slice(0, read("uses").indexOf("/lib "));
    expect(read("uses")).toBe(`${libPath}/lib ${out}\n`);
    expect(new Set<string>(store.references(out))).toEqual(new Set([libPath, out]));
    expect(buildReceipt(goal, store)).toMatchObject({
      build_mode: "linux-bubblewrap",
      build_host: "far",
      build_host_release: farm.hosts.get("far").facts.release,
      build_uid: "35001",
      build_gid: "35001",
      out_path: out,
      limits: expect.stringMatching(/^(all|each)$/),
    });
    const log = builder.readLog(goal.drv);
    expect(log).toContain("# garth: build user of far, on garth-app-");
    expect(log).toContain("\n@garth phase link\nlibrary\n35001\n# garth: ended with status 0 after ");
    expect(log).toMatch(/, as 35001:35001 on far \(.*\)\n$/);
    expect(eventsOf("phase")).toMatchObject([{ phase: "link" }]);
    expect(leftOn(there)).toEqual([]);
  });

  test("several outputs, files of every kind, names that need quoting", async () => {
    const text = `mkdir -p "$out/a b" "$dev/it's"; echo x > "$out/a b/\\$HOME"; ln -s "../a b" "$out/link"; : > "$dev/it's/"'"q"'
printf 'two\\nlines' > "$dev/it's/$(printf 'n\\nl')"; chmod 755 "$out/a b/\\$HOME"; ln "$out/a b/\\$HOME" "$out/hard"; echo $dev > $out/dev`;
    const { goal, read } = await built(tiny("kinds", text, { outputs: ["out", "dev"] }));
    expect([read("a b/$HOME"), read("hard"), read("dev")]).toEqual(["x\n", "x\n", `${goal.outputs["dev"]}\n`]);
    const dev = farm.bench.store.physical(goal.outputs["dev"] ?? "/frx/store/");
    expect(fs.readdirSync(`${dev}/it's`).toSorted()).toEqual(['"q"', "n\nl"]);
    expect((await farm.bench.store.verify({ repair: false, contents: true })).damage).toEqual([]);
  });

  test("a builder's failure has its status and its last lines, and is not tried again", async () => {
    const problem = await problemOf(farm.bench.build(tiny("fails", "echo the last words >&2; exit 7")));
    expect([problem.code, problem.message]).toEqual(["E_BUILD_FAILED", "building fails: the builder ended with status 7"]);
    expect(problem.details).toEqual(["the last words"]);
    const signalled = await problemOf(farm.bench.build(tiny("killed", "kill -SEGV $$")));
    expect(signalled.message).toBe("building killed: the builder was ended by SIGSEGV");
    expect(eventsOf("started")).toHaveLength(2);
    expect(leftOn(there)).toEqual([]);
  });

  test("--keep-failed leaves it there, and a line enters it over ssh", async () => {
    const problem = await problemOf(farm.bench.build(tiny("kept", "echo state > /build/left; exit 1"), { keepFailed: true }));
    const [kept] = eventsOf("kept");
    if (kept?.enter === undefined) throw new Error("nothing was kept");
    expect(problem.details).toEqual([`kept: ${kept.directory}`, `enter it with: ${kept.enter}`]);
    expect(kept.directory).toStartWith(`far:${there.root}/tmp/`);
    // No terminal here; and ssh's configuration is the farm's.
    const line = kept.enter.replace(/^ssh -t /, `ssh -F '${farm.bench.root}/ssh_config' -i '${there.identityFile}' `);
    const entered = Bun.spawnSync(["sh", "-c", line], { stdin: Buffer.from("cat /build/left; echo $out; id -u; exit\n") });
    expect(entered.stdout.toString()).toMatch(/^state\n\/frx\/store\/\S+-kept\n35001\n/);
    expect(fs.readdirSync(`${farm.bench.root}/frx/var/garth/tmp/kept`)).toEqual([]);
    fs.rmSync(there.path(kept.directory.slice("far:".length)), { recursive: true });
    expect(await untilClean(there)).toEqual([]);
  });

  test("limits: silence and what is printed are watched here, time there", async () => {
    for (const [name, text, limits] of [
      ["silent", "echo begun; sleep 60", { silenceMs: 400 }],
      ["loud", "while :; do echo loud loud loud loud; done", { logBytes: 20_000 }],
      ["long", "while :; do echo; sleep 0.2; done", { wallClockMs: 1_000 }],
    ] as const) {
      const problem = await problemOf(farm.bench.build(tiny(name, text, { limits })));
      const [limit, value] = Object.entries(limits)[0] ?? [];
      expect([problem.code, problem.message]).toEqual([
        "E_LIMIT_EXCEEDED",
        `building ${name}: stopped at its limit ${limit}=${value}`,
      ]);
      expect(await untilClean(there)).toEqual([]);
    }
  });

  test("a path of the host view that is not there is left out, and the log says so", async () => {
    const buildRoot = hostView({ paths: ["/bin", "/lib", "/lib64", "/usr", "/nowhere/to be 'seen'"] });
    const { goal } = await built(tiny("absent", "[ ! -e /nowhere ] && echo > $out/f", { buildRoot }));
    expect(farm.bench.builder.readLog(goal.drv)).toContain(
      "# garth: the host view's /nowhere/to be 'seen' is not there on far\n",
    );
  });

  test("the probe runs there, and sees the output alone", async () => {
    const program = `mkdir $out/bin; printf '#!/bin/sh\\necho probed; ls /frx/store | wc -l' > $out/bin/p; chmod 755 $out/bin/p`;
    const { goal } = await built(tiny("prober", program, { probe: { argv: ["bin/p"], expect: "probed\n1" } }));
    expect(goal.probe).toBe("probed\n1");
    expect(leftOn(there)).toEqual([]);
  });

  test("--check builds there twice and compares", async () => {
    await built(tiny("steady", 'echo "$out" > $out/self'), { check: true });
    expect(eventsOf("checked")).toMatchObject([{ same: true }]);
    expect(eventsOf("started")).toHaveLength(2);
  });

  test("two at once, as two users", async () => {
    // Both have begun before either goes on.
    let told = false;
    onEvent = () => {
      if (told || eventsOf("output").length < 2) return;
      told = true;
      const tmp = there.path(`${there.root}/tmp`);
      for (const scratch of fs.readdirSync(tmp)) fs.writeFileSync(`${tmp}/${scratch}/build/go`, "");
    };
    const text = "echo begun; until [ -e /build/go ]; do sleep 0.05; done; id -u > $out/uid";
    const { goals } = await farm.bench.build([tiny("one", text), tiny("two", text)]);
    const uids = [...goals.values()].map(({ outputs }) =>
      fs.readFileSync(`${farm.bench.store.physical(outputs["out"] ?? "/frx/store/")}/uid`, "utf8").trim(),
    );
    expect(uids.toSorted()).toEqual(["35001", "35002"]);
    expect(leftOn(there)).toEqual([]);
  });

  test("a dry run shows the script that would run there", async () => {
    const { builder, root } = farm.bench;
    const graph = instantiate(tiny("planned", "true > $out/f"), { system: farm.hosts.get("far").facts.system, directory: root });
    const [step] = await builder.plan(graph);
    expect(Object.keys(step?.plan ?? {})).toEqual(["run.sh"]);
    expect(step?.plan["run.sh"]).toContain(`${there.root}/tmp/`);
  });
});

describe("what goes wrong", () => {
  test("cancelled: all is undone there, and the same can be built afterwards", async () => {
    const controller = new AbortController();
    onEvent = ({ kind }) => kind === "output" && controller.abort();
    const slow = tiny("slow", "echo begun; sleep 600");
    const problem = await problemOf(farm.bench.build(slow, { signal: controller.signal }));
    expect([problem.code, problem.exit]).toEqual(["E_INTERRUPTED", 130]);
    expect(await untilClean(there)).toEqual([]);
    expect(farm.bench.ledger.statement("SELECT name FROM ledger_lease WHERE name LIKE 'build/%'").all()).toEqual([]);
  });

  test("what was collected there meanwhile is sent again, once", async () => {
    const { bench, hosts } = farm;
    const { out } = await built(tiny("input", "echo input > $out/f"));
    const { root, jobs, facts } = hosts.get("far");
    const store = hosts.store("far");
    let sendings = 0;
    const site = openSite({
      host: bench.host,
      name: "far",
      root,
      jobs,
      facts,
      connection: hosts.connection("far"),
      opening: [],
      store: {
        ...store,
        // It is gone when the build has been told that it is there.
        send: async (paths, options) => {
          const report = await store.send(paths, options);
          if (sendings++ === 0) fs.rmSync(there.path(store.physical(out)), { recursive: true });
          return report;
        },
      },
    });
    const scratch = `${bench.root}/by-hand`;
    const { result } = await site.run(
      {
        hash: "ab".repeat(32),
        name: "second",
        system: facts.system,
        root: { kind: "host", paths: ["/bin", "/lib", "/lib64", "/usr"] },
        inputs: [{ path: out, physical: bench.store.physical(out), type: "directory" }],
        outputs: { out: { path: parseStorePath(out.replace("-input", "-second")), physical: `${scratch}/output-out` } },
        scratch,
        identity: { kind: "drop", uid: 35_001, gid: 35_001 },
        network: false,
        argv: ["/bin/sh", "-c", `cat ${out}/f > "$out/f"`],
        env: {},
        limits: defaultLimits,
      },
      { onOutput: () => undefined },
    );
    expect([result, sendings]).toEqual([{ kind: "exited", status: 0 }, 2]);
    expect(fs.readFileSync(`${scratch}/output-out/f`, "utf8")).toBe("input\n");
  });

  test("the host loses power in mid-build and comes up again: the build begins anew there", async () => {
    const go = fs.mkdtempSync("/var/tmp/garth-site-");
    // For the build user to look in.
    fs.chmodSync(go, 0o755);
    const buildRoot = hostView({ paths: ["/bin", "/lib", "/lib64", "/usr", go] });
    const text = `echo begun; [ -e "${go}/now" ] || sleep 600; echo made > $out/f`;
    let reboots = 0;
    let up: Promise<void> | undefined;
    onEvent = ({ kind }) => {
      if (kind !== "output" || reboots > 0) return;
      reboots += 1;
      fs.writeFileSync(`${go}/now`, "");
      up = there.reboot();
    };
    const { read, goal } = await built(tiny("survives", text, { buildRoot }));
    await up;
    expect([read("f"), goal.use?.on?.host]).toEqual(["made\n", "far"]);
    expect(eventsOf("awaited")).toMatchObject([{ host: "far" }]);
    expect(eventsOf("moved")).toMatchObject([{ from: "far", to: "far", code: "E_HOST_LOST" }]);
    expect(eventsOf("started")).toHaveLength(2);
    expect(await untilClean(there)).toEqual([]);
    fs.rmSync(go, { recursive: true });
  });

  test("a host that goes away for good: the build is made elsewhere", async () => {
    const [gone, other] = [
      await openTestHost({ kind: "linux", name: "gone" }),
      openFarm({ local: true, onEvent: (event) => onEvent(event) }),
    ];
    try {
      await other.hosts.add({ ...gone.wish, jobs: 9 });
      onEvent = ({ kind }) => kind === "output" && void gone.kill();
      const recipe = tiny("moves", "echo begun; sleep 1; echo made > $out/f");
      const goal = [...(await other.bench.build(recipe)).goals.values()][0];
      expect(other.bench.events.filter(({ kind }) => kind === "moved")).toMatchObject([{ from: "gone", to: undefined }]);
      expect(goal?.use?.on).toBeUndefined();
      expect(other.bench.events.filter(({ kind }) => kind === "built")).toHaveLength(1);
    } finally {
      await other[Symbol.asyncDispose]();
      await gone.close();
    }
  });

  test("connections that end in mid-build are noticed at once, and nothing is left there", async () => {
    let dropped = 0;
    onEvent = ({ kind }) => {
      if (kind === "output" && dropped++ === 0) there.dropConnections();
    };
    const text = "echo begun; sleep 1; echo made > $out/f";
    expect((await built(tiny("dropped", text))).read("f")).toBe("made\n");
    expect(eventsOf("moved")).toMatchObject([{ code: "E_HOST_LOST" }]);
    expect(await untilClean(there)).toEqual([]);
  });

  test("this Garth is killed in mid-build: the host undoes all by itself", async () => {
    await farm.close();
    const { root } = farm.bench;
    const child = spawn(process.execPath, ["-e", PROGRAM, root, "orphan", "echo begun; sleep 600"], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    const begun = Promise.withResolvers<void>();
    createInterface({ input: child.stdout }).on("line", (line) => line === "output" && begun.resolve());
    await begun.promise;
    expect(leftOn(there)).not.toEqual([]);
    child.kill("SIGKILL");
    expect(await untilClean(there)).toEqual([]);
    farm = openFarm({ root, onEvent: (event) => onEvent(event), answerWaitsMs: WAITS_MS });
    expect((await built(tiny("orphan", "echo again > $out/f"))).read("f")).toBe("again\n");
  });
});

/** Another Garth on the same root, which prints the kinds of its events. */
const PROGRAM = `
  import { openFarm } from ${JSON.stringify(`${import.meta.dir}/site.testing.ts`)};
  import { tiny } from ${JSON.stringify(`${import.meta.dir}/../build/testing.ts`)};
  const [root, name, text] = process.argv.slice(-3);
  const farm = openFarm({ root, onEvent: ({ kind }) => process.stdout.write(kind + "\\n") });
  await farm.bench.build(tiny(name, text));
`;
