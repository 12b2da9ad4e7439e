# ARFLAGS=crD
# CC=cc
# CFLAGS=-O2 -ffile-prefix-map=/build=.
# CMAKE_PREFIX_PATH=/frx/store/HASH-zlib:/frx/store/HASH-zlib-dev
# CONFIG_SHELL=/bin/sh
# CONFIG_SITE=/dev/null
# CPPFLAGS=-I/frx/store/HASH-zlib/include -I/frx/store/HASH-zlib-dev/include
# CXX=c++
# CXXFLAGS=-O2 -ffile-prefix-map=/build=.
# LC_ALL=C.UTF-8
# LDFLAGS=-L/frx/store/HASH-zlib/lib -Wl,-rpath,/frx/store/HASH-zlib/lib -L/frx/store/HASH-zlib-dev/lib -Wl,-rpath,/frx/store/HASH-zlib-dev/lib
# PATH=/frx/store/HASH-zlib/bin:/frx/store/HASH-zlib-dev/bin:/bin:/usr/bin:/usr/local/bin
# PKG_CONFIG_PATH=/frx/store/HASH-zlib/lib/pkgconfig:/frx/store/HASH-zlib-dev/lib/pkgconfig:/frx/store/HASH-zlib/share/pkgconfig:/frx/store/HASH-zlib-dev/share/pkgconfig
# SOURCE_DATE_EPOCH=315532800
# TZ=UTC
# src=/frx/store/HASH-src
# zlib=/frx/store/HASH-zlib
# zlib_dev=/frx/store/HASH-zlib-dev
set -eu
_cores=${GARTH_BUILD_CORES:-1}
_top=$PWD
phase() { printf '@garth phase %s\n' "$1"; "do_$1"; }

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
  cd ./src/c
}

do_configure() {
  cmake -S . -B "$_top/cmake" -G 'Unix Makefiles' --no-warn-unused-cli \
    -DCMAKE_BUILD_TYPE=Release \
    -DCMAKE_INSTALL_PREFIX="$out" -DCMAKE_INSTALL_LIBDIR=lib \
    -DCMAKE_INSTALL_RPATH="$out/lib" -DCMAKE_INSTALL_RPATH_USE_LINK_PATH=ON \
    -DCMAKE_FIND_USE_PACKAGE_REGISTRY=OFF -DCMAKE_FIND_USE_SYSTEM_PACKAGE_REGISTRY=OFF -DX="${zlib}"
}

do_build() {
  cmake --build "$_top/cmake" --parallel "$_cores"
}

do_check() {
  (cd "$_top/cmake" && ctest --output-on-failure --no-tests=error --parallel "$_cores")
}

do_install() {
  cmake --install "$_top/cmake"
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
phase configure
phase build
phase check
phase install
phase fixup
