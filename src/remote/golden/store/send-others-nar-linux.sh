set -eu
PATH=/sbin:/bin:/usr/sbin:/usr/bin
LC_ALL=C
export PATH LC_ALL
umask 022

event() {
  printf 'garth: %s\n' "$*" >&2
}

# Whoever listened may be gone: what has come whole is kept all the same.
trap '' PIPE
say() {
  event "$@" || :
}

root=/frx/var/garth/remote
store=/frx/store
used=$root/used

[ -d "$root" ] || mkdir -p "$root"
for directory in "$store" "$used" "$root/incoming"; do
  if [ -L "$directory" ]; then
    event unsafe "$directory"
    exit 3
  fi
  [ -d "$directory" ] || mkdir "$directory" 2>/dev/null || [ -d "$directory" ] || {
    event unsafe "$directory"
    exit 3
  }
done

# An item may be a symlink that leads nowhere here.
there() {
  [ -e "$store/$1" ] || [ -L "$store/$1" ]
}

# In ticks since the boot: what ps(1) prints is computed anew each time, and jitters.
began() {
  began=
  { read -r began <"/proc/$1/stat"; } 2>/dev/null || :
  # Field 2 is a name in parentheses, which may hold blanks and more of them.
  # shellcheck disable=SC2086 # Into its fields.
  set -- ${began##*) }
  began=
  case ${1-Z} in Z | X) return 1 ;; esac
  began=${20-}
  [ -n "$began" ]
}

alive() {
  case ${1%% *} in '' | *[!0-9]*) return 1 ;; esac
  began "${1%% *}" && [ "$began" = "${1#* }" ]
}

own_identity() {
  owner=${GARTH_OWNER-}
  if [ "${owner%% *}" != "$$" ]; then
    began "$$"
    owner="$$ $began"
  fi
}

work=$root/incoming/send-1

own_identity
trap 'cd / && rm -rf "$work"' EXIT
trap 'exit 3' HUP INT TERM
mkdir "$work" "$work/t" "$work/s" "$work/w" "$work/one"
echo "$owner" >"$work/owner"

free=$(df -kP "$work" | {
  read -r _ && read -r free
  # Before the first "%" are the name of the file system, three numbers and a share; the name may have blanks.
  # shellcheck disable=SC2086
  set -- ${free%%%*}
  while [ $# -gt 2 ]; do shift; done
  echo "${1-}"
})
# Below zero: what is kept for root is being used up.
case $free in -*) free=0 ;; esac
if [ -n "$free" ] && [ "$free" -lt 5 ]; then
  event full 5120 "$((free * 1024))"
  exit 3
fi

items() {
  "$1" aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-libc-1.0
  "$1" 'bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb-what?-2=3+4_5.6' aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-libc-1.0
}

list() {
  /usr/bin/find "$1" -printf '%y %m %s \0%P\0%l\0' | od -An -v -to1 | awk '
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

frame() {
  awk -v "flat=${flat-}" '
    function number(value,  at, out) {
      for (at = 0; at < 8; at++) {
        out = out sprintf("\\%03o", value % 256)
        value = int(value / 256)
      }
      return out
    }
    function bytes(octal,  at, out) {
      for (at = 1; at <= length(octal); at += 3) out = out "\\" substr(octal, at, 3)
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
      printf "printf \"%s\" >f/%d; printf \"%%s/f/%d\\000%s\" \"$here\" >&3\n", held, frames, frames, behind
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
      for (at = 1; at < 8; at++) zeros[at] = zeros[at - 1] "\\000"
      say("$M", 24)
    }
    $2 !~ /^[dfl]$/ {
      if (odd++ < 20) print $2, $1 >"odd"
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
          flush("." shown($1) "\\000")
          total += $4
        }
        say(zeros[(8 - $4 % 8) % 8] (depth > 0 ? "$C$C" : "$C"), (8 - $4 % 8) % 8 + (depth > 0 ? 32 : 16))
      }
      if (length(held) > 8000) flush("")
    }
    END {
      leave(0)
      flush("")
      printf "size=%.0f\n", total
    }'
}

