/** Builds by run.sh on this machine, as they are on a host over SSH: sh in between, and nothing of ours there. */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { localHost, openEventReader, type ScriptEvent } from "../host/index.ts";
import { jobGroupName } from "./bubblewrap-job-control.ts";
import { bubblewrapJob } from "./bubblewrap-job.ts";
import { JOB_SCRIPT_NAME } from "./job-script.ts";
import { type JobReport, readJobReport } from "./job.ts";
import { presumedEntries } from "./root.ts";
import { livingProcesses, planIn } from "./testing.ts";
import type { SandboxIdentity, SandboxPlan } from "./types.ts";

/** Whose sh runs the script. */
export const INTERPRETERS = [
  ["dash", ["dash"]],
  ["busybox sh", ["busybox", "sh"]],
] as const;
type Interpreter = (typeof INTERPRETERS)[number][1];

export interface JobEnd {
  /** undefined: by a signal. */
  readonly status: number | undefined;
  /** What the builder printed. */
  readonly text: string;
  readonly events: readonly string[];
  readonly report: JobReport;
  /** What tools said. */
  readonly words: readonly string[];
}

export interface StartedJob {
  readonly pid: number;
  /** The builder's output holds the word. @throws Error when it ended without */
  untilPrinted(word: string): Promise<void>;
  untilSaid(event: string): Promise<void>;
  send(line: string): void;
  letGo(): Promise<void>;
  kill(signal: NodeJS.Signals): void;
  /** The script itself is dead; what it started may still print. */
  readonly dead: Promise<unknown>;
  readonly ended: Promise<JobEnd>;
}

type Verb = "run" | "serve" | "enter" | "teardown";

export interface StartOptions {
  readonly sh?: Interpreter;
  readonly verb?: Verb;
  /** Words before the interpreter's. */
  readonly before?: readonly string[];
}

/** Settles when the text that grew so far holds the word. */
interface Hearing {
  grow(text: string): void;
  end(): void;
  until(word: string): Promise<void>;
  readonly text: string;
}

function hear(): Hearing {
  let text = "";
  let ended = false;
  let changed = Promise.withResolvers<void>();
  const notify = (): void => {
    changed.resolve();
    changed = Promise.withResolvers<void>();
  };
  return {
    grow: (more) => {
      text += more;
      notify();
    },
    end: () => {
      ended = true;
      notify();
    },
    until: async (word) => {
      while (!text.includes(word)) {
        if (ended) throw new Error(`it never said ${word}, but ${JSON.stringify(text)}`);
        await changed.promise;
      }
    },
    get text() {
      return text;
    },
  };
}

function start(scratch: string, { sh = ["dash"], verb = "run", before = [] }: StartOptions): StartedJob {
  const child = Bun.spawn([...before, ...sh, join(scratch, JOB_SCRIPT_NAME), verb], {
    cwd: "/",
    env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin" },
    stdin: "pipe",
    stdout: "pipe",
    stderr: "pipe",
  });
  const [printed, said] = [hear(), hear()];
  const [events, words]: [ScriptEvent[], string[]] = [[], []];
  const reader = openEventReader({
    onEvent: (event) => {
      events.push(event);
      said.grow(`${event.name} ${event.rest}\n`);
    },
    onWords: (line) => void words.push(line),
  });
  const output = (async () => {
    const decoder = new TextDecoder();
    for await (const chunk of child.stdout) printed.grow(decoder.decode(chunk, { stream: true }));
    printed.end();
  })();
  const errors = (async () => {
    for await (const chunk of child.stderr) reader.write(chunk);
    reader.end();
    said.end();
  })();
  return {
    pid: child.pid,
    untilPrinted: printed.until,
    untilSaid: said.until,
    send: (line) => {
      child.stdin.write(`${line}\n`);
      child.stdin.flush();
    },
    letGo: async () => {
      await child.stdin.end();
    },
    kill: (signal) => child.kill(signal),
    dead: child.exited,
    ended: (async () => {
      await Promise.all([output, errors, child.exited]);
      return {
        status: child.exitCode ?? undefined,
        text: printed.text,
        events: events.map(({ name, rest }) => `${name} ${rest}`.trimEnd()),
        report: readJobReport(events),
        words,
      };
    })(),
  };
}

type Changes = Parameters<typeof planIn>[3];

/**
 * A place with build users of its own: 20 numbers from the given one, so that tests beside each other have different users. A plan is made
 * and its script written by `prepare`.
 */
export function openJobs(firstUser: number) {
  const directory = mkdtempSync(join(tmpdir(), "garth-job-test-"));
  const host = localHost();
  const taken = join(directory, "users");
  const choose: SandboxIdentity = { kind: "choose", uid: firstUser, gid: firstUser, count: 20, taken };
  const groups: string[] = [];
  let count = 0;

  function prepare(
    script: string,
    changes: Changes = {},
    { identity = choose, name = "" }: { readonly identity?: SandboxIdentity; readonly name?: string } = {},
  ): SandboxPlan {
    count += 1;
    return write(planIn(join(directory, `${count}${name}`), identity, script, changes));
  }

  function write(plan: SandboxPlan): SandboxPlan {
    groups.push(jobGroupName(plan));
    mkdirSync(plan.scratch, { recursive: true, mode: 0o700 });
    const text = bubblewrapJob(plan, presumedEntries(host, plan)).files[JOB_SCRIPT_NAME] ?? "";
    writeFileSync(join(plan.scratch, JOB_SCRIPT_NAME), text, { mode: 0o600 });
    return plan;
  }

  return {
    directory,
    taken,
    groups: (): readonly string[] => groups,
    prepare,
    write,
    start: (plan: SandboxPlan, options: StartOptions = {}) => start(plan.scratch, options),
    /** To its end, with the leash held. */
    run: (plan: SandboxPlan, options: StartOptions = {}): Promise<JobEnd> => start(plan.scratch, options).ended,
    close: () => rmSync(directory, { recursive: true, force: true }),
  };
}

/** What there is of the sandboxes of a place, whose users are among those: processes, numbers that are taken, control groups. */
export function lookAt(jobs: ReturnType<typeof openJobs>, users: readonly number[] = []): readonly string[] {
  return [
    ...users.flatMap((uid) => livingProcesses(uid)),
    ...processesNaming(jobs.directory),
    ...(existsSync(jobs.taken) ? readdirSync(jobs.taken).map((name) => `user ${name}`) : []),
    ...jobs.groups().flatMap((name) =>
      Bun.spawnSync(["find", "/sys/fs/cgroup", "-type", "d", "-name", name])
        .stdout.toString()
        .split("\n")
        .filter((path) => path !== ""),
    ),
  ];
}

/** The same when nothing is left but `kept`: a process that was killed may take a moment, so it is asked again. */
export async function leftOf(
  jobs: ReturnType<typeof openJobs>,
  users: readonly number[] = [],
  kept: readonly string[] = [],
): Promise<readonly string[]> {
  const look = (): readonly string[] => lookAt(jobs, users).filter((what) => !kept.includes(what));
  for (let round = 0; round < 500 && look().length > 0; round += 1) await Bun.sleep(20);
  return look();
}

/** Command lines on this machine that name the directory: scripts, and bwrap before it has changed its user. */
function processesNaming(directory: string): readonly string[] {
  return readdirSync("/proc")
    .filter((name) => /^[0-9]+$/.test(name))
    .flatMap((pid) => {
      try {
        const line = readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ");
        return line.includes(directory) ? [line.slice(0, 200)] : [];
      } catch {
        // It ended while we looked.
        return [];
      }
    });
}
