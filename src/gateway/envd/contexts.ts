/**
 * The interpreter's contexts of one sandbox: each a kernel with its state, and a queue of cells before it. Every language has one of its own
 * that is made when a cell names no context.
 *
 * A kernel that ended is replaced at the next cell. A client that goes away while its cell runs interrupts it; a cell that takes no notice
 * of that is ended with its kernel after a while.
 */
import { HttpError } from "./http-error.ts";
import { type Kernel, type KernelEvent, startKernel } from "./kernel.ts";
import { type Language, LANGUAGE_NAMES, languageOf } from "./languages.ts";
import { resolvePath } from "./paths.ts";
import type { Part, SessionState } from "./state.ts";

const LOOK_TIMEOUT_MS = 15_000;
const DEFAULT_LANGUAGE = "python";

export interface Context {
  readonly id: string;
  readonly language: string;
  readonly cwd: string;
}

/** One cell on its way. `onEvent` is called for each line of it, `onEnd` once. */
export interface Cell {
  readonly code: string;
  readonly env: Readonly<Record<string, string>>;
  readonly onEvent: (event: KernelEvent) => unknown;
  /** lost: its sandbox went. */
  readonly onEnd: (how: "done" | "lost") => void;
  /** Aborted when nobody wants it any more. */
  readonly abandoned: AbortSignal;
}

interface Held {
  readonly context: Context;
  readonly language: Language;
  kernel: Promise<Kernel> | undefined;
  /** Why a kernel is being ended by us. */
  ending: string | undefined;
  queued: number;
  turn: Promise<void>;
}

export interface Contexts extends Part {
  list(): readonly Context[];
  /** @throws HttpError 400, 429; Problem */
  create(language: string | undefined, cwd: string | undefined): Promise<Context>;
  /** @throws HttpError 404 */
  remove(id: string): Promise<void>;
  /** Its state is gone; the next cell finds a fresh one. @throws HttpError 404 */
  restart(id: string): Promise<void>;
  /** Settles when the cell has its place in the queue. @throws HttpError 400, 404, 429; Problem */
  execute(where: { readonly id: string | undefined; readonly language: string | undefined }, cell: Cell): Promise<void>;
}

