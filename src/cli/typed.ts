/** What is typed, or comes by a pipe: handed on as it comes. Loaded only by commands that listen. */
export interface Typed {
  close(): void;
}

export function onTyped(take: (text: string) => void): Typed {
  const decoder = new TextDecoder();
  const onData = (chunk: Uint8Array): void => take(decoder.decode(chunk, { stream: true }));
  process.stdin.on("data", onData);
  return {
    close: () => {
      process.stdin.off("data", onData);
      process.stdin.pause();
    },
  };
}
