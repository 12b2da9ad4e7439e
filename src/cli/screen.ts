/** The size of a terminal and its changes. Loaded only where a live tree is drawn. */
import { WriteStream } from "node:tty";
import type { Screen } from "./terminal.ts";

/** Only for descriptors that are terminals. */
export function watchScreen(descriptor: number, onResize: () => void): { screen(): Screen; close(): void } {
  const stream = new WriteStream(descriptor);
  stream.on("resize", onResize);
  return {
    screen: () => ({ columns: stream.columns || 80, rows: stream.rows || 24 }),
    close: () => {
      stream.off("resize", onResize);
    },
  };
}
