/** The real sandbox, seen from inside. Each line of shell is written so that it says what it saw. */
import { afterAll, describe, expect, test } from "bun:test";
import { chmodSync, chownSync, lstatSync, mkdirSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { join } from "node:path";
import { openInside } from "./inside.testing.ts";
import { CAN_SANDBOX, outputPath } from "./testing.ts";

const { sandbox, place, run, inside, close } = openInside();
afterAll(close);

/** A line of shell that answers "done" or "refused". */
const attempt = (command: string): string => `if { ${command}; } >/dev/null 2>&1; then echo done; else echo refused; fi`;

function listen(
  server: Server,
  where: { readonly port: number; readonly host: string } | { readonly path: string },
): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(where, resolve);
  });
}

describe.if(CAN_SANDBOX)("what is there", () => {
  test("nothing of the host but what was declared", async () => {
    const sentinel = join(place.directory, "sentinel");
    writeFileSync(sentinel, "outside");
    expect(await inside(attempt(`cat ${sentinel}`))).toBe("refused\n");
    expect((await inside("ls -A /")).split("\n").filter((name) => name !== "")).toEqual(
      "bin build dev etc frx lib lib64 proc sbin tmp usr".split(" "),
    );
    expect(await inside("ls -A /etc; ls -A /tmp /build")).toBe(
      "alternatives\ngroup\nhosts\nnsswitch.conf\npasswd\n/build:\n\n/tmp:\n",
    );
    expect(await inside(`ls -A /frx/store`)).toBe(`${outputPath("0", "hello-1.0").slice("/frx/store/".length)}\n`);
  });

  test("inputs, trees and single files, can be read and not written", async () => {
    const tree = join(place.directory, "tree");
    const file = join(place.directory, "file.tar");
    mkdirSync(tree, { recursive: true });
    writeFileSync(join(tree, "f"), "of the tree\n");
    writeFileSync(file, "a file\n");
    // Even what the build user owns and may write to outside.
    chmodSync(join(tree, "f"), 0o666);
    chownSync(tree, 35_001, 35_001);
    const [a, b] = [outputPath("a", "tree"), outputPath("b", "file.tar")];
    const text = await inside(
      [
        `cat ${a}/f ${b}`,
        attempt(`echo x >${a}/f`),
        attempt(`echo x >${a}/new`),
        attempt(`rm ${a}/f`),
        attempt(`echo x >${b}`),
      ].join("\n"),
      {
        inputs: [
          { path: a, physical: tree, type: "directory" },
          { path: b, physical: file, type: "file" },
        ],
      },
    );
    expect(text).toBe("of the tree\na file\nrefused\nrefused\nrefused\nrefused\n");
  });

  test("only the outputs, /build and /tmp can be written", async () => {
    const places = [
      "/",
      "/etc",
      "/usr",
      "/frx",
      "/frx/store",
      "/dev",
      "/homeless",
      "/proc/sys/kernel/hostname",
      "$out",
      "/build",
      "/tmp",
    ];
    const text = await inside(places.map((path) => attempt(`echo x >${path}/x || echo x >${path}`)).join("\n"));
    expect(text.trimEnd().split("\n")).toEqual([
      "refused",
      "refused",
      "refused",
      "refused",
      "refused",
      "refused",
      "refused",
      "refused",
      "done",
      "done",
      "done",
    ]);
  });

  test("outputs are there, empty, and what is written belongs to the build user", async () => {
    const plan = place.plan("ls -A $out; mkdir $out/bin; echo '#!/bin/sh' >$out/bin/x; chmod 755 $out/bin/x");
    expect(await run(plan)).toEqual({ result: { kind: "exited", status: 0 }, text: "" });
    const { uid, gid, mode } = lstatSync(join(plan.scratch, "../out/bin/x"));
    expect([uid, gid, mode & 0o777]).toEqual([35_001, 35_001, 0o755]);
  });

  test("the output can be opened by name, and keeps its order", async () => {
    expect(await inside("echo one >&2; echo two >/dev/stdout; echo three >/dev/stderr; echo four")).toBe(
      "one\ntwo\nthree\nfour\n",
    );
  });

  test("host name, variables, working directory, no standard input", async () => {
    const text = await inside("hostname; pwd; cat; printf '%s\\n' \"$CFLAGS\"; unset CFLAGS; env | sort", {
      env: { CFLAGS: "-O2 -g\n'\"$(x)" },
    });
    expect(text.split("\n")).toEqual([
      "garth-hello-1a2b3c4d",
      "/build",
      "-O2 -g",
      `'"$(x)`,
      "HOME=/homeless",
      "LC_ALL=C.UTF-8",
      "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
      "PWD=/build",
      "SOURCE_DATE_EPOCH=1",
      "TMPDIR=/tmp",
      `out=${outputPath("0", "hello-1.0")}`,
      "",
    ]);
  });

  test("/proc shows only the sandbox", async () => {
    const names = (await inside("cat /proc/[0-9]*/comm")).trimEnd().split("\n");
    expect(new Set(names)).toEqual(new Set(["bwrap", "sh"]));
    expect(await inside(attempt(`test -e /proc/${process.pid}/stat && grep -q bun /proc/${process.pid}/comm`))).toBe("refused\n");
  });

  test("/dev holds the harmless devices and they work", async () => {
    expect((await inside("ls /dev")).trimEnd().split("\n")).toEqual(
      "core fd full null ptmx pts random shm stderr stdin stdout tty urandom zero".split(" "),
    );
    expect(
      await inside(
        "echo x >/dev/null; head -c 4 /dev/zero | wc -c; head -c 4 /dev/urandom | wc -c; echo y >/dev/shm/y; cat /dev/shm/y",
      ),
    ).toBe("4\n4\ny\n");
  });

  test("no descriptor of Garth's is handed on", async () => {
    // ls itself has the directory open, as the lowest number that is free.
    expect(await inside("ls /proc/self/fd")).toBe("0\n1\n2\n3\n");
  });

  test("a world is the root, with its own links and directories, and cannot be written", async () => {
    const world = join(place.directory, "world");
    for (const directory of ["usr/bin", "usr/lib", "usr/lib64", "etc", "proc", "tmp", "dev"])
      mkdirSync(join(world, directory), { recursive: true });
    for (const program of ["sh", "cat", "ls", "id"]) Bun.spawnSync(["cp", "-L", `/usr/bin/${program}`, join(world, "usr/bin")]);
    Bun.spawnSync(["sh", "-c", 'cd "$1" && ln -s usr/bin bin && ln -s usr/lib lib && ln -s usr/lib64 lib64', "sh", world]);
    Bun.spawnSync([
      "sh",
      "-c",
      'cp -L --parents $(ldd /usr/bin/ls /usr/bin/id /usr/bin/sh | grep -o "/lib[^ ]*" | sort -u) "$1"',
      "sh",
      world,
    ]);
    writeFileSync(join(world, "etc/passwd"), "root:x:0:0::/:/bin/sh\n");
    writeFileSync(join(world, "etc/os-release"), "ID=small\n");
    const text = await inside(
      [
        "cat /etc/os-release",
        "id -un",
        "ls -A /usr /tmp",
        attempt("echo x >/usr/x"),
        attempt("echo x >/x"),
        attempt("test -e /sbin"),
      ].join("\n"),
      { root: { kind: "world", path: outputPath("c", "world"), physical: world } },
    );
    expect(text).toBe("ID=small\ngarth\n/tmp:\n\n/usr:\nbin\nlib\nlib64\nrefused\nrefused\nrefused\n");
  });
});

