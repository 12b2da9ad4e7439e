/** Whose something is: by two shells, with what ps(1) of FreeBSD and /proc of Linux say. */
import { afterEach, describe, expect, test } from "bun:test";
import * as fs from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { makeSmallHost, SHELLS, type Shell, type SmallHost } from "./jail.testing.ts";
import { aliveFunctions, processFunctions } from "./job-owner.ts";

let host: SmallHost | undefined;
afterEach(() => {
  host?.remove();
  host = undefined;
});

function say(shell: Shell, script: string, env: Record<string, string> = {}): string {
  host ??= makeSmallHost();
  const path = join(host.directory, "script.sh");
  fs.writeFileSync(path, host.adapted(`set -eu\nPATH=/sbin:/bin:/usr/sbin:/usr/bin\n${script}`));
  const done = Bun.spawnSync([...host.command(shell, path)], { env: { PATH: "/usr/bin:/bin", ...env } });
  return `${done.stdout.toString()}${done.stderr.toString()}`.trim();
}

/** A ps(1) that prints these lines, as FreeBSD's does it. */
function listing(lines: readonly string[]): string {
  return `ps() {\n  echo "$TZ $*" >"$0.asked"\n  cat <<'END'\n${lines.map((line) => `${line}\n`).join("")}END\n}\n`;
}

describe.each([...SHELLS])("by %s", (shell) => {
  for (const system of ["x86_64-linux", "x86_64-freebsd"] as const) {
    test(`${system}: a script knows itself, and tells the living from the dead`, () => {
      const script = `${processFunctions(system)}
own_identity
echo "\${owner%% *}" "$$"
alive "$owner" && echo itself
alive "$$ 17" || echo 'another of this number'
alive '999999 17' || echo 'none of this number'
for text in '' ' ' x 'x y' '-1 1' "$$" "$$ " "$$ x" '1 2 3'; do alive "$text" && echo "alive: $text"; done
echo end`;
      const [numbers = "", ...said] = say(shell, script).split("\n");
      expect(numbers.split(" ")[0]).toBe(numbers.split(" ")[1] ?? "");
      expect(said).toEqual(["itself", "another of this number", "none of this number", "end"]);
    });

    test(`${system}: what it was before exec(2) is believed of the same process alone`, () => {
      const script = `${processFunctions(system)}
GARTH_OWNER="$$ 17"
own_identity
echo "\${owner#* }"
GARTH_OWNER="1 17"
own_identity
[ "\${owner%% *}" = "$$" ] && echo itself`;
      expect(say(shell, script)).toBe("17\nitself");
    });
  }

  test("FreeBSD: a clock that is set moves all alike; a second more or less is none", () => {
    const functions = aliveFunctions("x86_64-freebsd");
    const before = listing(["    1 ILs  Sun Nov 29 14:20:00 2026    ", " 4711 Is   Sun Nov 29 14:27:08 2026    "]);
    expect(say(shell, `${functions}${before}began 4711; echo "$began"`)).toBe("428");
    const after = listing(["    1 ILs  Thu Dec 31 23:59:59 2026    ", " 4711 Is   Fri Jan  1 00:07:08 2027    "]);
    expect(say(shell, `${functions}${after}began 4711; echo "$began"`)).toBe("429");
    expect(say(shell, `${functions}${after}alive '4711 428' && echo alive`)).toBe("alive");
    expect(say(shell, `${functions}${after}alive '4711 427' || echo dead`)).toBe("dead");
    expect(say(shell, `${functions}${after}began 4711; cat "$0.asked"`)).toBe("UTC -o pid= -o state= -o lstart= -p 1,4711");
  });

  test("FreeBSD: a zombie is dead; without a first process in sight it still counts", () => {
    const functions = aliveFunctions("x86_64-freebsd");
    const zombie = listing(["    1 ILs  Sun Nov 29 14:20:00 2026", " 4711 Z    Sun Nov 29 14:27:08 2026"]);
    expect(say(shell, `${functions}${zombie}began 4711 || echo dead`)).toBe("dead");
    const alone = listing([" 4711 SsJ  Sun Nov 29 14:27:08 2026"]);
    expect(say(shell, `${functions}${alone}began 4711; alive "4711 $began" && echo alive`)).toBe("alive");
  });

  test("FreeBSD: seconds between any two times", () => {
    const moment = fc.date({ min: new Date("2000-01-01"), max: new Date("2099-12-31"), noInvalidDate: true });
    const pairs = fc.sample(fc.tuple(moment, moment), 40);
    pairs.push(
      [new Date("2024-02-29T23:59:59Z"), new Date("2024-03-01T00:00:00Z")],
      [new Date("2025-02-28T08:09:08Z"), new Date("2025-03-01T09:08:09Z")],
    );
    const words = (date: Date): string => {
      const [, day, month, year, time] = /^\w+, (\d+) (\w+) (\d+) ([\d:]+)/.exec(date.toUTCString()) ?? [];
      return `${month} ${Number(day)} ${time} ${year}`;
    };
    const lines = pairs.map(([a, b]) => `seconds_of ${words(a)}; a=$seconds; seconds_of ${words(b)}; echo $((seconds - a))`);
    const expected = pairs.map(([a, b]) => Math.floor(b.getTime() / 1000) - Math.floor(a.getTime() / 1000));
    expect(
      say(shell, `${aliveFunctions("x86_64-freebsd")}${lines.join("\n")}`)
        .split("\n")
        .map(Number),
    ).toEqual(expected);
  });
});
