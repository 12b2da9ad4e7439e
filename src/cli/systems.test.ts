/** What the commands of worlds, systems, images, machines and gates refuse, and how they explain themselves. */
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { boot } from "../machine/testing.ts";
import { commandHelp } from "./help.ts";
import { type CommandPlace, commandPlace } from "./systems.testing.ts";
import { SYSTEMS } from "./table-systems.ts";

// The first call may have to compile the program.
setDefaultTimeout(240_000);
let place: CommandPlace;
beforeAll(() => {
  place = commandPlace();
  place.disk("disk.raw", boot.halt);
  writeFileSync(join(place.directory, "bad.toml"), 'timeout_s = "soon"\n');
});
afterAll(() => place.remove());

test.each(SYSTEMS.map((command) => [command.path.join(" "), command] as const))(
  "%s has its help and its handler",
  async (_name, command) => {
    expect(place.call(...command.path, "--help")).toEqual({ status: 0, stdout: `${commandHelp(command)}\n`, stderr: "" });
    expect(typeof (await command.load())).toBe("function");
  },
);

test.each([
  [["world", "import"], "E_USAGE", "needs PATH|REF"],
  [["world", "import", "nothing"], "E_NO_SUCH_FILE", "is not there"],
  [["world", "import", "tree", "--name", "a b"], "E_USAGE", "--name a b"],
  [["world", "import", "#tiny", "--label", "1"], "E_USAGE", "the project file"],
  [["world", "import", "#tinny"], "E_UNKNOWN_NAME", "did you mean #tiny?"],
  [["world", "import", "#web"], "E_NOT_A_WORLD", "is a system"],
  [["world", "slice", "nothing"], "E_NO_SUCH_ITEM", "store ls"],
  [["world", "slice", "#headers", "--keep", "etc"], "E_USAGE", "the project file says"],
  [["system", "build", "#"], "E_USAGE", "FILE#NAME"],
  [["system", "build", "."], "E_WHICH_SYSTEM", "exports 3 systems"],
  [["system", "build", "#tiny"], "E_NOT_A_SYSTEM", "is a world"],
  [["system", "image", "#web", "--format", "qcow2"], "E_USAGE", "--out FILE"],
  [["system", "image", "#web", "--out", "x", "--format", "qcow"], "E_USAGE", "did you mean qcow2?"],
  [["system", "diff", "#web"], "E_USAGE", "needs SYSTEM|ITEM"],
  [["image", "inspect", "nothing"], "E_NO_SUCH_IMAGE", "there is no image"],
  [["image", "inspect", "disk.raw"], "E_NOT_AN_IMAGE", "GUID partition table"],
  [["image", "verify", "tree"], "E_NOT_AN_IMAGE", "is a directory"],
  [["image", "convert", "disk.raw", "disk.iso"], "E_USAGE", "--format raw"],
  [["image", "convert", "disk.raw", "bad.toml", "--format", "raw"], "E_FILE_EXISTS", "is there already"],
  [["machine", "run", "disk.raw", "--memory", "1K"], "E_USAGE", "a whole number of MiB"],
  [["machine", "run", "disk.raw", "--cpus", "none"], "E_USAGE", "--cpus none"],
  [["machine", "run", "disk.raw", "--accelerator", "fast"], "E_USAGE", "auto, kvm or tcg"],
  [["machine", "run", "disk.raw", "--firmware", "none"], "E_USAGE", "uefi or bios"],
  [["machine", "run", "disk.raw", "--direct"], "E_USAGE", "name the SYSTEM"],
  [["machine", "run", "disk.raw", "--forward", "80"], "E_USAGE", "HOST:GUEST"],
  [["machine", "run", "disk.raw", "--forward", "0:22", "--no-network"], "E_USAGE", "exclude each other"],
  [["machine", "run", "disk.raw", "--name", "a/b", "--dry-run"], "E_MACHINE_SPEC", "name"],
  [["machine", "console", "nobody"], "E_NO_MACHINE", "nobody"],
  [["machine", "stop", "nobody"], "E_NO_MACHINE", "nobody"],
  [["machine", "screenshot", "nobody", "x.png"], "E_NO_MACHINE", "nobody"],
  [["gate", "run", "disk.raw", "--gate", "bad.toml"], "E_BAD_GATE", "bad.toml:1"],
  [["gate", "run", "disk.raw", "--gate", "nothing.toml"], "E_NO_SUCH_FILE", "nothing.toml"],
  [["gate", "run", "#tiny"], "E_NOT_A_SYSTEM", "a world"],
  [["gate", "show", "nothing"], "E_NO_VERDICT", "gate run"],
  [["gate", "show", "nothing", "--trust-key", "bad.toml"], "E_USAGE", "a public key in PEM"],
])("%p is refused with status 2: %s", (words, code, text) => {
  const said = place.call(...words);
  expect(said).toMatchObject({ status: 2, stdout: "" });
  expect(said.stderr).toContain(`error ${code}: `);
  expect(said.stderr).toContain(text);
});
