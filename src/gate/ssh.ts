/**
 * ssh(1) and ssh-keygen(1): a command in the guest over SSH, with a key made for this run.
 *
 * The guest learns the key from its firmware: systemd gives the credential `ssh.authorized_keys.root` to root as
 * /root/.ssh/authorized_keys (tmpfiles.d/provision.conf, since systemd 252). The connection goes over loopback into a machine
 * that this process started, so that its host key, made at this boot, has nothing to be compared with.
 */
import { Problem } from "../base/index.ts";
import type { Host } from "../host/index.ts";
import type { ProbeAnswer } from "./types.ts";

export const KEY_CREDENTIAL = "ssh.authorized_keys.root";
const OUTPUT_MAX = 65_536;
/** ssh's own: the connection failed or the key was refused. */
const SSH_FAILED = 255;
const ANY_STATUS = Array.from({ length: 256 }, (_, status) => status);

export interface SshKey {
  readonly keyFile: string;
  /** One line of authorized_keys. */
  readonly publicKey: string;
  readonly knownHostsFile: string;
}

/** In a directory that only its owner enters. @throws Problem E_TOOL_MISSING (exit 3), E_COMMAND_FAILED */
export async function makeSshKey(host: Host, directory: string): Promise<SshKey> {
  const keyFile = `${directory}/ssh-key`;
  await host.run({
    argv: ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "garth-gate", "-f", keyFile],
    timeoutMs: 30_000,
    doing: "making an SSH key for the probes",
  });
  return {
    keyFile,
    publicKey: host.files.readText(`${keyFile}.pub`).trim(),
    knownHostsFile: `${directory}/ssh-known-hosts`,
  };
}

export interface SshProbe {
  readonly key: SshKey;
  /** On 127.0.0.1. */
  readonly port: number;
  readonly user: string;
  readonly command: string;
  readonly timeoutMs: number;
}

/** Nothing of the caller's own configuration and keys; ssh_config(5). */
function arguments_({ key, port, timeoutMs }: SshProbe): readonly string[] {
  const options = [
    `UserKnownHostsFile=${key.knownHostsFile}`,
    "GlobalKnownHostsFile=none",
    "StrictHostKeyChecking=no",
    "IdentitiesOnly=yes",
    "BatchMode=yes",
    "LogLevel=ERROR",
    `ConnectTimeout=${Math.max(1, Math.ceil(timeoutMs / 1000))}`,
  ];
  return ["-F", "none", "-i", key.keyFile, "-p", String(port), "-T", ...options.flatMap((option) => ["-o", option])];
}

/** @throws Problem E_TOOL_MISSING (exit 3) */
export async function runSshProbe(host: Host, probe: SshProbe): Promise<ProbeAnswer> {
  try {
    const done = await host.run({
      argv: ["ssh", ...arguments_(probe), "--", `${probe.user}@127.0.0.1`, probe.command],
      timeoutMs: probe.timeoutMs,
      okStatuses: ANY_STATUS,
      doing: `running ${JSON.stringify(probe.command)} in the guest`,
    });
    if (done.status === SSH_FAILED) {
      const said = done.stderr.trim().split("\n").at(-1) ?? "";
      return { kind: "silent", detail: `ssh to ${probe.user} failed${said === "" ? "" : `: ${said}`}` };
    }
    return { kind: "answered", output: done.text().slice(0, OUTPUT_MAX), status: done.status };
  } catch (error) {
    if (!(error instanceof Problem) || (error.code !== "E_TIMEOUT" && error.code !== "E_COMMAND_FAILED")) throw error;
    if (error.code === "E_TIMEOUT") return { kind: "silent", detail: `no answer over ssh within ${probe.timeoutMs / 1000} s` };
    return { kind: "silent", detail: error.message };
  }
}
