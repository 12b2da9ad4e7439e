/** For tests of this room and of those above it. */
import fc from "fast-check";
import type { Manifest } from "./types.ts";

export const MINIMAL: Manifest = {
  name: "hello",
  origin: "misc/hello",
  version: "2.10",
  comment: "Greets",
  maintainer: "ports@example.org",
  www: "https://www.gnu.org/software/hello",
  abi: "FreeBSD:15:amd64",
  arch: "freebsd:15:x86:64",
  prefix: "/usr/local",
  flatsize: 0,
  licenselogic: "single",
  licenses: ["GPLv3+"],
  desc: "Greets, in many languages.",
  deps: {},
  categories: ["misc"],
  users: [],
  groups: [],
  shlibsRequired: [],
  shlibsProvided: [],
  options: {},
  annotations: {},
  files: [],
  config: [],
  directories: [],
  scripts: {},
  messages: [],
};

const text = fc.string({ unit: "grapheme", maxLength: 20 }).map((value) => (value.isWellFormed() ? value : "x"));
const word = fc.stringMatching(/^[a-z][a-z0-9]{0,9}$/);
const path = fc
  .array(
    text.map((part) => part.replaceAll(/[/\0]/g, "_")).filter((part) => part !== "" && part !== "." && part !== ".."),
    {
      minLength: 1,
      maxLength: 3,
    },
  )
  .map((parts) => `/${parts.join("/")}`);
const owner = { uname: word, gname: word, mode: fc.nat(0o777) };
const file = fc.oneof(
  fc.record({
    path,
    type: fc.constant("file" as const),
    sum: fc.constant(`1$${"a".repeat(64)}`),
    sizeBytes: fc.constant(0),
    ...owner,
  }),
  fc.record({
    path,
    type: fc.constant("symlink" as const),
    sum: fc.constant(`1$${"b".repeat(64)}`),
    sizeBytes: fc.constant(0),
    target: word,
    mtimeSeconds: fc.integer({ min: 1, max: 2 ** 31 }),
    ...owner,
  }),
);

/** Manifests with every field somewhere in use. */
export const anyManifest: fc.Arbitrary<Manifest> = fc.record({
  name: word,
  origin: word.map((name) => `misc/${name}`),
  version: fc.stringMatching(/^[0-9][0-9.]{0,6}$/),
  comment: text,
  maintainer: text,
  www: text,
  abi: fc.constant("FreeBSD:15:amd64"),
  arch: fc.constant("freebsd:15:x86:64"),
  prefix: fc.constant("/usr/local"),
  flatsize: fc.nat(),
  licenselogic: fc.constantFrom("single", "and", "or"),
  licenses: fc.array(text, { minLength: 1, maxLength: 2 }),
  desc: text,
  deps: fc.dictionary(word, fc.record({ origin: word, version: word }), { maxKeys: 3, noNullPrototype: true }),
  categories: fc.array(word, { maxLength: 2 }),
  users: fc.array(word, { maxLength: 2 }),
  groups: fc.array(word, { maxLength: 2 }),
  shlibsRequired: fc.array(word, { maxLength: 2 }),
  shlibsProvided: fc.array(word, { maxLength: 2 }),
  options: fc.dictionary(word, fc.constantFrom("on", "off"), { maxKeys: 2, noNullPrototype: true }),
  annotations: fc.dictionary(word, text, { maxKeys: 2, noNullPrototype: true }),
  files: fc.uniqueArray(file, { selector: (entry) => entry.path, maxLength: 4 }),
  config: fc.array(path, { maxLength: 2 }),
  directories: fc.uniqueArray(fc.record({ path, ...owner }), { selector: (entry) => entry.path, maxLength: 2 }),
  scripts: fc.dictionary(fc.constantFrom("pre-install", "post-install", "pre-deinstall", "post-deinstall"), text, {
    maxKeys: 2,
    noNullPrototype: true,
  }),
  messages: fc.array(
    fc.oneof(fc.record({ message: text }), fc.record({ message: text, type: fc.constantFrom("install", "remove") })),
    {
      maxLength: 2,
    },
  ),
});