export function openContexts(state: SessionState): Contexts {
  const { guest, sandbox } = state.session;
  const { limits, defaultUser } = state;
  const contexts = new Map<string, Held>();
  /** Of each language, the id of its own context. */
  const defaults = new Map<string, Promise<Held>>();
  const available = new Map<string, boolean>();

  const known = (name: string): Language => {
    const language = languageOf(name);
    if (language === undefined)
      throw new HttpError(400, `unknown language ${JSON.stringify(name)}; there are ${LANGUAGE_NAMES.join(", ")}`);
    return language;
  };

  /** python3 runs every language, and the language's own program beside it. */
  const look = async ({ name, beside }: Language): Promise<void> => {
    if (available.get(name) === true) return;
    for (const program of ["python3", ...(beside === undefined ? [] : [beside[0]])]) {
      const { code } = await guest.run({
        argv: ["/bin/sh", "-c", 'command -v "$1"', "sh", program],
        ...(defaultUser === undefined ? {} : { user: defaultUser }),
        timeoutMs: LOOK_TIMEOUT_MS,
      });
      if (code !== 0) throw new HttpError(400, `there is no ${name} in this sandbox: it has no ${program}`);
    }
    available.set(name, true);
  };

  const start = async ({ context, language }: Held): Promise<Kernel> => {
    const user = await guest.user(defaultUser);
    return await startKernel(guest, {
      language,
      cwd: context.cwd,
      user: user.name,
      env: sandbox.environment,
      startTimeoutMs: limits.kernelStartMs,
    });
  };

  /** The kernel there is, or another. One that could not be started is not kept. */
  const kernelOf = (held: Held): Promise<Kernel> => {
    if (held.kernel !== undefined) return held.kernel;
    const starting = start(held);
    held.kernel = starting;
    held.ending = undefined;
    const forget = () => {
      if (held.kernel === starting) held.kernel = undefined;
    };
    starting.then(async (kernel) => {
      await kernel.ended;
      forget();
    }, forget);
    return starting;
  };

  const endKernel = async (held: Held, why: string): Promise<void> => {
    const { kernel } = held;
    held.kernel = undefined;
    held.ending = why;
    const started = await kernel?.catch(() => undefined);
    await started?.kill();
  };

  const make = async (name: string, cwd: string | undefined): Promise<Held> => {
    const language = known(name);
    if (contexts.size >= limits.contextsMax)
      throw new HttpError(429, `there are ${limits.contextsMax} contexts in this sandbox already`);
    await look(language);
    const { home } = await guest.user(defaultUser);
    const context: Context = { id: crypto.randomUUID(), language: language.name, cwd: resolvePath(cwd ?? "", home) };
    const held: Held = { context, language, kernel: undefined, ending: undefined, queued: 0, turn: Promise.resolve() };
    contexts.set(context.id, held);
    try {
      await kernelOf(held);
    } catch (error) {
      contexts.delete(context.id);
      throw error;
    }
    return held;
  };

  const defaultOf = (name: string): Promise<Held> => {
    const language = known(name).name;
    const kept = defaults.get(language);
    if (kept !== undefined) return kept;
    const making = make(language, undefined);
    defaults.set(language, making);
    making.catch(() => defaults.delete(language));
    return making;
  };

  const find = (id: string): Held => {
    const held = contexts.get(id);
    if (held === undefined) throw new HttpError(404, `Context ${id} not found`);
    return held;
  };

  const diedOf = (held: Held, stderr: string, signal: string | undefined, code: number): KernelEvent => {
    const how = held.ending ?? `the kernel ended (${signal ?? `status ${code}`}); what it knew is gone`;
    return {
      type: "error",
      name: "KernelDied",
      value: how,
      traceback: [how, stderr.trim()].filter((text) => text !== "").join("\n"),
    };
  };

  const runCell = async (held: Held, cell: Cell): Promise<void> => {
    if (cell.abandoned.aborted) {
      cell.onEnd("done");
      return;
    }
    const kernel = await kernelOf(held);
    let grace: ReturnType<typeof setTimeout> | undefined;
    const interrupt = () => {
      kernel.interrupt();
      grace = setTimeout(() => void endKernel(held, "the cell did not end when it was interrupted"), limits.interruptGraceMs);
    };
    const outcome = kernel.run(cell.code, cell.env, cell.onEvent);
    cell.abandoned.addEventListener("abort", interrupt, { once: true });
    if (cell.abandoned.aborted) interrupt();
    const ended = await outcome;
    cell.abandoned.removeEventListener("abort", interrupt);
    clearTimeout(grace);
    if (ended.kind === "ended" && ended.exit.lost) {
      cell.onEnd("lost");
      return;
    }
    if (ended.kind === "ended") await cell.onEvent(diedOf(held, ended.stderr, ended.exit.signal, ended.exit.code));
    cell.onEnd("done");
  };

  const fail = (cell: Cell, error: unknown) => {
    const text = error instanceof Error ? error.message : String(error);
    cell.onEvent({ type: "error", name: "KernelDied", value: text, traceback: text });
    cell.onEnd("done");
  };

  return {
    list: () => [...contexts.values()].map(({ context }) => context),
    create: async (language, cwd) => (await make(language ?? DEFAULT_LANGUAGE, cwd)).context,
    async remove(id) {
      const held = find(id);
      contexts.delete(id);
      for (const [language, kept] of defaults) {
        if ((await kept.catch(() => undefined)) === held) defaults.delete(language);
      }
      await endKernel(held, "the context was removed");
    },
    restart: async (id) => await endKernel(find(id), "the context was restarted"),
    async execute({ id, language }, cell) {
      const held = id === undefined ? await defaultOf(language ?? DEFAULT_LANGUAGE) : find(id);
      if (held.queued >= limits.executionsQueuedMax) {
        throw new HttpError(429, `${limits.executionsQueuedMax} executions are waiting for this context already`);
      }
      held.queued += 1;
      held.turn = held.turn.then(async () => {
        try {
          await runCell(held, cell);
        } catch (error) {
          fail(cell, error);
        } finally {
          held.queued -= 1;
        }
      });
    },
    async close() {
      const held = [...contexts.values()];
      contexts.clear();
      defaults.clear();
      await Promise.all(held.map((one) => endKernel(one, "the sandbox was killed")));
    },
  };
}
