/**
 * The SHA-256 of a tree's NAR (formats/nar.ts) by tools of a base system alone. Pure.
 *
 *     tree ──list──► a line each, sorted ──frame──► f/1 f/2 ... and a list: f/1 ./bin/x f/2 ./lib/y ... ──xargs cat──► sha256
 *
 * What stands between the contents of two files is made by printf(1) of the shell itself, from octal escapes that awk(1) wrote ("%%" is the byte that would begin a directive in some shells): a tree of
 * 10,000 files costs about ten processes, and no byte of a name or of contents passes through a tool that would take it for text.
 *
 * A line of the list: PATH KIND X SIZE TARGET. PATH and TARGET are three octal digits for each byte, PATH with "/" between names, so that
 * sort(1) gives the order of a NAR ("/" is before every digit); the root is ".". KIND is d, f or l, "special" for a file with the setuid or
 * setgid bit, or a word for what no output may hold. X is 1 where the owner may execute it. TARGET is "-" but for a symlink.
 */
import { operatingSystemOf, type System } from "../base/index.ts";

/** The line as bsdtar(1) says mtree(5): all but plain characters as `\ooo`. It reads contents for it, and does nothing with them. */
const LIST_FREEBSD = `list() {
  tar -cf - --format=mtree --options='mtree:!all,mtree:type,mtree:mode,mtree:size,mtree:link' -C "$1" . | awk '
    function octal(text, above,  at, one, out) {
      for (at = 1; at <= length(text); at++) {
        one = substr(text, at, 1)
        if (one == "\\\\") {
          out = out substr(text, at + 1, 3)
          at += 3
        } else out = out code[one]
      }
      return above out
    }
    BEGIN {
      for (at = 33; at < 127; at++) code[sprintf("%c", at)] = sprintf("%03o", at)
      kinds["dir"] = "d"; kinds["file"] = "f"; kinds["link"] = "l"
    }
    $0 ~ "^[.][/ ]" {
      kind = "unknown"; mode = "0"; size = 0; target = "-"
      for (field = 2; field <= NF; field++) {
        equals = index($field, "=")
        key = substr($field, 1, equals - 1)
        value = substr($field, equals + 1)
        if (key == "type") kind = (value in kinds) ? kinds[value] : value
        else if (key == "mode") mode = value
        else if (key == "size") size = value
        else if (key == "link") target = octal(value, "")
      }
      name = $1
      if (name == ".") path = "."
      else {
        sub("^[.]/", "", name)
        match(name, "[^/]*$")
        above = substr(name, 1, RSTART - 1)
        if (above == "") path = octal(name, "")
        else path = octal(substr(name, RSTART), known[above])
        if (kind == "d") known[name "/"] = path "/"
      }
      digits = "000" mode
      special = substr(digits, length(digits) - 3, 1)
      owner = substr(digits, length(digits) - 2, 1)
      if (kind == "f" && special >= 2) kind = "special"
      print path, kind, owner % 2, size, (kind == "l" ? target : "-")
    }'
}
`;

/** Strings that end in a zero byte, as od(1) shows them. */
const LIST_LINUX = `list() {
  /usr/bin/find "$1" -printf '%y %m %s \\0%P\\0%l\\0' | od -An -v -to1 | awk '
    function line(  field, digits, special, owner, kind) {
      split(facts, field, " ")
      kind = field[1]
      digits = "000" field[2]
      special = substr(digits, length(digits) - 3, 1)
      owner = substr(digits, length(digits) - 2, 1)
      if (kind == "f" && special >= 2) kind = "special"
      else if (kind in words) kind = words[kind]
      if (path == "") path = "."
      print path, kind, owner % 2, field[3], (kind == "l" ? target : "-")
    }
    BEGIN {
      for (at = 32; at < 127; at++) letter[sprintf("%03o", at)] = sprintf("%c", at)
      words["p"] = "fifo"; words["s"] = "socket"; words["b"] = "block"; words["c"] = "char"
    }
    {
      for (at = 1; at <= NF; at++) {
        byte = $at
        if (byte != "000") {
          if (part == 0) facts = facts letter[byte]
          else if (part == 2) target = target byte
          else if (byte == "057") path = path "/"
          else path = path byte
        } else if (part < 2) part++
        else {
          line()
          part = 0
          facts = path = target = ""
        }
      }
    }'
}
`;

/** Files that no output may hold, of which so many are named. */
const ODD_MAX = 20;

