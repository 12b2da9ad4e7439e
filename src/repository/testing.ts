/** A scratch directory with keys and small packages, for tests of this room and of those above it. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { generateKeyPairSync } from "node:crypto";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Problem, sha256 } from "../base/index.ts";
import { tarArchive, type TarMember } from "../formats/index.ts";
import { type Host, localHost } from "../host/index.ts";
import { type Manifest, planArchive } from "../pkg/index.ts";
import { MINIMAL } from "../pkg/testing.ts";

export interface Workshop {
  readonly host: Host;
  readonly root: string;
  readonly keyFile: string;
  readonly publicPem: string;
  /** A `.pkg` with these files (path -> content), and where it lies. */
  readonly pack: (change: Partial<Manifest>, files?: Readonly<Record<string, string>>) => string;
  readonly directory: (name: string) => string;
  readonly [Symbol.dispose]: () => void;
}

/** Keys of 2048 bits: as good for a test, and made in a tenth of the time. */
export function writeKey(file: string): string {
  const { privateKey, publicKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  writeFileSync(file, privateKey.export({ type: "pkcs8", format: "pem" }), { mode: 0o600 });
  return publicKey.export({ type: "spki", format: "pem" }).toString();
}

export function workshop(): Workshop {
  const root = mkdtempSync(join(tmpdir(), "garth-repository-"));
  const keyFile = join(root, "key");
  let packed = 0;
  return {
    host: localHost(),
    root,
    keyFile,
    publicPem: writeKey(keyFile),
    pack: (change, files = { "/usr/local/bin/hello": "#!/bin/sh\n" }) => {
      packed += 1;
      const manifest = smallManifest(change, files);
      const directory = join(root, "packed", String(packed));
      mkdirSync(directory, { recursive: true });
      const file = join(directory, `${manifest.name}-${manifest.version}.pkg`);
      writeFileSync(file, packageBytes(manifest, files));
      return file;
    },
    directory: (name) => join(root, name),
    [Symbol.dispose]: () => rmSync(root, { recursive: true, force: true }),
  };
}

export function smallManifest(change: Partial<Manifest>, files: Readonly<Record<string, string>>): Manifest {
  const entries = Object.entries(files);
  return {
    ...MINIMAL,
    origin: `misc/${change.name ?? "hello"}`,
    version: "1.0",
    flatsize: entries.reduce((sum, [, text]) => sum + text.length, 0),
    files: entries.map(([path, text]) => {
      const sizeBytes = Buffer.byteLength(text);
      return {
        path,
        type: "file",
        sum: `1$${sha256(text)}`,
        uname: "root",
        gname: "wheel",
        mode: 0o755,
        sizeBytes,
        mtimeSeconds: 1,
      };
    }),
    ...change,
  };
}

export type RawMember = { readonly member: TarMember; readonly content?: Uint8Array };

/** A regular file of an archive, whatever it is called. */
export function rawFile(path: string, text: Uint8Array | string): RawMember {
  const content = Buffer.from(text);
  const owner = { uname: "root", gname: "wheel", mode: 0o644, mtimeSeconds: 0 };
  return { member: { path, type: "file", ...owner, sizeBytes: content.length }, content };
}

/** The archive as the plan says; `edit` may make a hostile one of it. */
export function packageBytes(
  manifest: Manifest,
  files: Readonly<Record<string, string>>,
  edit: (members: readonly RawMember[]) => readonly RawMember[] = (members) => members,
): Uint8Array {
  const members = planArchive(manifest).map(({ member, content }): RawMember => {
    if (content.kind === "none") return { member };
    return { member, content: content.kind === "text" ? content.bytes : Buffer.from(files[content.path] ?? "") };
  });
  return Bun.zstdCompressSync(tarArchive(edit(members)), { level: 1 });
}

/** The code of the Problem that the work ends with; a bug is shown as it is. */
export async function codeOf(work: () => unknown): Promise<string> {
  try {
    await work();
    return "nothing was refused";
  } catch (error) {
    return error instanceof Problem ? error.code : String(error);
  }
}
