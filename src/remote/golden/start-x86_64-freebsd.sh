set -eu
PATH=/sbin:/bin:/usr/sbin:/usr/bin
LC_ALL=C
export PATH LC_ALL
umask 022

event() {
  printf 'garth: %s\n' "$*" >&2
}

# As in every script that owns something.

scratch='/its root/tmp/01234567-89ab'
own_identity
mkdir -m 700 "$scratch"
trap 'rm -rf "$scratch"' EXIT
trap 'exit 1' HUP INT TERM
echo "$owner" >"$scratch/owner"
# shellcheck disable=SC2016 # What is in a file is for whoever reads it.
{
  printf %s 'echo run
' >"$scratch"/run.sh
  printf %s 'it'\''s a "name" with $HOME, `id`, \ and
a line'\''s end
' >"$scratch"/jail.conf
  printf %s '' >"$scratch"/fstab
}
# The script that this one becomes need not ask again who it is.
GARTH_OWNER=$owner
export GARTH_OWNER
trap - HUP INT TERM
exec sh "$scratch/run.sh" serve
