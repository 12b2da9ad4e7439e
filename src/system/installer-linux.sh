#!/bin/busybox sh
# The first program after the kernel, from an installer medium: writes a system onto a disk. There is nothing here but busybox.
PATH=/bin
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sysfs /sys
/bin/busybox mount -t devtmpfs devtmpfs /dev
/bin/busybox mount -t tmpfs tmpfs /run
# What the kernel says at its loudest would go through what is asked.
echo 4 >/proc/sys/kernel/printk
answers=/run/answers
read -r active </sys/class/tty/console/active
consoles=$(for console in $active; do echo "/dev/$console"; done)

parameter() {
	set -f
	read -r line </proc/cmdline
	for word in $line; do
		case $word in garth.install."$1"=*) echo "${word#*=}" ;; esac
	done | tail -n 1
}

load_modules() {
	while read -r module; do
		# What the hardware here has no use for fails, and what is missing shows by what is not found.
		insmod "/modules/$module" 2>/dev/null
	done </modules/order
}

# The volume lies on the whole disk. Disks behind USB and their like take a while to be there.
find_medium() {
	wanted=$(parameter medium)
	load_modules
	mkdir -p /medium
	tries=0
	while [ "$tries" -lt 60 ]; do
		for path in /sys/block/*; do
			each=${path##*/}
			case $each in loop* | ram* | zram*) continue ;; esac
			[ "$(dd if="/dev/$each" bs=2048 skip=16 count=1 2>/dev/null | head -c 6 | tail -c 5)" = CD001 ] || continue
			mount -t iso9660 -o ro "/dev/$each" /medium 2>/dev/null || continue
			if [ "$(digest 2>/dev/null </medium/garth/install)" = "$wanted" ]; then
				medium=/medium
				medium_disk=$each
				return 0
			fi
			umount /medium
		done
		tries=$((tries + 1))
		sleep 1
	done
	return 1
}

disks() {
	for path in /sys/block/*; do
		case ${path##*/} in loop* | ram* | zram* | sr* | fd* | md* | dm-* | nbd*) continue ;; esac
		[ "$(cat "$path/size")" -gt 0 ] && [ "$(cat "$path/ro")" = 0 ] && echo "${path##*/}"
	done
}

disk_bytes() {
	[ -e "/sys/block/$1/size" ] && echo $(($(cat "/sys/block/$1/size") * 512))
}

sector_bytes() {
	cat "/sys/block/$1/queue/logical_block_size"
}

model() {
	cat "/sys/block/$1/device/model" 2>/dev/null
}

in_use() {
	for path in "/sys/block/$1" "/sys/block/$1/$1"*; do
		[ -d "$path" ] || continue
		for holder in "$path"/holders/*; do
			[ ! -e "$holder" ] || return 0
		done
		while read -r device _; do
			[ "$device" != "/dev/${path##*/}" ] || return 0
		done </proc/mounts
	done
	return 1
}

digest() {
	sha256sum | cut -c 1-64
}

# Out of the kernel's memory, so that what is read back comes from the disk.
flush() {
	sync
	blockdev --flushbufs "$disk"
	echo 3 >/proc/sys/vm/drop_caches
}

grow_hint() {
	say "the disk is larger than the system was made for; there is room for more partitions"
}

leave() {
	sync
	case $1 in
	shell)
		say "a shell; reboot -f starts the machine again"
		for console in $consoles; do
			setsid sh -c "while :; do setsid cttyhack sh -i <>$console >&0 2>&1; done" &
		done
		while :; do sleep 3600; done
		;;
	*) "$1" -f ;;
	esac
	while :; do sleep 3600; done
}
