/** One builder on the host, through the site: for cases that look at it from inside. */
import { randomBytes } from "node:crypto";
import { mkdtempSync } from "node:fs";
import { join } from "node:path";
import { type System, SYSTEMS } from "../../src/base/index.ts";
import { defaultLimits, type Limits, type SandboxRequest, type SiteRun } from "../../src/sandbox/index.ts";
import { outputPath } from "../../src/sandbox/testing.ts";
import type { Suite, Trial } from "../case.ts";
import type { Wired } from "../ours.ts";

/** As recipe's host view, and the places of a Linux host's programs. */
export const VIEW: Readonly<Record<Suite["host"]["system"], readonly string[]>> = {
  freebsd: [
    "/bin",
    "/lib",
    "/libexec",
    "/usr/bin",
    "/usr/include",
    "/usr/lib",
    "/usr/libdata",
    "/usr/libexec",
    "/usr/share/locale/C.UTF-8",
    "/usr/share/mk",
  ],
  linux: ["/bin", "/etc/alternatives", "/lib", "/lib64", "/usr"],
};

export function systemOf({ name }: Suite["host"]): System {
  const system = SYSTEMS.find((one) => one === name);
  if (system === undefined) throw new Error(`${name} is no system of ours`);
  return system;
}

export interface InsideOptions {
  readonly name?: string;
  readonly limits?: Partial<Limits>;
  readonly env?: Readonly<Record<string, string>>;
  readonly inputs?: SandboxRequest["inputs"];
  readonly network?: boolean;
  readonly keep?: boolean;
  readonly signal?: AbortSignal;
  /** Called with all that it has printed so far. */
  readonly onText?: (text: string) => void;
}

export interface Inside {
  readonly request: SandboxRequest;
  /** Where its output comes to here. */
  readonly out: string;
  run(): Promise<SiteRun & { readonly text: string }>;
}

/** A builder that is a line of shell. */
export function builder(suite: Suite, wired: Wired, script: string, options: InsideOptions = {}): Inside {
  const directory = mkdtempSync(join(wired.directory, "b-"));
  const name = options.name ?? "probe";
  const hash = randomBytes(32).toString("hex");
  const out = join(directory, "out");
  const request: SandboxRequest = {
    hash,
    name,
    system: systemOf(suite.host),
    root: { kind: "host", paths: VIEW[suite.host.system] },
    inputs: options.inputs ?? [],
    outputs: { out: { path: outputPath("0", `${name}-${hash.slice(0, 8)}`), physical: out } },
    scratch: join(directory, "scratch"),
    identity: { kind: "drop", uid: 35_001, gid: 35_001 },
    network: options.network ?? false,
    argv: ["/bin/sh", "-c", script],
    env: options.env ?? {},
    limits: { ...defaultLimits, wallClockMs: 900_000, silenceMs: 600_000, ...options.limits },
  };
  return {
    request,
    out,
    run: async () => {
      let text = "";
      const ran = await wired.site.run(request, {
        onOutput: (chunk) => {
          text += Buffer.from(chunk).toString();
          options.onText?.(text);
        },
        ...(options.signal === undefined ? {} : { signal: options.signal }),
        ...(options.keep === undefined ? {} : { keep: options.keep }),
      });
      return { ...ran, text };
    },
  };
}

/** What it printed; it must end with 0. */
export async function inside(
  trial: Trial,
  suite: Suite,
  wired: Wired,
  script: string,
  options: InsideOptions = {},
): Promise<string> {
  const { result, text, use } = await builder(suite, wired, script, { signal: trial.signal, ...options }).run();
  trial.record("a builder", `${script}\n--- it printed\n${text}\n--- ${JSON.stringify({ result, use })}`);
  trial.equal("how the builder ended", result, { kind: "exited", status: 0 });
  return text;
}

/** What is left of builds on the host, by hand: a line for each. Asked until there is none, or the time is over. */
export async function leftThere(trial: Trial, suite: Suite, seconds = 120): Promise<readonly string[]> {
  const root = `${suite.root}/garth`;
  const freebsd = suite.host.system === "freebsd";
  const script = `look() {
  ls -A '${root}/tmp' '${root}/users' 2>/dev/null | awk 'NF && !/:$/ { print "file " $0 }'
  ps -axww -o uid= -o pid= -o command= | awk '$1 >= 35001 && $1 < 40000 { print "process " $0 }'
  ${freebsd ? `mount -p | grep -F '${root}/' | sed 's/^/mount /'; jls name path | grep -F '${root}/' | sed 's/^/jail /'` : `grep -F '${root}/' /proc/self/mounts | sed 's/^/mount /'`}
}
n=0
while :; do
  left=$(look)
  [ -n "$left" ] && [ $n -lt ${seconds} ] || break
  sleep 1
  n=$((n + 1))
done
printf '%s\\n' "$left"`;
  const said = await trial.sh(script, { limitMs: (seconds + 120) * 1000 });
  return said.stdout.split("\n").filter((line) => line !== "");
}
