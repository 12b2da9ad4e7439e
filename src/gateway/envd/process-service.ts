/** process.Process: commands and terminals of a sandbox. */
import { Problem } from "../../base/index.ts";
import { RpcError } from "./codes.ts";
import { resolvePath } from "./paths.ts";
import { type Entry, openProcesses, type Processes, type Start } from "./processes.ts";
import {
  type Input,
  inputRequest,
  KEEPALIVE,
  selectRequest,
  signalOf,
  signalRequest,
  startRequest,
  streamInputRequest,
  terminalSize,
  updateRequest,
} from "./process-messages.ts";
import { type Call, type Methods, parsed } from "./rpc.ts";
import type { SessionState } from "./state.ts";
import type { Outlet } from "./outlet.ts";

const PROCESSES = Symbol("processes");
/** What clients ask for, and where it is in guests that have it elsewhere: on FreeBSD, or by PATH. */
const BASH = "/bin/bash";
const BASH_ELSEWHERE = ["/usr/local/bin/bash", "/usr/bin/bash", "bash"] as const;

function processesOf(state: SessionState): Processes {
  return state.part(PROCESSES, () => openProcesses(state));
}

async function planStart(call: Call, message: unknown): Promise<Start> {
  const { process, pty, tag, stdin } = parsed(startRequest, message);
  const { session, defaultUser } = call.state;
  const user = call.user ?? defaultUser;
  const asked = process.cwd ?? "";
  // The guest itself knows where home is; whoever names a place from there is looked up, which costs as much as a command.
  const home = asked === "" || asked.startsWith("/") ? "/" : (await session.guest.user(user)).home;
  const cwd = asked === "" ? undefined : resolvePath(asked, home);
  const args = process.args ?? [];
  const envs = process.envs ?? {};
  return {
    config: { cmd: process.cmd, args, envs, cwd },
    tag: tag ?? undefined,
    timeoutMs: call.timeoutMs,
    command: {
      argv: [process.cmd, ...args],
      ...(process.cmd === BASH ? { elsewhere: BASH_ELSEWHERE } : {}),
      env: { ...session.sandbox.environment, ...envs },
      ...(cwd === undefined ? {} : { cwd }),
      ...(user === undefined ? {} : { user }),
      ...(pty === null || pty === undefined ? {} : { pty: terminalSize(pty) }),
      // Clients of before this field expect an input that is open.
      stdin: stdin === false ? "closed" : "open",
    },
  };
}

async function start(call: Call, message: unknown, outlet: Outlet): Promise<void> {
  const planned = await planStart(call, message);
  try {
    await processesOf(call.state).start(planned, outlet);
  } catch (error) {
    if (error instanceof Problem && error.code === "E_NO_DIRECTORY") {
      throw new RpcError(
        "invalid_argument",
        planned.config.cwd === undefined ? error.message : `cwd '${planned.config.cwd}' does not exist`,
        { cause: error },
      );
    }
    throw error;
  }
}

async function write(entry: Entry, input: Input): Promise<void> {
  const { command } = entry.start;
  if (input?.pty !== null && input?.pty !== undefined) {
    if (command.pty === undefined) throw new RpcError("failed_precondition", "error writing to tty: the process has no terminal");
    await entry.process.write(input.pty);
  } else if (input?.stdin !== null && input?.stdin !== undefined) {
    if (command.pty !== undefined)
      throw new RpcError("failed_precondition", "error writing to stdin: the process has a terminal");
    if (command.stdin !== "open")
      throw new RpcError("failed_precondition", "error writing to stdin: stdin not enabled or closed");
    await entry.process.write(input.stdin);
  } else {
    throw new RpcError("invalid_argument", "no input: stdin or pty");
  }
}

async function streamInput(call: Call, messages: AsyncIterable<unknown>): Promise<object> {
  let entry: Entry | undefined;
  for await (const message of messages) {
    const { start: selected, data } = parsed(streamInputRequest, message);
    if (selected !== null && selected !== undefined) {
      entry = processesOf(call.state).find(selected.process);
    } else if (data !== null && data !== undefined) {
      if (entry === undefined) throw new RpcError("invalid_argument", "data before the start that selects a process");
      await write(entry, data.input);
    }
  }
  return {};
}

function listed({ pid, start: { config, tag } }: Entry): object {
  return {
    config: {
      cmd: config.cmd,
      ...(config.args.length === 0 ? {} : { args: config.args }),
      ...(Object.keys(config.envs).length === 0 ? {} : { envs: config.envs }),
      ...(config.cwd === undefined ? {} : { cwd: config.cwd }),
    },
    pid,
    ...(tag === undefined ? {} : { tag }),
  };
}

export const PROCESS_METHODS: Methods = {
  "/process.Process/Start": { kind: "server-stream", deadline: "own", keepalive: KEEPALIVE, call: start },
  "/process.Process/Connect": {
    kind: "server-stream",
    deadline: "stream",
    keepalive: KEEPALIVE,
    call: async (call, message, outlet) => processesOf(call.state).connect(parsed(selectRequest, message).process, outlet),
  },
  "/process.Process/List": {
    kind: "unary",
    call: async (call) => {
      const processes = processesOf(call.state).list();
      return processes.length === 0 ? {} : { processes: processes.map(listed) };
    },
  },
  "/process.Process/SendInput": {
    kind: "unary",
    call: async (call, message) => {
      const { process, input } = parsed(inputRequest, message);
      await write(processesOf(call.state).find(process), input);
      return {};
    },
  },
  "/process.Process/StreamInput": { kind: "client-stream", call: streamInput },
  "/process.Process/SendSignal": {
    kind: "unary",
    call: async (call, message) => {
      const request = parsed(signalRequest, message);
      const name = signalOf(request.signal);
      const { process, pid } = processesOf(call.state).find(request.process);
      if (!(await process.signal(name))) throw new RpcError("not_found", `process with pid ${pid} not found`);
      return {};
    },
  },
  "/process.Process/CloseStdin": {
    kind: "unary",
    call: async (call, message) => {
      const { process, start: started } = processesOf(call.state).find(parsed(selectRequest, message).process);
      if (started.command.pty !== undefined) {
        throw new RpcError("failed_precondition", "error closing stdin: a terminal has none; send it Ctrl-D (0x04)");
      }
      await process.endInput();
      return {};
    },
  },
  "/process.Process/Update": {
    kind: "unary",
    call: async (call, message) => {
      const { process: selected, pty } = parsed(updateRequest, message);
      const { process, start: started } = processesOf(call.state).find(selected);
      if (pty === null || pty === undefined) return {};
      if (started.command.pty === undefined) throw new RpcError("failed_precondition", "the process has no terminal");
      const { columns, rows } = terminalSize(pty);
      process.resize(columns, rows);
      return {};
    },
  },
};
