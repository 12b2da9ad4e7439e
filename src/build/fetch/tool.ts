/** A foreign program that may take long: cancelled with its caller, its last words kept for the error. */
import { Problem } from "../../base/index.ts";
import { CLEAN_ENVIRONMENT, type Host, replayLine } from "../../host/index.ts";
import { throwIfAborted } from "./problems.ts";

const TAIL_LINES = 20;
/** A program that keeps its hands folded after SIGTERM is killed. */
const GRACE_MS = 3_000;
const PASSED =
  /^(?:HOME|USER|LOGNAME|SSH_AUTH_SOCK|SSH_AGENT_PID|GIT_SSH_COMMAND|SSL_CERT_FILE|NODE_EXTRA_CA_CERTS|npm_config_.*|(?:https?|ftp|all|no)_proxy)$/i;

/** The clean environment with the caller's proxies and credentials: what fetching needs and building must not have. */
export function networkEnvironment(environment: Readonly<Record<string, string | undefined>> = {}): Record<string, string> {
  const env: Record<string, string> = { ...CLEAN_ENVIRONMENT };
  for (const [key, value] of Object.entries(environment)) {
    if (value !== undefined && PASSED.test(key)) env[key] = value;
  }
  return env;
}

export interface ToolRun {
  readonly argv: readonly [string, ...string[]];
  readonly doing: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  readonly signal: AbortSignal | undefined;
  /** How it is told to end. "SIGKILL" where nothing of it can outlive it. Default "SIGTERM", and SIGKILL after some time. */
  readonly endWith?: "SIGTERM" | "SIGKILL";
  /** Statuses that are the caller's to judge. Default [0]. */
  readonly okStatuses?: readonly number[];
}

export interface ToolResult {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** @throws Problem E_TOOL_MISSING, E_COMMAND_FAILED with the tail of stderr, E_INTERRUPTED */
export async function runTool(host: Host, run: ToolRun): Promise<ToolResult> {
  throwIfAborted(run.signal, run.doing);
  const command = {
    argv: run.argv,
    doing: run.doing,
    ...(run.env === undefined ? {} : { env: run.env }),
    ...(run.cwd === undefined ? {} : { cwd: run.cwd }),
  };
  const decoders = { stdout: new TextDecoder(), stderr: new TextDecoder() };
  const text = { stdout: "", stderr: "" };
  const running = host.spawn(command, {
    onOutput: (chunk, stream) => {
      text[stream] += decoders[stream].decode(chunk, { stream: true });
    },
  });
  let killer: ReturnType<typeof setTimeout> | undefined;
  const stop = () => {
    running.kill(run.endWith ?? "SIGTERM");
    killer = setTimeout(() => running.kill("SIGKILL"), GRACE_MS);
  };
  run.signal?.addEventListener("abort", stop, { once: true });
  const exit = await running.exited.finally(() => {
    run.signal?.removeEventListener("abort", stop);
    clearTimeout(killer);
  });
  throwIfAborted(run.signal, run.doing);
  if (exit.status === null || !(run.okStatuses ?? [0]).includes(exit.status)) {
    throw new Problem({
      code: "E_COMMAND_FAILED",
      message: `${run.doing}: ${run.argv[0]} ${exit.status === null ? `was ended by ${exit.signal}` : `ended with status ${exit.status}`}`,
      details: tail(text.stderr),
      hint: `to run it by hand: ${replayLine(command)}`,
    });
  }
  return { status: exit.status, stdout: text.stdout, stderr: text.stderr };
}

export function tail(text: string): readonly string[] {
  return text
    .split("\n")
    .filter((line) => line.trim() !== "")
    .slice(-TAIL_LINES);
}
