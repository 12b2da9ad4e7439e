set -eu
PATH=/sbin:/bin:/usr/sbin:/usr/bin
LC_ALL=C
export PATH LC_ALL
umask 022

event() {
  printf 'garth: %s\n' "$*" >&2
}

from=/frx/var/garth/remote/tmp/1/out

root=/frx/var/garth/remote
store=$root/store
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

# In seconds since the first process began: what ps(1) prints moves when somebody sets the clock, but for both alike.
began() {
  began='' first=0
  # shellcheck disable=SC2046 # Into its fields.
  set -- "$1" $(TZ=UTC ps -o pid= -o state= -o lstart= -p "1,$1" 2>/dev/null)
  pid=$1
  shift
  # PID STATE Sun Nov 29 14:27:51 2026
  while [ $# -ge 7 ]; do
    case $2 in
    Z*) ;;
    *)
      seconds_of "$4" "$5" "$6" "$7"
      [ "$1" != 1 ] || first=$seconds
      [ "$1" != "$pid" ] || began=$seconds
      ;;
    esac
    shift 7
  done
  [ -n "$began" ] || return 1
  began=$((began - first))
}

# Since some day long ago. The year begins in March, so that a day too many is at its end.
seconds_of() {
  case $1 in
  Jan) month=13 ;; Feb) month=14 ;; Mar) month=3 ;; Apr) month=4 ;; May) month=5 ;; Jun) month=6 ;;
  Jul) month=7 ;; Aug) month=8 ;; Sep) month=9 ;; Oct) month=10 ;; Nov) month=11 ;; *) month=12 ;;
  esac
  year=$4
  [ "$month" -le 12 ] || year=$((year - 1))
  days=$((365 * year + year / 4 - year / 100 + year / 400 + (153 * month - 457) / 5 + $2))
  hour=${3%%:*} second=${3##*:} minute=${3#*:}
  minute=${minute%:*}
  seconds=$((days * 86400 + ${hour#0} * 3600 + ${minute#0} * 60 + ${second#0}))
}

# Two times that are cut to whole seconds may be one further apart, or nearer.
alive() {
  case ${1%% *} in '' | *[!0-9]*) return 1 ;; esac
  case ${1#* } in '' | *[!0-9-]*) return 1 ;; esac
  began "${1%% *}" || return 1
  apart=$((began - ${1#* }))
  [ "$apart" -ge -1 ] && [ "$apart" -le 1 ]
}

own_identity() {
  owner=${GARTH_OWNER-}
  if [ "${owner%% *}" != "$$" ]; then
    began "$$"
    owner="$$ $began"
  fi
}

work=$root/incoming/fetch-1

own_identity
trap 'cd / && rm -rf "$work"' EXIT
trap 'exit 3' HUP INT TERM
mkdir "$work" "$work/f"
echo "$owner" >"$work/owner"

list() {
  tar -cf - --format=mtree --options='mtree:!all,mtree:type,mtree:mode,mtree:size,mtree:link' -C "$1" . | awk '
    function octal(text, above,  at, one, out) {
      for (at = 1; at <= length(text); at++) {
        one = substr(text, at, 1)
        if (one == "\\") {
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
  digest=$(cd "${1%"${flat-}"}" && xargs -0 cat <"$here/names" | sha256 -q)
  digest=${digest%% *}
}

if [ -L "$from" ] || [ ! -d "$from" ]; then
  event absent
  exit 3
fi
cd "$work"
list "$from" | sort | frame >frames
if [ -s odd ]; then
  while read -r kind path; do event bad "$kind" "$path"; done <odd
  exit 3
fi

packing=
digesting=
leash=
undo() {
  trap '' HUP INT TERM
  for process in $packing $digesting $leash; do kill "$process" 2>/dev/null || :; done
  # Nobody writes into it any more when it is removed.
  wait
  cd / && rm -rf "$work"
}
trap undo EXIT

exec 4<&0
{
  read -r _ <&4 || :
  kill -TERM "$$"
} </dev/null >/dev/null 2>&1 &
leash=$!
exec 4<&-
{
  digest "$from"
  echo "$digest $size" >sum
} </dev/null >/dev/null &
digesting=$!
tar -cf - --format=pax --options=pax:hdrcharset=BINARY --no-read-sparse --no-xattrs --no-acls --no-fflags -C "$from" . </dev/null 2>said &
packing=$!
exec >/dev/null
wait "$packing" || {
  printf '%s\n' "$(head -n 20 said)" >&2
  exit 3
}
packing=
wait "$digesting"
digesting=
read -r digest size <sum
event nar "$digest" "$size"
