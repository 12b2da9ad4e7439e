/**
 * A host as somewhere that builders run.
 *
 *     closure sent ──► script: scratch, files, run.sh serve ──► hold ──► outputs fetched and checked ──► a line ──► undone
 *                        ▲   │                                   └─ failed: the line is "keep", or another
 *                        │   ├─ silence, too much printed, cancelled: the leash is let go ──► undone
 *                        │   └─ an input was collected there meanwhile: sent again, once
 *                        └── once in a process, and anew after the host was lost: its directories, what dead scripts left
 *
 * The request names places of this machine; the plan names the host's. Nothing counts before the fetch has checked it, so a host that is
 * lost costs a build and no more.
 */
import { operatingSystemOf, Problem, sha256, type StorePath } from "../base/index.ts";
import { type Host, shellQuote } from "../host/index.ts";
import {
  assertSound,
  BUILD_ID_COUNT,
  entriesElsewhere,
  FIRST_BUILD_ID,
  JOB_SCRIPT_NAME,
  planSandbox,
  type RenderedSandbox,
  renderJob,
  type RunOptions,
  type SandboxPlan,
  type SandboxRequest,
  type Site,
  type SiteRun,
} from "../sandbox/index.ts";
import { cancelledRun, serveJob, type ServedJob } from "./site-run.ts";
import { startScript } from "./site-script.ts";
import type { Connection, HostFacts, HostStore, Script } from "./types.ts";
import { worldVersion } from "./world-version.ts";

export interface SiteOptions {
  /** This machine. */
  readonly host: Host;
  readonly name: string;
  /** Garth's directory there. */
  readonly root: string;
  readonly jobs: number;
  readonly facts: HostFacts;
  readonly connection: Connection;
  readonly store: HostStore;
  /** Run before the first build: they make the directories, and undo what dead scripts left. */
  readonly opening: readonly Script[];
}

/** For so long what was sent is taken to be there: asking costs a session. It is asked for anew when a build misses it. */
const SENT_MS = 600_000;

export function openSite(site: SiteOptions): Site {
  const { host, name, facts, connection, store } = site;
  let opening: Promise<void> | undefined;
  /** Item -> when it was found there or sent. */
  const sent = new Map<StorePath, number>();

  async function bring(paths: readonly StorePath[], signal: AbortSignal | undefined): Promise<void> {
    const now = performance.now();
    if (paths.every((path) => now - (sent.get(path) ?? -Infinity) < SENT_MS)) return;
    await store.send(paths, signal === undefined ? {} : { signal });
    for (const path of paths) sent.set(path, now);
  }

  /** A host that was lost may have started anew since: what it left is looked for again. */
  function opened(): Promise<void> {
    opening ??= openHost(site).catch((error: unknown) => {
      opening = undefined;
      throw error;
    });
    return opening;
  }

  async function run(request: SandboxRequest, options: RunOptions & { readonly keep?: boolean }): Promise<SiteRun> {
    const plan = planThere(site, request);
    assertSound(plan, facts.system);
    assertNotNewer(site, request);
    await opened();
    const { files } = renderedThere(site, request, plan);
    const { scratch } = plan;
    const job = {
      host: name,
      facts,
      plan,
      body: startScript({ system: facts.system, scratch, files }),
      trees: Object.entries(request.outputs).map(([output, { physical }]) => ({
        from: `${scratch}/output-${output}`,
        to: physical,
      })),
      enter: enterLine(connection, scratch),
    };
    // Where outputs are unpacked, made as the sandbox makes it here.
    host.files.makeDirectory(request.scratch, { parents: true, mode: 0o700 });
    const needed = neededPaths(request);
    for (let again = false; ; again = true) {
      await bring(needed, options.signal);
      const served: ServedJob = await serveJob({ connection, store }, job, options);
      if (served.kind === "ran") return served.run;
      if (again) throw goneAgain(name, plan, served.missing);
      sent.clear();
    }
  }

  return {
    host: name,
    system: facts.system,
    jobs: site.jobs,
    render: (request) => renderedThere(site, request, planThere(site, request)),
    answers: () =>
      connection.run({ doing: "asking whether it answers", body: ":\n" }).then(
        () => true,
        () => false,
      ),
    run: (request, options) =>
      run(request, options).catch((error: unknown) => {
        const code = error instanceof Problem ? error.code : undefined;
        if (code?.startsWith("E_HOST_") === true) {
          opening = undefined;
          sent.clear();
        }
        if (options.signal?.aborted !== true || code === "E_SANDBOX_STUCK") throw error;
        // On its way there, too: what a transfer says when it is told to end is nobody's failure.
        const plan = planThere(site, request);
        return cancelledRun({ host: name, facts, plan, enter: enterLine(connection, plan.scratch) });
      }),
  };
}

