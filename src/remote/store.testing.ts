/** A connection without ssh, for tests of what is said over it: the same scripts, loaded the same way, by a shell of this machine. */
import { strict as assert } from "node:assert";
import * as fs from "node:fs";
import { baseName, type StorePath } from "../base/index.ts";
import { localHost, openEventReader, type ScriptEvent, wholeScript } from "../host/index.ts";
import type { Store } from "../store/index.ts";
import { narSha256Of } from "../store/testing.ts";
import { lost, scriptFailed } from "./errors.ts";
import type { Connection, HostRecord } from "./types.ts";

export const SHELLS = { dash: ["dash"], busybox: ["busybox", "sh"] } as const;
export type Shell = keyof typeof SHELLS;

export interface LocalConnection extends Connection {
  readonly bodies: string[];
  /** What happens on the way there, and with what was printed on the way back. */
  onInput: ((chunk: Uint8Array) => Uint8Array) | undefined;
  onPrinted: ((chunk: Uint8Array) => Uint8Array) | undefined;
  /** Called with each event; true loses the connection there and then: the script sees the end of its input and nobody who listens. */
  losesAt: ((event: ScriptEvent) => boolean) | undefined;
  /** The same when so many bytes of input have gone, of all scripts together. */
  losesAfterBytes: number | undefined;
}

const host = localHost();
const WHOM = { name: "near", url: "ssh://near" };

/** `inside`: begins the command line of a place in which the shell runs. */
export function localConnection(
  shell: Shell = "dash",
  inside: readonly [] | readonly [string, ...string[]] = [],
): LocalConnection {
  const start: Connection["start"] = (script, options = {}) => {
    connection.bodies.push(script.body);
    const text = Buffer.from(wholeScript(script.body));
    const words = [...inside, ...SHELLS[shell], "-c", `s=$(head -c ${text.byteLength}) && eval "$s"`];
    const events: ScriptEvent[] = [];
    const said: string[] = [];
    const ready = Promise.withResolvers<boolean>();
    let gone = false;
    let fault: { readonly error: unknown } | undefined;
    const reader = openEventReader({
      onEvent: (event) => {
        events.push(event);
        if (connection.losesAt?.(event) === true) {
          gone = true;
          void child.endInput();
        }
        if (event.name === "ready") ready.resolve(true);
        options.onEvent?.(event);
      },
      onWords: (line) => said.push(line),
    });
    const fail = (error: unknown): void => {
      fault ??= { error };
      void child.endInput();
    };
    const child = host.spawn(
      { argv: [words[0] ?? "", ...words.slice(1)] },
      {
        stdin: "pipe",
        onOutput: async (chunk, stream) => {
          if (gone) return;
          if (stream === "stderr") reader.write(chunk);
          else if (fault === undefined) {
            try {
              await options.onOutput?.(connection.onPrinted?.(chunk) ?? chunk);
            } catch (error) {
              fail(error);
            }
          }
        },
      },
    );
    let isEnding = false;
    options.signal?.addEventListener("abort", () => {
      isEnding = true;
      void child.endInput();
    });
    const feed = async (): Promise<void> => {
      if (options.input === undefined || !(await ready.promise)) return;
      try {
        for await (const chunk of options.input) {
          if (gone || isEnding) return;
          const data = connection.onInput?.(chunk) ?? chunk;
          const left = connection.losesAfterBytes ?? Number.POSITIVE_INFINITY;
          await Promise.race([child.write(data.subarray(0, Math.min(left, data.byteLength))), child.exited]);
          if (connection.losesAfterBytes === undefined) continue;
          connection.losesAfterBytes = Math.max(0, left - data.byteLength);
          if (left > data.byteLength) continue;
          gone = true;
          await child.endInput();
          return;
        }
        await child.endInput();
      } catch (error) {
        fail(error);
      }
    };
    const ended = (async () => {
      await child.write(text);
      const fed = feed();
      const { status } = await child.exited;
      ready.resolve(false);
      reader.end();
      if (gone) throw lost(WHOM, script.doing, "the test lost it", said);
      await fed;
      if (fault !== undefined) throw fault.error;
      if (status === null) throw lost(WHOM, script.doing, "a signal", said);
      return { status, events, words: said };
    })();
    ended.catch(() => undefined);
    return { send: (line) => void child.write(`${line}\n`), letGo: () => void child.endInput(), ended };
  };
  const connection: LocalConnection = {
    name: WHOM.name,
    bodies: [],
    onInput: undefined,
    onPrinted: undefined,
    losesAt: undefined,
    losesAfterBytes: undefined,
    start,
    run: async (script, options) => {
      const end = await start(script, options).ended;
      if (end.status !== 0) throw scriptFailed(WHOM, script.doing, end.status, end.words);
      return end;
    },
    shellWords: ["sh"],
    close: () => Promise.resolve(),
  };
  return connection;
}

export function recordOf(root: string, name = WHOM.name): HostRecord {
  return {
    name,
    url: WHOM.url,
    root,
    jobs: 1,
    identityFile: undefined,
    facts: { system: host.system, release: "1", osVersion: undefined, processors: 1, memoryBytes: 1 },
    addedAtMs: 0,
    checkedAtMs: 0,
  };
}

/** Items of which each refers to the one before. */
export function chainOf(store: Store, length: number): readonly StorePath[] {
  const paths: StorePath[] = [];
  for (let index = 0; index < length; index += 1) {
    const before = paths.slice(-1);
    paths.push(store.addText(`item-${index}`, `${index} ${before.join("")}`, before).path);
  }
  return paths;
}

/**
 * The names in a host's store, when each is whole, and so is all that it refers to, and nothing else is left there.
 * @throws AssertionError
 */
export function soundStore(store: Store, root: string): readonly string[] {
  const names = fs.readdirSync(`${root}/store`).toSorted();
  for (const name of names) {
    const path: StorePath = `/frx/store/${name}`;
    assert.equal(narSha256Of(`${root}/store/${name}`), store.query(path)?.narSha256);
    const references = store.references(path).filter((reference) => reference !== path);
    for (const reference of references) assert(names.includes(baseName(reference)), `${name} refers to what is not there`);
    assert.equal(fs.readFileSync(`${root}/used/${name}`, "utf8"), references.map((one) => `${baseName(one)}\n`).join(""));
  }
  assert.deepEqual(fs.readdirSync(`${root}/incoming`), []);
  return names;
}
