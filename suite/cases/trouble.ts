/** Builds that are interrupted by force, and places that somebody else has taken: all is undone, nobody else's is touched. */
import { shellQuote } from "../../src/host/index.ts";
import type { Case, Suite, Trial } from "../case.ts";
import { type Wired, wiredFor } from "../ours.ts";
import { tellError } from "../trial.ts";
import { builder, inside, type Inside, leftThere } from "./inside.ts";
import { BUILDS } from "./isolation.ts";
import { killSshHere } from "./store.ts";

interface Waiting {
  readonly one: Inside;
  readonly running: Promise<unknown>;
  readonly cancel: AbortController;
}

/** A builder that has begun and waits to be ended. */
async function waiting(trial: Trial, suite: Suite, wired: Wired, script = "echo here; exec sleep 900"): Promise<Waiting> {
  const here = Promise.withResolvers<void>();
  const cancel = new AbortController();
  const one = builder(suite, wired, script, { signal: cancel.signal, onText: () => here.resolve() });
  const running = one.run().then(
    ({ result }) => result,
    (error: unknown) => error,
  );
  trial.undo("the builder that waits", async () => {
    cancel.abort();
    await running;
  });
  const ended = await Promise.race([here.promise, running]);
  if (ended !== undefined) trial.must("the builder runs", false, ended instanceof Error ? tellError(ended) : ended);
  return { one, running, cancel };
}

const codeOf = (ended: unknown): unknown => (ended instanceof Error && "code" in ended ? ended.code : ended);

/** Where a build of this request is on the host. */
function scratchOf(wired: Wired, one: Inside): string {
  const { enter, files } = wired.site.render(one.request);
  const scratch = /(\/\S*?\/tmp\/[0-9a-f]{8}-[0-9a-f]{16})/.exec(files["run.sh"] ?? enter)?.[1];
  if (scratch === undefined) throw new Error(`no scratch directory in ${enter}`);
  return scratch;
}

