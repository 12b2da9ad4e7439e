#!/bin/sh
# Makes Garth one file: the program, everything it imports, and a runtime.
#
#     sh packaging/compile.sh BUN RUNTIME TARGET FILE
#
# BUN bundles; RUNTIME is the Bun of TARGET (linux-x64, freebsd-arm64, ...), which the program is put into. `npm run compile` and the
# recipe in packaging/garth.ts both end here, so that they make the same bytes: a bundle holds neither times nor the places of its
# sources, but the name of the file that is written, which therefore is always the same and renamed afterwards.
set -eu
if [ $# -ne 4 ]; then
    echo "usage: compile.sh BUN RUNTIME TARGET FILE" >&2
    exit 2
fi
bun=$1 runtime=$2 target=$3 file=$4
home=$(CDPATH='' cd "$(dirname "$0")/.." && pwd)
absolute() {
    case $1 in
    /*) printf '%s\n' "$1" ;;
    *) printf '%s\n' "$PWD/$1" ;;
    esac
}
bun=$(absolute "$bun")
runtime=$(absolute "$runtime")
file=$(absolute "$file")

fresh=$(mktemp -d "$file.XXXXXX")
trap 'rm -rf "$fresh"' EXIT
trap 'exit 1' HUP INT TERM
cd "$home"
# Neither a bunfig.toml nor an .env file has a say, while it is made or while it runs.
"$bun" --config=/dev/null --no-env-file build --compile --target="bun-$target" --compile-executable-path="$runtime" \
    --format=esm --splitting --bytecode --minify --no-compile-autoload-dotenv --no-compile-autoload-bunfig \
    --outfile="$fresh/garth" src/cli/main.ts >"$fresh/said" 2>&1 || {
    cat "$fresh/said" >&2
    exit 1
}
chmod 755 "$fresh/garth"
mv -f "$fresh/garth" "$file"
