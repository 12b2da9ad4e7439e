/** What a running command has around it: opened at its first need, closed at its end. */
import type { Garth } from "../app/index.ts";
import type { Context, Given } from "./command.ts";
import { onInterrupt } from "./interrupt.ts";
import { type Program, thisProgram } from "./program.ts";
import { openProgress, type Progress } from "./progress.ts";
import { STDERR, STDOUT, write, writeBytes } from "./terminal.ts";

export interface Opened {
  readonly context: Context;
  /** Takes the tree off the terminal; the answer follows. */
  endProgress(): void;
  close(): Promise<void>;
}

export function openContext(options: Given): Opened {
  const { env } = process;
  const json = options.flag("json");
  const now = () => Date.now();
  let progress: Progress | undefined;
  let garth: Promise<Garth> | undefined;
  let opened: Garth | undefined;

  const above = (descriptor: number, text: string) => {
    if (progress === undefined) write(descriptor, `${text}\n`);
    else progress.around(() => write(descriptor, `${text}\n`));
  };
  const endProgress = () => {
    progress?.close();
    progress = undefined;
  };
  const interrupt = onInterrupt(
    (line) => above(STDERR, line),
    () => {
      endProgress();
      process.exit(130);
    },
  );
  const program = thisProgram();
  const context: Context = {
    env,
    home: program.home,
    program: program.argv,
    workingDirectory: process.cwd(),
    root: options.text("root"),
    signal: interrupt.signal,
    now,
    garth: () => (garth ??= open(context, program).then((value) => (opened = value))),
    progress: async () => {
      progress ??= await openProgress({ verbose: options.flag("verbose"), quiet: options.flag("quiet"), env, now });
      return progress.emit;
    },
    line: (text) => above(json ? STDERR : STDOUT, text),
    note: (text) => above(STDERR, text),
    raw: (bytes) => writeBytes(STDOUT, bytes),
    rawError: (bytes) => writeBytes(STDERR, bytes),
  };
  return {
    context,
    endProgress,
    close: async () => {
      endProgress();
      await opened?.close();
      interrupt.close();
    },
  };
}

async function open({ root, env, home, workingDirectory, note }: Context, { unchecked }: Program): Promise<Garth> {
  const { openGarth } = await import("../app/index.ts");
  const onUnchecked = (file: string) => note(`${file}: types not checked: ${unchecked}`);
  return openGarth({ root, env, home, workingDirectory, onUnchecked });
}