async function openHost({ connection, opening }: SiteOptions): Promise<void> {
  for (const script of opening) await connection.run(script);
}

/** The same build, at the host's places. */
function planThere({ host, name, root, store }: SiteOptions, request: SandboxRequest): SandboxPlan {
  const digest = sha256([host.processIdentity, name, request.scratch].join("\0")).slice(0, 16);
  const scratch = `${root}/tmp/${request.hash.slice(0, 8)}-${digest}`;
  const outputs = Object.entries(request.outputs).map(([output, { path }]) => [
    output,
    { path, physical: `${scratch}/output-${output}` },
  ]);
  return planSandbox({
    ...request,
    root: request.root.kind === "world" ? { ...request.root, physical: store.physical(request.root.path) } : request.root,
    inputs: request.inputs.map((input) => ({ ...input, physical: store.physical(input.path) })),
    outputs: Object.fromEntries(outputs),
    scratch,
    identity: { kind: "choose", uid: FIRST_BUILD_ID, gid: FIRST_BUILD_ID, count: BUILD_ID_COUNT, taken: `${root}/users` },
  });
}

function renderedThere({ host, connection }: SiteOptions, request: SandboxRequest, plan: SandboxPlan): RenderedSandbox {
  const world = request.root.kind === "world" ? request.root.physical : undefined;
  const { files } = renderJob(plan, entriesElsewhere(host, plan, world));
  return { files, enter: enterLine(connection, plan.scratch) };
}

function enterLine({ shellWords }: Connection, scratch: string): string {
  const command = `sh ${shellQuote(`${scratch}/${JOB_SCRIPT_NAME}`)} enter`;
  return [...shellWords, command].map(shellQuote).join(" ");
}

function neededPaths({ inputs, root }: SandboxRequest): readonly StorePath[] {
  return [...inputs.map(({ path }) => path), ...(root.kind === "world" ? [root.path] : [])];
}

/** A kernel runs the programs of its own release and of older ones. */
function assertNotNewer({ host, name, facts }: SiteOptions, { root }: SandboxRequest): void {
  if (root.kind === "host" || facts.osVersion === undefined || operatingSystemOf(facts.system) !== "freebsd") return;
  const version = worldVersion(host, root.physical);
  if (version === undefined || version <= facts.osVersion) return;
  throw new Problem({
    code: "E_HOST_TOO_OLD",
    message: `the world ${root.path} is of FreeBSD ${release(version)}, and the host ${name} runs ${facts.release}`,
    details: [`__FreeBSD_version of the world ${version}, of the host ${facts.osVersion}`],
    hint: `take a host of FreeBSD ${release(version)} or later, or an older world`,
    exit: 3,
  });
}

/** 1501000 is 15.1. */
function release(version: number): string {
  return `${Math.floor(version / 100_000)}.${Math.floor((version % 100_000) / 1_000)}`;
}

function goneAgain(name: string, { hostname }: SandboxPlan, missing: readonly string[]): Problem {
  return new Problem({
    code: "E_HOST_DAMAGED",
    message: `building ${hostname} on ${name}: what was sent there is gone again, twice`,
    details: missing,
    hint: `something removes files below its directory; garth host check ${name}`,
    exit: 3,
  });
}
