/** Every number of the data plane that may be chosen. */
export interface Limits {
  /** Of one message of a call. */
  readonly messageMaxBytes: number;
  /** Of one body that is uploaded, all its files together and uncompressed. */
  readonly uploadMaxBytes: number;
  /** Between signs of life where a client does not say how often. */
  readonly keepaliveMs: number;
  /** How long a client may leave output unread before its answer is cut. */
  readonly stallMs: number;
  /** Running at once in one sandbox. */
  readonly processesMax: number;
  /** Processes that have ended are known this long, and this many. */
  readonly endedKeptMs: number;
  readonly endedKeptMax: number;
  /** Of the output of each. */
  readonly tailMaxBytes: number;
  readonly watchersMax: number;
  /** A watcher nobody asks for this long is let go. */
  readonly watcherIdleMs: number;
  readonly watcherEventsMax: number;
  readonly contextsMax: number;
  /** How long a kernel may take to be ready. */
  readonly kernelStartMs: number;
  /** Executions that wait for one context. */
  readonly executionsQueuedMax: number;
  /** How long an interrupted execution may go on before its kernel is killed. */
  readonly interruptGraceMs: number;
  /** How long something that was killed may take to be gone. */
  readonly killGraceMs: number;
}

export const DEFAULT_LIMITS: Limits = {
  messageMaxBytes: 16 * 1024 * 1024,
  uploadMaxBytes: 16 * 1024 * 1024 * 1024,
  keepaliveMs: 90_000,
  stallMs: 120_000,
  processesMax: 512,
  endedKeptMs: 10 * 60_000,
  endedKeptMax: 64,
  tailMaxBytes: 1024 * 1024,
  watchersMax: 64,
  watcherIdleMs: 10 * 60_000,
  watcherEventsMax: 10_000,
  contextsMax: 32,
  kernelStartMs: 120_000,
  executionsQueuedMax: 32,
  interruptGraceMs: 30_000,
  killGraceMs: 5000,
};