/** From the list to shell that writes frames into f/ and their names, with those of the files between them, to descriptor 3. */
const FRAME = `frame() {
  awk -v "flat=\${flat-}" '
    function number(value,  at, out) {
      for (at = 0; at < 8; at++) {
        out = out sprintf("\\\\%03o", value % 256)
        value = int(value / 256)
      }
      return out
    }
    function bytes(octal,  at, out) {
      for (at = 1; at <= length(octal); at += 3) out = out "\\\\" substr(octal, at, 3)
      return out
    }
    function word(octal,  count) {
      count = length(octal) / 3
      say(number(count) bytes(octal) zeros[(8 - count % 8) % 8], 8 + count + (8 - count % 8) % 8)
    }
    function say(text, count) {
      held = held text
      total += count
    }
    function flush(behind) {
      frames++
      printf "printf \\"%s\\" >f/%d; printf \\"%%s/f/%d\\\\000%s\\" \\"$here\\" >&3\\n", held, frames, frames, behind
      held = ""
    }
    function shown(path,  part, count, at, out) {
      if (path == ".") return "/" flat
      count = split(path, part, "/")
      for (at = 1; at <= count; at++) out = out "/" bytes(part[at])
      return out
    }
    function leave(depth) {
      while (open > depth) {
        open--
        if (open > 0) say("$C$C", 32)
        else say("$C", 16)
      }
    }
    BEGIN {
      for (at = 1; at < 8; at++) zeros[at] = zeros[at - 1] "\\\\000"
      say("$M", 24)
    }
    $2 !~ /^[dfl]$/ {
      if (odd++ < ${ODD_MAX}) print $2, $1 >"odd"
      next
    }
    {
      depth = $1 == "." ? 0 : split($1, part, "/")
      leave(depth)
      if (depth > 0) {
        say("$E", 48)
        word(part[depth])
        say("$N", 16)
      }
      if ($2 == "d") {
        say("$D", 56)
        open++
      } else if ($2 == "l") {
        say("$L", 64)
        word($5)
        say(depth > 0 ? "$C$C" : "$C", depth > 0 ? 32 : 16)
      } else {
        if ($3 == 1) say("$X", 96)
        else say("$R", 64)
        say(number($4), 8)
        if ($4 > 0) {
          flush("." shown($1) "\\\\000")
          total += $4
        }
        say(zeros[(8 - $4 % 8) % 8] (depth > 0 ? "$C$C" : "$C"), (8 - $4 % 8) % 8 + (depth > 0 ? 32 : 16))
      }
      if (length(held) > 8000) flush("")
    }
    END {
      leave(0)
      flush("")
      printf "size=%.0f\\n", total
    }'
}
`;

/** A string as a NAR has it, in the escapes of printf(1). */
function narWord(text: string): string {
  const bytes = Buffer.from(text, "latin1");
  const escape = (byte: number): string => `\\${byte.toString(8).padStart(3, "0")}`;
  const zeros = (count: number): string => "\\000".repeat(count);
  return `${escape(bytes.byteLength)}${zeros(7)}${text}${zeros((8 - (bytes.byteLength % 8)) % 8)}`;
}

const WORDS = {
  M: ["nix-archive-1"],
  E: ["entry", "(", "name"],
  N: ["node"],
  D: ["(", "type", "directory"],
  L: ["(", "type", "symlink", "target"],
  R: ["(", "type", "regular", "contents"],
  X: ["(", "type", "regular", "executable", "", "contents"],
  C: [")"],
};

/**
 * Functions of the shell. `list DIRECTORY` prints its lines, unsorted. `frame` takes them sorted, prints what `digest` wants as ./frames, and
 * writes KIND PATH of what no output may hold to ./odd, where there is any. `digest DIRECTORY` sets $digest and $size, in a directory where f/
 * is empty. On Linux all three take a file or a symlink too; of a file $flat has the last name, in plain characters.
 */
export function narFunctions(system: System): string {
  const freebsd = operatingSystemOf(system) === "freebsd";
  const words = Object.entries(WORDS).map(([name, strings]) => `  ${name}='${strings.map(narWord).join("")}'\n`);
  return `${freebsd ? LIST_FREEBSD : LIST_LINUX}
${FRAME}
digest() {
  # The frames name these.
${words.map((line) => `  # shellcheck disable=SC2034\n${line}`).join("")}  # shellcheck disable=SC2034
  here=$PWD
  # shellcheck disable=SC1091
  . ./frames 3>names
  digest=$(cd "\${1%"\${flat-}"}" && xargs -0 cat <"$here/names" | ${freebsd ? "sha256 -q" : "sha256sum"})
  digest=\${digest%% *}
}
`;
}
