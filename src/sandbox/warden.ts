/**
 * Ends the sandboxes of a Garth that was killed. Needed as root only.
 *
 * The kernel would send a death signal from bwrap's monitor to the sandbox, but asks for the right to signal: the monitor has
 * given its capabilities away and is not the build user. So one small process stands by while sandboxes run. Its own death
 * signal comes from Garth, which is of the same user; then it kills what is in Garth's control groups and removes them.
 */
import { Problem } from "../base/index.ts";
import type { Host, Running } from "../host/index.ts";

/**
 * $1 is Garth, the rest are prefixes of its control groups. A dead Garth may still be a zombie that takes signals.
 * Wherever the signal comes, wait ends: before sleeper is set the test sees dead, afterwards the trap kills what is waited for.
 * By KILL, because a child that has not become sleep yet still has the shell's trap for TERM.
 */
const SCRIPT = `
dead=
sleeper=
trap 'dead=1; [ -z "$sleeper" ] || kill -KILL "$sleeper" 2>/dev/null' TERM
trap '' INT QUIT HUP
garth=$1
shift
echo ready
while [ -z "$dead" ] && kill -0 "$garth" 2>/dev/null; do
  sleep 30 &
  sleeper=$!
  [ -n "$dead" ] || wait "$sleeper" || :
  kill -KILL "$sleeper" 2>/dev/null || :
  sleeper=
done
for round in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
  left=
  for prefix in "$@"; do
    for group in "$prefix"*; do
      [ -d "$group" ] || continue
      rmdir "$group" 2>/dev/null && continue
      left=1
      while read -r id; do kill -KILL "$id" 2>/dev/null || :; done <"$group/cgroup.procs"
    done
  done
  [ -n "$left" ] || exit 0
  sleep 0.1
done
`;

/** How long it stays when no sandbox runs: long enough for the next of a row of builds. */
const LINGER_MS = 50;

export interface Warden {
  /** Settles when it stands by. What is returned lets it go. */
  hold(): Promise<() => void>;
  close(): Promise<void>;
}

async function start(host: Host, garth: string, prefixes: readonly string[]): Promise<Running> {
  const ready = Promise.withResolvers<void>();
  let printed = "";
  const warden = host.spawn(
    {
      argv: ["setpriv", "--pdeathsig", "TERM", "sh", "-c", SCRIPT, "garth-warden", garth, ...prefixes],
      doing: "starting the process that ends sandboxes should Garth be killed",
    },
    {
      onOutput: (chunk) => {
        printed += new TextDecoder().decode(chunk);
        ready.resolve();
      },
    },
  );
  await Promise.race([ready.promise, warden.exited]);
  if (printed === "ready\n") return warden;
  warden.kill("SIGKILL");
  throw new Problem({
    code: "E_SANDBOX_UNAVAILABLE",
    message: "the process that ends sandboxes should Garth be killed did not start",
    details: printed.trimEnd().split("\n"),
    hint: "it needs setpriv(1) of util-linux",
    exit: 3,
  });
}

/** `garth` is the id of the process to watch over. */
export function makeWarden(host: Host, garth: string, prefixes: readonly string[]): Warden {
  let running: Promise<Running> | undefined;
  let holders = 0;
  let lingering: ReturnType<typeof setTimeout> | undefined;

  const stop = async (): Promise<void> => {
    clearTimeout(lingering);
    const stopping = running;
    running = undefined;
    const warden = await stopping?.catch(() => undefined);
    warden?.kill("SIGTERM");
    await warden?.exited;
  };

  return {
    hold: async () => {
      holders += 1;
      clearTimeout(lingering);
      let held = true;
      const release = (): void => {
        if (!held) return;
        held = false;
        holders -= 1;
        if (holders === 0) lingering = setTimeout(() => void stop(), LINGER_MS);
      };
      try {
        running ??= start(host, garth, prefixes);
        await running;
        return release;
      } catch (error) {
        running = undefined;
        release();
        throw error;
      }
    },
    close: stop,
  };
}
