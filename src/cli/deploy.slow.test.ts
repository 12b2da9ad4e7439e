/** Words of the commands for machines that are refused, over a real sshd of a machine that Garth did not make. */
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { openTestHost, type TestHost } from "../remote/testing.ts";
import { type CommandPlace, commandPlace } from "./systems.testing.ts";

// The first call may have to compile the program.
setDefaultTimeout(240_000);
let place: CommandPlace;
let there: TestHost;
beforeAll(async () => {
  place = commandPlace();
  there = await openTestHost({ kind: "linux" });
});
afterAll(async () => {
  await there.close();
  place.remove();
});

const refused = (...words: readonly string[]): readonly unknown[] => {
  const { status, stdout } = place.call(...words, "--json");
  return [status, Object(JSON.parse(stdout)).error.code];
};
const reach = (): readonly string[] => ["--identity", there.identityFile, "--host-key", there.hostKey];

test("a machine that Garth did not make is not touched, and nothing is built for it", () => {
  const { url } = there.wish;
  for (const words of [
    ["switch", "garth.ts#web", url],
    ["rollback", url],
    ["generations", url],
    ["generations", url, "--remove", "2"],
  ])
    expect(refused("system", ...words, ...reach())).toEqual([2, "E_NOT_A_SYSTEM_MACHINE"]);
  expect(place.document("system", "generations", url, ...reach())).toMatchObject({
    error: {
      message: expect.stringMatching(
        /^ssh:\/\/root@127\.0\.0\.1:\d+ \(Linux on \S+\) does not run a system that can be switched/,
      ),
    },
  });
  expect(place.call("store", "ls").stdout).not.toContain("system-web");
  expect(refused("system", "generations", url, "--identity", there.identityFile)).toEqual([3, "E_HOST_KEY_UNKNOWN"]);
});

test("a host that is known is reached by its name, with the key that was recorded", () => {
  const { url, root } = there.wish;
  expect(place.call("host", "add", "farm", url, "--directory", root ?? "", ...reach()).status).toBe(0);
  expect(refused("system", "generations", "farm")).toEqual([2, "E_NOT_A_SYSTEM_MACHINE"]);
  expect(refused("system", "generations", "farm", ...reach())).toEqual([2, "E_BAD_HOST"]);
  expect(refused("system", "generations", "form")).toEqual([2, "E_UNKNOWN_HOST"]);
});

test("words that are none", () => {
  const usage = [2, "E_USAGE"];
  expect(refused("system", "switch", "garth.ts#web")).toEqual(usage);
  for (const trial of ["5s", "2d"]) expect(refused("system", "rollback", "farm", "--trial", trial)).toEqual(usage);
  expect(refused("system", "rollback", "farm", "--trial", "soon")).toEqual([2, "E_BAD_DURATION"]);
  expect(refused("system", "rollback", "farm", "0")).toEqual(usage);
  expect(refused("system", "rollback", "farm", "--dry-run", "--reboot")).toEqual(usage);
  expect(refused("system", "generations", "farm", "--remove", "1,,2")).toEqual(usage);
  expect(refused("system", "generations", "https://farm")).toEqual([2, "E_BAD_HOST"]);
  expect(refused("system", "generations", "ssh://root:secret@farm")).toEqual([2, "E_BAD_HOST"]);
});
