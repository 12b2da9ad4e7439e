#!/bin/sh
# Tools of which FreeBSD has its own and this machine GNU's: called by the name that they have, they pass what both understand to the
# real one, and refuse, in FreeBSD's words, what only GNU's does.
name=${0##*/}
real=/usr/libexec/standin/$name
# Not for the size of a file that limits(1) set.
[ ! -w /.standin/calls ] || (
  trap '' XFSZ
  printf '%s\0' "$name${1+ $*}" >>/.standin/calls
)

refuse() {
  echo "$name: illegal option -- ${1#-}" >&2
  echo "usage: $name ..." >&2
  exit "${2:-1}"
}

# Long options, among all words before "--": GNU's would take them behind operands, too.
no_long_options() {
  for word; do
    case $word in
    --) break ;;
    --*) refuse -- ;;
    esac
  done
}

# refuse_letters LETTERS WORD...: in the options before the first operand. A letter in upper case behind one with a value is missed.
refuse_letters() {
  letters=$1
  shift
  for word; do
    case $word in
    -- | -) break ;;
    -*)
      # shellcheck disable=SC2254 # A class of letters.
      case ${word#-} in
      *[$letters]*) refuse "$word" ;;
      esac
      ;;
    *) break ;;
    esac
  done
}

case $name in
cat | tee | basename | dirname | uniq | paste | fold | split | comm | join | nl | tsort | seq | od | logname | tty | sync | rmdir | mkfifo | link | unlink | id | cut | touch | tail | truncate | cmp | cksum)
  no_long_options "$@"
  POSIXLY_CORRECT=1 exec "$real" "$@"
  ;;
ls)
  no_long_options "$@"
  refuse_letters 'QNXZ' "$@"
  exec "$real" "$@"
  ;;
cp)
  no_long_options "$@"
  refuse_letters 'dutTbgZS' "$@"
  POSIXLY_CORRECT=1 exec "$real" "$@"
  ;;
mv)
  no_long_options "$@"
  refuse_letters 'utTbZS' "$@"
  case ${1-} in
  -h) shift && set -- -T "$@" ;;
  -fh | -hf) shift && set -- -fT "$@" ;;
  esac
  POSIXLY_CORRECT=1 exec "$real" "$@"
  ;;
rm)
  no_long_options "$@"
  refuse_letters 'abceghjklmnopqstuyzACDEFGHJKLMNOQSTUXYZ' "$@"
  case ${1-} in
  -*x*) exec /usr/libexec/standin/perl /usr/libexec/standin/rmx.pl "$@" ;;
  esac
  POSIXLY_CORRECT=1 exec "$real" "$@"
  ;;
ln)
  no_long_options "$@"
  refuse_letters 'btrTSd' "$@"
  case ${1-} in
  -*h*) letters=$(printf '%s' "$1" | /usr/libexec/standin/tr h n) && shift && set -- "$letters" "$@" ;;
  esac
  POSIXLY_CORRECT=1 exec "$real" "$@"
  ;;
mkdir)
  no_long_options "$@"
  refuse_letters 'Z' "$@"
  POSIXLY_CORRECT=1 exec "$real" "$@"
  ;;
chmod | chown | chgrp)
  no_long_options "$@"
  refuse_letters 'c' "$@"
  # chmod -h is of a symlink itself, whose mode Linux does not have.
  if [ "$name" = chmod ]; then
    case ${1-} in
    -h)
      shift
      mode=$1
      shift
      for file; do [ -h "$file" ] || "$real" "$mode" "$file" || exit 1; done
      exit 0
      ;;
    esac
  fi
  POSIXLY_CORRECT=1 exec "$real" "$@"
  ;;
install)
  no_long_options "$@"
  refuse_letters 'DtTZ' "$@"
  POSIXLY_CORRECT=1 exec "$real" "$@"
  ;;
du)
  no_long_options "$@"
  refuse_letters 'bB0SXD' "$@"
  case ${1-} in
  -*A*)
    letters=$(printf '%s' "${1#-}" | /usr/libexec/standin/tr -d A)
    shift
    set -- --apparent-size ${letters:+"-$letters"} "$@"
    ;;
  esac
  POSIXLY_CORRECT=1 exec "$real" "$@"
  ;;
