/** The commands of pools: warm machines, handed out. */
import type { ArgumentSpec, Command } from "./command.ts";
import { RECEIPT } from "./options.ts";

const poolModule = () => import("./commands/pool.ts");
const useModule = () => import("./commands/pool-use.ts");

const POOL: readonly ArgumentSpec[] = [{ name: "POOL" }];
const ID: readonly ArgumentSpec[] = [{ name: "ID" }];

const SHAPE = [
  { name: "template", value: "NAME", help: "what its machines are made of (default: the pool's name)" },
  { name: "tier", value: "hot|snapshot|cold", help: "what is ready when somebody asks (default hot)" },
  { name: "size", value: "N", help: "machines kept available (default 2)" },
  { name: "memory", value: "SIZE", help: "of each machine (default: the template's)" },
  { name: "cpus", value: "N", help: "of each machine (default: the template's)" },
  { name: "network", value: "user|bridge", help: "default user: no root needed; bridge: a network of the pool's own" },
  { name: "subnet", value: "CIDR", help: "default 10.77.0.0/24: machines from .50 to .249" },
  { name: "allow-internet", help: "machines reach the internet (default: nothing)" },
  { name: "allow-out", value: "CIDRS", help: "they reach these, separated by commas" },
  { name: "deny-out", value: "CIDRS", help: "they do not reach these" },
  { name: "dense", help: "more machines in the same memory, each slower" },
  { name: "boot-timeout", value: "TIME", help: "how long a guest may take to answer (default 5m)" },
];

export const POOLS: readonly Command[] = [
  {
    path: ["pool", "init"],
    summary: "make a pool, or change it",
    arguments: POOL,
    options: SHAPE,
    notes: ["Machines of another template, size or network than the pool has now are replaced when nobody has them."],
    load: async () => (await poolModule()).init,
  },
  {
    path: ["pool", "warm"],
    summary: "make machines until as many are available as the pool is to have",
    arguments: POOL,
    options: [
      { name: "count", value: "N", help: "that many from now on" },
      { name: "dry-run", help: "make nothing: print the steps, and the command lines of machines" },
    ],
    notes: ["A pool that is not there is made, of the template of its name."],
    load: async () => (await poolModule()).warm,
  },
  {
    path: ["pool", "checkout"],
    summary: "take a machine; it is yours until you return it",
    arguments: POOL,
    options: [
      { name: "holder", value: "NAME", help: "who has it (default: a name made up)" },
      { name: "snapshot", value: "ID", help: "begin from the snapshot of a machine" },
    ],
    load: async () => (await useModule()).checkout,
  },
  {
    path: ["pool", "return"],
    summary: "give machines back, which destroys them",
    arguments: [{ name: "ID", many: true }],
    options: [],
    load: async () => (await useModule()).giveBack,
  },
  {
    path: ["pool", "drain"],
    summary: "destroy every machine of a pool, and its snapshot",
    arguments: POOL,
    options: [{ name: "forget", help: "the pool itself too, and snapshots of its machines" }],
    notes: ["Where a daemon runs, it fills a pool again that was drained and not forgotten."],
    load: async () => (await poolModule()).drain,
  },
  {
    path: ["pool", "list"],
    summary: "machines there are, and who has them",
    arguments: [{ name: "POOL", optional: true }],
    options: [{ name: "reconcile", help: "first retire what died and what was left behind" }],
    load: async () => (await poolModule()).list,
  },
  {
    path: ["pool", "pause"],
    summary: "freeze a machine; it stays yours",
    arguments: ID,
    options: [],
    load: async () => (await useModule()).pause,
  },
  {
    path: ["pool", "resume"],
    summary: "thaw it",
    arguments: ID,
    options: [],
    load: async () => (await useModule()).resume,
  },
  {
    path: ["pool", "exec"],
    summary: "run a command in a machine; ends with the command's status",
    arguments: [{ name: "ID" }, { name: "COMMAND", many: true }],
    options: [{ name: "user", value: "NAME", help: "as another user than the one who logs in" }],
    notes: ["What begins with a hyphen stands behind --: garth pool exec micro-1 -- ls -l"],
    load: async () => (await useModule()).exec,
  },
  {
    path: ["pool", "ssh"],
    summary: "a shell in a machine, by ssh(1)",
    arguments: [{ name: "ID" }, { name: "WORD", many: true, optional: true }],
    options: [{ name: "print", help: "print the command line instead, for ssh, scp and sftp" }],
    load: async () => (await useModule()).ssh,
  },
  {
    path: ["pool", "smoke"],
    summary: "warm, checkout, probe over SSH, return, drain; leaves a receipt",
    arguments: [{ name: "TEMPLATE" }],
    options: [...SHAPE.filter(({ name }) => name !== "template"), RECEIPT],
    notes: [
      "From the environment: SSH_USER, PROBE_CMD (default: python3 -c 'print(1+1)'), PROBE_EXPECT (default: 2).",
      "It works in a pool of its own and forgets it at the end.",
    ],
    load: async () => (await import("./commands/pool-smoke.ts")).smoke,
  },
];
