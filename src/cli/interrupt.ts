/**
 * Ctrl-C, SIGTERM and a closed terminal: the first aborts the work, which undoes what it began; the second leaves at once.
 *
 *     running ──signal──► undoing ──signal──► gone (130; the next start undoes what is left)
 */
export interface Interrupt {
  readonly signal: AbortSignal;
  close(): void;
}

export function onInterrupt(tell: (line: string) => void, leave: () => never): Interrupt {
  const controller = new AbortController();
  const handle = (name: NodeJS.Signals) => {
    if (controller.signal.aborted) leave();
    tell(`${name === "SIGINT" ? "interrupted" : `got ${name}`}: undoing what was begun (once more to leave at once)`);
    controller.abort(new DOMException(`got ${name}`, "AbortError"));
  };
  const signals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
  for (const name of signals) process.on(name, handle);
  return {
    signal: controller.signal,
    close: () => {
      for (const name of signals) process.off(name, handle);
    },
  };
}
