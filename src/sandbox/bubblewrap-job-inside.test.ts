/** Builds by run.sh under real bubblewrap, seen from inside; each under every sh. */
import { afterAll, describe, expect, onTestFinished, test } from "bun:test";
import { chmodSync, chownSync, lstatSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { INTERPRETERS, leftOf, openJobs, type StartOptions } from "./bubblewrap-job.testing.ts";
import { CAN_SANDBOX, HOST_VIEW, outputPath } from "./testing.ts";
import type { SandboxPlan } from "./types.ts";

const FIRST_USER = 36_001;
const jobs = openJobs(FIRST_USER);
afterAll(jobs.close);

/** A line of shell that answers "done" or "refused". */
const attempt = (command: string): string => `if { ${command}; } >/dev/null 2>&1; then echo done; else echo refused; fi`;

for (const [name, sh] of INTERPRETERS) {
  /** What a line of shell prints; it must succeed. */
  async function inside(
    script: string,
    changes: Parameters<typeof jobs.prepare>[1] = {},
    options: StartOptions = {},
  ): Promise<string> {
    const end = await jobs.run(jobs.prepare(script, changes), { sh, ...options });
    expect(end).toMatchObject({ status: 0, words: [], report: { status: 0 } });
    return end.text;
  }

  describe.if(CAN_SANDBOX)(`a build on a Linux host, under ${name}`, () => {
    test("says what it does, and leaves nothing", async () => {
      const plan = jobs.prepare("echo made >$out/x; exit 7");
      const end = await jobs.run(plan, { sh });
      expect(end).toMatchObject({ status: 0, text: "", words: [] });
      expect(end.events).toEqual([`user ${FIRST_USER} ${FIRST_USER}`, "limits all", "created", "started", "exited 7"]);
      expect(await leftOf(jobs)).toEqual([]);
      const { uid, gid } = lstatSync(join(plan.scratch, "../out/x"));
      expect([uid, gid]).toEqual([FIRST_USER, FIRST_USER]);
    });

    test("is the chosen user, without a group of its caller's, and cannot become another", async () => {
      const text = await inside(
        [
          "id",
          "grep -E '^(Groups|CapInh|CapPrm|CapEff|CapBnd|NoNewPrivs|SigBlk|SigIgn)' /proc/self/status | tr -d '\\t '",
          attempt("setpriv --reuid 0 true"),
          attempt("setpriv --groups 0 true"),
          attempt("unshare --user --map-root-user true"),
          "ls /proc/self/fd | tr '\\n' ' '",
        ].join("\n"),
        {},
        { before: ["setpriv", "--groups", "0,5,6"] },
      );
      expect(text.split("\n")).toEqual([
        `uid=${FIRST_USER}(garth) gid=${FIRST_USER}(garth) groups=${FIRST_USER}(garth)`,
        "Groups:",
        "SigBlk:0000000000000000",
        "SigIgn:0000000000000000",
        "CapInh:0000000000000000",
        "CapPrm:0000000000000000",
        "CapEff:0000000000000000",
        "CapBnd:0000000000000000",
        "NoNewPrivs:1",
        "refused",
        "refused",
        "refused",
        "0 1 2 3 ",
      ]);
    });

    test("sees nothing of the host but what was declared", async () => {
      const sentinel = join(jobs.directory, `sentinel-${sh.length}`);
      writeFileSync(sentinel, "outside", { mode: 0o644 });
      const text = await inside(
        `${attempt(`cat ${sentinel}`)}; ls -A /; ls -A /etc /build /tmp; readlink /bin; ls /frx/store; ls /proc | grep -c '^[0-9]'`,
      );
      expect(text.split("\n")).toEqual([
        "refused",
        ..."bin build dev etc frx lib lib64 proc sbin tmp usr".split(" "),
        "/build:",
        "",
        "/etc:",
        ..."alternatives group hosts nsswitch.conf passwd".split(" "),
        "",
        "/tmp:",
        "usr/bin",
        outputPath("0", "hello-1.0").slice("/frx/store/".length),
        "4",
        "",
      ]);
    });

    test("reads its inputs and cannot write to them, whoever owns them", async () => {
      const tree = join(jobs.directory, `a tree of "${sh.length}" $(id)`);
      const file = join(jobs.directory, `file '${sh.length}'`);
      mkdirSync(tree);
      writeFileSync(join(tree, "f"), "of the tree\n");
      writeFileSync(file, "a file\n");
      chmodSync(join(tree, "f"), 0o666);
      chownSync(tree, FIRST_USER, FIRST_USER);
      const [a, b] = [outputPath("a", "tree"), outputPath("b", "file.tar")];
      const text = await inside(
        [`cat ${a}/f ${b}`, ...[`echo x >${a}/f`, `echo x >${a}/new`, `rm ${a}/f`, `echo x >${b}`].map(attempt)].join("\n"),
        {
          inputs: [
            { path: a, physical: tree, type: "directory" },
            { path: b, physical: file, type: "file" },
          ],
        },
      );
      expect(text).toBe("of the tree\na file\nrefused\nrefused\nrefused\nrefused\n");
    });

    test("writes to its outputs, /build and /tmp alone", async () => {
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
      expect(text.trimEnd().split("\n")).toEqual([...Array<string>(8).fill("refused"), "done", "done", "done"]);
    });

    test("has its words, variables, name and places, whatever is in them", async () => {
      const odd = `a\nb'"$(id)\`id\`\\ !*~#`;
      const plan = jobs.prepare("", {
        argv: [
          "/bin/sh",
          "-c",
          'printf "%s|" "$@"; cat; hostname; pwd; env | grep -v -e "^PWD" -e "^_" | sort',
          "sh",
          odd,
          "",
          "EOF\nEOF\n",
          "-n",
        ],
        env: { HOME: "/x\nEOF\n$(id)", ODD: odd, EMPTY: "" },
      });
      const end = await jobs.run(plan, { sh });
      expect(end).toMatchObject({ status: 0, words: [] });
      expect(end.text).toBe(
        `${odd}||EOF\nEOF\n|-n|garth-hello-1a2b3c4d\n/build\n${[
          "EMPTY=",
          "HOME=/x",
          "EOF",
          "$(id)",
          "LC_ALL=C.UTF-8",
          ...`ODD=${odd}`.split("\n"),
          `PATH=${plan.env["PATH"]}`,
          "SOURCE_DATE_EPOCH=1",
          "TMPDIR=/tmp",
          `out=${plan.env["out"]}`,
        ]
          .toSorted()
          .join("\n")}\n`,
      );
    });

    test("prints both its streams in order, and may open them again by name", async () => {
      expect(await inside("echo one >&2; echo two >/dev/stdout; echo three >/dev/stderr; echo four; printf five >&2")).toBe(
        "one\ntwo\nthree\nfour\nfive",
      );
    });

    test("has a network only where the plan has it", async () => {
      const server = createServer((socket) => socket.end("hello\n"));
      const port = await new Promise<number>((resolve) => {
        server.listen(0, "127.0.0.1", () => {
          const address = server.address();
          resolve(typeof address === "object" && address !== null ? address.port : 0);
        });
      });
      try {
        const ask = `bash -c 'cat </dev/tcp/127.0.0.1/${port}' 2>/dev/null || echo nobody; grep -c : /proc/net/dev`;
        expect(await inside(ask)).toBe("nobody\n1\n");
        expect(await inside(ask, { network: true })).toStartWith("hello\n");
      } finally {
        server.close();
      }
    });

    test("cannot read another's scratch directory", async () => {
      const other = jobs.prepare("echo secret >/build/x; echo ready; read -r line </tmp/never || :; sleep 1000");
      const running = jobs.start(other, { sh });
      try {
        await running.untilPrinted("ready");
        expect(await inside(`id -u; ${attempt(`ls ${other.scratch}`)}; ${attempt(`ls /proc/${running.pid}/root/`)}`)).toBe(
          `${FIRST_USER + 1}\nrefused\nrefused\n`,
        );
        // Nor from outside, as that user.
        const look = Bun.spawnSync([
          "setpriv",
          "--reuid",
          String(FIRST_USER + 1),
          "--clear-groups",
          "ls",
          `${other.scratch}/build`,
        ]);
        expect(look.exitCode).not.toBe(0);
      } finally {
        await running.letGo();
        await running.ended;
      }
      expect(await leftOf(jobs, [FIRST_USER, FIRST_USER + 1])).toEqual([]);
    });

    for (const status of [0, 1, 7, 124, 137, 255]) {
      test(`brings status ${status} through`, async () => {
        const end = await jobs.run(jobs.prepare(`exit ${status}`), { sh });
        expect([end.status, end.report.status, end.report.limit]).toEqual([0, status, undefined]);
      });
    }

    for (const [signal, number] of Object.entries({ KILL: 9, TERM: 15, SEGV: 11, INT: 2, HUP: 1, PIPE: 13 })) {
      test(`brings SIG${signal} through`, async () => {
        const end = await jobs.run(jobs.prepare(`kill -${signal} $$; echo still here`), { sh });
        expect([end.status, end.report.status, end.text]).toEqual([0, 128 + number, ""]);
      });
    }

    test("a program that is not there is no builder", async () => {
      const end = await jobs.run(jobs.prepare("", { argv: ["/nowhere/program"] }), { sh });
      expect(end).toMatchObject({ status: 3, text: "bwrap: execvp /nowhere/program: No such file or directory\n" });
      expect(end.words).toEqual(["bwrap could not make the sandbox, or could not start the builder in it: the output says why"]);
      expect(end.report.status).toBeUndefined();
      expect(await leftOf(jobs)).toEqual([]);
    });

    test("a source that is not there, by its number", async () => {
      const plan = jobs.prepare("echo ran", {
        inputs: [
          { path: outputPath("a", "there"), physical: "/usr", type: "directory" },
          { path: outputPath("b", "not"), physical: "/nowhere/it's", type: "directory" },
          { path: outputPath("c", "nor"), physical: "/nowhere/file", type: "file" },
        ],
      });
      const end = await jobs.run(plan, { sh });
      expect(end).toMatchObject({ status: 3, text: "", report: { missing: [1, 2], created: false } });
      expect(await leftOf(jobs)).toEqual([]);
    });

    test("a path of the view that is not there, by its number; a link; a file", async () => {
      // Not where the sandbox has its own /tmp.
      const links = mkdtempSync("/var/tmp/garth-job-test ");
      writeFileSync(join(links, "file"), "a file\n");
      symlinkSync('it\'s a "$(place)"', join(links, "link"));
      onTestFinished(() => rmSync(links, { recursive: true }));
      const paths = ["/nowhere", ...HOST_VIEW, join(links, "file"), join(links, "link")];
      const end = await jobs.run(
        jobs.prepare(`cat '${links}/file'; readlink '${links}/link'`, { root: { kind: "host", paths } }),
        { sh },
      );
      expect(end).toMatchObject({ status: 0, text: 'a file\nit\'s a "$(place)"\n', report: { absent: [0], status: 0 } });
    });

    test("the place of a mount that a symlink of the root leads away from is refused", async () => {
      const plan = jobs.prepare("echo ran");
      const away = (target: string): SandboxPlan => ({
        ...plan,
        mounts: [...plan.mounts, { kind: "read-only", source: "/usr", target, type: "directory" }],
      });
      const index = plan.mounts.length;
      for (const target of ["/bin/x", "/usr/bin/sh"]) {
        const end = await jobs.run(jobs.write(away(target)), { sh });
        expect(end).toMatchObject({ status: 3, text: "", report: { refused: [index], created: false } });
      }
    });
  });
}
