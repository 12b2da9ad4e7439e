import { describe, expect, test } from "bun:test";
import { readAhead } from "./read-ahead.ts";

const chunk = (value: number): Uint8Array => Uint8Array.of(value);

describe("reading ahead", () => {
  test("gives everything in its order, then what went wrong", async () => {
    const seen: number[] = [];
    async function* source(): AsyncGenerator<Uint8Array> {
      for (let value = 0; value < 9; value += 1) yield chunk(value);
      throw new Error("broken");
    }
    const reading = async (): Promise<void> => {
      for await (const [value = -1] of readAhead(source(), 3)) seen.push(value);
    };
    await expect(reading()).rejects.toThrow("broken");
    expect(seen).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8]);
  });

  test("holds no more than it may, and lets the source go when its reader leaves", async () => {
    let given = 0;
    const left = Promise.withResolvers<void>();
    async function* source(): AsyncGenerator<Uint8Array> {
      try {
        for (;;) {
          given += 1;
          yield chunk(given);
        }
      } finally {
        left.resolve();
      }
    }
    const ahead = readAhead(source(), 3);
    expect((await ahead.next()).value).toEqual(chunk(1));
    // Whatever can be done is done.
    for (let turn = 0; turn < 20; turn += 1) await new Promise((resolve) => setImmediate(resolve));
    expect(given).toBe(4);
    expect((await ahead.next()).value).toEqual(chunk(2));
    await ahead.return(undefined);
    await left.promise;
    expect(given).toBeLessThanOrEqual(5);
  });
});
