/**
 * A tree of this machine as a UFS2 file system, in a process of its own: `bun ufs-child.ts TREE FILE BYTES`. Prints a line of JSON:
 * how many entries there were, and the most memory that the process had.
 */
import * as fs from "node:fs";
import { type FileSystemEntry, planUfs } from "../src/formats/index.ts";
import { localHost } from "../src/host/index.ts";
import { writeBlocks } from "../src/image/index.ts";

const [tree = "", file = "", size = ""] = process.argv.slice(2);

function walk(directory: string, below: string, entries: FileSystemEntry[]): void {
  for (const name of fs.readdirSync(directory)) {
    const [at, path] = [`${directory}/${name}`, below === "" ? name : `${below}/${name}`];
    const { mode, uid, gid, mtimeMs, size: sizeBytes } = fs.lstatSync(at);
    const own = { path, mode: mode & 0o7777, uid, gid, timeSeconds: Math.floor(mtimeMs / 1000) };
    const type = mode & fs.constants.S_IFMT;
    if (type === fs.constants.S_IFLNK) entries.push({ ...own, type: "symlink", target: fs.readlinkSync(at) });
    else if (type === fs.constants.S_IFREG)
      entries.push({ ...own, type: "file", content: { kind: "file", file: at, sizeBytes } });
    else {
      entries.push({ ...own, type: "directory" });
      walk(at, path, entries);
    }
  }
}

const entries: FileSystemEntry[] = [];
walk(tree, "", entries);
const { image } = planUfs(entries, { label: "bench", identity: [1, 2], timeSeconds: 1, sizeBytes: Number(size) });
await writeBlocks(localHost(), image, file, { locate: (path) => path, digest: false });
const peakKiB = Number(/^VmHWM:\s*(\d+) kB$/m.exec(fs.readFileSync("/proc/self/status", "utf8"))?.[1]);
process.stdout.write(`${JSON.stringify({ entries: entries.length, peakBytes: peakKiB * 1024 })}\n`);
