/**
 * The parts of a process's name on FreeBSD, read out of what its tools print. Pure.
 *
 * The kernel keeps when a process started in time since the boot, and adds the time of the boot when it is asked (fill_kinfo_proc). Both
 * move when somebody sets the clock, and a living process would look like another one; so what is kept here is the difference, in
 * milliseconds since the boot. ps(1) prints whole seconds, cut off: the same process may seem to have started up to a second apart.
 */

const APART_MS = 1000;

/**
 * `listed`: `ps -o state= -o lstart=` with LC_ALL=C and TZ=UTC, "Ss   Sun Nov 29 14:29:22 2026". `boottime`: `sysctl -n kern.boottime`,
 * "{ sec = 1764426000, usec = 123456 } Sat Nov 29 14:20:00 2026". undefined: there is no such process, or only what its parent has not
 * yet asked for (a zombie).
 */
export function startOfFreebsd(listed: string, boottime: string): string | undefined {
  const [, state = "", time = ""] = /^\s*(\S+)\s+(\S.*?)\s*$/.exec(listed) ?? [];
  const startedMs = Date.parse(`${time.replaceAll(/\s+/g, " ")} UTC`);
  const [, seconds, microseconds] = /sec = (\d+), usec = (\d+)/.exec(boottime) ?? [];
  if (state.startsWith("Z") || Number.isNaN(startedMs) || seconds === undefined) return undefined;
  return String(startedMs - (Number(seconds) * 1000 + Math.round(Number(microseconds) / 1000)));
}

export function isSameStart(one: string, other: string): boolean {
  // Number("") is 0.
  return one !== "" && other !== "" && Math.abs(Number(one) - Number(other)) <= APART_MS;
}

/** `sysctl -b kern.boot_id`: 16 bytes, random at each boot. */
export function bootOfFreebsd(bytes: Uint8Array | undefined): string {
  return bytes === undefined || bytes.length === 0 ? "unknown-boot" : Buffer.from(bytes).toString("hex");
}
