# ARFLAGS=crD
# CC=cc
# CFLAGS=-O3
# CMAKE_PREFIX_PATH=/frx/store/HASH-zlib:/frx/store/HASH-zlib-dev
# CONFIG_SHELL=/bin/sh
# CONFIG_SITE=/dev/null
# CPPFLAGS=-I/frx/store/HASH-zlib/include -I/frx/store/HASH-zlib-dev/include -DEXTRA
# CXX=c++
# CXXFLAGS=-O2 -ffile-prefix-map=/build=.
# EXTRA=/frx/store/HASH-zlib/x
# LC_ALL=C.UTF-8
# LDFLAGS=-L/frx/store/HASH-zlib/lib -Wl,-rpath,/frx/store/HASH-zlib/lib -L/frx/store/HASH-zlib-dev/lib -Wl,-rpath,/frx/store/HASH-zlib-dev/lib
# PATH=/opt/bin:/frx/store/HASH-zlib/bin:/frx/store/HASH-zlib-dev/bin:/bin:/usr/bin:/usr/local/bin
# PKG_CONFIG_PATH=/frx/store/HASH-zlib/lib/pkgconfig:/frx/store/HASH-zlib-dev/lib/pkgconfig:/frx/store/HASH-zlib/share/pkgconfig:/frx/store/HASH-zlib-dev/share/pkgconfig
# SOURCE_DATE_EPOCH=315532800
# TZ=UTC
# patch_1=/frx/store/HASH-patch_1
# patch_2=/frx/store/HASH-patch_2
# src=/frx/store/HASH-src
# zlib=/frx/store/HASH-zlib
# zlib_dev=/frx/store/HASH-zlib-dev
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

do_patch() {
  for _patch in "$patch_1" "$patch_2"; do
    if [ -d "$_patch" ]; then set -- "$_patch"/*.patch; else set -- "$_patch"; fi
    for _file; do
      printf 'applying %s\n' "${_file##*/}"
      patch -p1 <"$_file"
    done
  done
}

do_configure() {
autoreconf -fi
  ./configure --prefix="$out" --with-zlib="${zlib}" --docdir="${doc}"/share '--note=it'\''s $5'
}

do_build() {
  if [ "$_make" = make ] && [ -f Makefile ]; then
    for _name in $(tr ' \t' '\n\n' <Makefile | sed -n 's|^\$(top_builddir)/\([A-Za-z0-9_./$()-]*\.l*a\)$|\1|p' | sort -u); do
      printf './%s: %s\n' "$_name" "$_name"
    done >>Makefile
  fi
  "$_make" -j"$_cores"
}

do_check() {
  "$_make" -j"$_cores" VERBOSE=1 check
}

do_install() {
  "$_make" STRIP=true install
rm -r "$out/share/locale"
}

do_fixup() {
  for _output in "$out" "$doc"; do
    rm -f "$_output/share/info/dir"
    find "$_output" -type f -name '*.la' -exec rm -f {} +
    find "$_output" -type f -name '*.gz' -exec sh -c \
      'for _file; do printf "\0\0\0\0" | dd of="$_file" bs=1 seek=4 conv=notrunc 2>/dev/null; done' sh {} +
  done
  mkdir -p "$out/share/garth"
  printf '%s\n' "$src" >"$out/share/garth/source"
}

phase unpack
phase patch
phase configure
phase build
phase check
phase install
phase fixup
