/**
 * Fakes for tests, with the interface of the real thing.
 *
 * `scriptedHost` answers commands from a table and writes down every one it was given; files are those of the real host it
 * stands before, so that a test can let a room work on a temporary directory without the foreign tools it would call.
 */
import { copyFileSync } from "node:fs";
import { join } from "node:path";
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

/**
 * A program of the tests and a Bun to run it with, as files that every user can reach when `directory` is open: the checkout may
 * lie below a directory that only its owner enters. Returns the beginning of the command line.
 */
export async function programForAnybody(entry: string, directory: string): Promise<readonly [bun: string, program: string]> {
  const bun = join(directory, "bun");
  copyFileSync(process.execPath, bun);
  const { outputs } = await Bun.build({ entrypoints: [entry], target: "bun", outdir: directory });
  const [program] = outputs;
  if (program === undefined) throw new Error(`${entry} gave no bundle`);
  return [bun, program.path];
}
