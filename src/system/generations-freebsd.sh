# The loader reads loader.conf, and nextboot.conf on top of it, which is used once. Where the root is UFS it writes NO into the first line of the
# file that it has read, in place, before it goes on; into ZFS it cannot write, and there nextboot_enable lies in the pool, which the loader sets
# to NO. rc(8) takes nextboot.conf away at every start (`nextboot -D`), so garth/next-N is another name of the same file.
boot=$root/boot
# What each text takes, and one that is written beside it.
boot_needed=262144
boot_kind=
boot_pool=

running() {
	running=$(kenv -q garth.generation 2>/dev/null) && is_number "$running" || running=
	trial=$(kenv -q garth.trial 2>/dev/null) || trial=
}

# Of the open file: whoever has it, has it until the process ends.
lock() {
	mkdir -p "$state" || return
	exec 9>>"$state/lock" || return
	lockf -s -t 0 9
}

durable() {
	fsync "$@"
}

replace() {
	mv -fh "$1" "$2"
}

unprotect() {
	if [ "$1" = -R ]; then
		shift
		chflags -R noschg,nosunlnk,nouchg,nouunlnk "$1" 2>/dev/null
		[ -h "$1" ] || chmod -R u+w "$1" 2>/dev/null
	else
		chflags -h noschg,nosunlnk,nouchg,nouunlnk "$1" 2>/dev/null
		[ -h "$1" ] || chmod u+w "$1" 2>/dev/null
	fi
	return 0
}

