/** One script over one session of a connection: its bytes, its events, its input or leash, its end. */
import { formatDuration } from "../base/index.ts";
import { type Host, openEventReader, type Running, type ScriptEvent, scriptLoader, wholeScript } from "../host/index.ts";
import { lost, type Whom } from "./errors.ts";
import type { Lease, Masters } from "./master.ts";
import { isOutOfSessions, isWithoutSession, sessionWords } from "./ssh.ts";
import type { Script, ScriptEnd, ScriptOptions } from "./types.ts";

const WORDS_MAX_LINES = 40;
/** A connection may be lost, or turn out to have no session left, between its being found and its being used. */
const STARTS_MAX = 20;
/** ssh(1)'s own. */
const NO_STATUS = 255;

export interface SessionParts {
  readonly host: Host;
  readonly whom: Whom;
  readonly masters: Masters;
  readonly environment: Readonly<Record<string, string>>;
  /** How long a script that was told to end may take. */
  readonly undoLimitMs: number;
}

export class Session {
  readonly #parts: SessionParts;
  readonly #script: Script;
  readonly #options: ScriptOptions;
  readonly ended: Promise<ScriptEnd>;
  readonly #events: ScriptEvent[] = [];
  readonly #words: string[] = [];
  #ssh: Running | undefined;
  /** What is said before there is a process waits for it. */
  #unsent: string[] = [];
  #inputEnded = false;
  #toldToEnd: ReturnType<typeof setTimeout> | undefined;
  /** It did not end when it was told to. What holds its streams open is there, and may stay. */
  readonly #late = Promise.withResolvers<undefined>();
  /** The first fault of whoever listens or gives input here: the script is ended for it. */
  #fault: { readonly error: unknown } | undefined;

  constructor(parts: SessionParts, script: Script, options: ScriptOptions) {
    this.#parts = parts;
    this.#script = script;
    this.#options = options;
    this.ended = this.#toItsEnd();
  }

  send(line: string): void {
    if (this.#inputEnded) return;
    if (this.#ssh === undefined) this.#unsent.push(`${line}\n`);
    else void this.#ssh.write(`${line}\n`);
  }

  letGo(): void {
    this.#inputEnded = true;
    void this.#ssh?.endInput();
  }

  /** As `letGo`, and not for ever. */
  endSoon(): void {
    this.letGo();
    this.#toldToEnd ??= setTimeout(() => {
      this.#ssh?.kill("SIGKILL");
      this.#late.resolve(undefined);
    }, this.#parts.undoLimitMs);
  }

  async #toItsEnd(): Promise<ScriptEnd> {
    const { signal } = this.#options;
    const { masters } = this.#parts;
    const abort = (): void => this.endSoon();
    signal?.addEventListener("abort", abort, { once: true });
    try {
      for (let starts = 1; ; starts += 1) {
        const lease = await masters.acquire(this.#script.doing, signal);
        try {
          const end = await this.#over(lease);
          if (end !== undefined) return end;
        } finally {
          lease.release();
        }
        if (starts === STARTS_MAX) throw this.#lost(`no session in ${STARTS_MAX} attempts`);
      }
    } finally {
      clearTimeout(this.#toldToEnd);
      signal?.removeEventListener("abort", abort);
    }
  }

  /** undefined: nothing of it was begun, for there was no session. */
  async #over(lease: Lease): Promise<ScriptEnd | undefined> {
    const { host, environment } = this.#parts;
    const { doing } = this.#script;
    const text = Buffer.from(wholeScript(this.#script.body));
    const argv = sessionWords(lease.master.socket, scriptLoader(text.byteLength));
    const isReady = Promise.withResolvers<boolean>();
    const reader = openEventReader({
      onEvent: (event) => {
        this.#events.push(event);
        if (event.name === "ready") isReady.resolve(true);
        this.#guarded(() => this.#options.onEvent?.(event));
      },
      onWords: (line) => {
        this.#words.push(line);
        if (this.#words.length > WORDS_MAX_LINES) this.#words.shift();
      },
    });
    const ssh = host.spawn(
      { argv, env: environment, doing },
      {
        stdin: "pipe",
        session: "own",
        onOutput: (chunk, stream) => {
          if (stream === "stdout") return this.#taken(chunk);
          reader.write(chunk);
          return undefined;
        },
      },
    );
    this.#ssh = ssh;
    void ssh.write(text);
    for (const line of this.#unsent.splice(0)) void ssh.write(line);
    if (this.#inputEnded) void ssh.endInput();
    const fed = this.#feed(ssh, isReady.promise);
    const exit = await Promise.race([ssh.exited, this.#late.promise]);
    reader.end();
    isReady.resolve(false);
    this.#ssh = undefined;
    if (exit !== undefined) await fed;
    if (this.#fault !== undefined) throw this.#fault.error;
    if (exit === undefined)
      throw this.#lost(`the script did not end within ${formatDuration(this.#parts.undoLimitMs)} of being told to`);
    const { status, signal } = exit;
    if (status !== null && status !== NO_STATUS) return { status, events: this.#events, words: this.#words };
    if (signal !== null) throw this.#lost(`ssh was ended here by ${signal}`);
    if (this.#events.length === 0 && isWithoutSession(this.#words)) {
      if (isOutOfSessions(this.#words)) lease.outOfSessions(doing);
      else lease.unusable();
      this.#words.length = 0;
      return undefined;
    }
    const answers = await lease.master.answers();
    throw this.#lost(answers ? "a signal ended the script there" : await lease.master.gone);
  }

  #lost(what: string) {
    return lost(this.#parts.whom, this.#script.doing, what, this.#words);
  }

  #failed(error: unknown): void {
    this.#fault ??= { error };
    this.endSoon();
  }

  #guarded<Result>(work: () => Result): Result | undefined {
    if (this.#fault !== undefined) return undefined;
    try {
      return work();
    } catch (error) {
      this.#failed(error);
      return undefined;
    }
  }

  async #taken(chunk: Uint8Array): Promise<void> {
    try {
      await this.#guarded(() => this.#options.onOutput?.(chunk));
    } catch (error) {
      this.#failed(error);
    }
  }

  /** Input goes when the script says that it reads it, and no faster than it does. */
  async #feed(ssh: Running, ready: Promise<boolean>): Promise<void> {
    const { input } = this.#options;
    if (input === undefined || !(await ready)) return;
    let ended = false;
    const end = ssh.exited.then(() => (ended = true));
    try {
      for await (const chunk of input) {
        if (ended || this.#inputEnded) return;
        await Promise.race([ssh.write(chunk), end]);
      }
      this.letGo();
    } catch (error) {
      this.#failed(error);
    }
  }
}