digest() {
  # The frames name these.
  # shellcheck disable=SC2034
  M='\015\000\000\000\000\000\000\000nix-archive-1\000\000\000'
  # shellcheck disable=SC2034
  E='\005\000\000\000\000\000\000\000entry\000\000\000\001\000\000\000\000\000\000\000(\000\000\000\000\000\000\000\004\000\000\000\000\000\000\000name\000\000\000\000'
  # shellcheck disable=SC2034
  N='\004\000\000\000\000\000\000\000node\000\000\000\000'
  # shellcheck disable=SC2034
  D='\001\000\000\000\000\000\000\000(\000\000\000\000\000\000\000\004\000\000\000\000\000\000\000type\000\000\000\000\011\000\000\000\000\000\000\000directory\000\000\000\000\000\000\000'
  # shellcheck disable=SC2034
  L='\001\000\000\000\000\000\000\000(\000\000\000\000\000\000\000\004\000\000\000\000\000\000\000type\000\000\000\000\007\000\000\000\000\000\000\000symlink\000\006\000\000\000\000\000\000\000target\000\000'
  # shellcheck disable=SC2034
  R='\001\000\000\000\000\000\000\000(\000\000\000\000\000\000\000\004\000\000\000\000\000\000\000type\000\000\000\000\007\000\000\000\000\000\000\000regular\000\010\000\000\000\000\000\000\000contents'
  # shellcheck disable=SC2034
  X='\001\000\000\000\000\000\000\000(\000\000\000\000\000\000\000\004\000\000\000\000\000\000\000type\000\000\000\000\007\000\000\000\000\000\000\000regular\000\012\000\000\000\000\000\000\000executable\000\000\000\000\000\000\000\000\000\000\000\000\000\000\010\000\000\000\000\000\000\000contents'
  # shellcheck disable=SC2034
  C='\001\000\000\000\000\000\000\000)\000\000\000\000\000\000\000'
  # shellcheck disable=SC2034
  here=$PWD
  # shellcheck disable=SC1091
  . ./frames 3>names
  digest=$(cd "${1%"${flat-}"}" && xargs -0 cat <"$here/names" | sha256sum)
  digest=${digest%% *}
}

whole() {
  [ ! -f "w/$1" ] || words="$words $1"
}

want() {
  case $1 in
    aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-libc-1.0) wanted=cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc ;;
    'bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb-what?-2=3+4_5.6') wanted=cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc ;;
  esac
}

# In a directory of its own, which holds what stands between the contents.
sum() (
  rm -rf one
  mkdir one one/f
  cd one
  flat=
  { [ -d "$work/t/$1" ] && [ ! -L "$work/t/$1" ]; } || flat=$1
  list "$work/t/$1" | sort | frame >frames
  if [ -s odd ]; then
    echo "a file that no item may hold"
    exit 0
  fi
  digest "$work/t/$1"
  echo "$digest"
)

# w/NAME is there as long as nothing is known against the item.
check() {
  [ -f "w/$1" ] || return 0
  want "$1"
  found=$(sum "$1") || :
  if [ "$found" != "$wanted" ]; then
    printf '%s\n' "$1: expected sha256 $wanted, found $found" >&2 || :
    say refused "$1"
    rm -rf "t/$1" "w/$1"
  fi
}

place() {
  if there "$1"; then
    return 0
  fi
  [ -f "w/$1" ] || return 0
  name=$1
  shift
  for reference; do
    [ -f "w/$reference" ] || there "$reference" || {
      rm -f "w/$name"
      return 0
    }
  done
  words="$words t/$name"
}

tell() {
  if there "$1"; then say stored "$1"; fi
}

say ready
cd "$work"
# What tar says may end without a line's end.
said=$({ head -c 4096 | /usr/bin/tar -xpPf - --warning=no-unknown-keyword 2>&1 || echo "tar ended with status $?"; } | tail -n 10)
if [ -n "$said" ]; then
  printf '%s\n' "$said" >&2 || :
  say unpacked
fi

for name in t/*; do
  [ -f "w/${name#t/}" ] || rm -rf "$name"
done
# No name of an item has a blank in it; some have what a shell takes for a pattern.
set -f
words=
items whole
if [ -n "$words" ]; then
  items check
  sync -f "$work"
fi
# What these refer to may still be on its way; the end of the input says that it came, or that it never will.
read -r _ || :
words=
items place
# shellcheck disable=SC2086 # Names, each a word.
if [ -n "$words" ]; then mv -n $words "$store/" || :; fi
items tell
