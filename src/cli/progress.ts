/** Where progress goes: a live tree on a terminal, plain lines elsewhere, nothing when asked. Always stderr. */
import type { BuildEvent } from "../build/index.ts";
import { type Live, openLive } from "./render/live.ts";
import { plainLines } from "./render/plain.ts";
import { isLive, ReaderGone, STDERR, styleFor, watchScreen, write } from "./terminal.ts";

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

export function openProgress(options: ProgressOptions): Progress {
  const { env, now, quiet, verbose } = options;
  if (quiet) return { emit: () => undefined, around: (print) => print(), close: () => undefined };
  if (verbose || !isLive(STDERR, env)) {
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
  let live: Live | undefined;
  const watched = watchScreen(STDERR, () => live?.draw());
  live = openLive({ write: tellIfHeard, screen: watched.screen, now, style: styleFor(true, env) });
  const { emit, around } = live;
  return {
    emit,
    around,
    close: () => {
      live?.close();
      watched.close();
    },
  };
}