describe.if(CAN_SANDBOX)("who one is", () => {
  test("a bare number, with no group beside its own, no capability, and no way to get any", async () => {
    const status = await inside("grep -E '^(Uid|Gid|Groups|Cap|NoNewPrivs)' /proc/self/status");
    expect(
      status
        .replaceAll(/[ \t]+/g, " ")
        .replaceAll(" \n", "\n")
        .trimEnd()
        .split("\n"),
    ).toEqual([
      "Uid: 35001 35001 35001 35001",
      "Gid: 35001 35001 35001 35001",
      "Groups:",
      "CapInh: 0000000000000000",
      "CapPrm: 0000000000000000",
      "CapEff: 0000000000000000",
      "CapBnd: 0000000000000000",
      "CapAmb: 0000000000000000",
      "NoNewPrivs: 1",
    ]);
  });

  test("groups that Garth has itself are not handed on", async () => {
    const directory = join(place.directory, "groups");
    mkdirSync(directory);
    const program = join(import.meta.dir, "run.testing.ts");
    const script = "id -G; grep Groups /proc/self/status";
    const child = Bun.spawnSync(["setpriv", "--groups", "0,4,5,27", process.execPath, program, directory, "35002", script]);
    expect(child.stdout.toString().replaceAll(/[ \t]+\n/g, "\n")).toBe('35002\nGroups:\n{"kind":"exited","status":0}\n');
  });

  test("no way back to root", async () => {
    const attempts = [
      "setpriv --reuid 0 true",
      "setpriv --clear-groups true",
      "su -c true",
      "unshare -r true",
      "unshare -m true",
      "unshare -U true",
      "chroot / true",
      "mount -t tmpfs none /tmp",
      "mount -o remount,rw /usr",
      "umount /usr",
      "mknod /tmp/null c 1 3",
      "mknod /tmp/sda b 8 0",
      "chown 0:0 /tmp",
      "hostname other",
      "nsenter -t 1 -m true",
      "kill -0 -- -1 && kill -0 1 && false",
    ];
    expect((await inside(attempts.map(attempt).join("\n"))).trimEnd().split("\n")).toEqual(attempts.map(() => "refused"));
  });

  test("a setuid program of root's runs as the build user", async () => {
    const setuid = join(place.directory, "setuid");
    mkdirSync(setuid);
    Bun.spawnSync(["cp", "/usr/bin/id", setuid]);
    chmodSync(join(setuid, "id"), 0o4755);
    const input = outputPath("d", "setuid");
    expect(await inside(`${input}/id -u`, { inputs: [{ path: input, physical: setuid, type: "directory" }] })).toBe("35001\n");
  });

  test("another running build, of another user, cannot be seen or read", async () => {
    const first = place.plan(
      "echo secret >/build/secret; chmod 644 /build/secret; echo there; while [ ! -e /tmp/go ]; do sleep 0.02; done",
    );
    const there = Promise.withResolvers<void>();
    const running = sandbox.run(first, { onOutput: () => there.resolve() });
    await there.promise;
    const other = { kind: "drop", uid: 35_002, gid: 35_002 } as const;
    const text = await inside(
      [attempt(`cat ${first.scratch}/build/secret`), "cat /proc/[0-9]*/comm | grep -c sleep", "ls -A /build; id -u"]
        .join("\n")
        .replace("sleep\n", "sleep || :\n"),
      { identity: other },
    );
    writeFileSync(join(first.scratch, "tmp/go"), "");
    expect((await running).result).toEqual({ kind: "exited", status: 0 });
    expect(text).toBe("refused\n0\n35002\n");
  });
});