date)
  no_long_options "$@"
  refuse_letters 'ds' "$@"
  if [ "${1-}" = -u ] && [ "${2-}" = -r ]; then
    shift 2
    set -- -r "$@"
    TZ=UTC
    export TZ
  fi
  if [ "${1-}" = -r ]; then
    case ${2-} in
    '' | *[!0-9]*) exec "$real" -r "${2-}" ${3+"$3"} ;;
    esac
    seconds=$2
    shift 2
    exec "$real" -d "@$seconds" "$@"
  fi
  exec "$real" "$@"
  ;;
sed)
  no_long_options "$@"
  refuse_letters 'sz' "$@"
  # -i has its suffix for a word of its own, and takes whatever stands there.
  if [ "${1-}" = -i ]; then
    [ $# -ge 2 ] || refuse i
    suffix=$2
    shift 2
    set -- "-i$suffix" "$@"
  fi
  POSIXLY_CORRECT=1 exec "$real" "$@"
  ;;
wc)
  no_long_options "$@"
  refuse_letters 'abdefghijknopqrstuvxyz' "$@"
  # Each count in eight columns, also where there is but one.
  columns=$(printf '%s' "${1-}" | /usr/libexec/standin/sed -n 's/^-\([clmw]*\)$/\1/p')
  said=$("$real" "$@") || exit 1
  # shellcheck disable=SC2016 # Perl's dollars.
  printf '%s\n' "$said" | columns=${#columns} /usr/libexec/standin/perl -ne 'chomp; my $line = $_;
    for my $column (1 .. $ENV{columns} || 3) { $line =~ s/^ *(\d+)//; printf " %7d", $1 }
    print "$line\n"'
  ;;
mktemp)
  no_long_options "$@"
  refuse_letters 'V' "$@"
  exec "$real" "$@"
  ;;
readlink)
  no_long_options "$@"
  refuse_letters 'emqsvz' "$@"
  exec "$real" "$@"
  ;;
realpath)
  no_long_options "$@"
  refuse_letters 'emLPsz' "$@"
  exec "$real" "$@"
  ;;
find)
  case ${1-} in
  '' | -name | -type | -print* | -maxdepth | -delete | -exec)
    echo "find: illegal option -- ${1#-}" >&2
    echo "usage: find [-H | -L | -P] [-EXdsx] [-f path] path ... [expression]" >&2
    exit 1
    ;;
  esac
  for word; do
    case $word in
    -exec | -execdir) break ;;
    -printf | -fprintf | -readable | -writable | -executable | -regextype | -fprint | -uid0 | -xtype | -ignore_readdir_race)
      echo "find: $word: unknown primary or operator" >&2
      exit 1
      ;;
    esac
  done
  if [ "$1" = -x ]; then
    shift
    # -xdev is an expression there, behind the paths.
    paths=0
    for word; do
      case $word in
      -* | '(' | '!') break ;;
      *) paths=$((paths + 1)) ;;
      esac
    done
    count=$#
    at=0
    while [ "$at" -lt "$count" ]; do
      [ "$at" -ne "$paths" ] || set -- "$@" -xdev
      set -- "$@" "$1"
      shift
      at=$((at + 1))
    done
    [ "$paths" -ne "$count" ] || set -- "$@" -xdev
  fi
  exec "$real" "$@"
  ;;
xargs)
  case ${1-} in
  --*) refuse -- ;;
  esac
  refuse_letters 'dai' "${1-}"
  # Nothing is run for no input, with or without -r.
  exec "$real" -r "$@"
  ;;
env)
  case ${1-} in
  --?*) refuse -- ;;
  esac
  exec "$real" "$@"
  ;;
sort | grep | egrep | fgrep | diff | gzip | gunzip | zcat | xz | zstd | bzip2 | tr | timeout | nice | nohup | printf | expr | echo | test | '[' | sleep | true | false | pwd | kill | hostname | stty | dd | awk | openssl | tar | mtree | make)
  exec "$real" "$@"
  ;;
*)
  echo "stand-in: $name: nobody made it" >&2
  exit 70
  ;;
esac
