/** NARs by tools of a base system, against our own writer; the slow tests of the formats hold that against Nix. */
import { afterAll, describe, expect, test } from "bun:test";
import { execFileSync } from "node:child_process";
import * as fc from "fast-check";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { shellQuote } from "../host/index.ts";
import { archiveOf } from "../store/testing.ts";
import { sha256 } from "../base/index.ts";
import { narFunctions } from "./nar-script.ts";
import { SHELLS } from "./store.testing.ts";
import { anyTree, hostileTree, writeTree } from "./trees.testing.ts";

const directory = fs.mkdtempSync(`${tmpdir()}/garth-nar-script-`);
afterAll(() => {
  execFileSync("chmod", ["-R", "u+w", directory]);
  fs.rmSync(directory, { recursive: true, force: true });
});

/** Under the names that FreeBSD has them by. */
const FREEBSD_TOOLS = `tar() {
  /usr/bin/bsdtar "$@"
}
sha256() {
  sha256sum | cut -d ' ' -f 1
}
`;

let count = 0;
function fresh(): string {
  count += 1;
  return `${directory}/it's "$${count}"`;
}

function listed(shell: readonly string[], system: "x86_64-linux" | "x86_64-freebsd", tree: string) {
  const work = fresh();
  fs.mkdirSync(`${work}/f`, { recursive: true });
  const script = `set -eu
LC_ALL=C
export LC_ALL
${system === "x86_64-freebsd" ? FREEBSD_TOOLS : ""}
${narFunctions(system)}
cd ${shellQuote(work)}
list ${shellQuote(tree)} | sort >lines
frame <lines >frames
digest ${shellQuote(tree)}
echo "$digest $size"
`;
  const [program = "", ...rest] = shell;
  return {
    said: execFileSync(program, [...rest, "-c", script])
      .toString()
      .trim(),
    work,
  };
}

const expected = (tree: string): string => {
  const archive = archiveOf(tree);
  return `${sha256(archive)} ${archive.byteLength}`;
};

describe.each(Object.entries(SHELLS))("%s", (_, shell) => {
  describe.each(["x86_64-linux", "x86_64-freebsd"] as const)("%s", (system) => {
    test("every odd name, size and mode", () => {
      const tree = fresh();
      hostileTree(tree);
      const { said, work } = listed(shell, system, tree);
      expect(said).toBe(expected(tree));
      // Framed in one go, and not file by file: contents passed through cat alone.
      expect(fs.readdirSync(`${work}/f`).length).toBeGreaterThan(50);
    });

    test("an empty directory", () => {
      const tree = fresh();
      fs.mkdirSync(tree);
      expect(listed(shell, system, tree).said).toBe(expected(tree));
    });

    test("any tree", () => {
      fc.assert(
        fc.property(anyTree, (node) => {
          const tree = fresh();
          writeTree(Buffer.from(tree), node);
          expect(listed(shell, system, tree).said).toBe(expected(tree));
        }),
        { numRuns: 12 },
      );
    });

    test("what no output may hold has a word for it", () => {
      const tree = fresh();
      fs.mkdirSync(tree);
      execFileSync("mkfifo", [`${tree}/a b`]);
      execFileSync("mknod", [`${tree}/null`, "c", "1", "3"]);
      for (const [name, mode] of [
        ["suid", 0o4755],
        ["sgid", 0o2755],
        ["sticky", 0o1755],
      ] as const) {
        fs.writeFileSync(`${tree}/${name}`, "");
        fs.chmodSync(`${tree}/${name}`, mode);
      }
      const { work } = listed(shell, system, tree);
      const lines = fs.readFileSync(`${work}/lines`, "utf8").trimEnd().split("\n");
      const kinds = lines.map((line) => line.split(" ").slice(0, 3).join(" "));
      const octal = (name: string): string => [...name].map((one) => one.charCodeAt(0).toString(8).padStart(3, "0")).join("");
      expect(kinds).toEqual([
        ". d 1",
        `${octal("a b")} fifo 0`,
        `${octal("null")} char 0`,
        `${octal("sgid")} special 1`,
        `${octal("sticky")} f 1`,
        `${octal("suid")} special 1`,
      ]);
      expect(fs.readFileSync(`${work}/odd`, "utf8")).toBe(
        `fifo ${octal("a b")}\nchar ${octal("null")}\nspecial ${octal("sgid")}\nspecial ${octal("suid")}\n`,
      );
    });
  });
});

test("Nix says the same", () => {
  const tree = fresh();
  hostileTree(tree);
  const archive = execFileSync("nix-store", ["--dump", tree], { maxBuffer: 1 << 26 });
  expect(listed(SHELLS.dash, "x86_64-linux", tree).said).toBe(`${sha256(archive)} ${archive.byteLength}`);
});
