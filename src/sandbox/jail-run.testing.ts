/** Runs of the jail's script on small hosts (jail.testing.ts), seen by their events. */
import { expect } from "bun:test";
import * as fs from "node:fs";
import { join } from "node:path";
import { openEventReader, type ScriptEvent } from "../host/index.ts";
import { makeSmallHost, type Shell, type SmallHost } from "./jail.testing.ts";
import { renderJail } from "./jail-files.ts";
import { readJobReport } from "./job.ts";
import { defaultLimits, planSandbox, type SandboxRequest } from "./plan.ts";
import type { RootEntry } from "./root.ts";
import { outputPath, sampleRequest } from "./testing.ts";
import type { Limits, SandboxPlan } from "./types.ts";

type Changes = Partial<Omit<SandboxRequest, "limits">> & { readonly limits?: Partial<Limits> };

const hosts: SmallHost[] = [];

/** After each test. */
export function forgetHosts(): void {
  for (const host of hosts.splice(0)) host.remove();
}

/** A builder that waits to be ended. */
export const WAITS = ["/bin/sh", "-c", "exec sleep 100"] as const;

export interface Ready {
  readonly host: SmallHost;
  /** The directory on it that is Garth's. */
  readonly root: string;
  readonly plan: SandboxPlan;
  start(verb: string): Going;
  run(verb: string): Promise<Ended>;
}

export interface Ended {
  readonly status: number | null;
  readonly stdout: string;
  readonly words: readonly string[];
  readonly events: readonly string[];
  readonly report: ReturnType<typeof readJobReport>;
}

export interface Going {
  readonly pid: number;
  /** Settles when the event has been said. */
  said(event: string): Promise<void>;
  write(line: string): void;
  letGo(): void;
  kill(signal: NodeJS.Signals): void;
  readonly ended: Promise<Ended>;
}

const BUILDER = ["/bin/sh", "-c", "echo out; echo err >&2; exit 7"] as const;

/** A plan of its own on a fresh host. The builder runs on this machine, where /tmp is there as in a jail. */
export function ready(
  shell: Shell,
  argv: readonly [string, ...string[]] = BUILDER,
  changes: Changes = {},
  given?: RootEntry[],
): Ready {
  const made = makeSmallHost();
  hosts.push(made);
  const { directory } = made;
  const input = join(directory, "input.tar");
  fs.writeFileSync(input, "input");
  const root = join(directory, "the root");
  const scratch = join(root, "tmp", "my $(scratch)");
  fs.mkdirSync(scratch, { recursive: true });
  fs.chmodSync(scratch, 0o700);
  const { limits, ...others } = changes;
  const plan = planSandbox(
    sampleRequest({
      system: "x86_64-freebsd",
      root: { kind: "host", paths: ["/bin", "/nowhere/at all", "/usr/lib"] },
      inputs: [{ path: outputPath("b", "input.tar"), physical: input, type: "file" }],
      outputs: { out: { path: outputPath("0", "hello-1.0"), physical: join(scratch, "output-out") } },
      scratch,
      identity: { kind: "choose", uid: 35_001, gid: 35_001, count: 3, taken: join(root, "users") },
      argv,
      cwd: "/tmp",
      limits: { ...defaultLimits, ...limits },
      ...others,
    }),
  );
  const entries =
    given ??
    (plan.root.kind === "host" ? plan.root.paths : []).map((path): RootEntry => ({
      kind: "mount",
      type: "directory",
      source: path,
      target: path,
    }));
  for (const [name, text] of Object.entries(renderJail(plan, entries).files)) {
    fs.writeFileSync(join(scratch, name), name === "run.sh" ? made.adapted(text) : text);
  }
  const start = (verb: string): Going => startScript([...made.command(shell, join(scratch, "run.sh")), verb]);
  return {
    host: made,
    root,
    plan,
    start,
    run: async (verb) => {
      const going = start(verb);
      const ended = await going.ended;
      going.letGo();
      return ended;
    },
  };
}

export function startScript(argv: string[]): Going {
  const child = Bun.spawn(argv, { stdin: "pipe", stdout: "pipe", stderr: "pipe", env: { PATH: "/usr/bin:/bin" } });
  const events: ScriptEvent[] = [];
  const words: string[] = [];
  const waiting = new Map<string, () => void>();
  const reader = openEventReader({
    onEvent: (event) => {
      events.push(event);
      waiting.get(event.name)?.();
    },
    onWords: (line) => words.push(line),
  });
  const stderr = (async () => {
    for await (const chunk of child.stderr) reader.write(chunk);
    reader.end();
  })();
  const stdout = new Response(child.stdout).text();
  return {
    pid: child.pid,
    said: (name) =>
      new Promise((resolve, reject) => {
        waiting.set(name, resolve);
        if (events.some((event) => event.name === name)) resolve();
        void stderr.then(() => reject(new Error(`never said ${name}: ${JSON.stringify([events, words])}`)));
      }),
    write: (line) => {
      child.stdin.write(`${line}\n`);
      child.stdin.flush();
    },
    letGo: () => void child.stdin.end(),
    kill: (signal) => child.kill(signal),
    ended: (async () => {
      await Promise.all([child.exited, stderr]);
      return {
        status: child.exitCode,
        stdout: await stdout,
        words,
        events: events.map(({ name, rest }) => `${name} ${rest}`.trim()),
        report: readJobReport(events),
      };
    })(),
  };
}

export const at = ({ plan }: Ready, name: string): string => join(plan.scratch, name);
export function users({ root }: Ready): string[] {
  const place = join(root, "users");
  return fs.existsSync(place) ? fs.readdirSync(place).toSorted() : [];
}

/** No jail, no mount, no root, no build user. */
export function expectUndone(one: Ready): void {
  expect({ jails: one.host.jails(), mounts: one.host.mounts(), users: users(one) }).toEqual({ jails: [], mounts: [], users: [] });
  expect(fs.existsSync(at(one, "jail-root"))).toBe(false);
}

/** Or only waits for its parent to notice. */
export function isGone(pid: number): boolean {
  try {
    return /\) [ZX] /.test(fs.readFileSync(`/proc/${pid}/stat`, "latin1"));
  } catch {
    return true;
  }
}

/** A plan as Garth makes it for its own machine, which runs a line of shell. */
export function jailPlan(directory: string, script: string, limits: Partial<Limits> = {}): SandboxPlan {
  return planSandbox(
    sampleRequest({
      system: "x86_64-freebsd",
      root: { kind: "host", paths: ["/bin", "/nowhere"] },
      outputs: { out: { path: outputPath("0", "hello-1.0"), physical: join(directory, "out") } },
      scratch: join(directory, "scratch"),
      argv: ["/bin/sh", "-c", script],
      cwd: "/tmp",
      limits: { ...defaultLimits, ...limits },
    }),
  );
}
