/** Hosts for tests are what they say they are. */
import { describe, expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { openTestHost, type TestHost } from "./testing.ts";

function sshOf(host: TestHost, commandLine: string): ReturnType<typeof Bun.spawn<"pipe", "pipe", "pipe">> {
  return Bun.spawn([...host.clientWords, commandLine], { stdin: "pipe", stdout: "pipe", stderr: "pipe" });
}

async function say(host: TestHost, commandLine: string): Promise<string> {
  const client = sshOf(host, commandLine);
  await client.stdin.end();
  return `${await new Response(client.stdout).text()}${await new Response(client.stderr).text()}`.trim();
}

describe("a Linux host", () => {
  test("is reached over ssh, and is alone", async () => {
    await using host = await openTestHost({ kind: "linux" });
    expect(await say(host, "id -u; echo $0; uname -s; ps ax -o comm= | sort -u")).toBe("0\nsh\nLinux\nps\nsh\nsort\nsshd");
    expect(host.look("cat /proc/1/comm")).toBe("sshd\n");
    expect(existsSync(host.path(host.identityFile))).toBe(true);
  });

  test("the login shell, the user and sh are chosen", async () => {
    await using host = await openTestHost({ kind: "linux", user: "user", shell: "/bin/csh", sh: "busybox" });
    expect(await say(host, "id -u; echo $version | cut -d' ' -f1; sh --help |& head -n 1 | cut -c1-7")).toBe(
      "1000\ntcsh\nBusyBox",
    );
  });

  test("a dropped connection ends the input of what runs, and the server goes on", async () => {
    await using host = await openTestHost({ kind: "linux" });
    const mark = `${host.directory}/ended`;
    const client = sshOf(
      host,
      `mkfifo ${mark}.fifo; trap '' HUP; echo up; cat >/dev/null; echo ended >${mark}; echo >${mark}.fifo`,
    );
    await client.stdout.getReader().read();
    host.dropConnections();
    expect(await client.exited).toBe(255);
    host.look(`cat ${mark}.fifo`);
    expect(readFileSync(mark, "utf8")).toBe("ended\n");
    expect(await say(host, "echo again")).toBe("again");
  });

  test("power is lost and comes back", async () => {
    await using host = await openTestHost({ kind: "linux" });
    const client = sshOf(host, "setsid sleep 1000 & echo $!; wait");
    await client.stdout.getReader().read();
    await host.reboot();
    expect(await client.exited).toBe(255);
    expect(host.look("ps ax -o comm= | grep -c sleep || :")).toBe("0\n");
    expect(await say(host, "echo again")).toBe("again");
  });
});
