/** The commands of the second half of the line: worlds, systems, images, machines, gates. */
import type { Command } from "./command.ts";
import { JOBS, KEEP_FAILED, KEEP_GOING, KEY, RECEIPT } from "./options.ts";

const worldModule = () => import("./commands/world.ts");
const systemModule = () => import("./commands/system.ts");
const deployModule = () => import("./commands/deploy.ts");
const isoModule = () => import("./commands/iso.ts");
const imageModule = () => import("./commands/image.ts");
const machineModule = () => import("./commands/machine.ts");
const gateModule = () => import("./commands/gate.ts");
const installModule = () => import("./commands/install.ts");

const SYSTEM_NOTE = "A SYSTEM is FILE#NAME, or #NAME in ./garth.ts; one that stands alone in its file needs no #NAME.";
const IMAGE_NOTE = "An IMAGE is a raw disk, a SYSTEM, or the store path of an image (or enough of it).";
const MACHINE_NOTE =
  "A MACHINE is ssh://[user@]host[:port], or a host of `garth host ls`. It runs a system that Garth made, and lets root in.";
const REACH_OPTIONS = [
  { name: "identity", value: "FILE", help: "a private key, besides those that ssh finds itself" },
  { name: "host-key", value: "KEY", help: "its fingerprint SHA256:..., or new (default: known_hosts has it)" },
];
const CHANGE_OPTIONS = [
  ...REACH_OPTIONS,
  { name: "trial", value: "DURATION", help: "what it has to be ready at its first start (default 15m)" },
  { name: "reboot", help: "start the machine anew, and wait for what comes of it" },
  { name: "dry-run", help: "change nothing: say how the systems differ and what would be sent" },
];
const FALLBACK_NOTE = "With --reboot the exit status is 1 when the machine fell back.";
const LINE_OPTIONS = [JOBS, KEEP_GOING, KEEP_FAILED, KEY, RECEIPT];
const MACHINE_OPTIONS = [
  { name: "memory", value: "SIZE", help: "default 1G" },
  { name: "cpus", value: "N", help: "default 1" },
  { name: "accelerator", value: "auto|kvm|tcg", help: "default auto: kvm where a guest was seen to run on it" },
  { name: "firmware", value: "uefi|bios", help: "default uefi" },
  { name: "direct", help: "of a SYSTEM: load its kernel without firmware" },
];

