/** Random trees whose names and contents are any bytes, and one with every odd thing by name. */
import * as fc from "fast-check";
import * as fs from "node:fs";

export type Node =
  | { readonly type: "file"; readonly mode: number; readonly contents: Uint8Array }
  | { readonly type: "symlink"; readonly target: Uint8Array }
  | {
      readonly type: "directory";
      readonly mode: number;
      readonly entries: readonly { readonly name: string; readonly node: Node }[];
    };

const byte = fc.oneof(
  { weight: 2, arbitrary: fc.integer({ min: 1, max: 255 }) },
  { weight: 3, arbitrary: fc.constantFrom(...Buffer.from(`aZ09.-_ \t\n\r\\'"$\`%#=*?[]{}~!&;|<>()@:,+^\x7f\x80\xff`, "latin1")) },
);

/** Each character is a byte. */
const anyName = fc
  .array(byte, { minLength: 1, maxLength: 24 })
  .map((bytes) => Buffer.from(bytes).toString("latin1").replaceAll("/", "x"))
  .filter((name) => name !== "." && name !== "..");

const { directory } = fc.letrec<{ node: Node; directory: Node }>((tie) => ({
  node: fc.oneof(
    { maxDepth: 5, withCrossShrink: true },
    fc.record({
      type: fc.constant("file" as const),
      mode: fc.constantFrom(0o644, 0o755, 0o444, 0o555, 0o600, 0o700, 0o655, 0o011),
      contents: fc.uint8Array({ maxLength: 17 }),
    }),
    fc.record({
      type: fc.constant("symlink" as const),
      target: fc.array(byte, { minLength: 1, maxLength: 60 }).map((bytes) => Uint8Array.from(bytes)),
    }),
    tie("directory"),
  ),
  directory: fc.record({
    type: fc.constant("directory" as const),
    mode: fc.constantFrom(0o755, 0o700, 0o555),
    entries: fc.uniqueArray(fc.record({ name: anyName, node: tie("node") }), { maxLength: 8, selector: ({ name }) => name }),
  }),
}));

export const anyTree: fc.Arbitrary<Node> = directory;

export function writeTree(path: Buffer, node: Node): void {
  switch (node.type) {
    case "file":
      fs.writeFileSync(path, node.contents);
      fs.chmodSync(path, node.mode);
      return;
    case "symlink":
      fs.symlinkSync(Buffer.from(node.target), path);
      return;
    case "directory":
      fs.mkdirSync(path);
      for (const { name, node: inner } of node.entries)
        writeTree(Buffer.concat([path, Buffer.from(`/${name}`, "latin1")]), inner);
      fs.chmodSync(path, node.mode);
  }
}

/** Names with a meaning to a shell, an option, a pattern, a format; every size around a NAR's padding; what is as long as it can be. */
export function hostileTree(root: string): void {
  fs.mkdirSync(root);
  const raw = (name: string): Buffer => Buffer.from(`${root}/${name}`, "latin1");
  const names = [
    " ",
    "  two  ",
    "-",
    "-rf",
    "--help",
    "@archive",
    "it's",
    '"quoted"',
    "$HOME",
    "`id`",
    "$(id)",
    "back\\slash",
    "\\",
    "\\n",
  ];
  names.push(
    "new\nline",
    "\n",
    "tab\t",
    "star*",
    "?",
    "[a]",
    "#comment",
    "a=b",
    "%s%n%%",
    "%",
    "~",
    "!",
    "&;|<>()",
    "{}",
    "..a",
    "...",
    ".a",
  );
  names.push(
    "\x01",
    "\x7f",
    "\x80",
    "\xff\xfe",
    "gr\xc3\xb6\xc3\x9fe",
    "\xc3",
    "M-x",
    "^A",
    "a\rb",
    "/set".slice(1),
    "./x".slice(1).replace("/", "\\057"),
  );
  for (const [index, name] of names.entries()) {
    fs.writeFileSync(raw(name), name, { mode: index % 2 === 0 ? 0o644 : 0o755 });
    fs.mkdirSync(raw(`d${name}`));
    fs.writeFileSync(raw(`d${name}/${name}`), "");
    fs.symlinkSync(Buffer.from(`to/${name}`, "latin1"), raw(`l${name}`));
  }
  for (let size = 0; size <= 17; size += 1) fs.writeFileSync(raw(`size-${size}`), Buffer.alloc(size, "%"));
  // Lengths whose bytes in a NAR are a percent sign and a zero.
  fs.writeFileSync(raw("p".repeat(37)), Buffer.alloc(37 * 256 + 37, "\0"));
  fs.writeFileSync(raw("n".repeat(255)), "long");
  fs.symlinkSync("t".repeat(1000), raw("long-link"));
  fs.mkdirSync(raw("empty"));
  for (const name of ["a", "a-", "a.b", "a0", "aa", "A"]) fs.writeFileSync(raw(name), name);
  fs.mkdirSync(raw("a-dir"));
  fs.writeFileSync(raw("a-dir/x"), "x");
  fs.writeFileSync(raw("a-dir!"), "sorts before what is in a-dir by whole paths");
  fs.linkSync(raw("a"), raw("hard"));
  const sparse = fs.openSync(raw("sparse"), "w");
  fs.writeSync(sparse, "end", 300_000);
  fs.closeSync(sparse);
}
