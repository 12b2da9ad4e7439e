/**
 * The activation of a FreeBSD system: run as root by rc(8) at every start, and by whoever switches to another system. Pure.
 *
 * /etc is made the one of the system when it is another's: file by file, each whole under its name or not at all, and never with
 * wider permissions than it is to have. Then come secrets, the databases of accounts, the link to the running system, homes. Nothing
 * is done that is done already; what was interrupted is done by the next run.
 *
 * pwd_mkdb(8) and cap_mkdb(1) work on these files, which are copies: the ones of the store cannot be written to. Neither can stop a
 * machine from starting: without its database a file is read slowly, or the accounts of the base are all there are.
 *
 * A secret comes by kenv(1) as `garth.secret.NAME`, and is taken out of it: every user may read that. Without a new value the one
 * from before stays.
 */
import type { Accounts } from "./accounts.ts";
import { STAMP } from "./linux-activate.ts";
import { shellWord } from "./sh.ts";
import type { SystemSpec } from "./types.ts";

/** Of the system item: `mode uid gid path` for what is in etc and is not root's 0644, or 0755. */
export const ETC_OWNERS = "metadata/etc-owners";

export function freebsdActivation(spec: SystemSpec, accounts: Accounts): string {
  const sections = [secrets(spec, accounts), passwords(spec)].filter((lines) => lines.length > 0);
  const homes = homesOf(spec, accounts);
  return [
    HEAD,
    ...ETC,
    ...(sections.length > 0 ? SECRETS : []),
    ...sections.flatMap((lines) => [...lines, ""]),
    ...DATABASES,
    ...(homes.length > 0 ? [...HOMES, ...homes, ""] : []),
    "exit 0",
    "",
  ].join("\n");
}

const HEAD = `#!/bin/sh
# activate SYSTEM: makes /etc and /run/current-system those of SYSTEM. GARTH_ROOT is where the root is mounted, if not at /.
system=\${1:?usage: activate SYSTEM}
root=\${GARTH_ROOT:-}
item=$root$system
stamp=$root/etc/${STAMP}
PATH=$PATH:/sbin:/bin:/usr/sbin:/usr/bin
umask 022

say() {
	echo "garth: $*" >&2
}
`;

const ETC = `# attributes NAME FILE: the owner and mode of etc/NAME, for FILE.
attributes() {
	mode=0644
	[ ! -x "$item/etc/$1" ] || mode=0755
	owner=0:0
	while read -r m u g path; do
		[ "$path" != "$1" ] || { mode=$m owner=$u:$g; }
	done <"$item/${ETC_OWNERS}"
	chown "$owner" "$2" && chmod "$mode" "$2"
}

# put NAME: etc/NAME of the system to the root.
put() {
	from=$item/etc/$1
	to=$root/etc/$1
	if [ -h "$from" ]; then
		[ "$(readlink "$from")" != "$(readlink "$to")" ] || return 0
	else
		[ -h "$to" ] || ! cmp -s "$from" "$to" || return 0
	fi
	if [ -d "$to" ] && [ ! -h "$to" ]; then
		say "/etc/$1 is a directory and was to be a file"
		return 0
	fi
	rm -f "$to.garth"
	if [ -h "$from" ]; then
		ln -s "$(readlink "$from")" "$to.garth" || return
	else
		(umask 077 && cp "$from" "$to.garth") && attributes "$1" "$to.garth" || return
	fi
	# mv would go into the directory that a link leads to.
	[ ! -h "$to" ] || rm -f "$to"
	mv -f "$to.garth" "$to"
}

below() {
	(cd "$1" && shift && find . "$@") | sed -n 's|^\\./||p'
}

old=$(cat "$stamp" 2>/dev/null)
stale=no
[ -e "$root/etc/pwd.db" ] && [ -e "$root/etc/spwd.db" ] || stale=yes
if [ "$old" != "$system" ]; then
	stale=yes
	# What only the system before had goes first: a directory of it may be a file now.
	if [ -n "$old" ] && [ -d "$root$old/etc" ]; then
		below "$root$old/etc" ! -type d | while IFS= read -r name; do
			[ -e "$item/etc/$name" ] || [ -h "$item/etc/$name" ] || rm -f "$root/etc/$name"
		done
		below "$root$old/etc" -type d | sort -r | while IFS= read -r name; do
			[ -d "$item/etc/$name" ] || rmdir "$root/etc/$name" 2>/dev/null
		done
	fi
	below "$item/etc" -type d | sort | while IFS= read -r name; do
		[ ! -f "$root/etc/$name" ] || rm -f "$root/etc/$name"
		mkdir -p "$root/etc/$name" || exit
	done || exit
	below "$item/etc" ! -type d | while IFS= read -r name; do put "$name" || exit; done || exit
	# What is the same in both may be somebody else's now.
	cat "$item/${ETC_OWNERS}" "$root$old/${ETC_OWNERS}" 2>/dev/null | while read -r _ _ _ name; do
		[ ! -e "$item/etc/$name" ] || [ -h "$root/etc/$name" ] || attributes "$name" "$root/etc/$name"
	done
fi
`.split("\n");

