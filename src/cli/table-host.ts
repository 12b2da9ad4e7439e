/** The commands of hosts: machines over SSH on which builds run. */
import type { ArgumentSpec, Command } from "./command.ts";

const hostModule = () => import("./commands/host.ts");

const NAME: readonly ArgumentSpec[] = [{ name: "NAME" }];

export const HOSTS: readonly Command[] = [
  {
    path: ["host", "add"],
    summary: "make a host known on which builds run: it needs sshd and its base system, and nothing of ours",
    arguments: [{ name: "NAME" }, { name: "URL" }],
    options: [
      { name: "directory", value: "DIR", help: "where it keeps what builds need there (default: /frx/var/garth/remote)" },
      { name: "jobs", short: "j", value: "N", help: "builds at one time there (default: as many as it has processors)" },
      { name: "identity", value: "FILE", help: "a private key besides those that ssh finds itself" },
      { name: "host-key", value: "FINGERPRINT|new", help: "the key that it must have, or whichever it has now" },
    ],
    notes: [
      "A URL is ssh://[user@]host[:port]; the host may be an alias of ~/.ssh/config, which applies, as does the agent.",
      "Without --host-key your own known_hosts must know it; afterwards it always has the key that it had.",
      "What it lacks is said, and it is known nevertheless.",
    ],
    load: async () => (await hostModule()).add,
  },
  {
    path: ["host", "ls"],
    summary: "hosts there are",
    arguments: [],
    options: [],
    load: async () => (await hostModule()).ls,
  },
  {
    path: ["host", "check"],
    summary: "look at hosts again: what they are, what they lack, and what to do about it",
    arguments: [{ name: "NAME", optional: true, many: true }],
    options: [],
    notes: ["Without a NAME, all of them; they are left as they were.", "Exit status 1: builds cannot run on one of them."],
    load: async () => (await hostModule()).check,
  },
  {
    path: ["host", "rm"],
    summary: "forget a host",
    arguments: NAME,
    options: [{ name: "purge", help: "remove what is ours there, too" }],
    load: async () => (await hostModule()).rm,
  },
  {
    path: ["host", "gc"],
    summary: "remove from a host what builds there have not asked for",
    arguments: NAME,
    options: [
      { name: "older-than", value: "TIME", help: "keep what was asked for since: 30d, 12h (default: gc.older_than_days)" },
    ],
    load: async () => (await hostModule()).gc,
  },
];
