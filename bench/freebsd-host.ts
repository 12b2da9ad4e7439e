/** A host for figures: Garth with a root of its own here, told of the host, and the same host by hand; all of it gone at the end. */
import { randomBytes } from "node:crypto";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openGarth } from "../src/app/index.ts";
import { shellQuote } from "../src/host/index.ts";
import type { HostStore } from "../src/remote/index.ts";
import type { Site } from "../src/sandbox/index.ts";
import type { Store } from "../src/store/index.ts";
import type { HostSelf } from "../suite/case.ts";
import { type Hand, openHand } from "../suite/hand.ts";
import { askHost } from "../suite/host-self.ts";
import { clearRoot } from "../suite/snapshot.ts";

export interface MeasuredHost extends AsyncDisposable {
  readonly self: HostSelf;
  readonly hand: Hand;
  /** Directory on the host, made; this run's alone. */
  readonly root: string;
  /** Directory here. */
  readonly directory: string;
  readonly store: Store;
  readonly hostStore: HostStore;
  readonly site: Site;
}

export interface Address {
  readonly url: string;
  readonly identityFile: string | undefined;
  readonly hostKey: string | undefined;
}

/** @throws Error when it cannot be reached, with what ssh said */
export async function openMeasuredHost({ url, identityFile, hostKey }: Address): Promise<MeasuredHost> {
  const directory = mkdtempSync(join(tmpdir(), "gb-"));
  const undo: (() => unknown)[] = [() => rmSync(directory, { recursive: true, force: true })];
  const close = async (): Promise<void> => {
    for (let next = undo.pop(); next !== undefined; next = undo.pop()) await next();
  };
  try {
    const hand = openHand({ url, directory, identityFile });
    undo.push(() => hand.close());
    const { self, said } = await askHost(hand);
    if (self === undefined) throw new Error(`the host cannot be reached, or is neither FreeBSD nor Linux: ${said.stderr}`);
    const [found = ""] = await hand.fingerprints();
    if (hostKey !== undefined && found !== hostKey) throw new Error(`the host has the key ${found}, and not ${hostKey}`);
    const root = `/var/tmp/garth-bench-${randomBytes(4).toString("hex")}`;
    const made = await hand.sh(`umask 022; mkdir -p ${shellQuote(root)}`);
    if (made.status !== 0) throw new Error(made.stderr);
    undo.push(() => clearRoot(hand, self.system, root));
    mkdirSync(join(directory, "garth"));
    const garth = openGarth({ root: join(directory, "garth"), env: process.env, workingDirectory: directory });
    undo.push(() => garth.close());
    const hosts = await garth.hosts();
    const identity = identityFile === undefined ? {} : { identityFile };
    await hosts.add({ name: "measured", url, root: `${root}/garth`, jobs: 2, hostKey: found, ...identity });
    return {
      self,
      hand,
      root,
      directory,
      store: garth.store,
      hostStore: hosts.store("measured"),
      site: hosts.site("measured"),
      [Symbol.asyncDispose]: close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}
