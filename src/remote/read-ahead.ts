/** A source that goes on while its last chunk is being taken: reading and hashing here, writing there, at the same time. */

/** At most `most` chunks are held. What the source throws comes behind what it gave before. */
export async function* readAhead(source: AsyncIterable<Uint8Array>, most: number): AsyncGenerator<Uint8Array> {
  const held: Uint8Array[] = [];
  let fault: { readonly error: unknown } | undefined;
  const state: { is: "open" | "ended" | "left" } = { is: "open" };
  let changed = Promise.withResolvers<void>();
  const wake = (): void => {
    changed.resolve();
    changed = Promise.withResolvers<void>();
  };
  const fill = async (): Promise<void> => {
    try {
      for await (const chunk of source) {
        held.push(chunk);
        wake();
        // Reading files is synchronous: whoever writes is to have his turn.
        await new Promise((resolve) => setImmediate(resolve));
        while (held.length >= most && state.is === "open") await changed.promise;
        if (state.is === "left") return;
      }
    } catch (error) {
      fault = { error };
    } finally {
      if (state.is === "open") state.is = "ended";
      wake();
    }
  };
  void fill();
  try {
    for (;;) {
      const chunk = held.shift();
      if (chunk !== undefined) {
        wake();
        yield chunk;
      } else if (state.is === "ended") {
        if (fault !== undefined) throw fault.error;
        return;
      } else await changed.promise;
    }
  } finally {
    state.is = "left";
    wake();
  }
}
