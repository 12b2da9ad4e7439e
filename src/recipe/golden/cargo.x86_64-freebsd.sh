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
# vendor=/frx/store/HASH-vendor
set -eu
_cores=${GARTH_BUILD_CORES:-1}
_top=$PWD
phase() { printf '@garth phase %s\n' "$1"; "do_$1"; }
CARGO_HOME=$_top/cargo CARGO_TARGET_DIR=$_top/target
export CARGO_HOME CARGO_TARGET_DIR
RUSTFLAGS="${RUSTFLAGS:-} --remap-path-prefix=$_top=."
export RUSTFLAGS

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

do_configure() {
  mkdir -p "$CARGO_HOME"
  cat >"$CARGO_HOME/config.toml" <<END
[source.crates-io]
replace-with = "vendored"
[source.vendored]
directory = "$vendor"
END
}

do_build() {
  cargo build --release --offline --locked --jobs "$_cores" --features 'a b'
}

do_check() {
  cargo test --release --offline --locked --jobs "$_cores" --features 'a b'
}

do_install() {
  cargo install --path . --root "$out" --no-track --offline --locked --jobs "$_cores" --features 'a b'
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
