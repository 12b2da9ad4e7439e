/** Hosts on which the sandbox cannot be had say so, with the tool's own words, and nothing stays behind. */
import { describe, expect, test } from "bun:test";
import { type Command, localHost, type Running, type SpawnOptions } from "../host/index.ts";
import { openSandbox, planSandbox } from "./index.ts";
import { makeUserNamespace } from "./namespace.ts";
import { sampleRequest } from "./testing.ts";
import { isProblem } from "./expect.testing.ts";
import { makeWarden } from "./warden.ts";

const local = localHost();
/** The host, with a program that fails in place of the one that is asked for. */
const failing = {
  ...local,
  spawn: (_: Command, options?: SpawnOptions): Running =>
    local.spawn({ argv: ["sh", "-c", "echo not permitted >&2; exit 1"] }, options),
};

describe("a sandbox that cannot be had", () => {
  test("no user namespaces", () => {
    expect(makeUserNamespace(failing)).rejects.toThrow(isProblem("E_SANDBOX_UNAVAILABLE", ["not permitted"]));
  });

  test("a container whose root is not the machine's: the kernel refuses the map", async () => {
    const files = {
      ...local.files,
      writeFile: () => {
        throw Object.assign(new Error("EPERM: operation not permitted, write"), { code: "EPERM" });
      },
    };
    const made = makeUserNamespace({ ...local, files });
    expect(made).rejects.toThrow(isProblem("E_SANDBOX_UNAVAILABLE", ["EPERM: operation not permitted, write"]));
    await made.catch(() => undefined);
  });

  test("no process to stand by, as often as it is asked for", async () => {
    const warden = makeWarden(failing, String(process.pid), []);
    for (const round of [1, 2]) {
      const held = await warden.hold().then(
        () => `held in round ${round}`,
        (error: unknown) => error,
      );
      expect(held).toMatchObject({ code: "E_SANDBOX_UNAVAILABLE", details: ["not permitted"] });
    }
    await warden.close();
  });
});

describe("a plan for the other system", () => {
  test("is shown", () => {
    const plan = planSandbox(
      sampleRequest({ system: "x86_64-freebsd", root: { kind: "host", paths: ["/bin", "/usr", "/usr/bin"] } }),
    );
    const { files, enter } = openSandbox(local).render(plan);
    expect(Object.keys(files).toSorted()).toEqual(["jail.conf", "run.sh"]);
    expect(files["run.sh"]).toContain('mount_nullfs -o ro /usr "$root"/usr;');
    expect(files["run.sh"]).not.toContain("mount_nullfs -o ro /usr/bin");
    expect(enter).toBe("sh /r/frx/var/garth/tmp/1/sandbox/run.sh enter");
  });
});
