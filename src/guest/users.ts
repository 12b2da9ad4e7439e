/** Users of the guest: passwd(5) and group(5), and what else getent(1) knows of. */
import { Problem } from "../base/index.ts";
import type { GuestUser } from "./types.ts";

/** "alice:x:1000:1000:Alice:/home/alice:/bin/sh"; undefined for a line that is none. */
export function parseUser(line: string): GuestUser | undefined {
  const [name, , uid, gid, , home, shell] = line.split(":");
  if (name === undefined || name === "" || name.startsWith("#") || shell === undefined) return undefined;
  if (!/^[0-9]+$/.test(uid ?? "") || !/^[0-9]+$/.test(gid ?? "")) return undefined;
  return { name, uid: Number(uid), gid: Number(gid), home: home ?? "/", shell: shell === "" ? "/bin/sh" : shell };
}

/** The third field is the number, in passwd(5) and in group(5). */
export function namesByNumber(text: string): ReadonlyMap<number, string> {
  const found = new Map<number, string>();
  for (const line of text.split("\n")) {
    const [name = "", , number = ""] = line.split(":");
    // The first line of a number is the one that getpwuid(3) finds.
    if (name !== "" && !name.startsWith("#") && /^[0-9]+$/.test(number) && !found.has(Number(number)))
      found.set(Number(number), name);
  }
  return found;
}

export interface Users {
  /** @throws Problem E_NO_USER */
  find(name: string): Promise<GuestUser>;
}

export interface UserSources {
  readonly guest: string;
  /** The text of passwd(5). */
  readPasswd(): Promise<string>;
  /** A line of it, from getent(1); "" where there is none. */
  askGetent(name: string): Promise<string>;
}

/** Users that were found are kept; one that was not is looked for again. */
export function usersOf(sources: UserSources): Users {
  const known = new Map<string, GuestUser>();
  return {
    find: async (name) => {
      const kept = known.get(name);
      if (kept !== undefined) return kept;
      const lines = (await sources.readPasswd()).split("\n");
      const found = lines.map(parseUser).find((user) => user?.name === name) ?? parseUser((await sources.askGetent(name)).trim());
      if (found === undefined) {
        throw new Problem({ code: "E_NO_USER", message: `there is no user '${name}' in ${sources.guest}`, exit: 1 });
      }
      known.set(name, found);
      return found;
    },
  };
}
