# LC_ALL=C.UTF-8
# PATH=/usr/bin:/bin
# SOURCE_DATE_EPOCH=315532800
# TZ=UTC
# src=/frx/store/HASH-src
set -eu
echo "$src" >"$out/x"
