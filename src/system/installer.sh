# The installer, the same on every system: what is particular to one comes before it.
#
#     medium found ──► target chosen ──► medium checked ──► ends cleared ──► data, zeros ──► read back ──► GPT, the primary one last ──► said
#
# Before the data is there and was read back the disk has no partition table: what was interrupted cannot be started.
# From the family: $consoles, $answers, parameter, find_medium, disks, disk_bytes, sector_bytes, model, in_use, digest, flush, leave.

unit=65536
sector=512
medium=
medium_disk=
disk=
touched=
asking=
interactive=
# What the medium says of itself.
system=
name=
least_bytes=
planned_bytes=
data_bytes=
parts=
sums_sha256=
map_sha256=
gpt_sha256=
gpt_guid=
gpt_crc=

say() {
	for console in $consoles; do
		printf 'garth: %s\n' "$*" >>"$console"
	done
} 2>/dev/null

# The first line that somebody types on any console: $answer.
ask() {
	if [ -z "$asking" ]; then
		asking=yes
		mkfifo "$answers"
		exec 5<>"$answers"
		for console in $consoles; do
			while read -r line; do printf '%s\n' "$line" >&5; done <"$console" &
		done
	fi
	for console in $consoles; do
		printf 'garth: %s: ' "$*" >>"$console"
	done
	read -r answer <&5
}

stop() {
	say "not installed: $*"
	[ -z "$touched" ] || say "$target was written to, and has no partition table now"
	if [ -n "$interactive" ]; then
		ask "Enter switches the machine off, shell gives you one"
		[ "$answer" != shell ] || leave shell
	elif [ "$ending" = shell ]; then
		leave shell
	fi
	leave poweroff 1
}

# human BYTES
human() {
	if [ "$1" -lt 1073741824 ]; then
		echo "$(($1 / 1048576)) MiB"
	else
		echo "$(($1 / 1073741824)).$(($1 % 1073741824 * 10 / 1073741824)) GiB"
	fi
}

# progress WHAT DONE: each tenth once.
tenth=0
progress() {
	[ $((10 * $2 / parts)) -ne "$tenth" ] || return 0
	tenth=$((10 * $2 / parts))
	say "$1: ${tenth}0 %"
}

read_medium() {
	[ "$(digest <"$medium/garth/install")" = "$(parameter medium)" ] || stop "the medium is damaged: garth/install"
	while IFS='=' read -r key value; do
		case $key in
		system) system=$value ;;
		name) name=$value ;;
		least_bytes) least_bytes=$value ;;
		planned_bytes) planned_bytes=$value ;;
		data_bytes) data_bytes=$value ;;
		parts) parts=$value ;;
		sums_sha256) sums_sha256=$value ;;
		map_sha256) map_sha256=$value ;;
		gpt_sha256) gpt_sha256=$value ;;
		gpt_guid) gpt_guid=$value ;;
		gpt_crc) gpt_crc=$value ;;
		esac
	done <"$medium/garth/install"
}

check_medium() {
	say "checking the medium: $(human "$data_bytes")"
	[ "$(digest <"$medium/garth/sums")" = "$sums_sha256" ] || stop "the medium is damaged: garth/sums"
	[ "$(digest <"$medium/garth/map")" = "$map_sha256" ] || stop "the medium is damaged: garth/map"
	[ "$(digest <"$medium/garth/gpt")" = "$gpt_sha256" ] || stop "the medium is damaged: garth/gpt"
	count=0
	tenth=0
	while read -r expected part <&3; do
		[ "$(digest <"$medium/garth/data/$part")" = "$expected" ] || stop "the medium is damaged: garth/data/$part"
		count=$((count + 1))
		progress checked "$count"
	done 3<"$medium/garth/sums"
}

