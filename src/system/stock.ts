/** Services that most systems have, ready to be declared. */
import type { ServiceOptions } from "./declare.ts";

const HOST_KEY = "/etc/ssh/ssh_host_ed25519_key";

/**
 * OpenSSH's server on a Linux system, under either process 1. The host key is made at the first start, in the machine: an image holds
 * none, and two machines of one image have two.
 */
export function sshd(options: { readonly port?: number } = {}): ServiceOptions {
  const { port = 22 } = options;
  return {
    name: "sshd",
    prepare: [
      ["/bin/mkdir", "-p", "-m", "0755", "/run/sshd"],
      ["/bin/sh", "-c", `[ -e ${HOST_KEY} ] || /usr/bin/ssh-keygen -q -t ed25519 -N "" -f ${HOST_KEY}`],
    ],
    command: ["/usr/sbin/sshd", "-D", "-e", "-p", String(port), "-h", HOST_KEY],
    listens: port,
  };
}
