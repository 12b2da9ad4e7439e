/** Entries as people see them: what a link leads to, names of owners. One for each SFTP session. */
import { below } from "./file-problems.ts";
import { Refusal, type Sftp } from "./sftp.ts";
import {
  type Attributes,
  decodeStrings,
  encodeAttributes,
  encodeNumbers,
  type NameEntry,
  OPEN,
  path as wirePath,
  REQUEST,
  typeOf,
} from "./sftp-wire.ts";
import { readRange } from "./transfer.ts";
import type { GuestEntry } from "./types.ts";
import { namesByNumber } from "./users.ts";
import { string, u32 } from "./wire.ts";

const BY_ID = "users-groups-by-id@openssh.com";
const DATABASE_MAX_BYTES = 16 * 1024 ** 2;

type Kind = "users" | "groups";

export class Names {
  readonly #sftp: Sftp;
  readonly #known: Readonly<Record<Kind, Map<number, Promise<string>>>> = { users: new Map(), groups: new Map() };
  readonly #databases: Partial<Record<Kind, Promise<ReadonlyMap<number, string>>>> = {};

  constructor(sftp: Sftp) {
    this.#sftp = sftp;
  }

  /** `shown`: the path as it was asked for. */
  async entryOf(directory: string, { name, attributes }: NameEntry, shown?: string): Promise<GuestEntry> {
    const path = shown ?? below(directory, name);
    const link = typeOf(attributes) === "symlink" ? await this.#follow(path) : undefined;
    const seen = link?.attributes ?? attributes;
    const [owner, group] = await Promise.all([this.#name("users", seen.uid ?? 0), this.#name("groups", seen.gid ?? 0)]);
    return {
      name: name.toWellFormed(),
      path: path.toWellFormed(),
      kind: typeOf(seen),
      sizeBytes: seen.sizeBytes ?? 0,
      mode: (seen.mode ?? 0) & 0o7777,
      owner,
      group,
      modifiedMs: (seen.modifiedS ?? 0) * 1000,
      target: link?.target.toWellFormed(),
    };
  }

  /** A link that leads nowhere has its own text, and is itself what is seen. */
  async #follow(path: string): Promise<{ readonly target: string; readonly attributes: Attributes | undefined }> {
    const ask = async <Value>(work: Promise<Value>): Promise<Value | undefined> => {
      try {
        return await work;
      } catch (error) {
        if (error instanceof Refusal) return undefined;
        throw error;
      }
    };
    const [attributes, real, text] = await Promise.all([
      ask(this.#sftp.attributes(REQUEST.stat, wirePath(path))),
      ask(this.#sftp.names(REQUEST.realpath, wirePath(path))),
      ask(this.#sftp.names(REQUEST.readlink, wirePath(path))),
    ]);
    const target = (attributes === undefined ? undefined : real?.[0]?.name) ?? text?.[0]?.name ?? "";
    return { target, attributes };
  }

  /** The number itself where nobody has it. */
  async #name(kind: Kind, number: number): Promise<string> {
    let known = this.#known[kind].get(number);
    if (known === undefined) {
      known = this.#sftp.extensions.has(BY_ID) ? this.#ask(kind, number) : this.#look(kind, number);
      this.#known[kind].set(number, known);
    }
    return (await known) || String(number);
  }

  async #ask(kind: Kind, number: number): Promise<string> {
    const numbers = (wanted: Kind): Uint8Array => encodeNumbers(wanted === kind ? [number] : []);
    const reader = await this.#sftp.extended(BY_ID, numbers("users"), numbers("groups"));
    const [users, groups] = [reader.bytes(), reader.bytes()];
    return decodeStrings(kind === "users" ? users : groups)[0] ?? "";
  }

  async #look(kind: Kind, number: number): Promise<string> {
    this.#databases[kind] ??= this.#read(kind === "users" ? "/etc/passwd" : "/etc/group");
    return (await this.#databases[kind]).get(number) ?? "";
  }

  async #read(file: string): Promise<ReadonlyMap<number, string>> {
    try {
      const handle = await this.#sftp.handle(REQUEST.open, wirePath(file), u32(OPEN.read), encodeAttributes({}));
      const chunks = await Array.fromAsync(readRange(this.#sftp, handle, 0, DATABASE_MAX_BYTES));
      await this.#sftp.done(REQUEST.close, string(handle));
      return namesByNumber(Buffer.concat(chunks).toString());
    } catch (error) {
      if (error instanceof Refusal) return new Map();
      throw error;
    }
  }
}
