/** Where progress goes: a live tree on a terminal, plain lines elsewhere, nothing when asked. Always stderr. */
import type { BuildEvent } from "../build/index.ts";
import { isLive, ReaderGone, STDERR, styleFor, write } from "./terminal.ts";

export interface Progress {
  readonly emit: (event: BuildEvent) => void;
  /** Takes the tree away while something else is written to the same terminal. */
  around(print: () => void): void;
  close(): void;
}

export interface ProgressOptions {
  readonly verbose: boolean;
  readonly quiet: boolean;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly now: () => number;
}

/** Work goes on when nobody reads stderr any more. */
function tellIfHeard(text: string): void {
  try {
    write(STDERR, text);
  } catch (error) {
    if (!(error instanceof ReaderGone)) throw error;
  }
}

/** The modules that draw are loaded here: most commands report nothing. */
export async function openProgress(options: ProgressOptions): Promise<Progress> {
  const { env, now, quiet, verbose } = options;
  if (quiet) return { emit: () => undefined, around: (print) => print(), close: () => undefined };
  if (verbose || !(await isLive(STDERR, env))) {
    const { plainLines } = await import("./render/plain.ts");
    const lines = plainLines({ verbose });
    return {
      emit: (event) => {
        const text = lines(event);
        if (text.length > 0) tellIfHeard(`${text.join("\n")}\n`);
      },
      around: (print) => print(),
      close: () => undefined,
    };
  }
  const [{ openLive }, { watchScreen }] = await Promise.all([import("./render/live.ts"), import("./screen.ts")]);
  const watched = watchScreen(STDERR, () => live.draw());
  const live = openLive({ write: tellIfHeard, screen: watched.screen, now, style: styleFor(true, env) });
  return {
    emit: live.emit,
    around: live.around,
    close: () => {
      live.close();
      watched.close();
    },
  };
}
