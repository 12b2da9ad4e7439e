/** Each limit, for real: what goes over it is stopped, and the result names it. */
import { afterAll, describe, expect, test } from "bun:test";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { localHost } from "../host/index.ts";
import { defaultLimits, openSandbox, type LimitName, type Limits, type SandboxPlan } from "./index.ts";
import { limitReached } from "./limits.ts";
import { CAN_SANDBOX, livingProcesses, makePlace } from "./testing.ts";

const host = localHost();
const sandbox = openSandbox(host);
const identity = { kind: "drop", uid: 35_778, gid: 35_778 } as const;
const place = makePlace(identity);
afterAll(async () => {
  await sandbox.close();
  place.remove();
});

const MIB = 1024 ** 2;

async function run(plan: SandboxPlan) {
  let printedBytes = 0;
  const done = await sandbox.run(plan, {
    onOutput: (chunk) => {
      printedBytes += chunk.length;
    },
  });
  return { ...done, printedBytes };
}

interface Breach {
  readonly name: string;
  readonly script: string;
  readonly limits: Partial<Limits>;
  readonly limit: LimitName;
}

const BREACHES: readonly Breach[] = [
  { name: "a fork bomb", script: "bomb() { bomb | bomb & }; bomb; sleep 1000", limits: { processes: 50 }, limit: "processes" },
  {
    name: "a fork bomb that goes on whatever the kernel says",
    script: "while :; do sleep 1000 & done 2>/dev/null",
    limits: { processes: 50 },
    limit: "processes",
  },
  { name: "one large file", script: "cat /dev/zero >/build/x", limits: { outputBytes: 64 * MIB }, limit: "outputBytes" },
  {
    name: "many files, in all places that can be written",
    script: `i=0; while :; do i=$((i+1)); for d in $out /tmp /build; do head -c ${2 * MIB} /dev/zero >$d/$i; done; done`,
    limits: { outputBytes: 64 * MIB },
    limit: "outputBytes",
  },
  { name: "an endless print", script: "yes", limits: { logBytes: MIB }, limit: "logBytes" },
  { name: "silence", script: "echo begin; sleep 1000", limits: { silenceMs: 300 }, limit: "silenceMs" },
  {
    name: "a hang that goes on talking",
    script: "while :; do echo .; sleep 0.05; done",
    limits: { wallClockMs: 400 },
    limit: "wallClockMs",
  },
  {
    name: "a builder that ignores every signal",
    script: "trap '' HUP INT QUIT TERM; while :; do sleep 1000; done",
    limits: { wallClockMs: 300 },
    limit: "wallClockMs",
  },
  {
    name: "memory",
    script: "head -c 500000000 /dev/zero | tail >/dev/null",
    limits: { memoryBytes: 64 * MIB },
    limit: "memoryBytes",
  },
  {
    name: "memory behind /dev/shm",
    script: "cat /dev/zero >/dev/shm/x",
    limits: { memoryBytes: 64 * MIB },
    limit: "memoryBytes",
  },
];

describe.if(CAN_SANDBOX)("a limit stops", () => {
  for (const { name, script, limits, limit } of BREACHES) {
    test(name, async () => {
      const { result, printedBytes } = await run(place.plan(script, { limits }));
      expect(result).toEqual(limitReached(limit, limits[limit] ?? 0));
      expect(printedBytes).toBeLessThanOrEqual(limits.logBytes ?? defaultLimits.logBytes);
      expect(livingProcesses(identity.uid)).toEqual([]);
    });
  }

  test("a disk that fills, before it is full", async () => {
    const small = join(place.directory, "small");
    mkdirSync(small);
    expect(Bun.spawnSync(["mount", "-t", "tmpfs", "-o", "size=96m,mode=700", "none", small]).exitCode).toBe(0);
    try {
      const plan = place.plan("i=0; while :; do i=$((i+1)); head -c 1000000 /dev/zero >/tmp/$i; sleep 0.01; done", {
        scratch: join(small, "sandbox"),
        outputs: {},
      });
      const { result } = await run(plan);
      expect(result).toMatchObject({ kind: "limit", limit: "outputBytes" });
      expect(result.kind === "limit" ? result.raise : "").toContain("the disk is nearly full");
    } finally {
      Bun.spawnSync(["umount", small]);
    }
  });

  test("open files: the builder is told, and goes on", async () => {
    const plan = place.plan("ulimit -n; ulimit -n 1000000 2>/dev/null || echo refused", { limits: { openFiles: 64 } });
    const chunks: Uint8Array[] = [];
    const { result } = await sandbox.run(plan, { onOutput: (chunk) => void chunks.push(chunk) });
    expect({ result, text: Buffer.concat(chunks).toString() }).toEqual({
      result: { kind: "exited", status: 0 },
      text: "64\nrefused\n",
    });
  });
});

describe.if(CAN_SANDBOX)("within its limits", () => {
  test("a builder that uses most of everything is left alone", async () => {
    const plan = place.plan(
      `for i in 1 2 3 4 5 6 7 8 9 10; do sleep 0.2 & done; head -c ${30 * MIB} /dev/zero >$out/a; head -c ${20 * MIB} /dev/zero >/tmp/b; yes | head -c 900000; wait`,
      {
        limits: {
          processes: 16,
          outputBytes: 64 * MIB,
          logBytes: MIB,
          memoryBytes: 128 * MIB,
          wallClockMs: 60_000,
          silenceMs: 60_000,
        },
      },
    );
    const { result, printedBytes, use } = await run(plan);
    expect(result).toEqual({ kind: "exited", status: 0 });
    expect(printedBytes).toBe(900_000);
    expect(use.peakMemoryBytes).toBeGreaterThan(MIB);
    expect(use.peakMemoryBytes).toBeLessThanOrEqual(128 * MIB);
  });

  test("a sparse file counts for what it takes on disk", async () => {
    const plan = place.plan(`dd if=/dev/zero of=/tmp/sparse bs=1 count=1 seek=${50 * MIB} 2>/dev/null; sleep 0.3`, {
      limits: { outputBytes: 64 * MIB },
    });
    expect((await run(plan)).result).toEqual({ kind: "exited", status: 0 });
  });
});

describe.if(CAN_SANDBOX)("cancelling", () => {
  test("ends everything", async () => {
    const cancel = new AbortController();
    const plan = place.plan("sleep 1000 & sleep 1000 >/dev/null 2>&1 & echo started; wait");
    const { result } = await sandbox.run(plan, { signal: cancel.signal, onOutput: () => cancel.abort() });
    expect(result).toEqual({ kind: "cancelled" });
    expect(livingProcesses(identity.uid)).toEqual([]);
  });

  test("before the start, starts nothing", async () => {
    const plan = place.plan("echo x >$out/x");
    const { result } = await sandbox.run(plan, { signal: AbortSignal.abort(), onOutput: () => undefined });
    expect(result).toEqual({ kind: "cancelled" });
    expect(host.files.exists(join(plan.scratch, "../out/x"))).toBe(false);
  });
});

describe("the words for a limit", () => {
  test("say what happened and how to raise it", () => {
    expect(limitReached("memoryBytes", 1.5 * 1024 ** 3).raise).toBe(
      "it wanted more than 1.5 GiB of memory; set `limits: { memoryBytes: ... }` in the recipe to allow more",
    );
    expect(limitReached("silenceMs", 3_600_000).raise).toContain("nothing for 1 h");
    expect(limitReached("wallClockMs", 90_000).raise).toContain("ran for 90 s");
    expect(limitReached("wallClockMs", 120_000).raise).toContain("ran for 2 min");
  });
});
