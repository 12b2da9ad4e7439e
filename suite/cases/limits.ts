/** Limits of a builder on the host: each is reached, said, and leaves nothing. */
import { defaultLimits } from "../../src/sandbox/index.ts";
import type { Case } from "../case.ts";
import { wiredFor } from "../ours.ts";
import { builder, inside, leftThere } from "./inside.ts";
import { BUILDS } from "./isolation.ts";

export const limitCases: readonly Case[] = [
  {
    name: "limits: time",
    needs: [BUILDS],
    run: async (trial, suite) => {
      const wired = await wiredFor(trial, suite);
      const one = builder(suite, wired, 'trap "" TERM; while :; do sleep 1; done', {
        limits: { wallClockMs: 4_000 },
        signal: trial.signal,
      });
      const { result } = await one.run();
      trial.ok("how it ended", result.kind === "limit" && result.limit === "wallClockMs", result);
      trial.equal("what is left there", await leftThere(trial, suite), []);
    },
  },
  {
    name: "limits: what is written",
    needs: [BUILDS],
    run: async (trial, suite) => {
      const wired = await wiredFor(trial, suite);
      const one = builder(
        suite,
        wired,
        'i=0; while [ $i -lt 2000 ]; do head -c 1048576 /dev/urandom >"$out/f$i" || exit 1; i=$((i + 1)); sleep 0.05; done',
        { limits: { outputBytes: 8 * 1024 * 1024 }, signal: trial.signal },
      );
      const { result } = await one.run();
      trial.ok("how it ended", result.kind === "limit" && result.limit === "outputBytes", result);
      trial.equal("what is left there", await leftThere(trial, suite), []);
    },
  },
  {
    name: "limits: what is printed, and silence",
    needs: [BUILDS],
    run: async (trial, suite) => {
      const wired = await wiredFor(trial, suite);
      const loud = await builder(suite, wired, "while :; do echo loud loud loud; done", {
        limits: { logBytes: 20_000 },
        signal: trial.signal,
      }).run();
      trial.ok("how the loud one ended", loud.result.kind === "limit" && loud.result.limit === "logBytes", loud.result);
      trial.ok("what of it was printed", loud.text.length <= 20_000, loud.text.length);
      const silent = await builder(suite, wired, "sleep 600", { limits: { silenceMs: 5_000 }, signal: trial.signal }).run();
      trial.ok("how the silent one ended", silent.result.kind === "limit" && silent.result.limit === "silenceMs", silent.result);
      trial.equal("what is left there", await leftThere(trial, suite), []);
    },
  },
  {
    name: "limits: open files",
    needs: [BUILDS],
    kernel: true,
    only: "freebsd",
    run: async (trial, suite) => {
      const text = await inside(
        trial,
        suite,
        await wiredFor(trial, suite),
        "ulimit -Sn; ulimit -Hn; ulimit -n 4096 2>/dev/null && echo raised; ulimit -c",
        { limits: { openFiles: 77 } },
      );
      trial.equal("what they are", text, "77\n77\n0\n");
    },
  },
  {
    name: "limits: processes",
    needs: [BUILDS],
    kernel: true,
    run: async (trial, suite) => {
      const wired = await wiredFor(trial, suite);
      const one = builder(
        suite,
        wired,
        'i=0; while [ $i -lt 60 ]; do sleep 30 & i=$((i + 1)); done 2>/tmp/said; grep -ci "fork\\|unavailable" /tmp/said; kill $(jobs -p) 2>/dev/null; exit 0',
        { limits: { processes: 20 }, signal: trial.signal },
      );
      const { result, text } = await one.run();
      trial.record("what it printed", text);
      trial.ok(
        "it was stopped, or could not start them all",
        (result.kind === "limit" && result.limit === "processes") ||
          !/^0?$/.test(text.trim()) ||
          (result.kind === "exited" && result.status !== 0),
        { result, text },
      );
      trial.equal("what is left there", await leftThere(trial, suite), []);
    },
  },
  {
    name: "limits: memory of one process, where racct is off",
    needs: [BUILDS],
    kernel: true,
    only: "freebsd",
    run: async (trial, suite) => {
      const wired = await wiredFor(trial, suite);
      const script = "dd if=/dev/zero of=/dev/null bs=512m count=1 2>/dev/null && echo 'had it'; echo end";
      const text = await inside(trial, suite, wired, script, { limits: { memoryBytes: 128 * 1024 * 1024 } }).catch(String);
      trial.equal("what it had", text, "end\n");
      const enough = await inside(trial, suite, wired, script, { limits: { memoryBytes: defaultLimits.memoryBytes } });
      trial.note(`with 8 GiB: ${enough.trim().replaceAll("\n", ", ")}`);
    },
  },
];
