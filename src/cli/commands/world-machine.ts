/** The tree of a running machine for `garth world import`: read over SSH into an archive, which is taken in as any other is. */
import type { Garth } from "../../app/index.ts";
import { Problem } from "../../base/index.ts";
import type { ReadWorld } from "../../remote/index.ts";
import type { WorldDeclaration } from "../../world/index.ts";
import type { Context, Given } from "../command.ts";
import { usageProblem } from "../parse.ts";
import { absolute } from "../paths.ts";

export interface MachinePlace {
  readonly from: { readonly name: string } | { readonly url: string };
  readonly directory: string;
  /** What the world is called where nobody says it. */
  readonly name: string;
}

export interface MachineWorld {
  readonly declaration: WorldDeclaration;
  readonly read: ReadWorld;
  /** Where the archive is kept; undefined: nowhere. */
  readonly saved: { readonly file: string; readonly sha256: string } | undefined;
  /** Removes the archive that nobody keeps. */
  done(): void;
}

/** `ssh://[user@]host[:port][/path]`, or `HOST:/path` of a host that is known; undefined for what names no machine. */
export async function machinePlace(garth: Garth, word: string): Promise<MachinePlace | undefined> {
  const [, url, path = "/"] = /^(ssh:\/\/[^/]*)(\/.*)?$/.exec(word) ?? [];
  if (url !== undefined) {
    const [host = ""] = url.replace(/^ssh:\/\/(?:[^@]*@)?/, "").split(/[:\]]/);
    return { from: { url }, directory: checkedPath(path), name: host.replaceAll(/[^A-Za-z0-9.-]/g, "") || "machine" };
  }
  const [, name, directory = ""] = /^([A-Za-z0-9][A-Za-z0-9.-]*):(\/.*)$/.exec(word) ?? [];
  if (name === undefined || !(await garth.hosts()).list().some((each) => each.name === name)) return undefined;
  return { from: { name }, directory: checkedPath(directory), name };
}

function checkedPath(path: string): string {
  const plain = path.replace(/(?<=.)\/+$/, "");
  if (!plain.split("/").some((part) => part === "." || part === "..") && !/\0/.test(plain)) return plain;
  throw usageProblem(`${path} is no path on the machine`, "it is absolute, without . and ..");
}

export async function readMachine(
  context: Context,
  given: Given,
  garth: Garth,
  place: MachinePlace,
  checkedName: (option: string, text: string) => string,
  without: readonly string[],
): Promise<MachineWorld> {
  const { host, places } = garth;
  const name = checkedName("name", given.text("name") ?? place.name);
  const label = given.text("label");
  if (label !== undefined) checkedName("label", label);
  const wished = given.text("save");
  const saved = wished === undefined ? undefined : absolute(context, wished);
  if (saved !== undefined && host.files.lstatIfAny(saved) !== undefined)
    throw new Problem({
      code: "E_EXISTS",
      message: `there is something at ${saved} already`,
      hint: "say another file by --save",
      exit: 2,
    });
  const [identity, hostKey] = [given.text("identity"), given.text("host-key")];
  if ("name" in place.from && (identity ?? hostKey) !== undefined)
    throw usageProblem("--identity and --host-key are not for a host that is known", "`garth host add` was told them");
  host.files.makeDirectory(places.temporary, { parents: true });
  const scratch = host.files.makeTemporaryDirectory(`${places.temporary}/machine-`);
  const done = (): void => host.files.removeTree(scratch);
  try {
    const file = saved ?? `${scratch}/world.tar`;
    const from =
      "name" in place.from
        ? place.from
        : {
            ...place.from,
            ...(identity === undefined ? {} : { identityFile: absolute(context, identity) }),
            ...(hostKey === undefined ? {} : { hostKey }),
          };
    const read = await garth.readWorld(from, {
      directory: place.directory,
      without,
      file,
      isDigested: saved !== undefined,
      signal: context.signal,
    });
    const found = (label ?? read.release ?? "local").replaceAll(/[^A-Za-z0-9+._-]/g, "-");
    const declaration: WorldDeclaration = {
      kind: "world",
      name,
      label: checkedName("label", found),
      origin: { kind: "archive", source: { path: file } },
      site: new Error("declared"),
    };
    return { declaration, read, saved: saved === undefined ? undefined : { file: saved, sha256: read.sha256 ?? "" }, done };
  } catch (error) {
    done();
    throw error;
  }
}
