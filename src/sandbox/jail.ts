/**
 * The sandbox on FreeBSD: a thin jail for each build, carried out by the script of `jail-files.ts`.
 *
 *     files written ──► run.sh run ──► created ──► started ──► exited N ──► undone
 *                                        │            └─ limit, cancel: SIGTERM to the script, which undoes all
 *                                        └─ refused: undone, E_SANDBOX_SETUP
 *
 * The script's input is its leash: when this process ends, however it does, the script undoes everything by itself. Silence and what is
 * printed are watched from outside; time and what is written here sooner, and by the script. Memory and processes are limited by
 * rctl(8) where racct is on; else each process by limits(1).
 */
import { Problem } from "../base/index.ts";
import { type Host, openEventReader, type Running, type ScriptEvent } from "../host/index.ts";
import { JAIL_ROOT, renderJail } from "./jail-files.ts";
import { type JobReport, readJobReport } from "./job.ts";
import { OWNER_FILE } from "./job-owner.ts";
import { JOB_SCRIPT_NAME } from "./job-script.ts";
import { limitReached } from "./limits.ts";
import { assertSound } from "./plan.ts";
import { presumedEntries } from "./root.ts";
import { endOf } from "./site.ts";
import type { RenderedSandbox, RunOptions, Sandbox, SandboxPlan, SandboxResult, SandboxUse } from "./types.ts";
import { type Watch, watchSandbox } from "./watch.ts";

/** Of what tools said, as much as an error shows. */
const WORDS_MAX = 20;

interface Said {
  readonly report: JobReport;
  readonly words: readonly string[];
}

function judge(plan: SandboxPlan, watch: Watch, { report, words }: Said, cancelled: boolean): SandboxResult {
  if (report.stuck) {
    throw new Problem({
      code: "E_SANDBOX_STUCK",
      message: `the jail of ${plan.hostname} or a mount of it could not be removed`,
      details: words,
      where: plan.scratch,
      hint: `to try again: sh ${plan.scratch}/${JOB_SCRIPT_NAME} teardown`,
    });
  }
  if (watch.breach !== undefined) return watch.breach;
  if (report.limit !== undefined) return limitReached(report.limit.name, report.limit.value);
  if (cancelled) return { kind: "cancelled" };
  if (report.status === undefined) {
    throw new Problem({
      code: "E_SANDBOX_SETUP",
      message: report.created
        ? `the jail of ${plan.hostname} was made, and its script ended before the builder did`
        : `the jail of ${plan.hostname} could not be set up; the builder was not started`,
      details: [...faults(plan, report), ...words],
      where: plan.scratch,
      exit: 3,
    });
  }
  return endOf(report.status, plan.system);
}

function faults(plan: SandboxPlan, { missing, refused, taken }: JobReport): readonly string[] {
  return [
    ...missing.map((index) => `${plan.mounts[index]?.source ?? `the source of mount ${index}`} is not there`),
    ...refused.map((index) => `${plan.mounts[index]?.target ?? `mount ${index}`} would be reached through a symlink`),
    ...(taken === undefined ? [] : [`a jail ${taken} is there, and is somebody else's`]),
  ];
}

/** For whoever reads the builder's output later. */
function noteOf({ root }: SandboxPlan, { name, rest }: ScriptEvent): string | undefined {
  if (name === "absent" && root.kind === "host")
    return `the host view's ${root.paths[Number(rest)] ?? `path ${rest}`} is not there`;
  if (name === "limits" && rest === "each")
    return "memory is limited for each process, not for all together: kern.racct.enable=1 in /boot/loader.conf and a reboot change that";
  return undefined;
}

