/**
 * machine: virtual machines: planned as values, run under QEMU, watched through their serial console.
 */
export { boundedLog, type BoundedLog, type ConsoleLine, consoleReader, type ConsoleReader, formatStamp } from "./console.ts";
export type * from "./types.ts";
export { type BannerOptions, waitForSshBanner } from "./waiting.ts";
