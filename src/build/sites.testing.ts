/** Sites for tests of the scheduler: hosts that build what their script says at once, and go away when they are told to. */
import { mkdirSync, writeFileSync } from "node:fs";
import { Problem } from "../base/index.ts";
import { sandboxHostname, type SandboxRequest, type Site, type SiteRun } from "../sandbox/index.ts";
import type { System } from "../base/index.ts";

export interface FakeSite extends Site {
  /** Names of what was begun there, in order. */
  readonly begun: readonly string[];
  /** The most that ran there at one time. */
  readonly most: number;
  /** How often it was asked whether it answers. */
  readonly asked: number;
}

export interface FakeOptions {
  readonly system: System;
  readonly jobs?: number;
  /** What the nth build there (from 0) comes to: a status, or the code it is lost with. Default: 0. */
  readonly fate?: (nth: number, request: SandboxRequest) => number | Problem["code"];
  /** What it says the nth time (from 0) it is asked whether it answers. Default: that it does. */
  readonly answers?: (nth: number) => boolean;
  /** Held back until this settles. */
  readonly before?: (request: SandboxRequest) => Promise<void>;
}

export function lossOf(host: string, code: Problem["code"]): Problem {
  return new Problem({ code, message: `building there: the host ${host} was lost: it was told to be`, exit: 3 });
}

/** Builds the file `made` that names the derivation in each output; nothing about where it was built is in it. */
export function fakeSite(
  host: string,
  { system, jobs = 2, fate = () => 0, answers = () => true, before }: FakeOptions,
): FakeSite {
  const begun: string[] = [];
  let [running, most, asked] = [0, 0, 0];
  return {
    host,
    system,
    jobs,
    begun,
    get most() {
      return most;
    },
    get asked() {
      return asked;
    },
    render: ({ name }) => ({ enter: `ssh -t ${host} enter`, files: { "run.sh": `# ${name} on ${host}\n` } }),
    answers: async () => answers(asked++),
    run: async (request, { onOutput, onNote, keep, signal }): Promise<SiteRun> => {
      const nth = begun.push(request.name) - 1;
      running += 1;
      most = Math.max(most, running);
      try {
        await before?.(request);
        onNote?.("a note of the host");
        onOutput(new TextEncoder().encode(`${request.name} built there\n`));
        const ends = fate(nth, request);
        if (typeof ends === "string") throw lossOf(host, ends);
        const hostname = sandboxHostname(request.name, request.hash.slice(0, 8));
        const use = {
          uid: 35_001,
          gid: 35_001,
          hostname,
          mode: "linux-bubblewrap" as const,
          durationMs: 1,
          peakMemoryBytes: undefined,
          limits: "each" as const,
          on: { host, release: "6.1.0-test" },
        };
        if (signal?.aborted === true) return { result: { kind: "cancelled" }, use };
        if (ends !== 0) {
          const kept = { directory: `${host}:/tmp/scratch`, enter: `ssh -t ${host} enter` };
          return { result: { kind: "exited", status: ends }, use, ...(keep === true ? { kept } : {}) };
        }
        for (const { physical } of Object.values(request.outputs)) {
          mkdirSync(physical, { recursive: true });
          writeFileSync(`${physical}/made`, `${request.name} ${request.env["LEVEL"] ?? ""}\n`);
        }
        return { result: { kind: "exited", status: 0 }, use };
      } finally {
        running -= 1;
      }
    },
  };
}