# fault NAME: why it cannot be the target; nothing where it can.
fault() {
	case $1 in
	'' | .* | *[!A-Za-z0-9._-]*)
		echo "there is no disk $1"
		return
		;;
	esac
	bytes=$(disk_bytes "$1")
	if [ -z "$bytes" ]; then
		echo "there is no disk $1"
	elif [ "$1" = "$medium_disk" ]; then
		echo "$1 is the medium that this is read from"
	elif [ "$(sector_bytes "$1")" != "$sector" ]; then
		echo "$1 has sectors of $(sector_bytes "$1") bytes, and the system was made for $sector"
	elif [ "$bytes" -lt "$least_bytes" ]; then
		echo "$1 is too small: it has $bytes bytes, and $least_bytes are needed"
	elif in_use "$1"; then
		echo "$1 is in use: something of it is mounted"
	fi
}

# Nothing but zeros in its first and its last MiB: no partition table, no file system, no label of any kind.
is_empty() {
	[ "$(
		{
			dd if="/dev/$1" bs=$unit count=16
			dd if="/dev/$1" bs=$sector skip=$(($(disk_bytes "$1") / sector - 2048)) count=2048
		} 2>/dev/null | tr -d '\000' | head -c 1 | wc -c
	)" -eq 0 ]
}

list_disks() {
	say "disks:"
	for each in $(disks); do
		note=$(fault "$each")
		[ -n "$note" ] || is_empty "$each" || note="not empty"
		say "    $each  $(human "$(disk_bytes "$each")")  $(model "$each")${note:+  ($note)}"
	done
}

# In $target, that was named on the command line, or by somebody who was asked twice.
choose() {
	target=$(parameter target)
	target=${target#/dev/}
	if [ -n "$target" ]; then
		tries=0
		until [ -n "$(disk_bytes "$target")" ] || [ "$tries" -ge 30 ]; do
			tries=$((tries + 1))
			sleep 1
		done
		why=$(fault "$target")
		[ -z "$why" ] || stop "$why"
		is_empty "$target" || [ "$(parameter force)" = yes ] || stop "$target is not empty; garth.install.force=yes overwrites it"
		return
	fi
	interactive=yes
	while :; do
		list_disks
		ask "the disk that $name is to be installed on, empty to look again"
		[ -n "$answer" ] || continue
		target=${answer#/dev/}
		why=$(fault "$target")
		if [ -n "$why" ]; then
			say "$why"
			continue
		fi
		is_empty "$target" || say "$target is not empty: all that is on it will be lost"
		ask "type $target once more to overwrite it"
		[ "${answer#/dev/}" != "$target" ] || return 0
		say "nothing was written"
	done
}

# each_part DO: DO PART SHA256 RANGES for each part of the data, a range as AT:COUNT.
each_part() {
	part=
	ranges=
	while read -r what at count <&3; do
		case $what in
		part)
			[ -z "$part" ] || "$1" "$part" "$expected" "$ranges"
			part=$at
			ranges=
			read -r expected _ <&4
			;;
		write) ranges="$ranges $at:$count" ;;
		esac
	done 3<"$medium/garth/map" 4<"$medium/garth/sums"
	[ -z "$part" ] || "$1" "$part" "$expected" "$ranges"
}

