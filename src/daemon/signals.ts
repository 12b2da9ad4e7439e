/** Signals of a process that stays: told to end, told to read again. */

export type Ending = "SIGTERM" | "SIGINT";

/**
 * Settles when the process is told to end; the second time it leaves at once. SIGHUP calls `onHangUp`. Whatever listened to these signals
 * before does not any more: a command that is interrupted undoes its work, a daemon leaves machines for the next one.
 */
export function untilTold(onHangUp: () => void, onSecond: () => never): Promise<Ending> {
  return new Promise((resolve) => {
    for (const name of ["SIGTERM", "SIGINT", "SIGHUP"] as const) process.removeAllListeners(name);
    let told = false;
    for (const name of ["SIGTERM", "SIGINT"] as const) {
      process.on(name, () => {
        if (told) onSecond();
        told = true;
        resolve(name);
      });
    }
    process.on("SIGHUP", onHangUp);
  });
}