export function jailSandbox(host: Host): Sandbox {
  const render = (plan: SandboxPlan): RenderedSandbox => renderJail(plan, presumedEntries(host, plan));

  const requireRoot = (): void => {
    if (host.isRoot) return;
    throw new Problem({
      code: "E_SANDBOX_UNAVAILABLE",
      message: "builds run in jails, and making one needs root on FreeBSD",
      hint: "run Garth as root; builders drop to a numeric build user",
      exit: 3,
    });
  };

  const run = async (
    plan: SandboxPlan,
    options: RunOptions,
  ): Promise<{ readonly result: SandboxResult; readonly use: SandboxUse }> => {
    assertSound(plan, host.system);
    requireRoot();
    const { files } = host;
    files.makeDirectory(plan.scratch, { parents: true, mode: 0o700 });
    for (const [name, text] of Object.entries(render(plan).files)) files.writeFile(`${plan.scratch}/${name}`, text);

    const started = performance.now();
    let running: Running | undefined;
    const events: ScriptEvent[] = [];
    const words: string[] = [];
    const reader = openEventReader({
      onEvent: (event) => {
        events.push(event);
        const note = noteOf(plan, event);
        if (note !== undefined) options.onNote?.(note);
      },
      onWords: (line) => {
        words.push(line);
        if (words.length > WORDS_MAX) words.shift();
      },
    });
    const end = (): void => running?.kill("SIGTERM");
    const watch = watchSandbox(host, plan, { cgroup: undefined, usage: undefined, onBreach: end, onLook: () => undefined });
    try {
      if (options.signal?.aborted !== true) {
        options.signal?.addEventListener("abort", end, { once: true });
        running = host.spawn(
          { argv: ["sh", `${plan.scratch}/${JOB_SCRIPT_NAME}`, "run"], doing: `starting the jail ${plan.hostname}` },
          {
            stdin: "pipe",
            onOutput: (chunk, stream) => {
              if (stream === "stderr") return reader.write(chunk);
              const within = watch.printed(chunk.length);
              if (within > 0) options.onOutput(chunk.subarray(0, within));
            },
          },
        );
        await running.exited;
        reader.end();
      }
    } finally {
      watch.stop();
      options.signal?.removeEventListener("abort", end);
    }
    const report = readJobReport(events);
    return {
      result: judge(plan, watch, { report, words }, options.signal?.aborted === true),
      use: {
        uid: report.user?.uid ?? plan.identity.uid,
        gid: report.user?.gid ?? plan.identity.gid,
        hostname: plan.hostname,
        mode: "freebsd-jail",
        durationMs: performance.now() - started,
        peakMemoryBytes: undefined,
        ...(report.limits === undefined ? {} : { limits: report.limits }),
      },
    };
  };

  return {
    mode: "freebsd-jail",
    render,
    run,
    prepare: async () => requireRoot(),
    sweep: async () => {
      if (!host.isRoot) return;
      const mounted = await host.run({ argv: ["mount", "-p"], doing: "looking for mounts that a dead build left" });
      const jails = await host.run({ argv: ["jls", "path"], doing: "looking for jails that a dead build left" });
      for (const scratch of abandonedScratch(`${mounted.text()}\n${jails.text()}`)) {
        if (!host.files.exists(`${scratch}/${OWNER_FILE}`)) continue;
        // The script knows its owner: 3 says that it lives, or that something is still in the way.
        await host.run({
          argv: ["sh", `${scratch}/${JOB_SCRIPT_NAME}`, "teardown"],
          doing: "undoing the jail of a dead build",
          okStatuses: [0, 3],
        });
      }
    },
    close: async () => undefined,
  };
}

/**
 * Whatever may be a scratch directory with a jail's root in the output of `mount -p` and `jls path`. Neither says where a name with blanks
 * begins: each beginning that there may be is given, and at most one of a line is a directory.
 */
export function abandonedScratch(listed: string): readonly string[] {
  const found = new Set<string>();
  for (const raw of listed.split("\n")) {
    // As vis(3) writes blanks, in releases where mount(8) has it do so.
    const line = raw.replaceAll(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
    for (const { index } of line.matchAll(/(?<=^|[\t ])\//g)) {
      const scratch = new RegExp(`^(.+?)/${JAIL_ROOT}(?:[/\\t ]|$)`).exec(line.slice(index))?.[1];
      if (scratch !== undefined && !scratch.includes("\t")) found.add(scratch);
    }
  }
  return [...found];
}
