import { Problem, sha256 } from "../base/index.ts";
import type { Host } from "../host/index.ts";
import { parseReceipt, type ReceiptFields, renderReceipt } from "./format.ts";

export interface Receipt {
  /** `<stage>-<subject>-<12 hex digits of the text's digest>`: what `garth receipt show` takes, or the beginning of it. */
  readonly name: string;
  readonly stage: string;
  readonly subject: string;
  readonly fields: ReceiptFields;
  readonly writtenAtMs: number;
}

export interface Receipts {
  /** Keeps it under its name, once however often it is kept, and returns the name. */
  keep(stage: string, subject: string, fields: ReceiptFields): string;
  /** Newest first. */
  list(): readonly Receipt[];
  /** @throws Problem E_NO_SUCH_RECEIPT, E_AMBIGUOUS_RECEIPT */
  show(name: string): Receipt;
}

const NAME = /^(?<stage>[a-z]+)-(?<subject>.+)-[0-9a-f]{12}\.txt$/;

/** Writes `file` and `file.json`, each whole or not at all. */
export function writeReceiptFile(host: Host, file: string, fields: ReceiptFields): void {
  replaceFile(host, file, renderReceipt(fields));
  replaceFile(host, `${file}.json`, `${JSON.stringify(fields, undefined, 2)}\n`);
}

function replaceFile(host: Host, file: string, text: string): void {
  const temporary = `${file}.new`;
  host.files.writeFile(temporary, text);
  host.files.rename(temporary, file);
}

export function openReceipts(host: Host, directory: string): Receipts {
  const read = (entry: string): Receipt | undefined => {
    const match = NAME.exec(entry);
    if (match?.groups === undefined) return undefined;
    const { stage = "", subject = "" } = match.groups;
    const file = `${directory}/${entry}`;
    const fields = parseReceipt(host.files.readText(file), file);
    return { name: entry.slice(0, -".txt".length), stage, subject, fields, writtenAtMs: host.files.lstat(file).mtimeMs };
  };
  const list = () => {
    if (!host.files.exists(directory)) return [];
    const decoder = new TextDecoder();
    return host.files
      .list(directory)
      .map((entry) => read(decoder.decode(entry)))
      .filter((receipt) => receipt !== undefined)
      .toSorted((left, right) => right.writtenAtMs - left.writtenAtMs || (left.name < right.name ? -1 : 1));
  };
  return {
    keep: (stage, subject, fields) => {
      const name = `${stage}-${subject}-${sha256(renderReceipt(fields)).slice(0, 12)}`;
      const file = `${directory}/${name}.txt`;
      // The JSON is written second, so where it is both are.
      if (host.files.exists(`${file}.json`)) return name;
      host.files.makeDirectory(directory, { parents: true });
      writeReceiptFile(host, file, fields);
      return name;
    },
    list,
    show: (name) => {
      const wanted = list().filter((receipt) => receipt.name === name || receipt.name.startsWith(name));
      const exact = wanted.find((receipt) => receipt.name === name);
      const only = exact ?? (wanted.length === 1 ? wanted[0] : undefined);
      if (only !== undefined) return only;
      throw wanted.length === 0
        ? new Problem({
            code: "E_NO_SUCH_RECEIPT",
            message: `there is no receipt ${JSON.stringify(name)}`,
            hint: "`garth receipt ls` lists them",
            where: directory,
            exit: 2,
          })
        : new Problem({
            code: "E_AMBIGUOUS_RECEIPT",
            message: `${JSON.stringify(name)} begins the names of ${wanted.length} receipts`,
            details: wanted.map((receipt) => receipt.name),
            exit: 2,
          });
    },
  };
}
