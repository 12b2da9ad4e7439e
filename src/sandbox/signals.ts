/** Names of signals by their numbers: signal(7) on Linux, sys/signal.h on FreeBSD. They differ from 7 on. */

const COMMON = "HUP INT QUIT ILL TRAP ABRT";

const LINUX = `${COMMON} BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP TSTP TTIN TTOU
  URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS`.split(/\s+/);

const FREEBSD = `${COMMON} EMT FPE KILL BUS SEGV SYS PIPE ALRM TERM URG STOP TSTP CONT CHLD TTIN TTOU
  IO XCPU XFSZ VTALRM PROF WINCH INFO USR1 USR2`.split(/\s+/);

/** `SIGKILL` for 9; undefined for what is not a signal. */
export function linuxSignal(number: number): string | undefined {
  const name = LINUX[number - 1];
  return name === undefined ? undefined : `SIG${name}`;
}

export function freebsdSignal(number: number): string | undefined {
  const name = FREEBSD[number - 1];
  return name === undefined ? undefined : `SIG${name}`;
}
