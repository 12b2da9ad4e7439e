/** What a command is: a row of the table, and a handler that returns data. The edge prints. */
import type { Garth } from "../app/index.ts";
import type { ExitStatus } from "../base/index.ts";
import type { BuildEvent } from "../build/index.ts";
import type { Emit } from "../base/index.ts";

export interface OptionSpec {
  /** Without dashes: "keep-failed". */
  readonly name: string;
  readonly short?: string;
  /** What stands for the value in the help: "FILE". Absent for a flag. */
  readonly value?: string;
  readonly help: string;
}

export interface ArgumentSpec {
  /** "REF". */
  readonly name: string;
  readonly optional?: true;
  readonly many?: true;
}

export interface Command {
  /** ["store", "ls"], or one word. */
  readonly path: readonly [string] | readonly [string, string];
  /** Shorter ways to say it: "build" for drv build. */
  readonly alias?: string;
  readonly summary: string;
  readonly arguments: readonly ArgumentSpec[];
  readonly options: readonly OptionSpec[];
  /** Further lines of the help. */
  readonly notes?: readonly string[];
  /** Its module is loaded when it is called. */
  readonly load: () => Promise<Handler>;
}

/** What was given, checked against the row. */
export interface Given {
  readonly arguments: readonly string[];
  flag(name: string): boolean;
  text(name: string): string | undefined;
}

/** `data` is the document of `--json`; `text` is the same for a person. */
export interface Answer {
  readonly data: unknown;
  readonly text: () => string;
  /** Ends stdout with `PASS <name>`. */
  readonly pass?: string;
  /** Default 0. A verification that found something ends with 1 and still prints what it found. */
  readonly exit?: 0 | ExitStatus;
  /** In place of `exit`: a command that was run elsewhere ends here as it did there. 0 to 255. */
  readonly exitAs?: number;
}

export interface Context {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly workingDirectory: string;
  /** The checkout this Garth runs from; a place where nothing is, for one that is a single file. */
  readonly home: string;
  /** Begins a command line that starts this Garth again. */
  readonly program: readonly [string, ...string[]];
  /** `--root`. */
  readonly root: string | undefined;
  /** Aborted by the first Ctrl-C or SIGTERM. */
  readonly signal: AbortSignal;
  readonly now: () => number;
  /** Opened at the first call, closed at the end of the command. */
  garth(): Promise<Garth>;
  /** Shows the progress of a build on stderr. */
  progress(): Promise<Emit<BuildEvent>>;
  /** A line for people, at once: on stdout, or on stderr under `--json`. */
  line(text: string): void;
  /** A line on stderr, at once. */
  note(text: string): void;
  /** Bytes to stdout as they are. */
  raw(bytes: Uint8Array): void;
  /** The same to stderr. */
  rawError(bytes: Uint8Array): void;
}

export type Handler = (context: Context, given: Given) => Promise<Answer>;