export const troubleCases: readonly Case[] = [
  {
    name: "trouble: every ssh of ours is killed with -9 in mid-build, and all is undone there",
    needs: [BUILDS],
    limitMs: 10 * 60_000,
    run: async (trial, suite) => {
      const { running } = await waiting(trial, suite, await wiredFor(trial, suite));
      trial.ok("some ssh was there to be killed", (await killSshHere(suite)) > 0);
      trial.equal("what the build says", codeOf(await running), "E_HOST_LOST");
      trial.equal("what is left there", await leftThere(trial, suite, 180), []);
    },
  },
  {
    name: "trouble: a build that is cancelled is undone there",
    needs: [BUILDS],
    run: async (trial, suite) => {
      const { running, cancel } = await waiting(
        trial,
        suite,
        await wiredFor(trial, suite),
        'trap "" TERM HUP INT; (trap "" TERM HUP; while :; do sleep 1; done) & echo here; while :; do sleep 1; done',
      );
      cancel.abort();
      trial.equal("how it ended", await running, { kind: "cancelled" });
      trial.equal("what is left there", await leftThere(trial, suite, 60), []);
    },
  },
  {
    name: "trouble: a script that is killed with -9 on the host is undone by whoever comes next",
    needs: [BUILDS],
    limitMs: 10 * 60_000,
    run: async (trial, suite) => {
      const wired = await wiredFor(trial, suite);
      const { one, running } = await waiting(trial, suite, wired);
      const scratch = scratchOf(wired, one);
      const killed = await trial.sh(
        `read -r pid rest <${shellQuote(`${scratch}/owner`)} && kill -9 "$pid" && echo killed; ls -A '${suite.root}/garth/users'`,
      );
      trial.matches("its owner", killed.stdout, /^killed\n/);
      trial.ok(
        "the build fails",
        codeOf(await running) instanceof Object || typeof codeOf(await running) === "string",
        await running,
      );
      // A Garth of its own: it looks for what the dead left before its first build.
      await inside(trial, suite, await wiredFor(trial, suite), "echo next");
      trial.equal("what is left there", await leftThere(trial, suite, 60), []);
    },
  },
  {
    name: "trouble: what a host that lost its power left is found and undone, deepest mounts first",
    needs: [BUILDS],
    run: async (trial, suite) => {
      const scratch = `${suite.root}/garth/tmp/0badcafe-0badcafe0badcafe`;
      const mount = suite.host.system === "freebsd" ? (from: string, to: string) => `mount -t nullfs ${from} ${to}` : undefined;
      const made =
        await trial.sh(`S=${shellQuote(scratch)}; mkdir -p "$S/jail-root/a/b" "$S/one/b" "$S/two"; : >"$S/two/precious"; echo '99999 1' >"$S/owner"
${mount === undefined ? ":" : `${mount('"$S/one"', '"$S/jail-root/a"')} && ${mount('"$W"', '"$S/jail-root/a/b"')}; echo keep >"$W/keep"`}
ln -s "$S" '${suite.root}/garth/users/35007'; ls "$S/jail-root/a"`);
      trial.must("it is made", made.status === 0, made.stderr);
      await inside(trial, suite, await wiredFor(trial, suite), "echo next");
      trial.equal("what is left there", await leftThere(trial, suite, 30), []);
      if (mount !== undefined) trial.equal("what was mounted into it", (await trial.sh('cat "$W/keep"')).stdout, "keep\n");
    },
  },
  {
    name: "trouble: a jail of the name is somebody else's: refused, and left alone",
    only: "freebsd",
    needs: [BUILDS],
    run: async (trial, suite) => {
      const wired = await wiredFor(trial, suite);
      const one = builder(suite, wired, "echo no", { signal: trial.signal });
      const jail = trial.must(
        "the jail has a name",
        /"?(garth-[0-9a-f-]+)"? \{/.exec(wired.site.render(one.request).files["jail.conf"] ?? "")?.[1],
      );
      const made = await trial.sh(
        `mkdir -p theirs; jail -q -c name=${jail} path="$W/theirs" persist ip4=disable ip6=disable && jls -j ${jail} path`,
      );
      trial.undo("the other's jail", async () => suite.hand.sh(`jail -R ${jail}`));
      trial.must("the other's jail is there", made.status === 0, made.stderr);
      const problem = await trial.refused("the build", "E_SANDBOX_SETUP", one.run());
      trial.ok("the name is said", JSON.stringify(problem ?? "").includes(jail), problem);
      trial.equal("the other's jail", (await trial.sh(`jls -j ${jail} path`)).stdout, made.stdout);
      trial.equal("what is left there", await leftThere(trial, suite, 60), []);
    },
  },
  {
    name: "trouble: a mount point that is a symlink out of the root: nothing is mounted there, nothing removed there",
    needs: [BUILDS],
    run: async (trial, suite) => {
      const wired = await wiredFor(trial, suite);
      const one = builder(suite, wired, "echo ran", { signal: trial.signal });
      const scratch = scratchOf(wired, one);
      const victim = await trial.sh(`mkdir -p victim/build victim/tmp victim/bin; echo keep >victim/build/keep; pwd`);
      const place = `${victim.stdout.trim()}/victim`;
      // As if somebody had come first: the scratch directory with a root that leads elsewhere.
      await trial.sh(
        `mkdir -p ${shellQuote(scratch)}; ln -s ${shellQuote(place)} ${shellQuote(`${scratch}/jail-root`)}; ln -s ${shellQuote(place)} ${shellQuote(`${scratch}/root`)}; ln -s ${shellQuote(`${place}/build`)} ${shellQuote(`${scratch}/build`)}; ln -s ${shellQuote(`${place}/tmp`)} ${shellQuote(`${scratch}/tmp`)}`,
      );
      const ended = await one.run().then(
        ({ result, text }) => `${JSON.stringify(result)} ${text}`,
        (error: unknown) => tellError(error),
      );
      trial.note(`it ended so: ${ended.split("\n")[0]}`);
      const after = await trial.sh(
        `cat ${shellQuote(`${place}/build/keep`)}; find ${shellQuote(place)} | sort; ls -ldn ${shellQuote(`${place}/build`)} | awk '{ print $3 }'; mount -p 2>/dev/null | grep -F ${shellQuote(place)}; grep -F ${shellQuote(place)} /proc/self/mounts 2>/dev/null; :`,
      );
      trial.equal(
        "what is there",
        after.stdout,
        `keep\n${["", "/bin", "/build", "/build/keep", "/tmp"].map((path) => `${place}${path}\n`).join("")}0\n`,
      );
      await trial.sh(`rm -rf ${shellQuote(scratch)}`);
      trial.equal("what is left there", await leftThere(trial, suite, 60), []);
    },
  },
  {
    name: "trouble: somebody stands in what is mounted when the builder ends, and it is undone nevertheless",
    only: "freebsd",
    needs: [BUILDS],
    run: async (trial, suite) => {
      const wired = await wiredFor(trial, suite);
      const { one, running, cancel } = await waiting(trial, suite, wired);
      const scratch = scratchOf(wired, one);
      const place = `${scratch}/jail-root/usr/lib`;
      const stood = await trial.sh(`cd ${shellQuote(place)} && { sleep 300 >/dev/null 2>&1 & echo $!; }`);
      const pid = stood.stdout.trim();
      trial.undo("who stands there", async () => suite.hand.sh(`kill ${pid} 2>/dev/null; :`));
      trial.matches("somebody stands there", pid, /^\d+$/);
      cancel.abort();
      trial.equal("how it ended", await running, { kind: "cancelled" });
      trial.equal("what is left there", await leftThere(trial, suite, 60), []);
    },
  },
  {
    name: "trouble: a root with a blank, a quote and a dollar in its name",
    needs: [BUILDS],
    limitMs: 10 * 60_000,
    run: async (trial, suite) => {
      const { hosts } = await wiredFor(trial, suite);
      const root = `${suite.root}/it's "a" $HOME #1`;
      const identity = suite.identityFile === undefined ? {} : { identityFile: suite.identityFile };
      await hosts.add({ name: "hard", url: suite.url, root, hostKey: suite.hostKey, jobs: 2, ...identity });
      trial.undo("the host of that root", () => hosts.remove("hard", { purge: true }));
      const wired = await wiredFor(trial, suite, "hard");
      const item = wired.store.addText("hard-input", "read there\n", []);
      const inputs = [{ path: item.path, physical: wired.store.physical(item.path), type: "file" as const }];
      const text = await inside(trial, suite, wired, `cat ${item.path}; id -u; echo x >"$out/f"`, { inputs });
      trial.equal("what it printed", text, "read there\n35001\n");
      const cut = await waiting(trial, suite, wired);
      cut.cancel.abort();
      trial.equal("how another ended", await cut.running, { kind: "cancelled" });
      const left = await trial.sh(
        `ls -A ${shellQuote(`${root}/tmp`)} ${shellQuote(`${root}/users`)} | awk 'NF && !/:$/'; mount | grep -F 'HOME #1'; :`,
      );
      trial.equal("what is left there", left.stdout, "");
    },
  },
  {
    name: "trouble: a host that is removed with all that is ours there",
    needs: [BUILDS],
    run: async (trial, suite) => {
      const wired = await wiredFor(trial, suite);
      const { hosts } = wired;
      const root = `${suite.root}/purged`;
      const identity = suite.identityFile === undefined ? {} : { identityFile: suite.identityFile };
      await hosts.add({ name: "purged", url: suite.url, root, hostKey: suite.hostKey, ...identity });
      const other = await wiredFor(trial, suite, "purged");
      const { running, cancel } = await waiting(trial, suite, other);
      await trial.refused("removing it while a builder runs", "E_HOST_BUSY", hosts.remove("purged", { purge: true }));
      cancel.abort();
      await running;
      await hosts.remove("purged", { purge: true });
      trial.equal("what is there", (await trial.sh(`ls -d '${root}' 2>/dev/null; :`)).stdout, "");
    },
  },
];
