/** What a builder is, sees and may do, from inside; and its limits. */
import { mkdirSync, writeFileSync, readFileSync } from "node:fs";
import { shellQuote } from "../../src/host/index.ts";
import { sandboxHostname } from "../../src/sandbox/index.ts";
import type { Case } from "../case.ts";
import { wiredFor } from "../ours.ts";
import { problemOf, tellError } from "../trial.ts";
import { ADDED } from "./check.ts";
import { builder, inside, leftThere } from "./inside.ts";

export const BUILDS = "build: a line of shell runs on the host, and its output comes back";

/** As a build user, by hand. */
export const asUser = (system: "freebsd" | "linux", uid: number): string =>
  system === "freebsd"
    ? `/usr/sbin/chroot -u ${uid} -g ${uid} -G ${uid} /`
    : `setpriv --reuid=${uid} --regid=${uid} --clear-groups`;

export const isolationCases: readonly Case[] = [
  {
    name: BUILDS,
    needs: [ADDED],
    limitMs: 15 * 60_000,
    run: async (trial, suite) => {
      const wired = await wiredFor(trial, suite);
      const one = builder(suite, wired, 'echo hello; echo error >&2; mkdir "$out"/d; echo made >"$out"/d/f; ln -s d/f "$out"/l', {
        signal: trial.signal,
      });
      const { result, text, use } = await one.run();
      trial.equal("how it ended", result, { kind: "exited", status: 0 });
      trial.equal("what it printed", text, "hello\nerror\n");
      trial.equal("its output here", readFileSync(`${one.out}/l`, "utf8"), "made\n");
      trial.equal("its mode", use.mode, suite.host.system === "freebsd" ? "freebsd-jail" : "linux-bubblewrap");
      trial.equal("its numbers", [use.uid, use.gid], [35_001, 35_001]);
      trial.equal("where it ran", use.on?.release, suite.host.release);
      if (suite.host.system === "freebsd") trial.equal("whose limits", use.limits, suite.host.racct ? "all" : "each");
      trial.equal("what is left there", await leftThere(trial, suite), []);
    },
  },
  {
    name: "inside: exactly uid=N gid=N groups=N",
    needs: [BUILDS],
    run: async (trial, suite) => {
      const text = await inside(trial, suite, await wiredFor(trial, suite), "id");
      // Linux: the number has a name in the sandbox's own passwd(5).
      trial.equal("id", text.trim().replaceAll(/\([^)]*\)/g, ""), "uid=35001 gid=35001 groups=35001");
    },
  },
  {
    name: "inside: nobody becomes root",
    needs: [BUILDS],
    run: async (trial, suite) => {
      const wired = await wiredFor(trial, suite);
      const text = await inside(
        trial,
        suite,
        wired,
        `try() { "$@" >/dev/null 2>&1 </dev/null && echo "done: $*"; }
try /usr/sbin/chroot -u 0 / /usr/bin/id
try su root -c id
try chown 0 /build
cp /bin/sh /build/sh; chmod 6755 /build/sh; /build/sh -p -c 'id -u'
cp "$(command -v id)" /tmp/id; chmod 4755 /tmp/id; /tmp/id -u
for p in /usr/bin/su /bin/su /usr/bin/passwd /usr/bin/chsh /usr/bin/newgrp /usr/bin/sudo; do if [ -u "$p" ] && "$p" -c 'id -u' </dev/null 2>/dev/null | grep -qx 0; then echo "root by $p"; fi; done
${suite.host.system === "freebsd" ? 'kill -0 1 2>/dev/null && echo "init can be signalled"' : ""}
echo end`,
      );
      trial.equal("what was possible", text.replaceAll(/\b35001\n/g, "user\n").trim(), "user\nuser\nend");
    },
  },
  {
    name: "inside: nothing of the host but what was declared",
    needs: [BUILDS],
    run: async (trial, suite) => {
      const sentinel = `${suite.root}/sentinel`;
      await suite.hand.sh(`echo secret >${shellQuote(sentinel)}; chmod 0644 ${shellQuote(sentinel)}`);
      const wired = await wiredFor(trial, suite);
      const text = await inside(
        trial,
        suite,
        wired,
        `for p in ${shellQuote(sentinel)} /root /home /var/tmp /var/log /etc/master.passwd /etc/shadow /etc/ssh /boot ${shellQuote(suite.root)}; do [ ! -e "$p" ] || echo "seen $p"; done
ls -A /build /homeless 2>/dev/null | grep -v ':$' | grep . | sed 's/^/in build: /'
ls /frx/store | wc -l | tr -d ' '`,
      );
      trial.equal("what is seen", text.trim(), "1");
    },
  },
  {
    name: "inside: what is declared is read-only, and cannot be changed by its owner's number",
    needs: [BUILDS],
    run: async (trial, suite) => {
      const wired = await wiredFor(trial, suite);
      mkdirSync(`${wired.directory}/input/d`, { recursive: true });
      writeFileSync(`${wired.directory}/input/d/it's a file`, "input\n");
      const item = await wired.store.add(`${wired.directory}/input`, "declared");
      const flat = wired.store.addText("flat", "one file\n", []);
      const inputs = [
        { path: item.path, physical: wired.store.physical(item.path), type: "directory" as const },
        { path: flat.path, physical: wired.store.physical(flat.path), type: "file" as const },
      ];
      const text = await inside(
        trial,
        suite,
        wired,
        `cat ${item.path}/d/*; cat ${flat.path}
try() { sh -c "$1" 2>/dev/null && echo "could: $1"; }
try 'echo x >${item.path}/new'; try 'echo x >"${item.path}/d/it'"'"'s a file"'; try 'rm -rf ${item.path}'; try 'chmod 777 ${item.path}'
try 'echo x >${flat.path}'; try 'rm -f ${flat.path}'; try 'mkdir /frx/store/new'; try 'mkdir /new'; try 'echo x >/bin/new'; try 'echo x >/usr/bin/new'; try 'mv /bin/sh /bin/sh2'
cat ${item.path}/d/*; cat ${flat.path}`,
        { inputs },
      );
      trial.equal("what is read and could be done", text, "input\none file\ninput\none file\n");
      const there = wired.hostStore;
      const said = await trial.sh(
        `cat ${shellQuote(there.physical(item.path))}/d/*; cat ${shellQuote(there.physical(flat.path))}; ls -A ${shellQuote(there.physical(item.path))}`,
      );
      trial.equal("what is on the host", said.stdout, "input\none file\nd\n");
    },
  },
  {
    name: "inside: no network: not the host's sshd, nobody who listens, no ping",
    needs: [BUILDS],
    run: async (trial, suite) => {
      const known = await trial.sh('echo "$SSH_CONNECTION"');
      const [, , address = "127.0.0.1", port = "22"] = known.stdout.trim().split(" ");
      const attempt = (to: string): string =>
        `if command -v nc >/dev/null 2>&1; then nc -w 5 ${to} ${port} </dev/null 2>/dev/null | head -c 4; elif command -v perl >/dev/null 2>&1; then perl -MIO::Socket::INET -e 'my $s = IO::Socket::INET->new(PeerAddr => "${to}", PeerPort => ${port}, Timeout => 5) or exit 1; read $s, my $b, 4; print $b' 2>/dev/null; else printf none; fi; echo " ${to}"`;
      const outside = await trial.sh(`${attempt(address)}`);
      if (outside.stdout.startsWith("none")) trial.skip("neither nc nor perl on the host");
      trial.equal("from the host itself", outside.stdout.trim(), `SSH- ${address}`);
      const wired = await wiredFor(trial, suite);
      const text = await inside(
        trial,
        suite,
        wired,
        `${attempt(address)}; ${attempt("127.0.0.1")}; ${attempt("::1")}; for p in /sbin/ping /bin/ping /usr/bin/ping; do if [ -x "$p" ] && "$p" -c 1 127.0.0.1 >/dev/null 2>&1; then echo pinged; fi; done; echo end`,
      );
      trial.equal(
        "from inside",
        text
          .split("\n")
          .map((line) => line.trim())
          .join(","),
        `${address},127.0.0.1,::1,end,`,
      );
    },
  },
  {
    name: "inside: the host's name, TMPDIR, HOME, the directory, the time of sources, and no other variable",
    needs: [BUILDS],
    run: async (trial, suite) => {
      const wired = await wiredFor(trial, suite);
      const one = builder(
        suite,
        wired,
        'uname -n; pwd; echo "$TMPDIR $HOME $SOURCE_DATE_EPOCH $A"; env | sed "s/=.*//" | sort | tr "\\n" " "',
        { signal: trial.signal, env: { A: `it's "$HOME"\\` } },
      );
      const { text, use } = await one.run();
      const [name, directory, values, variables] = text.split("\n");
      const wanted = sandboxHostname("probe", one.request.hash.slice(0, 8));
      trial.equal("the host's name", [name, use.hostname], [wanted, wanted]);
      trial.equal("the directory", directory, "/build");
      trial.equal("the values", values, `/tmp /homeless 1 it's "$HOME"\\`);
      trial.equal(
        "the variables",
        new Set(
          (variables ?? "")
            .trim()
            .split(" ")
            .filter((one) => !["_", "OLDPWD", "SHLVL", "PWD"].includes(one)),
        ),
        new Set(["A", "HOME", "LC_ALL", "PATH", "SOURCE_DATE_EPOCH", "TMPDIR", "out"]),
      );
    },
  },
  {
    name: "inside: /tmp and /build can be written, are empty, and run programs",
    needs: [BUILDS],
    run: async (trial, suite) => {
      const text = await inside(
        trial,
        suite,
        await wiredFor(trial, suite),
        'ls -A /tmp /build | grep -v ":$" | grep .; for d in /tmp /build "$out"; do printf "#!/bin/sh\\necho ran\\n" >"$d/p" && chmod 755 "$d/p" && "$d/p"; done; mktemp >/dev/null && echo tmp',
      );
      trial.equal("what happened", text, "ran\nran\nran\ntmp\n");
    },
  },
  {
    name: "inside: /dev has what a builder needs, and no disk, no memory",
    needs: [BUILDS],
    run: async (trial, suite) => {
      const text = await inside(
        trial,
        suite,
        await wiredFor(trial, suite),
        'echo x >/dev/null && head -c 2 /dev/zero | wc -c | tr -d " "; head -c 2 /dev/urandom | wc -c | tr -d " "; ls /dev | grep -E "^(mem|kmem|bpf|ada|da[0-9]|vtbd|nda|sd[a-z]|nvme|kvm|pf$)" ; echo end',
      );
      trial.equal("what is there", text, "2\n2\nend\n");
    },
  },
  {
    name: "inside: standard input is empty, both outputs are one",
    needs: [BUILDS],
    run: async (trial, suite) => {
      const text = await inside(
        trial,
        suite,
        await wiredFor(trial, suite),
        'cat | wc -c | tr -d " "; echo a; echo b >&2; echo c',
      );
      trial.equal("what it printed", text, "0\na\nb\nc\n");
    },
  },
  {
    name: "inside: it is in a jail of its own, seen from outside, and gone with it",
    only: "freebsd",
    needs: [BUILDS],
    run: async (trial, suite) => {
      const wired = await wiredFor(trial, suite);
      const here = Promise.withResolvers<void>();
      const cancel = new AbortController();
      const one = builder(suite, wired, "echo here; exec sleep 600", { signal: cancel.signal, onText: () => here.resolve() });
      const running = one.run();
      await Promise.race([here.promise, running]);
      const jail = /"?(garth-[0-9a-f-]+)"? \{/.exec(wired.site.render(one.request).files["jail.conf"] ?? "")?.[1] ?? "";
      const said = await trial.sh(
        `jls -j ${jail} name host.hostname path; jexec ${jail} sh -c 'sysctl -n security.jail.jailed 2>/dev/null || echo 1'; jls -j ${jail} enforce_statfs children.max ip4 ip6 allow.mount allow.raw_sockets allow.set_hostname; ps -axww -o uid= -o command= | awk '$1 >= 35001 && $1 < 40000' | grep -c 'sleep 600'`,
      );
      const lines = said.stdout.trim().split("\n");
      trial.matches(
        "its name, host name and path",
        lines[0] ?? "",
        new RegExp(`^${jail} garth-probe-[0-9a-f]{8} ${suite.root}/garth/tmp/`),
      );
      if (suite.host.standIn === undefined) trial.equal("its parameters", lines[2], "2 0 disable disable false false false");
      trial.equal("its processes", lines.at(-1), "1");
      cancel.abort();
      trial.equal("how it ended", (await running).result, { kind: "cancelled" });
      trial.equal("what is left", await leftThere(trial, suite), []);
    },
  },
  {
    name: "build: exit status and signals of a builder come through",
    needs: [BUILDS],
    limitMs: 15 * 60_000,
    run: async (trial, suite) => {
      const wired = await wiredFor(trial, suite);
      const ended = async (script: string): Promise<unknown> =>
        (await builder(suite, wired, script, { signal: trial.signal }).run()).result;
      trial.equal("exit 7", await ended("exit 7"), { kind: "exited", status: 7 });
      trial.equal("exit 124", await ended("exit 124"), { kind: "exited", status: 124 });
      trial.equal("SEGV", await ended("ulimit -c 0; kill -SEGV $$"), { kind: "signalled", signal: "SIGSEGV" });
      trial.equal("KILL", await ended("kill -KILL $$"), { kind: "signalled", signal: "SIGKILL" });
      trial.equal("TERM", await ended("kill -TERM $$"), { kind: "signalled", signal: "SIGTERM" });
      trial.equal("what is left there", await leftThere(trial, suite), []);
    },
  },
  {
    name: "build: a program that is not there is a failure that says so",
    needs: [BUILDS],
    run: async (trial, suite) => {
      const wired = await wiredFor(trial, suite);
      const one = builder(suite, wired, "", { signal: trial.signal });
      try {
        const { result, text } = await wired.site
          .run({ ...one.request, argv: ["/nowhere/program"] }, { onOutput: () => undefined })
          .then((ran) => ({ ...ran, text: "" }));
        trial.ok("it is not a success", !(result.kind === "exited" && result.status === 0), { result, text });
      } catch (error) {
        trial.record("the refusal", tellError(error));
        trial.ok("it is a refusal that was expected", problemOf(error)?.code.startsWith("E_") === true, String(error));
      }
      trial.equal("what is left there", await leftThere(trial, suite), []);
    },
  },
  {
    name: "build: several outputs, names that need quoting, links",
    needs: [BUILDS],
    run: async (trial, suite) => {
      const wired = await wiredFor(trial, suite);
      const one = builder(
        suite,
        wired,
        `mkdir -p "$out/a b" && cd "$out" && for n in "it's" '$HOME' '"' '\\' '*' '#' '-x' 'new
line'; do printf '%s' "$n" >"a b/$n"; done; ln -s 'a b/*' star; ln "a b/it's" hard; chmod 755 "a b/#"; mkdir empty`,
        { signal: trial.signal },
      );
      const { result } = await one.run();
      trial.equal("how it ended", result, { kind: "exited", status: 0 });
      for (const name of ["it's", "$HOME", '"', "\\", "*", "#", "-x", "new\nline"])
        trial.equal(`the file ${JSON.stringify(name)}`, readFileSync(`${one.out}/a b/${name}`, "utf8"), name);
      trial.equal("a link", readFileSync(`${one.out}/star`, "utf8"), "*");
    },
  },
  {
    name: "build: a failed one is kept when asked for, entered, and removed",
    needs: [BUILDS],
    run: async (trial, suite) => {
      const wired = await wiredFor(trial, suite);
      const one = builder(suite, wired, "echo state >/build/left; exit 1", { keep: true, signal: trial.signal });
      const { result, kept } = await one.run();
      trial.equal("how it ended", result, { kind: "exited", status: 1 });
      const { directory } = trial.must("it is kept", kept);
      const scratch = directory.slice(directory.indexOf(":") + 1);
      const said = await trial.sh(`sh ${shellQuote(`${scratch}/run.sh`)} enter`, {
        stdin: 'cat /build/left; id -u; echo "$out"; exit\n',
      });
      trial.equal("what is in it", said.stdout.trim(), `state\n35001\n${one.request.outputs["out"]?.path}`);
      await trial.sh(`sh ${shellQuote(`${scratch}/run.sh`)} teardown; rm -rf ${shellQuote(scratch)}`);
      trial.equal("what is left there", await leftThere(trial, suite), []);
    },
  },
  {
    name: "build: two side by side have two users, and neither reads what the other has",
    needs: [BUILDS],
    limitMs: 15 * 60_000,
    run: async (trial, suite) => {
      const wired = await wiredFor(trial, suite);
      const said = [Promise.withResolvers<void>(), Promise.withResolvers<void>()] as const;
      const cancel = new AbortController();
      const script = 'echo secret >/build/secret; echo secret >"$out/secret"; chmod 600 /build/secret; id -u; exec sleep 900';
      const texts = ["", ""];
      const running = [0, 1].map((index) =>
        builder(suite, wired, script, {
          signal: cancel.signal,
          onText: (text) => {
            texts[index] = text.trim();
            said[index]?.resolve();
          },
        }).run(),
      );
      trial.undo("both", async () => {
        cancel.abort();
        await Promise.allSettled(running);
      });
      await Promise.race([Promise.all(said.map(({ promise }) => promise)), ...running]);
      const uids = texts.map(Number).toSorted((a, b) => a - b);
      trial.equal("their users", uids, [35_001, 35_002]);
      const [one = 0, other = 0] = uids;
      const tried = await trial.sh(
        `find '${suite.root}/garth/tmp' -name secret | while IFS= read -r f; do for u in ${one} ${other}; do
  n=$(ls -ln "$f" | awk '{ print $3 }')
  if [ "$u" = "$n" ]; then continue; fi
  case $u in ${one}) ${asUser(suite.host.system, one)} cat "$f" 2>/dev/null && echo "read by $u" ;; *) ${asUser(suite.host.system, other)} cat "$f" 2>/dev/null && echo "read by $u" ;; esac
done; done; find '${suite.root}/garth/tmp' -name secret | wc -l | tr -d ' '`,
      );
      trial.ok("there are secrets, and nobody else reads them", /^[1-9]\d*\n$/.test(tried.stdout), tried.stdout);
      cancel.abort();
      for (const ran of await Promise.all(running)) trial.equal("how they ended", ran.result, { kind: "cancelled" });
      trial.equal("what is left there", await leftThere(trial, suite), []);
    },
  },
];
