# The loader is systemd-boot, which reads the EFI system partition: the one on the disk of the root that has the label. Variables of these functions
# begin with boot_ or _, those of the verbs do not.
esp_label=@ESP_LABEL@
boot=
boot_mode=

running() {
	running=
	trial=
	_line=
	[ ! -r "$root/proc/cmdline" ] || IFS= read -r _line <"$root/proc/cmdline"
	set -f
	for _word in $_line; do
		case $_word in
		garth.generation=*) running=${_word#*=} ;;
		garth.trial=*) trial=${_word#*=} ;;
		esac
	done
	set +f
	is_number "$running" || running=
}

# started PID: when, as $started; proc(5). The name of a program may have blanks and brackets in it.
started() {
	started=
	[ -r "/proc/$1/stat" ] && IFS= read -r _line 2>/dev/null <"/proc/$1/stat" || return
	# shellcheck disable=SC2086 # words
	set -- ${_line##*) }
	started=${20}
}

# A file with a number for each owner: who makes the one behind the last, which nobody living has, is the owner. Nothing is taken away from anybody, so
# there is no moment in which two could do that.
lock() {
	_locks=$root/run/garth/generations.lock
	mkdir -p "$_locks" || return
	_last=0
	for _at in "$_locks"/[1-9]*; do
		[ "${_at##*/}" = '[1-9]*' ] || [ "${_at##*/}" -le "$_last" ] || _last=${_at##*/}
	done
	if [ "$_last" -gt 0 ]; then
		_owner=
		_since=
		read -r _owner _since <"$_locks/$_last"
		if started "$_owner" && [ "$started" = "$_since" ]; then return 1; fi
	fi
	started "$$" && echo "$$ $started" >"$_locks/of-$$" || return
	_own=$((_last + 1))
	ln "$_locks/of-$$" "$_locks/$_own" 2>/dev/null && rm -f "$_locks/of-$$" || return
	for _at in "$_locks"/*; do
		case ${_at##*/} in
		of-*) started "${_at##*/of-}" || rm -f "$_at" ;;
		*)
			# A later one was there already, and its owner has ended: not ours.
			[ "${_at##*/}" -le "$_own" ] || { rm -f "$_locks/$_own" && return 1; }
			[ "${_at##*/}" -eq "$_own" ] || rm -f "$_at"
			;;
		esac
	done
}

durable() {
	sync -f "$1" && sync "$@"
}

replace() {
	mv -fT "$1" "$2"
}

unprotect() {
	if [ "$1" = -R ]; then chmod -R u+w "$2"; else chmod u+w "$1"; fi
}

# esp_device: as $esp_device.
esp_device() {
	_device=$(stat -c %d "$root/.") || return
	_disk=/sys/dev/block/$((_device >> 8 & 4095)):$((_device & 255 | _device >> 12 & 1048320))/..
	for _about in "$_disk"/*/uevent; do
		[ -r "$_about" ] || continue
		_name=
		_label=
		while IFS='=' read -r _key _value; do
			case $_key in
			DEVNAME) _name=$_value ;;
			PARTNAME) _label=$_value ;;
			esac
		done <"$_about"
		[ "$_label" != "$esp_label" ] || { esp_device=/dev/$_name && return; }
	done
	say "broken no partition beside the root is labelled $esp_label"
	return 1
}

boot_open() {
	case $boot:$boot_mode:$1 in
	:*) ;;
	*:write:* | *:read:read) return 0 ;;
	*)
		mount -o remount,rw,dirsync "$boot" || return
		boot_mode="write"
		return
		;;
	esac
	for _at in "$root"/run/garth/esp.*; do
		[ ! -d "$_at" ] || started "${_at##*.}" || { umount "$_at" 2>/dev/null; rmdir "$_at" 2>/dev/null; }
	done
	esp_device || return
	_at=$root/run/garth/esp.$$
	mkdir -p "$_at" || return
	if ! attach "$1" 2>/dev/null; then
		for _module in vfat nls_cp437 nls_ascii nls_iso8859-1; do modprobe "$_module" 2>/dev/null; done
		attach "$1" || {
			rmdir "$_at"
			say "broken $esp_device cannot be mounted"
			return 1
		}
	fi
	boot=$_at
	boot_mode=$1
}

# attach read|write: a directory is on the disk when it was changed, and in that order. One that is mounted already has to be mounted likewise.
attach() {
	[ "$1" = write ] || { mount -t vfat -o ro "$esp_device" "$_at" && return; }
	mount -t vfat -o rw,dirsync "$esp_device" "$_at"
}

boot_close() {
	[ -n "$boot" ] || return 0
	umount "$boot" && rmdir "$boot"
	boot=
}

# entry_number FILE: the generation of an entry, as $_number.
entry_number() {
	_number=
	[ -r "$1" ] || return
	while read -r _key _value; do
		[ "$_key" != version ] || _number=$_value
	done <"$1"
	is_number "$_number"
}

boot_truth() {
	boot_current=
	boot_next=
	boot_tried=no
	! entry_number "$boot/loader/entries/garth-current.conf" || boot_current=$_number
	for _file in "$boot"/loader/entries/garth-next*.conf; do
		entry_number "$_file" || continue
		case ${_file##*/} in
		garth-next+0*) [ -n "$boot_next" ] || { boot_next=$_number && boot_tried=yes; } ;;
		*) boot_next=$_number boot_tried=no ;;
		esac
	done
}

