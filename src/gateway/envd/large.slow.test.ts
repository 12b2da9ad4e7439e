/** Bodies and outputs larger than anything that may be held in memory. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { openTestGuest, type TestGuest } from "../../guest/testing.ts";
import { allOf, callStream, type ServedEnvd } from "./envd.testing.ts";

const GIB = 1024 * 1024 * 1024;
const HELD_MAX_BYTES = 200 * 1024 * 1024;

let guest: TestGuest;
let child: Bun.Subprocess<"ignore", "pipe", "inherit">;
let served: Pick<ServedEnvd, "url">;

beforeAll(async () => {
  guest = await openTestGuest();
  child = Bun.spawn([process.execPath, `${import.meta.dir}/large.child.ts`, JSON.stringify(guest.address)], {
    stdin: "ignore",
    stdout: "pipe",
    stderr: "inherit",
  });
  const { value } = await child.stdout.getReader().read();
  served = {
    url: Buffer.from(value ?? "")
      .toString()
      .trim(),
  };
});

afterAll(async () => {
  child.kill();
  await child.exited;
  await guest.close();
});

/** The most that the data plane's process grew by while something was done: proc(5), VmHWM, which a 5 in clear_refs sets back. */
async function grownBytes(work: () => Promise<void>): Promise<number> {
  writeFileSync(`/proc/${child.pid}/clear_refs`, "5");
  const before = mostBytes();
  await work();
  return mostBytes() - before;
}

function mostBytes(): number {
  return Number(/^VmHWM:\s+(\d+) kB/m.exec(readFileSync(`/proc/${child.pid}/status`, "utf8"))?.[1]) * 1024;
}

/** A client of its own, whose memory is not counted: bytes in, what the server answered out. */
async function sh(script: string): Promise<string> {
  const client = Bun.spawn(["sh", "-c", script], { stdout: "pipe", stderr: "inherit" });
  const text = await new Response(client.stdout).text();
  await client.exited;
  return text;
}

test.each([
  ["as it is", "-H 'Content-Type: application/octet-stream' -X POST -T FILE"],
  ["in a form", "-F 'file=@FILE;filename=/dev/null'"],
])(
  "a gibibyte goes up through a little memory: %s",
  async (_name, options) => {
    // Of holes: it takes no room here, and goes nowhere there.
    const file = `${guest.directory}/large`;
    const words = `curl -s ${options.replace("FILE", file)} '${served.url}/files?path=/dev/null'`;
    const grown = await grownBytes(async () => {
      expect(JSON.parse(await sh(`truncate -s ${GIB} ${file} && ${words}`))).toEqual([
        { name: "null", type: "file", path: "/dev/null" },
      ]);
    });
    expect(grown).toBeLessThan(HELD_MAX_BYTES);
  },
  120_000,
);

test("half a gibibyte of a command's output comes through whole, and through a little memory", async () => {
  const bytes = GIB / 2;
  let got = 0;
  const grown = await grownBytes(async () => {
    const events = await callStream(served, "process.Process/Start", {
      process: { cmd: "head", args: ["-c", String(bytes), "/dev/zero"] },
    });
    for await (const { document } of events) {
      const [, base64] = /"stdout":"([^"]*)"/.exec(JSON.stringify(document)) ?? [];
      if (base64 !== undefined) got += Buffer.byteLength(base64, "base64");
    }
  });
  expect(got).toBe(bytes);
  expect(grown).toBeLessThan(HELD_MAX_BYTES);
}, 120_000);

test("a file of half a gibibyte that nobody reads on stays in the guest", async () => {
  const { stdout } = await guest.guest.run({ argv: ["sh", "-c", "truncate -s 512M big && pwd"] });
  const home = Buffer.from(stdout).toString().trim();
  const grown = await grownBytes(async () => {
    expect(
      Number(await sh(`curl -s --limit-rate 10M --max-time 2 '${served.url}/files?path=${home}/big' | wc -c`)),
    ).toBeGreaterThan(0);
  });
  expect(grown).toBeLessThan(HELD_MAX_BYTES);
  expect(await allOf(await callStream(served, "process.Process/Start", { process: { cmd: "true" } }))).toHaveLength(3);
}, 60_000);