# Whether the loader can write to the root decides where a try is counted.
boot_open() {
	if [ -z "$boot_kind" ]; then
		_at=$(df -P "$root/" | awk 'END { print $NF }')
		boot_pool=$(mount -p | awk -v at="$_at" '$2 == at { found = $3 " " $1 } END { print found }')
		boot_kind=${boot_pool%% *}
		boot_pool=${boot_pool#* }
		boot_pool=${boot_pool%%/*}
		case $boot_kind in
		ufs | zfs) ;;
		*)
			say "broken the root is ${boot_kind:-of no known kind}, in which the loader counts no tries"
			boot_kind=
			return 1
			;;
		esac
	fi
	[ "$1" = read ] || mkdir -p "$boot/garth" || return
}

boot_close() {
	:
}

# boot_number FILE: which generation its settings are of.
boot_number() {
	sed -n 's/^garth\.generation="\([0-9]*\)".*/\1/p' "$1" 2>/dev/null | tail -n 1
}

# boot_mark FILE: what the loader has written into it, or into the pool.
boot_mark() {
	if [ "$boot_kind" = zfs ]; then
		zfsbootcfg -z "$boot_pool" -n freebsd:nvstore -p | sed -n -e 's/.*nextboot_enable.*YES.*/YES/p' -e 's/.*nextboot_enable.*NO.*/NO/p'
	else
		sed -n '1s/^nextboot_enable="\([A-Z]*\)".*/\1/p' "$1" 2>/dev/null
	fi
}

boot_arm() {
	zfsbootcfg -z "$boot_pool" -n freebsd:nvstore -k nextboot_enable -v "$1" >/dev/null
}

boot_truth() {
	boot_current=$(boot_number "$boot/loader.conf")
	boot_next=$(boot_number "$boot/nextboot.conf")
	boot_tried=no
	[ -z "$boot_next" ] || [ "$(boot_mark "$boot/nextboot.conf")" != YES ] || return 0
	boot_next=
	boot_tried=yes
	for _at in "$boot/garth"/next-*; do
		[ "$(boot_mark "$_at")" != NO ] || boot_next=$(boot_number "$_at")
	done
}

boot_room() {
	boot_free=$(df -kP "$boot/" | awk 'END { printf "%.0f", ($4 > 0 ? $4 : 0) * 1024 }')
	[ $# -gt 0 ] || return 0
	if ! [ -f "$root$1/boot/loader.conf" ]; then
		say "broken $1 has no boot/loader.conf"
		return 1
	fi
	_kernel=$(readlink "$root$1/boot/kernel") || _kernel=$1/boot/kernel
	if ! [ -f "$root$_kernel/kernel" ]; then
		say "broken $1 has no kernel"
		return 1
	fi
}

# boot_lines N SYSTEM [SECONDS]: what a generation adds to the settings of its system.
boot_lines() {
	echo "kernel=\"garth/$1/kernel\""
	grep -q '^module_path=' "$root$2/boot/loader.conf" ||
		echo "module_path=\"/boot/garth/$1/modules;/boot/garth/$1/firmware\""
	! [ -e "$root$2/boot/pid1" ] || echo "init_exec=\"/boot/garth/$1/pid1\""
	echo "garth.system=\"$2\""
	echo "garth.generation=\"$1\""
	[ -z "${3:-}" ] || echo "garth.trial=\"$3\""
}

boot_put() {
	[ "$(readlink "$boot/garth/$1")" != "$2/boot" ] || return 0
	rm -f "$boot/garth/.$1" && ln -s "$2/boot" "$boot/garth/.$1" && replace "$boot/garth/.$1" "$boot/garth/$1" && durable "$boot/garth"
}

boot_try() {
	_file=$boot/.nextboot.conf
	rm -f "$_file" "$_file".* "$boot/garth/.next"
	boot_lines "$1" "$2" "$3" >"$_file.garth" || return
	for _from in "$boot/defaults/loader.conf" "$boot/device.hints"; do boot_text "$_from"; done >"$_file.base"
	for _from in "$boot/loader.conf.d"/*.conf "$boot/loader.conf.local"; do boot_text "$_from"; done >"$_file.local"
	{
		[ "$boot_kind" = zfs ] || echo 'nextboot_enable="YES"'
		boot_settings "$_file.base" "$boot/loader.conf" "$_file.local" "$root$2/boot/loader.conf" "$_file.garth"
	} >"$_file" || {
		say "broken generation $(boot_number "$boot/loader.conf") has settings of the loader that another cannot undo"
		rm -f "$_file" "$_file".*
		return 1
	}
	rm -f "$_file".*
	durable "$_file" || return
	if [ "$boot_kind" = zfs ]; then
		# Without that word in the pool the loader would take the file at every start.
		boot_arm NO && ln "$_file" "$boot/garth/.next" && replace "$_file" "$boot/nextboot.conf" && durable "$boot" &&
			boot_only "$1" && boot_arm YES
	else
		ln "$_file" "$boot/garth/.next" && replace "$boot/garth/.next" "$boot/garth/next-$1" && durable "$boot/garth" &&
			replace "$_file" "$boot/nextboot.conf" && durable "$boot" && boot_only "$1"
	fi
}

# boot_only N: no other was asked for.
boot_only() {
	for _at in "$boot/garth"/next-*; do
		[ "$_at" = "$boot/garth/next-$1" ] || rm -f "$_at"
	done
	[ ! -e "$boot/garth/.next" ] || replace "$boot/garth/.next" "$boot/garth/next-$1" || return
	durable "$boot/garth"
}

# boot_text FILE: what it says, if it is there. Its links lead from the root that is mounted.
boot_text() {
	_text=$1
	for _ in 1 2 3 4; do
		! [ -h "$_text" ] || _text=$root$(readlink "$_text")
	done
	[ ! -f "$_text" ] || cat "$_text"
}

# boot_settings BASE OLD LOCAL NEW GARTH: what nextboot.conf has to say, so that there is what BASE, NEW, GARTH and LOCAL set, and nothing of OLD, which
# the loader reads before it. A module is told not to be loaded, anything else is unset; then comes what FreeBSD's own files say of it.
boot_settings() {
	awk '
		function undo(name, module, key) {
			module = key = name
			if (!sub(/_(load|name|type|flags|before|after|error)$/, "", module)) {
				print "exec=\"unset " name "\""
				if (name in base) printf "%s", base[name]
				return
			}
			sub(/^.*_/, "", key)
			if (name in base) printf "%s", base[name]
			else if (key == "load") print name "=\"NO\""
			else if (key == "name") print name "=\"" module "\""
			else if (key == "flags") print name "=\"\""
			else if (key != "type") print name "=\"echo\""
			else if ((module "_load") in new) left = 1
		}
		!/^[ \t]*[A-Za-z0-9][A-Za-z0-9_.-]*[ \t]*=/ { next }
		{
			name = $0
			sub(/^[ \t]*/, "", name)
			sub(/[ \t]*=.*/, "", name)
		}
		name == "exec" || name == "nextboot_enable" { next }
		as == "base" { base[name] = base[name] $0 "\n" }
		as == "local" { kept[name] = 1 }
		as == "old" && !(name in old) { old[name] = 1; oldest[++olds] = name }
		as == "new" { new[name] = 1; line[++lines] = $0; of[lines] = name }
		as == "garth" { new[name] = 1; delete kept[name]; line[++lines] = $0; of[lines] = name }
		END {
			for (i = 1; i <= olds; i++) if (!(oldest[i] in new) && !(oldest[i] in kept)) undo(oldest[i])
			for (i = 1; i <= lines; i++) if (!(of[i] in kept)) print line[i]
			exit left
		}
	' as=base "$1" as=old "$2" as=local "$3" as=new "$4" as=garth "$5"
}

boot_keep() {
	_file=$boot/.loader.conf
	rm -f "$_file"
	cat "$root$2/boot/loader.conf" >"$_file" && boot_lines "$1" "$2" >>"$_file" && durable "$_file" &&
		replace "$_file" "$boot/loader.conf" && durable "$boot" || return
	# For people: the loader goes by the number.
	for _name in kernel modules firmware; do
		[ ! -h "$boot/$_name" ] || ln -sfn "garth/$1/$_name" "$boot/$_name"
	done
}

# What another program asked the loader for stays.
boot_drop() {
	if [ -n "$(boot_number "$boot/nextboot.conf")" ]; then
		[ "$boot_kind" != zfs ] || boot_arm NO || return
		rm -f "$boot/nextboot.conf" && durable "$boot" || return
	fi
	boot_only -
}

boot_forget() {
	rm -f "$boot/garth/$1" && durable "$boot/garth"
}

boot_sweep() {
	rm -f "$boot"/.nextboot.conf* "$boot"/.loader.conf* "$boot/garth/.next"
	_current=$(boot_number "$boot/loader.conf")
	_next=$(boot_number "$boot/nextboot.conf")
	for _at in "$boot/garth"/* "$boot/garth"/.[0-9]*; do
		case ${_at##*/} in
		next-*)
			# It did not come to where it is read.
			[ "$(boot_mark "$_at")" = NO ] || [ "${_at##*/next-}" = "$_next" ] || rm -f "$_at"
			;;
		"$_current") ;;
		*) [ ! -h "$_at" ] || is_generation "${_at##*/}" || rm -f "$_at" ;;
		esac
	done
}

# Asked for nicely; a process 1 that does not listen is not asked again. What ends all processes does not end this one first.
reboot_now() {
	trap '' HUP TERM
	shutdown -r now || reboot -q
	sleep 60
	reboot -q
}
