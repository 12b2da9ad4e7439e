/** The key that this host's pools log in with: made once, and the same for every machine. */
import { type Host, isErrno } from "../host/index.ts";
import { makeSshKeyPair } from "./hostkey.ts";

export interface PoolKey {
  readonly file: string;
  /** A line of authorized_keys. */
  readonly publicKey: string;
}

/** Made at the first call. Of two that make it at once one is taken by both. */
export function poolKey(host: Host, pools: string): PoolKey {
  // No pool has such a name.
  const file = `${pools}/.key`;
  const known = host.files.readTextIfAny(`${file}.pub`);
  if (known !== undefined && host.files.exists(file)) return { file, publicKey: known.trim() };
  host.files.makeDirectory(pools, { parents: true, mode: 0o700 });
  const pair = makeSshKeyPair("garth-pool");
  const making = host.files.makeTemporaryDirectory(`${pools}/.making-`);
  try {
    host.files.writeFile(`${making}/key`, pair.privateKey, 0o600);
    host.files.writeFile(`${making}/key.pub`, `${pair.publicKey}\n`, 0o600);
    // link(2) takes no name that is there: the private half decides, the public one follows from whoever won.
    host.files.hardLink(`${making}/key`, file);
    host.files.rename(`${making}/key.pub`, `${file}.pub`);
    return { file, publicKey: pair.publicKey };
  } catch (error) {
    if (!isErrno(error, "EEXIST")) throw error;
    const other = host.files.readTextIfAny(`${file}.pub`);
    if (other === undefined)
      throw new Error(`${file} has no public half; remove it, and machines that know it`, { cause: error });
    return { file, publicKey: other.trim() };
  } finally {
    host.files.removeTree(making);
  }
}
