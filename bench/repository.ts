/**
 * One changed package into a signed repository of 20,000: the whole process, from reading and verifying the old catalogue to the new
 * one on disk, compressed and signed twice. pkg's own `pkg repo` has no incremental mode (13 to 17 s for the same; it is not
 * packaged for Debian, so it is not run here).
 */
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { sha256 } from "../src/base/index.ts";
import { tarArchive } from "../src/formats/index.ts";
import { localHost } from "../src/host/index.ts";
import { type Manifest, planArchive } from "../src/pkg/index.ts";
import { generateKey, publish } from "../src/repository/index.ts";
import { type BenchRow, median, shownMs } from "./row.ts";

const PACKAGES = 20_000;
const RUNS = 7;
const REACH_MS = 300;

export async function repositoryRows(): Promise<BenchRow[]> {
  const root = mkdtempSync(join(tmpdir(), "garth-bench-repository-"));
  try {
    const host = localHost();
    const keyFile = join(root, "key");
    const directory = join(root, "repository");
    const source = join(root, "packages");
    mkdirSync(source);
    await generateKey(host, keyFile);
    const add = Array.from({ length: PACKAGES }, (_, index) => writePackage(source, index, "1.0"));
    await publish(host, { directory, keyFile, add, nowMs: Date.now() });

    const times: number[] = [];
    for (let run = 1; run <= RUNS; run++) {
      const changed = writePackage(source, run * 1000, `1.${run}`);
      const start = performance.now();
      const printed = execFileSync(
        process.execPath,
        [join(import.meta.dir, "repository-child.ts"), directory, keyFile, changed],
        { encoding: "utf8" },
      );
      times.push(performance.now() - start);
      const expected = JSON.stringify({ packageCount: PACKAGES + run, added: 1 });
      if (printed.trim() !== expected) throw new Error(`the publication said ${printed} instead of ${expected}`);
    }
    const ours = median(times);
    return [
      {
        work: "one changed package into a repository of 20,000",
        against: "-",
        reach: `<= ${REACH_MS / 1000} s`,
        ours: shownMs(ours),
        theirs: "-",
        ratio: undefined,
        met: ours <= REACH_MS,
      },
    ];
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
}

function writePackage(directory: string, index: number, version: string): string {
  const name = `synthetic-${index}`;
  const contents = new Map(
    ["bin/tool", "share/doc/tool/README", "share/man/man1/tool.1.gz"].map((path) => [
      `/usr/local/${path}`,
      `${name} ${version} ${path}\n`,
    ]),
  );
  const manifest: Manifest = {
    name,
    origin: `devel/${name}`,
    version,
    comment: `Synthetic package number ${index}`,
    maintainer: "ports@example.org",
    www: `https://www.example.org/${name}`,
    abi: "FreeBSD:15:amd64",
    arch: "freebsd:15:x86:64",
    prefix: "/usr/local",
    flatsize: [...contents.values()].reduce((sum, text) => sum + text.length, 0),
    licenselogic: "single",
    licenses: ["BSD2CLAUSE"],
    desc: `A package that exists to be counted, at version ${version}.`,
    deps: {},
    categories: ["devel"],
    users: [],
    groups: [],
    shlibsRequired: ["libc.so.7"],
    shlibsProvided: [],
    options: {},
    annotations: {},
    files: [...contents].map(([path, text]) => ({
      path,
      type: "file",
      sum: `1$${sha256(text)}`,
      uname: "root",
      gname: "wheel",
      mode: 0o644,
      sizeBytes: text.length,
    })),
    config: [],
    directories: [],
    scripts: {},
    messages: [],
  };
  const tar = tarArchive(
    planArchive(manifest).map(({ member, content }) => {
      if (content.kind === "none") return { member };
      return { member, content: content.kind === "text" ? content.bytes : new TextEncoder().encode(contents.get(content.path)) };
    }),
  );
  const file = join(directory, `${name}-${version}.pkg`);
  writeFileSync(file, Bun.zstdCompressSync(tar, { level: 1 }));
  return file;
}