const SECRETS = `# secret NAME PATH OWNER MODE
secret() {
	if value=$(kenv -q "garth.secret.$1" 2>/dev/null) && [ -n "$value" ]; then
		mkdir -p "$root\${2%/*}"
		rm -f "$root$2.garth"
		(umask 077 && printf %s "$value" >"$root$2.garth") && chown "$3" "$root$2.garth" && chmod "$4" "$root$2.garth" &&
			mv -f "$root$2.garth" "$root$2"
		kenv -u "garth.secret.$1" >/dev/null 2>&1
	elif [ ! -e "$root$2" ]; then
		say "the secret $1 was not given to this machine"
	fi
}

# password USER PATH: what a secret holds becomes the password, as crypt(3) made it.
password() {
	[ -s "$root$2" ] || return 0
	hash=$(cat "$root$2")
	case $hash in *[!A-Za-z0-9./\\$,=_*-]*)
		say "the secret for the password of $1 is no hash of crypt(3)"
		return 0
		;;
	esac
	file=$root/etc/master.passwd
	[ "$(awk -F: -v name="$1" '$1 == name { print $2 }' "$file")" != "$hash" ] || return 0
	rm -f "$file.garth"
	(umask 077 && hash=$hash awk -F: -v OFS=: -v name="$1" '$1 == name { $2 = ENVIRON["hash"] } { print }' "$file" >"$file.garth") &&
		mv -f "$file.garth" "$file" && stale=yes
}
`.split("\n");

const DATABASES = `if [ "$stale" = yes ]; then
	# It takes none of these for its own, and one that was cut off leaves them.
	rm -f "$root/etc/pwd.db.tmp" "$root/etc/spwd.db.tmp" "$root/etc/master.passwd.orig"
	pwd_mkdb -p -d "$root/etc" "$root/etc/master.passwd" || {
		say "pwd_mkdb failed; accounts are those of the last time"
		stale=still
	}
	[ ! -e "$root/etc/login.conf" ] || cap_mkdb "$root/etc/login.conf" || say "cap_mkdb failed; login.conf is read as text"
fi
if [ "$stale" = still ]; then
	# The next run tries again.
	rm -f "$stamp"
elif [ "$old" != "$system" ]; then
	echo "$system" >"$stamp.garth" && mv -f "$stamp.garth" "$stamp" || exit
fi
link=$root/run/current-system
if [ "$(readlink "$link")" != "$system" ]; then
	mkdir -p "$root/run"
	rm -f "$link.garth"
	ln -s "$system" "$link.garth" || exit
	# Renamed: the link is never missing. By -h here, by -T where the tools are GNU's.
	mv -fh "$link.garth" "$link" 2>/dev/null || mv -fT "$link.garth" "$link" || exit
fi
`.split("\n");

const HOMES = `# home PATH OWNER MODE
home() {
	[ -d "$root$1" ] || { mkdir -p "$root$1" && chown "$2" "$root$1" && chmod "$3" "$root$1"; }
}

# keys HOME OWNER KEY...: the keys of the declaration, in place of any others.
keys() {
	directory=$root$1/.ssh
	owner=$2
	shift 2
	if [ -h "$directory" ] || [ -h "$directory/authorized_keys" ]; then
		say "$directory is a link, or has one: no keys are put there"
		return 0
	fi
	! printf '%s\\n' "$@" | cmp -s - "$directory/authorized_keys" || return 0
	mkdir -p "$directory" && chmod 0700 "$directory" || return
	rm -f "$directory/authorized_keys.garth"
	(umask 077 && printf '%s\\n' "$@" >"$directory/authorized_keys.garth") &&
		mv -f "$directory/authorized_keys.garth" "$directory/authorized_keys" &&
		chown "$owner" "$directory" "$directory/authorized_keys"
}
`.split("\n");

function secrets(spec: SystemSpec, accounts: Accounts): readonly string[] {
  return spec.secrets.map(({ name, path, user, group, mode }) => {
    // Both were looked for before.
    const uid = accounts.users.find((each) => each.name === user)?.uid ?? 0;
    const gid = accounts.groups.find((each) => each.name === group)?.gid ?? 0;
    return `secret ${shellWord(name)} ${shellWord(path)} ${uid}:${gid} ${octal(mode)}`;
  });
}

function passwords(spec: SystemSpec): readonly string[] {
  const paths = new Map(spec.secrets.map(({ name, path }) => [name, path]));
  return spec.users.flatMap(({ name, passwordSecret }) => {
    const path = paths.get(passwordSecret ?? "");
    return path === undefined ? [] : [`password ${name} ${shellWord(path)}`];
  });
}

/** A home below one that is not there on purpose is none. */
function homesOf(spec: SystemSpec, accounts: Accounts): readonly string[] {
  return spec.users.flatMap(({ name, home, authorizedKeys }) => {
    const user = accounts.users.find((each) => each.name === name);
    if (user === undefined || home === "/" || home === "/nonexistent") return [];
    const place = `${shellWord(home)} ${user.uid}:${user.gid}`;
    return [
      `home ${place} ${name === "root" ? "0700" : "0755"}`,
      ...(authorizedKeys.length === 0 ? [] : [`keys ${place} ${authorizedKeys.map(shellWord).join(" ")}`]),
    ];
  });
}

export function octal(mode: number): string {
  return mode.toString(8).padStart(4, "0");
}
