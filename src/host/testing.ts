/**
 * Fakes for tests, with the interface of the real thing.
 *
 * `scriptedHost` answers commands from a table and writes down every one it was given; files are those of the real host it
 * stands before, so that a test can let a room work on a temporary directory without the foreign tools it would call.
 */
import { Problem } from "../base/index.ts";
import type { Command, Completed, Host } from "./types.ts";

export interface ScriptedReply {
  readonly status?: number;
  readonly stdout?: string;
  readonly stderr?: string;
}

export interface ScriptedHost extends Host {
  readonly commands: readonly Command[];
}

/** `reply` returns undefined for a command that must not be run; that fails the test by its own words. */
export function scriptedHost(
  under: Host,
  reply: (command: Command) => ScriptedReply | undefined,
  overrides: Partial<Host> = {},
): ScriptedHost {
  const commands: Command[] = [];
  const run = async (command: Command): Promise<Completed> => {
    commands.push(command);
    const answer = reply(command);
    if (answer === undefined) throw new Error(`a command was run that this test does not expect: ${command.argv.join(" ")}`);
    const { status = 0, stdout = "", stderr = "" } = answer;
    if (!(command.okStatuses ?? [0]).includes(status)) {
      throw new Problem({
        code: "E_COMMAND_FAILED",
        message: `${command.argv[0]} ended with status ${status}`,
        details: [stderr],
      });
    }
    return { status, stdout: new TextEncoder().encode(stdout), stderr, durationMs: 0, text: () => stdout };
  };
  return { ...under, processIdentity: under.processIdentity, run, ...overrides, commands };
}