# boot_name SYSTEM: its directory on the ESP, below garth/, as $boot_name.
boot_name() {
	boot_name=${1#/frx/store/}
	boot_name=$(printf %.16s "$boot_name")
}

# source_of SYSTEM kernel|initrd: the file, as $source.
source_of() {
	source=$root$1/boot/$2
	_hops=0
	while [ -h "$source" ] && [ "$_hops" -lt 16 ]; do
		_target=$(readlink "$source")
		case $_target in
		/*) source=$root$_target ;;
		*) source=${source%/*}/$_target ;;
		esac
		_hops=$((_hops + 1))
	done
	[ -r "$source" ] || { say "broken $1 has no boot/$2" && return 1; }
}

boot_room() {
	# shellcheck disable=SC2046 # words
	set -- "${1:-}" $(stat -f -c '%a %S' "$boot")
	boot_free=$(($2 * $3))
	[ -n "$1" ] || return 0
	[ -r "$root$1/boot/parameters" ] || { say "broken $1 has no boot/parameters" && return 1; }
	boot_name "$1"
	# A cluster for each entry, under its temporary name; for files that are not there, those of their directories.
	boot_needed=$(($3 * 4))
	for _file in kernel initrd; do
		source_of "$1" "$_file" || return
		cmp -s "$source" "$boot/garth/$boot_name/$_file" && continue
		_size=$(stat -c %s "$source") || return
		boot_needed=$((boot_needed + ((_size + $3 - 1) / $3 + 2) * $3))
	done
}

# entry N SYSTEM SORT-KEY [SECONDS]: the text.
entry() {
	boot_name "$2"
	_title=${2#/frx/store/}
	_title=${_title#*-}
	_options="garth.system=$2 garth.generation=$1${4:+ garth.trial=$4}"
	while IFS= read -r _word; do _options="$_options $_word"; done <"$root$2/boot/parameters" || return
	printf '%s\n' "title ${_title#system-} (generation $1)" "sort-key $3" "version $1" \
		"linux /garth/$boot_name/kernel" "initrd /garth/$boot_name/initrd" "options $_options"
}

# put_entry NAME N SYSTEM SORT-KEY [SECONDS]: by one rename. The loader reads what ends with .conf.
put_entry() {
	_at=$boot/loader/entries/${1%%+*}.new
	_to=$boot/loader/entries/$1.conf
	shift
	entry "$@" >"$_at" && durable "$_at" || return
	if cmp -s "$_at" "$_to"; then
		rm -f "$_at"
	else
		replace "$_at" "$_to" && durable "$_to" "${_to%/*}"
	fi
}

boot_put() {
	boot_name "$2"
	mkdir -p "$boot/garth/$boot_name" "$boot/loader/entries" || return
	for _file in kernel initrd; do
		source_of "$2" "$_file" || return
		_to=$boot/garth/$boot_name/$_file
		cmp -s "$source" "$_to" && continue
		cat "$source" >"$_to.new" && durable "$_to.new" && replace "$_to.new" "$_to" && durable "$_to" "${_to%/*}" "$boot/garth" || return
	done
	put_entry "garth-$1" "$1" "$2" garth-2
}

boot_try() {
	put_entry garth-next+1 "$1" "$2" garth-0 "$3" || return
	for _file in "$boot"/loader/entries/garth-next*.conf; do
		case ${_file##*/} in
		garth-next+1.conf | 'garth-next*.conf') ;;
		*) rm -f "$_file" && durable "$boot/loader/entries" || return ;;
		esac
	done
}

boot_keep() {
	put_entry garth-current "$1" "$2" garth-1
}

boot_drop() {
	for _file in "$boot"/loader/entries/garth-next*.conf; do
		[ ! -e "$_file" ] || { rm -f "$_file" && durable "$boot/loader/entries"; } || return
	done
}

boot_forget() {
	boot_sweep
}

boot_sweep() {
	# A root without generations is not the one that the loader's files are of.
	[ -n "$(numbers)" ] || return 0
	for _at in "$boot"/loader/entries/garth-*.new "$boot"/garth/*/*.new; do
		[ ! -e "$_at" ] || away "$_at" || return
	done
	for _at in "$boot"/loader/entries/garth-[1-9]*.conf; do
		_number=${_at##*/garth-}
		[ ! -e "$_at" ] || is_generation "${_number%.conf}" || away "$_at" || return
	done
	_named=
	for _at in "$boot"/loader/entries/garth-*.conf; do
		[ -r "$_at" ] || continue
		while read -r _key _value; do
			case $_key in linux | initrd) _named="$_named $_value" ;; esac
		done <"$_at"
	done
	for _each in $(numbers); do
		boot_name "$(readlink "$state/generations/$_each/closure")"
		_named="$_named /garth/$boot_name/"
	done
	for _at in "$boot"/garth/*; do
		[ -d "$_at" ] || continue
		case $_named in *"/garth/${_at##*/}/"*) ;; *) away "$_at" || return ;; esac
	done
}

away() {
	boot_open write && rm -rf "$1" && durable "${1%/*}"
}

reboot_now() {
	# What is written is on the disk, if that can be: a disk that does not answer is a reason to begin anew.
	sync &
	_tries=0
	while kill -0 "$!" 2>/dev/null && [ "$_tries" -lt 10 ]; do
		sleep 1
		_tries=$((_tries + 1))
	done
	reboot -n -f || echo b >/proc/sysrq-trigger
}
