/** A machine that is started anew, by what it says one look after the other. */
import { expect, test } from "bun:test";
import { Problem } from "../base/index.ts";
import { problemOf } from "../base/testing.ts";
import type { Connection } from "../remote/index.ts";
import { reboot } from "./reboot.ts";
import { sampleStatus } from "./testing.ts";
import type { GenerationState, MachineGeneration, MachineStatus } from "./types.ts";

const system = `/frx/store/${"a".repeat(64)}-system-web` as const;
const generation = (number: number, state: GenerationState): MachineGeneration => ({ number, state, system, by: "switch" });
/** Boot, what runs, and the state of generation 2. */
const seen = (bootId: string, running: number, state: GenerationState, change: Partial<MachineStatus> = {}): MachineStatus =>
  sampleStatus({ bootId, running, generations: [generation(1, "good"), generation(2, state)], ...change });
const gone = (code: `E_${string}`): Problem => new Problem({ code, message: "nobody is there" });

interface Course {
  readonly looks: readonly (MachineStatus | Problem)[];
  readonly trialSeconds?: number;
  /** Of a look. */
  readonly eachMs?: number;
  readonly lost?: Problem;
}

async function follow({ looks, trialSeconds, eachMs = 1000, lost }: Course) {
  let at = 0;
  let clock = 0;
  const told: string[] = [];
  const never = (): never => {
    throw new Error("nobody asks for this");
  };
  const connection: Connection = {
    name: "web1",
    start: never,
    run: (script) => {
      told.push(script.doing);
      return lost === undefined ? Promise.resolve({ status: 0, events: [], words: [] }) : Promise.reject(lost);
    },
    shellWords: [],
    close: never,
  };
  const look = (): Promise<MachineStatus> => {
    clock += eachMs;
    const next = looks[Math.min(at, looks.length - 1)];
    at += 1;
    if (next === undefined) throw new Error("there is nothing to be seen");
    return next instanceof Problem ? Promise.reject(next) : Promise.resolve(next);
  };
  const before = seen("first", 1, "trial");
  const report = await reboot({
    machine: "web1",
    connection,
    look,
    wanted: 2,
    trialSeconds,
    before,
    now: () => clock,
    askEachMs: 0,
  });
  return { ...report, told, looks: at };
}

const [unreachable, lost] = [gone("E_HOST_UNREACHABLE"), gone("E_HOST_LOST")];
const old = seen("first", 1, "trial");

test("one that was good before runs", async () => {
  const report = await follow({ looks: [old, lost, unreachable, seen("second", 2, "good")], lost });
  expect(report).toMatchObject({ result: "started", running: 2, told: ["starting web1 anew"], looks: 4 });
  expect(await follow({ looks: [seen("second", 1, "good")] })).toMatchObject({ result: "fell-back", running: 1 });
});

test("one on trial is confirmed when it was ready", async () => {
  const looks = [old, unreachable, seen("second", 2, "trial", { onTrial: true }), seen("second", 2, "good")];
  expect(await follow({ looks, trialSeconds: 60 })).toMatchObject({ result: "confirmed", running: 2, looks: 4 });
});

test("one that never let anybody in fell back, which is known when it is written down", async () => {
  const looks = [old, unreachable, seen("third", 1, "trial"), seen("third", 1, "failed")];
  expect(await follow({ looks, trialSeconds: 60 })).toMatchObject({ result: "fell-back", running: 1, looks: 4 });
});

test("one that let somebody in and was not ready fell back", async () => {
  const onTrial = seen("second", 2, "trial", { onTrial: true });
  const looks = [old, onTrial, onTrial, lost, unreachable, seen("third", 1, "failed")];
  expect(await follow({ looks, trialSeconds: 60 })).toMatchObject({ result: "fell-back", running: 1 });
});

test("every wait has an end", async () => {
  const notBack = await problemOf(follow({ looks: [old], trialSeconds: 60, eachMs: 60_000 }));
  expect(notBack.code).toBe("E_NOT_BACK");
  const stays = follow({ looks: [seen("second", 2, "trial", { onTrial: true })], trialSeconds: 60, eachMs: 60_000 });
  expect(await stays).toMatchObject({ result: "unconfirmed", running: 2 });
  // It says so as long as it is not ready.
  const unsettled = follow({ looks: [seen("second", 1, "trial")], trialSeconds: 60, eachMs: 60_000 });
  expect(await unsettled).toMatchObject({ result: "fell-back", running: 1 });
});

test("what is no matter of waiting is no longer waited for", async () => {
  expect((await problemOf(follow({ looks: [gone("E_HOST_KEY")], trialSeconds: 60 }))).code).toBe("E_HOST_KEY");
  expect((await problemOf(follow({ looks: [old], lost: gone("E_SCRIPT_FAILED") }))).code).toBe("E_SCRIPT_FAILED");
});
