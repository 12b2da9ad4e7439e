# ARFLAGS=crD
# CC=cc
# CFLAGS=-O2 -ffile-prefix-map=/build=.
# CONFIG_SHELL=/bin/sh
# CONFIG_SITE=/dev/null
# CXX=c++
# CXXFLAGS=-O2 -ffile-prefix-map=/build=.
# LC_ALL=C.UTF-8
# PATH=/bin:/usr/bin:/usr/local/bin
# SOURCE_DATE_EPOCH=315532800
# TZ=UTC
# src=/frx/store/HASH-src
set -eu
_cores=${GARTH_BUILD_CORES:-1}
_top=$PWD
phase() { printf '@garth phase %s\n' "$1"; "do_$1"; }
if command -v gmake >/dev/null 2>&1; then _make=gmake; else _make=make; fi

do_unpack() {
  mkdir source
  cd source
  if [ -d "$src" ]; then
    cp -Rp "$src/." .
    chmod -R u+w .
  else
    case $src in
      *.zip) if command -v unzip >/dev/null 2>&1; then unzip -q "$src"; else tar -xf "$src"; fi ;;
      *) tar -xof "$src" ;;
    esac
    set -- *
    if [ "$#" -eq 1 ] && [ -d "$1" ]; then cd "./$1"; fi
  fi
}

do_build() {
  "$_make" -j"$_cores" PREFIX="$out" prefix="$out" V=1 all
}

do_check() {
  "$_make" -j"$_cores" PREFIX="$out" prefix="$out" V=1 test
}

do_install() {
  "$_make" PREFIX="$out" prefix="$out" V=1 install
}

do_fixup() {
  for _output in "$out"; do
    rm -f "$_output/share/info/dir"
    find "$_output" -type f -name '*.la' -exec rm -f {} +
    find "$_output" -type f -name '*.gz' -exec sh -c \
      'for _file; do printf "\0\0\0\0" | dd of="$_file" bs=1 seek=4 conv=notrunc 2>/dev/null; done' sh {} +
  done
}

phase unpack
phase build
phase check
phase install
phase fixup
