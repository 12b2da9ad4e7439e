/** For the tests of scripts: the root of a machine as a directory, with the userland of this one, entered by chroot(8) in namespaces of its own. */
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import { tmpdir } from "node:os";
import { dirname } from "node:path";
import { BOOT } from "./linux.testing.ts";
import type { ClosurePlan } from "./types.ts";

export interface Done {
  readonly status: number | null;
  /** What was written to the console. */
  readonly console: readonly string[];
  readonly stderr: string;
}

export interface Machine extends Disposable {
  readonly root: string;
  readonly write: (path: string, text: string, mode?: number) => void;
  readonly read: (path: string) => string;
  /** "file 0640 0:42", or "nothing". */
  readonly about: (path: string) => string;
  /** Puts a system item where it belongs, with the modes of a store. */
  readonly bring: (system: string, plan: ClosurePlan) => void;
  readonly run: (...argv: readonly string[]) => Done;
}

/** `$root` is the machine's, `$@` what runs in it as process 1, whose output is the console. */
const ENTER = `
mount --bind -o ro /usr "$root/usr" && mount --bind /dev/null "$root/dev/null" && mount -t proc proc "$root/proc" || exit 100
exec chroot "$root" "$@"
`;

export function machine(): Machine {
  const root = fs.mkdtempSync(`${tmpdir()}/garth-machine-`);
  fs.chmodSync(root, 0o755);
  for (const name of ["usr", "etc", "run", "dev", "proc", "sys", "tmp", "var", "srv"]) fs.mkdirSync(`${root}/${name}`);
  for (const name of ["bin", "sbin", "lib", "lib64"]) fs.symlinkSync(`usr/${name}`, `${root}/${name}`);
  fs.writeFileSync(`${root}/dev/null`, "");
  fs.symlinkSync("/proc/1/fd/1", `${root}/dev/console`);
  const busybox = `${root}${BOOT.path}/usr/bin/busybox`;
  fs.mkdirSync(dirname(busybox), { recursive: true });
  fs.copyFileSync("/usr/bin/busybox", busybox);
  fs.chmodSync(busybox, 0o555);
  const write = (path: string, text: string, mode = 0o644): void => {
    fs.mkdirSync(dirname(`${root}/${path}`), { recursive: true });
    fs.writeFileSync(`${root}/${path}`, text);
    fs.chmodSync(`${root}/${path}`, mode);
  };
  return {
    root,
    write,
    read: (path) => fs.readFileSync(`${root}/${path}`, "utf8"),
    about: (path) => {
      const stat = fs.lstatSync(`${root}/${path}`, { throwIfNoEntry: false });
      if (stat === undefined) return "nothing";
      if (stat.isSymbolicLink()) return `-> ${fs.readlinkSync(`${root}/${path}`)}`;
      const mode = (stat.mode & 0o7777).toString(8).padStart(4, "0");
      return `${stat.isDirectory() ? "directory" : "file"} ${mode} ${stat.uid}:${stat.gid}`;
    },
    bring: (system, { tree }) => {
      for (const [path, entry] of tree) {
        const to = `${system}/${path}`;
        if (entry.type === "symlink") fs.symlinkSync(entry.target, `${root}/${to}`);
        else if (entry.type === "directory") fs.mkdirSync(`${root}/${to}`, { recursive: true });
        else write(to, entry.content.kind === "text" ? entry.content.text : `${path}\n`, entry.executable ? 0o555 : 0o444);
      }
      for (const [path, entry] of tree) if (entry.type === "directory") fs.chmodSync(`${root}/${system}/${path}`, 0o555);
    },
    run: (...argv) => {
      const namespaces = ["--mount", "--pid", "--net", "--fork", "--kill-child"];
      // A pipe, which can be opened by its name in /proc; what this runtime gives a child is a socket.
      const words = ["-o", "pipefail", "-c", 'unshare "$@" | cat', "bash", ...namespaces, "sh", "-c", ENTER, "sh", ...argv];
      const { status, stdout, stderr } = spawnSync("bash", words, {
        encoding: "utf8",
        env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", root },
      });
      return { status, console: stdout.split("\n").slice(0, -1), stderr };
    },
    [Symbol.dispose]: () => fs.rmSync(root, { recursive: true, force: true }),
  };
}
