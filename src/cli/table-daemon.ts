/** The commands of what stays: the daemon, keys of its gateway, sandboxes through it. */
import type { ArgumentSpec, Command } from "./command.ts";

const daemonModule = () => import("./commands/daemon.ts");
const sandboxModule = () => import("./commands/sandbox.ts");

const IDS: readonly ArgumentSpec[] = [{ name: "ID", many: true }];
const GATEWAY_NOTE = "Through the gateway that GARTH_API_URL names, with GARTH_API_KEY; without it, this root's daemon.";

export const DAEMON: readonly Command[] = [
  {
    path: ["daemon"],
    summary: "keep pools filled and serve sandboxes over HTTP, as E2B's SDKs ask for them",
    arguments: [],
    options: [
      {
        name: "listen",
        value: "ADDRESS:PORT",
        help: "default: the setting gateway.listen, 127.0.0.1:3000; port 0 takes a free one",
      },
      { name: "open", help: "ask nobody for a key; only on a loopback address" },
      { name: "log", value: "text|json", help: "how each line on stderr is written (default text)" },
    ],
    notes: [
      "Ends at SIGTERM, and leaves its machines to the next one; reads settings and keys again at SIGHUP.",
      "With -v each request is a line.",
    ],
    load: async () => (await daemonModule()).daemon,
  },
  {
    path: ["key", "add"],
    summary: "make an API key for a tenant, and show it this once",
    arguments: [{ name: "TENANT" }],
    options: [
      { name: "scopes", value: "SCOPES", help: "of read, exec, admin; separated by commas (default read,exec)" },
      { name: "max", value: "N", help: "sandboxes that the tenant may have at once with it" },
      { name: "expires", value: "TIME", help: "when it ends: 30d, 12h (default: never)" },
      { name: "label", value: "TEXT", help: "what it is for" },
    ],
    load: async () => (await daemonModule()).keyAdd,
  },
  {
    path: ["key", "ls"],
    summary: "the keys there are, without what opens anything",
    arguments: [],
    options: [],
    load: async () => (await daemonModule()).keyLs,
  },
  {
    path: ["key", "rm"],
    summary: "take keys away; they open nothing from now on",
    arguments: IDS,
    options: [],
    notes: ["An ID is the beginning of a key that `garth key ls` shows, or the key itself."],
    load: async () => (await daemonModule()).keyRm,
  },
  {
    path: ["sandbox", "create"],
    summary: "take a sandbox",
    arguments: [{ name: "TEMPLATE" }],
    options: [
      { name: "timeout", value: "TIME", help: "when it is killed: 30s, 2h (default 5m)" },
      { name: "metadata", value: "NAME=VALUE", help: "to be found by; several with commas" },
      { name: "env", value: "NAME=VALUE", help: "in the environment of its commands; several with commas" },
      { name: "pause", help: "pause it at its end instead" },
      { name: "auto-resume", help: "and let a request wake it up" },
      { name: "no-internet", help: "it reaches nothing outside" },
      { name: "allow-out", value: "CIDRS", help: "it reaches these, separated by commas" },
      { name: "deny-out", value: "CIDRS", help: "it does not reach these" },
    ],
    notes: [GATEWAY_NOTE],
    load: async () => (await sandboxModule()).create,
  },
  {
    path: ["sandbox", "ls"],
    summary: "sandboxes of the tenant",
    arguments: [],
    options: [{ name: "running", help: "without those that are paused" }],
    notes: [GATEWAY_NOTE],
    load: async () => (await sandboxModule()).ls,
  },
  {
    path: ["sandbox", "exec"],
    summary: "run a command in a sandbox; ends with the command's status",
    arguments: [{ name: "ID" }, { name: "COMMAND", many: true }],
    options: [
      { name: "user", value: "NAME", help: "as another user than the template's" },
      { name: "cwd", value: "DIR", help: "in another directory than the user's home" },
      { name: "env", value: "NAME=VALUE", help: "added to its environment; several with commas" },
      { name: "timeout", value: "TIME", help: "kill it after so long, with all that it started" },
    ],
    notes: ["What begins with a hyphen stands behind --: garth sandbox exec ID -- ls -l", GATEWAY_NOTE],
    load: async () => (await sandboxModule()).exec,
  },
  {
    path: ["sandbox", "logs"],
    summary: "what a sandbox's console said",
    arguments: [{ name: "ID" }],
    options: [],
    notes: [GATEWAY_NOTE],
    load: async () => (await sandboxModule()).logs,
  },
  {
    path: ["sandbox", "kill"],
    summary: "end sandboxes and destroy their machines",
    arguments: IDS,
    options: [],
    notes: [GATEWAY_NOTE],
    load: async () => (await sandboxModule()).kill,
  },
];
