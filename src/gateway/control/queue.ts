/** One thing after the other: pausing, waking and ending of one sandbox never overlap. */
import { Refusal } from "./refusal.ts";

export interface Queue {
  /** Runs when everything before it has ended. @throws Refusal 429 when too many wait */
  run<T>(work: () => Promise<T>): Promise<T>;
  /** The same, whoever waits: for the end of a sandbox. */
  always<T>(work: () => Promise<T>): Promise<T>;
  /** Running and waiting. */
  readonly length: number;
}

export function openQueue(waitingMax: number): Queue {
  let last: Promise<unknown> = Promise.resolve();
  let length = 0;
  const always = <T>(work: () => Promise<T>): Promise<T> => {
    length += 1;
    const mine = last.then(work).finally(() => {
      length -= 1;
    });
    // What went wrong is for whoever asked; the next one goes on.
    last = mine.catch(() => undefined);
    return mine;
  };
  return {
    always,
    run: (work) => {
      if (length > waitingMax) {
        return Promise.reject(new Refusal(429, "too many requests wait for this sandbox", { "Retry-After": "1" }));
      }
      return always(work);
    },
    get length() {
      return length;
    },
  };
}
