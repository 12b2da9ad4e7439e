/** Packages of what was built on the host, a repository of them, and Garth as one file there. */
import { existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { shellQuote } from "../../src/host/index.ts";
import type { Case } from "../case.ts";
import { runHere } from "../hand.ts";
import { HOST_NAME } from "../ours.ts";
import { BUILDS } from "./isolation.ts";
import { BUILT, project } from "./program.ts";

const PACKAGED = "garth pkg create --on: a package for the host";
const PUBLISHED = "garth repo: a repository made of it, verified by our reader";

const SHIPPED = `
import { hostView, package_, repository, script } from "garth";
export const lonely = script({
  name: "lonely", version: "1", buildRoot: hostView(),
  script: 'mkdir -p "$out/bin"; printf "#!/bin/sh\\necho hello\\n" >"$out/bin/lonely"; chmod 755 "$out/bin/lonely"',
});
export const tools = repository({ name: "tools", packages: [package_(lonely, { comment: "A program" })] });
`;

export const packageCases: readonly Case[] = [
  {
    name: PACKAGED,
    only: "freebsd",
    needs: [BUILT],
    limitMs: 15 * 60_000,
    run: async (trial, suite) => {
      const ours = await suite.ours();
      const cwd = project(suite);
      const made = await ours.garth(trial, ["pkg", "create", "#lonely", "--on", HOST_NAME, "--out", "packages"], { cwd });
      trial.must("it is made", made.status === 0, made.stderr);
      const file = trial.must(
        "its file",
        made.stdout.split(/\s+/).find((word) => word.endsWith("lonely-1.pkg")),
        made.stdout,
      );
      const info = await ours.garth(trial, ["pkg", "info", file, "--json"], { cwd });
      const release = /FreeBSD (\d+)\./.exec(suite.host.uname)?.[1] ?? "";
      const machine = suite.host.name === "x86_64-freebsd" ? "amd64" : "aarch64";
      trial.matches("its ABI", info.stdout, new RegExp(`"abi": ?"FreeBSD:${release}:${machine}"`));
    },
  },
  {
    name: PUBLISHED,
    only: "freebsd",
    needs: [PACKAGED],
    limitMs: 10 * 60_000,
    run: async (trial, suite) => {
      const ours = await suite.ours();
      const cwd = project(suite);
      const files = readdirSync(join(cwd, "packages")).map((name) => join(cwd, "packages", name));
      for (const words of [
        ["repo", "init", "./repo"],
        ["repo", "publish", "./repo", ...files],
        ["repo", "verify", "./repo"],
      ]) {
        const said = await ours.garth(trial, words, { cwd });
        trial.must(`garth ${words.slice(0, 2).join(" ")}`, said.status === 0, said.stderr);
      }
      // A project of its own: a ship builds all that there is.
      mkdirSync(join(cwd, "ship"));
      writeFileSync(join(cwd, "ship", "garth.ts"), SHIPPED);
      const shipped = await ours.garth(trial, ["ship", "--on", HOST_NAME, "--until", "repository", "--json"], {
        cwd: join(cwd, "ship"),
      });
      trial.must("a ship to its repository", shipped.status === 0, shipped.stderr);
    },
  },
  {
    name: "garth repo: the host's own pkg installs from it, and removes again",
    only: "freebsd",
    kernel: true,
    needs: [PUBLISHED],
    tools: ["pkg"],
    limitMs: 20 * 60_000,
    run: async (trial, suite) => {
      const cwd = project(suite);
      const ours = await suite.ours();
      const place = (await trial.sh('mkdir -p repo conf root db cache keys; printf "%s" "$W"')).stdout;
      const tar = await runHere(
        [
          "sh",
          "-c",
          `tar -cf - -C repo . | ${suite.hand
            .argv(`tar -xf - -C ${shellQuote(`${place}/repo`)}`, { shared: true })
            .map(shellQuote)
            .join(" ")}`,
        ],
        { cwd },
      );
      trial.must("the repository is there", tar.status === 0, tar.stderr);
      const conf = await ours.garth(
        trial,
        ["repo", "client-conf", "suite", `file://${place}/repo`, "--fingerprints", `${place}/root/fingerprints`],
        { cwd },
      );
      trial.record("client-conf", conf.stdout);
      const installed = await trial.sh(
        `printf 'suite: { url: "file://%s/repo", enabled: yes, mirror_type: none, signature_type: none }\\n' "$W" >conf/suite.conf
P="pkg -o REPOS_DIR=$W/conf -o PKG_DBDIR=$W/db -o PKG_CACHEDIR=$W/cache -o RUN_SCRIPTS=no -o ASSUME_ALWAYS_YES=yes -r $W/root"
$P update -f && $P install -y lonely && "$W/root/usr/local/bin/lonely"; echo "status $?"; $P check -s lonely; echo "sums $?"; $P delete -y lonely; echo "gone $?"; ls "$W/root/usr/local/bin" 2>/dev/null`,
        { limitMs: 600_000 },
      );
      trial.matches("what it says", installed.stdout, /hello\nstatus 0\n[\s\S]*sums 0\n[\s\S]*gone 0\n/);
    },
  },
  {
    name: "one binary: runs on the host, and builds in a jail of its own there",
    only: "freebsd",
    kernel: true,
    needs: [BUILDS],
    limitMs: 30 * 60_000,
    run: async (trial, suite) => {
      if (!existsSync(suite.binary)) trial.skip(`${suite.binary} is not there: npm run compile makes it`);
      if (suite.host.name !== "x86_64-freebsd" && !suite.binary.includes("arm64")) trial.skip(`it is not for ${suite.host.name}`);
      const place = (
        await trial.sh(
          'mkdir -p root; cat >garth.ts <<"EOF"\nimport { hostView, script } from "garth";\nexport const local = script({ name: "local", version: "1", buildRoot: hostView(), script: \'id -u; uname -s >"$out"\' });\nEOF\nprintf "%s" "$W"',
        )
      ).stdout;
      const copied = await runHere(
        [
          "sh",
          "-c",
          `${suite.hand
            .argv(`cat >${shellQuote(`${place}/garth`)} && chmod 755 ${shellQuote(`${place}/garth`)}`, { shared: true })
            .map(shellQuote)
            .join(" ")} <${shellQuote(suite.binary)}`,
        ],
        { limitMs: 900_000, signal: trial.signal },
      );
      trial.must("it is copied", copied.status === 0, copied.stderr);
      const version = await trial.sh('./garth --version; echo "status $?"; ls -l garth', { limitMs: 300_000 });
      trial.must("it runs there", /^\S.*\nstatus 0\n/.test(version.stdout), `${version.stdout}${version.stderr}`);
      const doctor = await trial.sh('GARTH_ROOT="$W/root" ./garth doctor; echo "status $?"', { limitMs: 300_000 });
      trial.note(`doctor: ${doctor.stdout.trim().replaceAll("\n", " | ")}`);
      trial.matches("doctor", doctor.stdout, /status [013]\n$/);
      const built = await trial.sh(
        'GARTH_ROOT="$W/root" METADATA_OUT="$W/r.txt" ./garth build ./garth.ts#local --receipt "$W/r.txt"; echo "status $?"; cat "$W/r.txt"',
        { limitMs: 900_000 },
      );
      trial.matches("a build", built.stdout, /PASS local\nstatus 0\n/);
      trial.matches("its receipt", built.stdout, /build_mode=freebsd-jail\n/);
      const left = await trial.sh(
        `mount -p | grep -F "$W"; jls name path | grep -F "$W"; ps -axww -o uid= -o command= | awk '$1 >= 35001 && $1 < 40000'; chflags -R 0 root 2>/dev/null; chmod -R u+w root; :`,
      );
      trial.equal("what is left", left.stdout, "");
    },
  },
];
