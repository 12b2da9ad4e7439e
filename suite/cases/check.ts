/** A host is added and looked at: what it is, what it lacks, and what cannot be added. */
import type { Case } from "../case.ts";
import { HOST_NAME, openHere, wiredFor } from "../ours.ts";

/** Everything behind it is about this host. */
export const ADDED = "host: is added and looked at";
const KEYS = {
  freebsd: ["system", "root", "tools", "jail", "nullfs", "zfs", "rctl", "vmm", "space", "clock"],
  linux: ["system", "root", "tools", "sandbox", "space", "clock"],
} as const;

export const checkCases: readonly Case[] = [
  {
    name: ADDED,
    run: async (trial, suite) => {
      const garth = openHere(suite, trial);
      const hosts = await garth.hosts();
      const { record, report } = await hosts.add({
        name: HOST_NAME,
        url: suite.url,
        root: `${suite.root}/garth`,
        jobs: 2,
        hostKey: suite.hostKey,
        ...(suite.identityFile === undefined ? {} : { identityFile: suite.identityFile }),
      });
      trial.record("what was found", JSON.stringify(report, undefined, 2));
      trial.equal("its system", record.facts.system, suite.host.name);
      trial.equal("its release", record.facts.release, suite.host.release);
      for (const { key, state, found, advice } of report.findings) {
        trial.note(`${key} ${state}: ${found}${advice === undefined ? "" : ` -> ${advice}`}`);
        trial.ok(`${key} is not missing`, state !== "missing", `${found}; ${advice ?? ""}`);
        trial.ok(`${key} has advice unless it is ok`, state === "ok" || (advice ?? "") !== "", advice);
      }
      for (const key of KEYS[suite.host.system])
        trial.ok(
          `${key} is looked at`,
          report.findings.some((one) => one.key === key),
        );
      trial.ok(
        "it has processors and memory",
        record.facts.processors > 0 && record.facts.memoryBytes > 64 * 1024 * 1024,
        record.facts,
      );
    },
  },
  {
    name: "host: facts are those that the host says by hand",
    needs: [ADDED],
    only: "freebsd",
    run: async (trial, suite) => {
      const { record } = await wiredFor(trial, suite);
      const said = await trial.sh("sysctl -n hw.ncpu hw.physmem; uname -U; freebsd-version -u");
      const [processors, memory, version, release] = said.stdout.split("\n");
      trial.equal("processors", String(record.facts.processors), processors);
      trial.equal("memory", String(record.facts.memoryBytes), memory);
      trial.equal("version of the userland", String(record.facts.osVersion), version);
      trial.equal("release", record.facts.release, release);
    },
  },
  {
    name: "host: racct that is off is a clear word, and what to do about it",
    needs: [ADDED],
    only: "freebsd",
    run: async (trial, suite) => {
      const { hosts } = await wiredFor(trial, suite);
      const { findings } = await hosts.check(HOST_NAME);
      const rctl = findings.find(({ key }) => key === "rctl");
      trial.equal("its state", rctl?.state, suite.host.racct ? "ok" : "lacking");
      if (!suite.host.racct) trial.matches("what to do", rctl?.advice ?? "", /kern\.racct\.enable/);
    },
  },
  {
    name: "host: its directory is made, and nobody else may write there",
    needs: [ADDED],
    run: async (trial, suite) => {
      const said = await trial.sh(
        `cd '${suite.root}/garth' && ls -ld store incoming tmp users used | awk '{ print substr($1, 1, 10), $NF }'`,
      );
      for (const line of said.stdout.trim().split("\n"))
        trial.matches("a directory of it", line, /^drwx..[-x]..[-x] (store|incoming|tmp|users|used)$/);
      trial.equal("how many", said.stdout.trim().split("\n").length, 5);
    },
  },
  {
    name: "host: what cannot be one is refused, and nothing is written down",
    needs: [ADDED],
    run: async (trial, suite) => {
      const { hosts } = await wiredFor(trial, suite);
      const identity = suite.identityFile === undefined ? {} : { identityFile: suite.identityFile };
      const common = { url: suite.url, root: `${suite.root}/other`, hostKey: suite.hostKey, ...identity };
      await trial.refused("a name that is taken", "E_HOST_EXISTS", hosts.add({ ...common, name: HOST_NAME }));
      await trial.refused("a name with a blank", "E_BAD_HOST", hosts.add({ ...common, name: "a b" }));
      await trial.refused("a URL that is none", "E_BAD_HOST", hosts.add({ ...common, name: "other", url: "http://host" }));
      await trial.refused("a directory with ..", "E_BAD_HOST", hosts.add({ ...common, name: "other", root: "/var/../x" }));
      const wrong = `SHA256:${"A".repeat(43)}`;
      await trial.refused("another key than the host has", "E_HOST_KEY", hosts.add({ ...common, name: "other", hostKey: wrong }));
      await trial.refused(
        "a port where nobody listens",
        "E_HOST_UNREACHABLE",
        hosts.add({ ...common, name: "other", url: "ssh://root@127.0.0.1:1", hostKey: "new" }),
      );
      trial.equal(
        "hosts that are known",
        hosts.list().map(({ name }) => name),
        [HOST_NAME],
      );
      const said = await trial.sh(`ls '${suite.root}/other' 2>/dev/null; :`);
      trial.equal("what is there of it", said.stdout, "");
    },
  },
  {
    name: "host: a directory that is a symlink, or that others may write, is refused",
    needs: [ADDED],
    run: async (trial, suite) => {
      const { hosts } = await wiredFor(trial, suite);
      const made = await trial.sh(`mkdir -p open real; chmod 0777 open; ln -s "$W/real" link; pwd`);
      const there = made.stdout.trim();
      for (const kind of ["link/x", "open/x"]) {
        const name = kind.replace("/x", "");
        const identity = suite.identityFile === undefined ? {} : { identityFile: suite.identityFile };
        try {
          const { report } = await hosts.add({
            name,
            url: suite.url,
            root: `${there}/${kind}`,
            hostKey: suite.hostKey,
            ...identity,
          });
          trial.equal(
            `the state of a directory below ${name}`,
            report.findings.find(({ key }) => key === "root")?.state,
            "missing",
          );
          await hosts.remove(name);
        } catch (error) {
          trial.record(`adding ${kind}`, String(error));
        }
      }
      trial.equal("what was made there", (await trial.sh(`ls real open; :`)).stdout.replaceAll(/\s|real:|open:/g, ""), "");
    },
  },
];
