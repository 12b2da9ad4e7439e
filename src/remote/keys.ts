/**
 * Which key a host has: seen before anybody logs in there, accepted once, recorded under the host's name.
 *
 *     "SHA256:..." ──► the key it shows has this fingerprint (each type of key is asked for in turn) ──► recorded
 *     "new" ─────────► whichever it shows ──► recorded
 *     (nothing) ─────► the caller's own known_hosts know it ──► recorded;  not known: E_HOST_KEY_UNKNOWN;  another: E_HOST_KEY
 */
import type { Host } from "../host/index.ts";
import { badHost, unknownKey, type Whom, wrongKey } from "./errors.ts";
import { type MasterParts, refusal, userFor } from "./master.ts";
import { fingerprintsOf, KEY_ALGORITHMS, lookWords, readLook, recordWords } from "./ssh.ts";

const LOOK_TIMEOUT_MS = 60_000;
const SAID_MAX_CHARS = 64 * 1024;

/** @throws Problem E_BAD_HOST (exit 2) for what is no fingerprint */
export function checkAccepted(accepted: string | undefined): string | undefined {
  if (accepted === undefined || accepted === "new") return accepted;
  const bare = accepted.replace(/=$/, "");
  if (/^SHA256:[A-Za-z0-9+/]{43}$/.test(bare)) return bare;
  throw badHost(
    `${JSON.stringify(accepted)} is no fingerprint`,
    "it is written SHA256:... as `ssh-keygen -l` prints it, or it is the word new",
  );
}

/** @throws Problem E_BAD_HOST (exit 2) where there is none */
export function checkIdentity(host: Host, identityFile: string | undefined): void {
  if (identityFile !== undefined && !host.files.exists(identityFile))
    throw badHost(`there is no key ${identityFile}`, "--identity names the private key: ~/.ssh/id_ed25519");
}

/** Writes the reach's known_hosts file anew. @throws Problem E_HOST_KEY, E_HOST_KEY_UNKNOWN, E_HOST_UNREACHABLE */
export async function recordKey(parts: Omit<MasterParts, "silenceMs">, accepted: string | undefined): Promise<void> {
  const { host, reach, whom } = parts;
  const doing = `looking at the key of ${whom.name}`;
  const user = await userFor(parts);
  const fresh = `${reach.knownHostsFile}.new`;
  /** The fingerprint of what it shows; undefined: it has no key of this type. */
  const show = async (algorithms: string | undefined): Promise<string> => {
    host.files.writeFile(fresh, "", 0o600);
    const said = await look(parts, recordWords({ ...reach, knownHostsFile: fresh }, user, algorithms), doing);
    const [shown] = fingerprintsOf(host.files.readText(fresh));
    if (shown === undefined) throw refusal(parts, doing, said.split("\n"));
    return shown;
  };
  try {
    if (accepted === undefined) {
      const said = await look(parts, lookWords(reach, user), doing);
      const looked = readLook(said);
      if (looked === undefined) throw refusal(parts, doing, withoutTalk(said));
      const { state, type, fingerprint } = looked;
      if (state === "unknown") throw unknownKey(whom, doing, fingerprint);
      if (state === "changed")
        throw wrongKey(whom, doing, { expected: offenders(host, said), offered: [fingerprint] }, changedHint(said));
      const shown = await show(KEY_ALGORITHMS[type] ?? type);
      if (shown !== fingerprint)
        throw wrongKey(
          whom,
          doing,
          { expected: [fingerprint], offered: [shown] },
          "several machines seem to answer there in turn",
        );
    } else {
      const shown = await show(undefined);
      if (accepted !== "new" && shown !== accepted) await showAnother(show, shown, { whom, doing, accepted });
    }
    host.files.chmod(fresh, 0o600);
    host.files.rename(fresh, reach.knownHostsFile);
  } finally {
    if (host.files.exists(fresh)) host.files.unlink(fresh);
  }
}

/** The key that was meant may be of another type than the one that is shown first. */
async function showAnother(
  show: (algorithms: string) => Promise<string>,
  first: string,
  { whom, doing, accepted }: { readonly whom: Whom; readonly doing: string; readonly accepted: string },
): Promise<void> {
  const offered = new Set([first]);
  for (const algorithms of Object.values(KEY_ALGORITHMS)) {
    let shown: string;
    try {
      shown = await show(algorithms);
    } catch {
      // It has none of this type.
      continue;
    }
    if (shown === accepted) return;
    offered.add(shown);
  }
  throw wrongKey(
    whom,
    doing,
    { expected: [accepted], offered: [...offered] },
    "there, `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` prints the right one; if it is none of these, somebody else answers",
  );
}

async function look(
  { host, environment }: Pick<MasterParts, "host" | "environment">,
  argv: readonly [string, ...string[]],
  doing: string,
): Promise<string> {
  let said = "";
  const ssh = host.spawn(
    { argv, env: environment, doing, timeoutMs: LOOK_TIMEOUT_MS },
    { session: "own", onOutput: (chunk) => void (said = (said + Buffer.from(chunk).toString()).slice(-SAID_MAX_CHARS)) },
  );
  await ssh.exited;
  return said.replaceAll("\r", "");
}

function withoutTalk(said: string): readonly string[] {
  return said.split("\n").filter((line) => !/^(?:debug1: |OpenSSH_)/.test(line));
}

/** What the caller's known_hosts have for it: "Offending ED25519 key in /root/.ssh/known_hosts:3". */
function offenders(host: Host, said: string): readonly string[] {
  return [...said.matchAll(/^(?:debug1: )?Offending \S+ key in (.+):([0-9]+)$/gm)].flatMap(([, file = "", number]) =>
    fingerprintsOf(host.files.readTextIfAny(file)?.split("\n")[Number(number) - 1] ?? ""),
  );
}

function changedHint(said: string): string {
  const at = /Offending \S+ key in (.+:[0-9]+)$/m.exec(said)?.[1] ?? "known_hosts";
  return `if it was made anew, take its old key out of ${at}`;
}
