#!/bin/sh
# rc(8) of an installer medium, run by init(8): writes a system onto a disk. The root is the medium, where nothing can be written.
PATH=/sbin:/bin:/usr/sbin:/usr/bin
trap '' INT QUIT TSTP
kldload -n tmpfs 2>/dev/null
mount -t tmpfs tmpfs /tmp
answers=/tmp/answers
consoles=$(
	active=$(sysctl -n kern.console)
	IFS=,
	for console in ${active%%/*}; do echo "/dev/$console"; done
)

parameter() {
	kenv -q "garth.install.$1"
}

# What devmatch(8) knows of the hardware here, as rc.d/devmatch does it.
load_modules() {
	for module in $(devmatch 2>/dev/null | sort -u); do
		kldload -n "$module" 2>/dev/null
	done
}

find_medium() {
	load_modules
	medium=
	# "cd9660:/dev/iso9660/LABEL": the disk that geom(8) found the label on.
	label=$(kenv -q vfs.root.mountfrom)
	medium_disk=$(
		geom label status -s | while read -r each _ provider; do
			[ "/dev/$each" != "${label#*:}" ] || echo "$provider"
		done
	)
	[ -e /garth/install ]
}

disks() {
	for each in $(sysctl -n kern.disks); do
		case $each in cd* | md* | fd*) continue ;; esac
		echo "$each"
	done
}

# "/dev/ada0 512 500107862016 ..."
disk_bytes() {
	diskinfo "/dev/$1" 2>/dev/null | while read -r _ _ found _; do echo "$found"; done
}

sector_bytes() {
	diskinfo "/dev/$1" 2>/dev/null | while read -r _ found _; do echo "$found"; done
}

model() {
	geom disk list "$1" | sed -n 's/^ *descr: //p'
}

# Opened by nobody: not for reading, not for writing, not exclusively.
in_use() {
	[ "$(geom disk list "$1" | sed -n 's/^ *Mode: //p')" != r0w0e0 ]
}

digest() {
	sha256 -q
}

flush() {
	sync
}

grow_hint() {
	say "the disk is larger than the system was made for; when it runs: gpart resize -i 2 $target && growfs /"
}

leave() {
	sync
	case $1 in
	shell)
		say "a shell; reboot starts the machine again"
		trap - INT QUIT TSTP
		for console in $consoles; do
			(while :; do sh -i <>"$console" >&0 2>&1; done) &
		done
		;;
	poweroff) halt -p ;;
	reboot) reboot ;;
	esac
	while :; do sleep 3600; done
}