describe.if(CAN_SANDBOX)("no network", () => {
  const python = (program: string): string =>
    `if command -v perl >/dev/null; then perl -MIO::Socket::INET -MIO::Socket::UNIX -e '${program}'; else echo no perl; fi`;

  test("not even the host's loopback", async () => {
    let knocked = 0;
    const server = createServer((socket) => {
      knocked += 1;
      socket.destroy();
    });
    await listen(server, { port: 0, host: "127.0.0.1" });
    const address = server.address();
    const port = typeof address === "object" ? (address?.port ?? 0) : 0;
    const connect = `my $s = IO::Socket::INET->new(PeerAddr => "127.0.0.1", PeerPort => ${port}); print $s ? "open\\n" : "closed: $!\\n"`;
    expect(Bun.spawnSync(["sh", "-c", python(connect)]).stdout.toString()).toBe("open\n");
    expect(await inside(python(connect))).toBe("closed: Connection refused\n");
    expect(await inside("cat /proc/net/route | wc -l; grep -c : /proc/net/dev")).toBe("1\n1\n");
    server.close();
    expect(knocked).toBe(1);
  });

  test("not abstract sockets", async () => {
    const name = `garth-test-${process.pid}`;
    const server = createServer((socket) => socket.destroy());
    await listen(server, { path: `\0${name}` });
    const connect = `my $s = IO::Socket::UNIX->new(Peer => "\\0${name}"); print $s ? "open\\n" : "closed: $!\\n"`;
    expect(Bun.spawnSync(["sh", "-c", python(connect)]).stdout.toString()).toBe("open\n");
    expect(await inside(python(connect))).toBe("closed: Connection refused\n");
    server.close();
  });
});
