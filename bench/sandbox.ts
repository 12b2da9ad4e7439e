/**
 * What the sandbox alone costs, beside bare bwrap: `bun bench/sandbox.ts`. Not in the table: it says where the time of a build
 * goes, not how it compares with another builder.
 */
import { rmSync } from "node:fs";
import { localHost } from "../src/host/index.ts";
import { openSandbox } from "../src/sandbox/index.ts";
import { makePlace } from "../src/sandbox/testing.ts";
import { median, shownMs } from "./row.ts";

const COUNT = 200;
const BARE =
  "bwrap --ro-bind /usr /usr --symlink usr/bin /bin --symlink usr/lib /lib --symlink usr/lib64 /lib64 --proc /proc --dev /dev";
const BARE_COMMAND = ["sh", "-c", `exec ${BARE} --unshare-all --die-with-parent sh -c :`] as const;

interface Figures {
  /** Before the first sandbox of a process. */
  readonly prepareMs: number;
  readonly oneMs: number;
  readonly oneBareMs: number;
  readonly twoAtATimeMs: number;
  readonly twoAtATimeBareMs: number;
}

async function milliseconds(work: () => Promise<unknown>): Promise<number> {
  const started = performance.now();
  await work();
  return performance.now() - started;
}

/** `work(index, lane)` for each index, in two lanes. */
async function twoAtATime(work: (index: number, lane: number) => Promise<unknown>): Promise<void> {
  let next = 0;
  const lane = async (number: number): Promise<void> => {
    for (let index = next++; index < COUNT; index = next++) await work(index, number);
  };
  await Promise.all([lane(0), lane(1)]);
}

export async function sandboxFigures(): Promise<Figures> {
  const host = localHost();
  const sandbox = openSandbox(host);
  const place = makePlace();
  try {
    const prepareMs = await milliseconds(() => sandbox.prepare());
    const plans = Array.from({ length: COUNT + 30 }, () => place.plan(":"));
    const run = (index: number, lane: number): Promise<unknown> => {
      const plan = plans[index];
      if (plan === undefined) throw new Error(`there is no plan ${index}`);
      return sandbox.run(
        { ...plan, identity: { kind: "drop", uid: 35_001 + lane, gid: 35_001 + lane } },
        { onOutput: () => undefined },
      );
    };
    const bare = (): Promise<unknown> => host.spawn({ argv: BARE_COMMAND }).exited;
    const one: number[] = [];
    const oneBare: number[] = [];
    for (let round = 0; round < 30; round += 1) {
      one.push(await milliseconds(() => run(COUNT + round, 0)));
      oneBare.push(await milliseconds(bare));
    }
    return {
      prepareMs,
      oneMs: median(one),
      oneBareMs: median(oneBare),
      twoAtATimeMs: await milliseconds(() => twoAtATime(run)),
      twoAtATimeBareMs: await milliseconds(() => twoAtATime(bare)),
    };
  } finally {
    await sandbox.close();
    rmSync(place.directory, { recursive: true, force: true });
  }
}

if (import.meta.main) {
  const figures = await sandboxFigures();
  for (const [name, ms] of Object.entries(figures)) console.log(`${name.padEnd(18)} ${shownMs(ms)}`);
}