copy() {
	from=0
	for range in $3; do
		dd if="$medium/garth/data/$1" of="$disk" bs=$unit skip="$from" seek="${range%:*}" count="${range#*:}" conv=notrunc \
			2>/dev/null || stop "$target cannot be written at $((${range%:*} * unit))"
		from=$((from + ${range#*:}))
	done
	done_parts=$((done_parts + 1))
	progress written "$done_parts"
}

compare() {
	[ "$(
		for range in $3; do
			dd if="$disk" bs=$unit skip="${range%:*}" count="${range#*:}" 2>/dev/null
		done | digest
	)" = "$2" ] || stop "$target does not hold what was written to it: part $1"
	done_parts=$((done_parts + 1))
	progress "read back" "$done_parts"
}

zeros() {
	while read -r what at count <&3; do
		[ "$what" = zero ] || continue
		dd if=/dev/zero of="$disk" bs=$unit seek="$at" count="$count" conv=notrunc 2>/dev/null ||
			stop "$target cannot be written at $((at * unit))"
	done 3<"$medium/garth/map"
}

# little BYTES NUMBER: to $list, the lowest byte first.
little() {
	left=$1
	number=$2
	while [ "$left" -gt 0 ]; do
		list="$list $((number & 255))"
		number=$((number >> 8))
		left=$((left - 1))
	done
}

# crc32 BYTE...: $crc.
crc32() {
	crc=4294967295
	for byte in "$@"; do
		crc=$((crc ^ byte))
		for _ in 1 2 3 4 5 6 7 8; do
			crc=$(((crc >> 1) ^ (3988292384 & -(crc & 1))))
		done
	done
	crc=$((crc ^ 4294967295))
}

# bytes BYTE...
bytes() {
	for byte in "$@"; do
		# shellcheck disable=SC2059
		printf "\\$((byte >> 6))$(((byte >> 3) & 7))$((byte & 7))"
	done
}

# header OWN OTHER ENTRIES: the header of a GPT (UEFI 5.3.2) for a disk of $sectors.
# shellcheck disable=SC2086
header() {
	list=
	before="69 70 73 32 80 65 82 84 0 0 1 0 92 0 0 0"
	little 8 "$1"
	little 8 "$2"
	little 8 34
	little 8 $((sectors - 34))
	list="$list $gpt_guid"
	little 8 "$3"
	list="$list 128 0 0 0 128 0 0 0 $gpt_crc"
	after=$list
	crc32 $before 0 0 0 0 0 0 0 0 $after
	list=
	little 4 "$crc"
	bytes $before $list 0 0 0 0 $after
	dd if=/dev/zero bs=420 count=1 2>/dev/null
}

# The first 34 sectors: a protective MBR, the header, the entries.
# shellcheck disable=SC2086
primary_gpt() {
	dd if=/dev/zero bs=446 count=1 2>/dev/null
	list="0 0 2 0 238 255 255 255 1 0 0 0"
	if [ "$sectors" -gt 4294967295 ]; then little 4 4294967295; else little 4 $((sectors - 1)); fi
	bytes $list
	dd if=/dev/zero bs=48 count=1 2>/dev/null
	bytes 85 170
	header 1 $((sectors - 1)) 2
	cat "$medium/garth/gpt"
}

# The last 33: the entries, the header.
backup_gpt() {
	cat "$medium/garth/gpt"
	header $((sectors - 1)) 1 $((sectors - 33))
}

# put SECTOR COUNT WHAT: writes what it prints, and reads it back.
put() {
	"$3" | dd of="$disk" obs=$sector seek="$1" conv=notrunc 2>/dev/null || stop "$target cannot be written at $(($1 * sector))"
	flush
	[ "$(dd if="$disk" bs=$sector skip="$1" count="$2" 2>/dev/null | digest)" = "$("$3" | digest)" ] ||
		stop "$target does not hold the partition table that was written to it"
}

install() {
	disk=/dev/$target
	sectors=$(($(disk_bytes "$target") / sector))
	say "installing $system on $disk, $(human $((sectors * sector)))"
	touched=yes
	dd if=/dev/zero of="$disk" bs=$unit count=16 conv=notrunc 2>/dev/null || stop "$target cannot be written"
	dd if=/dev/zero of="$disk" bs=$sector seek=$((sectors - 2048)) count=2048 conv=notrunc 2>/dev/null ||
		stop "$target cannot be written at its end"
	flush
	done_parts=0
	tenth=0
	each_part copy
	zeros
	flush
	done_parts=0
	tenth=0
	each_part compare
	put $((sectors - 33)) 33 backup_gpt
	put 0 34 primary_gpt
	touched=
	say "installed $system on $disk"
	[ "$((sectors * sector))" -le "$planned_bytes" ] || grow_hint
}

main() {
	ending=$(parameter "then")
	case ${ending:=reboot} in
	reboot | poweroff | shell) ;;
	*) stop "garth.install.then is reboot, poweroff or shell, not $ending" ;;
	esac
	find_medium || stop "the medium $(parameter medium) was not found"
	read_medium
	say "this installs $name ($system)"
	choose
	check_medium
	install
	[ -z "$interactive" ] || [ "$ending" != reboot ] ||
		ask "Enter starts the machine again; take the medium out before it has done so"
	leave "$ending" 0
}
