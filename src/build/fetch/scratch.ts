/** Scratch directories of fetches: gone when the work ends, however it ends; those of dead processes are swept. */
import type { Host } from "../../host/index.ts";

const SCRATCH = /^source-(?<owner>.+)-[A-Za-z0-9]{6}$/;

interface Place {
  readonly host: Host;
  readonly temporary: string;
}

export async function withScratch<T>(place: Place, work: (directory: string) => Promise<T>): Promise<T> {
  const { files, processIdentity } = place.host;
  files.makeDirectory(place.temporary, { parents: true });
  sweepScratch(place);
  const directory = files.makeTemporaryDirectory(`${place.temporary}/source-${processIdentity}-`);
  try {
    return await work(directory);
  } finally {
    files.removeTree(directory);
  }
}

function sweepScratch(place: Place): void {
  for (const entry of place.host.files.list(place.temporary)) {
    const name = Buffer.from(entry).toString("utf8");
    const owner = SCRATCH.exec(name)?.groups?.["owner"];
    if (owner !== undefined && !place.host.isAlive(owner)) place.host.files.removeTree(`${place.temporary}/${name}`);
  }
}