export const SYSTEMS: readonly Command[] = [
  {
    path: ["world", "import"],
    summary: "take the tree of a system in: from a directory, an archive, a running machine, or as a project file declares it",
    arguments: [{ name: "PATH|REF|MACHINE" }],
    options: [
      { name: "name", value: "NAME", help: "what the world is called (default: the name of the file or the machine)" },
      { name: "label", value: "LABEL", help: "its version, for people (default: of a machine its release, else local)" },
      { name: "without", value: "PATHS", help: "of a machine: leave these out, too; separated by commas" },
      { name: "save", value: "FILE", help: "of a machine: keep the archive there, to declare the world by it" },
      { name: "identity", value: "FILE", help: "of a machine: a private key besides those that ssh finds itself" },
      { name: "host-key", value: "FINGERPRINT|new", help: "of a machine: the key that it must have, or whichever it has now" },
    ],
    notes: [
      "A REF is FILE#NAME of a world({ ... }).",
      "A MACHINE is ssh://[user@]host[:port][/path], or NAME:/path of a host that is known; it needs sshd and its base system.",
      "Of a machine it takes what is part of a system: no home, no log, no cache, no file system of another place than a base system's.",
      "Host keys, passwords, keytabs, the host's id and its entropy stay there: accounts come with `*` in place of passwords.",
      "It prints the declaration of what came; a file that changed while it was read is told.",
    ],
    load: async () => (await worldModule()).importOne,
  },
  {
    path: ["world", "slice"],
    summary: "cut a part out of a world by the paths it keeps and leaves out",
    arguments: [{ name: "WORLD|REF" }],
    options: [
      { name: "name", value: "NAME", help: "what the slice is called" },
      { name: "role", value: "ROLE", help: "kernel, boot, runtime or development (default runtime)" },
      { name: "keep", value: "PATHS", help: "keep these, separated by commas (default: everything)" },
      { name: "prune", value: "PATHS", help: "less these" },
    ],
    notes: ["A REF is FILE#NAME of a slice({ ... }), or of a world({ ... }): its four standard slices, with overlaps and gaps."],
    load: async () => (await worldModule()).cut,
  },
  {
    path: ["world", "ls"],
    summary: "worlds and slices there are",
    arguments: [],
    options: [],
    load: async () => (await worldModule()).ls,
  },
  {
    path: ["system", "build"],
    summary: "make the closure of a declared system",
    arguments: [{ name: "SYSTEM" }],
    options: LINE_OPTIONS,
    notes: [SYSTEM_NOTE],
    load: async () => (await systemModule()).build,
  },
  {
    path: ["system", "diff"],
    summary: "how two systems differ: packages, files, sizes, services",
    arguments: [{ name: "SYSTEM|ITEM" }, { name: "SYSTEM|ITEM" }],
    options: [JOBS, KEY],
    notes: [SYSTEM_NOTE, "An ITEM is the store path of a closure, or enough of it.", "Exit status 1 when they do."],
    load: async () => (await systemModule()).diff,
  },
  {
    path: ["system", "rootfs"],
    summary: "every path of a system's root, with owner and mode, as mtree(5)",
    arguments: [{ name: "SYSTEM" }, { name: "DIR", optional: true }],
    options: LINE_OPTIONS,
    notes: [SYSTEM_NOTE, "With DIR the tree itself is written there, which must be empty."],
    load: async () => (await systemModule()).rootfs,
  },
  {
    path: ["system", "image"],
    summary: "make a bootable disk of a system",
    arguments: [{ name: "SYSTEM" }],
    options: [
      { name: "out", short: "o", value: "FILE", help: "a copy of it there" },
      { name: "format", value: "FORMAT", help: "of the copy: raw, qcow2, vhd-fixed, vhd-dynamic" },
      ...LINE_OPTIONS,
    ],
    notes: [SYSTEM_NOTE],
    load: async () => (await systemModule()).image,
  },
  {
    path: ["system", "switch"],
    summary: "give a running machine another system, on trial at its next start",
    arguments: [{ name: "SYSTEM|ITEM" }, { name: "MACHINE" }],
    options: [...CHANGE_OPTIONS, ...LINE_OPTIONS],
    notes: [
      SYSTEM_NOTE,
      MACHINE_NOTE,
      "When it is not ready in time, or not at all, the machine goes back by itself to what it ran before.",
      FALLBACK_NOTE,
    ],
    load: async () => (await deployModule()).switchSystem,
  },
  {
    path: ["system", "rollback"],
    summary: "let a machine start the generation before, or another one",
    arguments: [{ name: "MACHINE" }, { name: "N", optional: true }],
    options: [...CHANGE_OPTIONS, RECEIPT],
    notes: [
      MACHINE_NOTE,
      "What waited for its trial is given up.",
      "A generation that was never ready is on trial again.",
      FALLBACK_NOTE,
    ],
    load: async () => (await deployModule()).rollback,
  },
  {
    path: ["system", "generations"],
    summary: "the systems that a machine has been given, and which it starts",
    arguments: [{ name: "MACHINE" }],
    options: [
      ...REACH_OPTIONS,
      { name: "remove", value: "N,N", help: "forget these, with the items that only they have; not what it runs or starts" },
    ],
    notes: [MACHINE_NOTE],
    load: async () => (await deployModule()).generations,
  },
  {
    path: ["system", "install"],
    summary: "write a system onto a disk, or into a file that is one, and read it back",
    arguments: [{ name: "SYSTEM" }, { name: "FILE|DEVICE" }],
    options: [
      { name: "size", value: "SIZE", help: "of a file (default: its own, or what the system needs); a disk has its own" },
      { name: "force", help: "write over what is there, which is lost" },
      { name: "dry-run", help: "write nothing: print what would be" },
      { name: "no-verify", help: "do not read back what was written" },
      ...LINE_OPTIONS,
    ],
    notes: [SYSTEM_NOTE, "Interrupted, it leaves a disk without a partition table, and no file that was not there before."],
    load: async () => (await installModule()).install,
  },
  {
    path: ["system", "iso"],
    summary: "make a CD or stick that installs a system on a machine, without a network",
    arguments: [{ name: "SYSTEM" }],
    options: [
      { name: "out", short: "o", value: "FILE", help: "where it is written" },
      { name: "target", value: "DISK", help: "the disk, as the machine calls it; installs without asking (default: asks)" },
      { name: "force", help: "with --target: also on a disk that is not empty" },
      { name: "then", value: "reboot|poweroff|shell", help: "what the machine does when it is installed (default reboot)" },
      ...LINE_OPTIONS,
    ],
    notes: [
      SYSTEM_NOTE,
      "The medium is started by UEFI: as a CD, written to a stick, or as a disk of a virtual machine.",
      "It checks what is on it before it touches the disk, and reads back what it wrote before the disk has a partition table.",
      "Without --target nothing is written before somebody at the machine has typed the name of the disk twice.",
    ],
    load: async () => (await isoModule()).iso,
  },
  {
    path: ["image", "inspect"],
    summary: "what is on a disk: partitions, file systems, the system it is of",
    arguments: [{ name: "IMAGE" }],
    options: [],
    notes: [IMAGE_NOTE],
    load: async () => (await imageModule()).inspect,
  },
  {
    path: ["image", "convert"],
    summary: "a raw disk in another container",
    arguments: [{ name: "IMAGE" }, { name: "FILE" }],
    options: [{ name: "format", value: "FORMAT", help: "raw, qcow2, vhd-fixed, vhd-dynamic (default: by the name of FILE)" }],
    notes: [IMAGE_NOTE],
    load: async () => (await imageModule()).convert,
  },
  {
    path: ["image", "verify"],
    summary: "hold a disk before sgdisk, fsck.fat and e2fsck",
    arguments: [{ name: "IMAGE" }],
    options: [],
    notes: [IMAGE_NOTE, "Exit status 1 when one of them finds something."],
    load: async () => (await imageModule()).verify,
  },
  {
    path: ["machine", "run"],
    summary: "start a machine from an image; its console comes here",
    arguments: [{ name: "IMAGE" }],
    options: [
      { name: "name", value: "NAME", help: "how other commands find it (default: the image's name)" },
      { name: "detach", help: "return when it runs" },
      { name: "forward", value: "HOST:GUEST", help: "forward a port of 127.0.0.1; several with commas; HOST 0 takes a free one" },
      { name: "persistent", help: "write to the image itself; without it what is written is thrown away" },
      { name: "no-network", help: "no network device" },
      { name: "dry-run", help: "start nothing: print the command line" },
      ...MACHINE_OPTIONS,
    ],
    notes: [IMAGE_NOTE],
    load: async () => (await machineModule()).run,
  },
  {
    path: ["machine", "ls"],
    summary: "machines there are, and those that ended",
    arguments: [],
    options: [{ name: "sweep", help: "first forget those that ended, and end those of a Garth that was killed" }],
    load: async () => (await machineModule()).ls,
  },
  {
    path: ["machine", "console"],
    summary: "the console of a machine, with times; follows it until it ends",
    arguments: [{ name: "NAME" }],
    options: [
      { name: "no-follow", help: "print what there is and return" },
      { name: "send", value: "TEXT", help: "type a line there first" },
    ],
    load: async () => (await machineModule()).showConsole,
  },
  {
    path: ["machine", "screenshot"],
    summary: "a picture of a machine's screen, as PNG",
    arguments: [{ name: "NAME" }, { name: "FILE" }],
    options: [],
    load: async () => (await machineModule()).screenshot,
  },
  {
    path: ["machine", "stop"],
    summary: "end a machine at once",
    arguments: [{ name: "NAME" }],
    options: [],
    load: async () => (await machineModule()).stop,
  },
  {
    path: ["gate", "run"],
    summary: "boot an image and judge its console; leaves a signed verdict",
    arguments: [{ name: "IMAGE" }],
    options: [
      { name: "gate", value: "FILE", help: "the rules (default: those of the SYSTEM, else of Linux)" },
      { name: "dry-run", help: "start nothing: print the rules that would apply" },
      ...MACHINE_OPTIONS,
      JOBS,
      KEY,
      RECEIPT,
    ],
    notes: [IMAGE_NOTE, "Exit status 1 when it fails; 3 when no machine could be started, and then there is no verdict."],
    load: async () => (await gateModule()).run,
  },
  {
    path: ["gate", "show"],
    summary: "a verdict, once its signature and digests hold",
    arguments: [{ name: "VERDICT" }],
    options: [
      { name: "console", help: "the whole console instead" },
      { name: "trust-key", value: "FILE", help: "it must be signed by this public key" },
    ],
    notes: ["A VERDICT is a store path, enough of it, or the name of what was booted: then the newest."],
    load: async () => (await gateModule()).show,
  },
];
