/**
 * The sandbox on FreeBSD: a thin jail for each build, carried out by the script of `jail-files.ts`.
 *
 *     files written ──► run.sh run ──► created ──► started ──► exited N ──► undone
 *                                        │            └─ limit, cancel: SIGTERM to the script, which undoes all
 *                                        └─ refused: undone, E_SANDBOX_SETUP
 *
 * Time, silence, what is printed and what is written are watched from outside. Memory and processes are limited by rctl(8)
 * where racct is on; else each process by limits(1).
 */
import { Problem } from "../base/index.ts";
import { type Host, type Running, shellQuote } from "../host/index.ts";
import { EVENT_PREFIX, JAIL_ROOT, JAIL_SCRIPT_NAME, jailConf, jailFstab, jailScript, OWNER_FILE } from "./jail-files.ts";
import { limitReached } from "./limits.ts";
import { assertSound } from "./plan.ts";
import { rootEntries, type RootEntry } from "./root.ts";
import { freebsdSignal } from "./signals.ts";
import type { RenderedSandbox, RunOptions, Sandbox, SandboxPlan, SandboxResult, SandboxUse } from "./types.ts";
import { type Watch, watchSandbox } from "./watch.ts";

/** The files for a plan; `root` is what stands at the top of its build root. Pure. */
export function renderJail(plan: SandboxPlan, root: readonly RootEntry[]): RenderedSandbox {
  return {
    enter: `sh ${shellQuote(`${plan.scratch}/${JAIL_SCRIPT_NAME}`)} enter`,
    files: { "jail.conf": jailConf(plan), fstab: jailFstab(plan, root), [JAIL_SCRIPT_NAME]: jailScript(plan, root) },
  };
}

/** What the script said on its standard error, and what its tools did. */
export interface JailReport {
  readonly created: boolean;
  /** As `$?` of a shell: over 128 for a signal. */
  readonly status: number | undefined;
  readonly timedOut: boolean;
  readonly stuck: boolean;
  readonly messages: readonly string[];
}

export function readJailReport(text: string): JailReport {
  const lines = text.split("\n").filter((line) => line !== "");
  const events = lines.filter((line) => line.startsWith(EVENT_PREFIX)).map((line) => line.slice(EVENT_PREFIX.length));
  const exited = events.find((event) => event.startsWith("exited "));
  return {
    created: events.includes("created"),
    status: exited === undefined ? undefined : Number(exited.slice("exited ".length)),
    timedOut: events.includes("limit wallClockMs"),
    stuck: events.includes("stuck"),
    messages: lines.filter((line) => !line.startsWith(EVENT_PREFIX)),
  };
}

function judge(plan: SandboxPlan, watch: Watch, report: JailReport, cancelled: boolean): SandboxResult {
  if (report.stuck) {
    throw new Problem({
      code: "E_SANDBOX_STUCK",
      message: `the jail of ${plan.hostname} or a mount of it could not be removed`,
      details: report.messages.slice(-20),
      where: plan.scratch,
      hint: `to try again: sh ${plan.scratch}/${JAIL_SCRIPT_NAME} teardown`,
    });
  }
  if (watch.breach !== undefined) return watch.breach;
  if (report.timedOut) return limitReached("wallClockMs", plan.limits.wallClockMs);
  if (cancelled) return { kind: "cancelled" };
  if (report.status === undefined) {
    throw new Problem({
      code: "E_SANDBOX_SETUP",
      message: report.created
        ? `the jail of ${plan.hostname} was made, and its script ended before the builder did`
        : `the jail of ${plan.hostname} could not be set up; the builder was not started`,
      details: report.messages.slice(-20),
      where: plan.scratch,
      exit: 3,
    });
  }
  const signal = freebsdSignal(report.status - 128);
  return signal === undefined ? { kind: "exited", status: report.status } : { kind: "signalled", signal };
}

export function jailSandbox(host: Host): Sandbox {
  const render = (plan: SandboxPlan): RenderedSandbox => renderJail(plan, rootEntries(host, plan));

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
    files.writeFile(`${plan.scratch}/${OWNER_FILE}`, host.processIdentity);
    for (const [name, text] of Object.entries(render(plan).files)) files.writeFile(`${plan.scratch}/${name}`, text);

    const started = performance.now();
    let running: Running | undefined;
    let said = "";
    const decoder = new TextDecoder();
    const end = (): void => running?.kill("SIGTERM");
    const watch = watchSandbox(host, plan, { cgroup: undefined, usage: undefined, onBreach: end, onLook: () => undefined });
    try {
      if (options.signal?.aborted !== true) {
        options.signal?.addEventListener("abort", end, { once: true });
        running = host.spawn(
          { argv: ["sh", `${plan.scratch}/${JAIL_SCRIPT_NAME}`, "run"], doing: `starting the jail ${plan.hostname}` },
          {
            onOutput: (chunk, stream) => {
              if (stream === "stderr") {
                said += decoder.decode(chunk, { stream: true });
                return;
              }
              const within = watch.printed(chunk.length);
              if (within > 0) options.onOutput(chunk.subarray(0, within));
            },
          },
        );
        await running.exited;
      }
    } finally {
      watch.stop();
      options.signal?.removeEventListener("abort", end);
    }
    const { uid, gid } = plan.identity;
    return {
      result: judge(plan, watch, readJailReport(said), options.signal?.aborted === true),
      use: {
        uid,
        gid,
        hostname: plan.hostname,
        mode: "freebsd-jail",
        durationMs: performance.now() - started,
        peakMemoryBytes: undefined,
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
      const jails = await host.run({ argv: ["jls", "-q", "path"], doing: "looking for jails that a dead build left" });
      for (const scratch of abandonedScratch(`${mounted.text()}\n${jails.text()}`)) {
        const owner = `${scratch}/${OWNER_FILE}`;
        if (!host.files.exists(owner) || host.isAlive(host.files.readText(owner))) continue;
        await host.run({ argv: ["sh", `${scratch}/${JAIL_SCRIPT_NAME}`, "teardown"], doing: "undoing the jail of a dead build" });
      }
    },
    close: async () => undefined,
  };
}

/** Scratch directories whose jail's root is named in the output of `mount -p` or `jls -q path`. */
export function abandonedScratch(listed: string): readonly string[] {
  const found = new Set<string>();
  for (const word of listed.split(/[\s]+/)) {
    const at = word.indexOf(`/${JAIL_ROOT}`);
    const after = word[at + JAIL_ROOT.length + 1];
    if (at > 0 && (after === undefined || after === "/")) found.add(word.slice(0, at));
  }
  return [...found];
}
