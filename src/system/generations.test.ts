import { describe, expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { golden } from "../base/testing.ts";
import { linuxGenerations } from "./generations-linux.ts";
import { generationsProgram } from "./generations-program.ts";
import { chooseEntry, type LoaderEntry, parseEntries, triedName } from "./generations-loader.testing.ts";
import { planLinux } from "./linux.ts";
import { BOOT, composition } from "./linux.testing.ts";

describe("the program of a Linux system", () => {
  const text = generationsProgram(linuxGenerations(`${BOOT.path}/usr/bin/busybox`, "it's the esp"));

  test("as it was", () => expect(text).toBe(golden(join(import.meta.dir, "golden/linux/generations"), text)));

  test("is in the system item, for the label that the disk has", () => {
    const entry = planLinux(composition()).tree.get("generations");
    expect(entry).toEqual({
      type: "file",
      executable: true,
      content: { kind: "text", text: text.replace(`'it'\\''s the esp'`, "efiboot") },
    });
  });

  test("is one that shells understand, and shellcheck has nothing to say of", () => {
    const said = [
      ["dash", "-n"],
      ["busybox", "sh", "-n"],
      ["shellcheck", "-s", "sh", "-f", "gcc", "-"],
    ].map(([program = "", ...argv]) => {
      const { status, stdout, stderr } = spawnSync(program, argv, { input: text, encoding: "utf8" });
      return [program, status, `${stdout}${stderr}`];
    });
    expect(said).toEqual([
      ["dash", 0, ""],
      ["busybox", 0, ""],
      ["shellcheck", 0, ""],
    ]);
  });
});

/** systemd-boot(7), "Automatic Boot Assessment"; config_entry_compare and config_entry_bump_counters of systemd 252's src/boot/efi/boot.c. */
describe("the loader that tests have", () => {
  const entry = (file: string, sortKey: string, version = "1"): LoaderEntry => {
    const texts = new Map([[file, `sort-key ${sortKey}\nversion ${version}\noptions garth.generation=${version}\n`]]);
    const [parsed] = parseEntries(texts);
    if (parsed === undefined) throw new Error(file);
    return parsed;
  };
  const first = (...entries: readonly LoaderEntry[]): string => chooseEntry(entries).file;

  test("takes the smallest sort key, then the highest version, and last what has no try left", () => {
    const current = entry("garth-current.conf", "garth-1", "9");
    const menu = [entry("garth-9.conf", "garth-2", "9"), entry("garth-10.conf", "garth-2", "10")];
    expect(first(...menu, current)).toBe("garth-current.conf");
    expect(first(...menu)).toBe("garth-10.conf");
    expect(first(current, entry("garth-next+1.conf", "garth-0"))).toBe("garth-next+1.conf");
    expect(first(entry("garth-next+0-1.conf", "garth-0"), ...menu)).toBe("garth-10.conf");
    expect(first(entry("garth-next+0-1.conf", "garth-0"))).toBe("garth-next+0-1.conf");
  });

  test("counts in the name", () => {
    expect(["garth-next+1.conf", "garth-next+3-2.conf", "garth-next+0-1.conf"].map(triedName)).toEqual([
      "garth-next+0-1.conf",
      "garth-next+2-3.conf",
      "garth-next+0-2.conf",
    ]);
  });
});
