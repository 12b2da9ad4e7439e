# generations VERB: which systems this machine has been given, which one its loader starts, and what it goes back to.
#
#   status | add SYSTEM [SECONDS] <ITEMS | select [N [SECONDS]] | confirm | watch SECONDS | remove N...
#
# Everything is written in an order in which the machine starts the old or the new, wherever it is cut off; `settle` is the first thing in each
# verb, and finishes or undoes what a call before left.
PATH=$PATH:/sbin:/bin:/usr/sbin:/usr/bin
LC_ALL=C
export PATH LC_ALL
umask 022
root=${GARTH_ROOT:-}
state=$root/var/lib/garth/system
store=$root/frx/store
roots=$root/frx/var/garth/roots
# Bytes that must be free on the root: what a generation and its links take, in blocks.
room_bytes=262144
trial_s=900
lock_tries=60
# Where yes, what cannot be settled is said, and is no reason to fail.
is_ready=no

say() {
	echo "garth: $*" >&2
}

#@FAMILY@

is_number() {
	case $1 in
	'' | 0* | *[!0-9]* | ??????????*) return 1 ;;
	esac
}

# A name of a store item, and no path that leads elsewhere.
is_item() {
	case $1 in
	'' | .* | */*) return 1 ;;
	esac
}

# first FILE: its first line, as $first.
first() {
	first=
	[ -r "$1" ] && IFS= read -r first <"$1"
	[ -n "$first" ]
}

# put FILE TEXT: the file is the old or the new.
put() {
	! first "$1" || [ "$first" != "$2" ] || return 0
	printf '%s\n' "$2" >"$1.garth" && durable "$1.garth" && replace "$1.garth" "$1" && durable "${1%/*}"
}

# point LINK TARGET
point() {
	[ "$(readlink "$1" 2>/dev/null)" != "$2" ] || return 0
	rm -f "$1.garth" && ln -s "$2" "$1.garth" && replace "$1.garth" "$1" && durable "${1%/*}"
}

drop() {
	[ -h "$1" ] || return 0
	rm -f "$1" && durable "${1%/*}"
}

# pointer NAME: the number of the generation that state/NAME leads to, as $pointer.
pointer() {
	pointer=$(readlink "$state/$1" 2>/dev/null)
	pointer=${pointer#generations/}
	is_generation "$pointer" || pointer=
}

is_generation() {
	is_number "$1" && [ -d "$state/generations/$1" ]
}

system_of() {
	system=$(readlink "$state/generations/$1/closure" 2>/dev/null)
}

# state_of N: as $condition.
state_of() {
	condition=failed
	! first "$state/generations/$1/state" || condition=$first
}

# numbers: those of all generations, in order.
numbers() {
	for at in "$state"/generations/[1-9]*; do
		! is_generation "${at##*/}" || echo "${at##*/}"
	done | sort -n
}

# whole N: every store item of it is there. If not, $missing is the first that is not.
whole() {
	missing=$state/generations/$1/items
	[ -r "$missing" ] || return 1
	while IFS= read -r missing; do
		[ -e "$store/$missing" ] || return 1
	done <"$state/generations/$1/items"
}

take_lock() {
	tries=0
	until lock; do
		tries=$((tries + 1))
		[ "$tries" -lt "$1" ] || { say busy && exit 1; }
		sleep 1
	done
}

# What a killed call left on the root. Of a removed generation the items are not gone yet; they go when the loader has forgotten it.
sweep() {
	for at in "$state"/*.garth "$state"/generations/*/*.garth "$roots"/*.garth; do
		[ ! -h "$at" ] && [ ! -e "$at" ] || rm -f "$at" || return
	done
	for at in "$state"/generations/.[1-9]*; do
		[ ! -d "$at" ] || rm -rf "$at" || return
	done
	for at in "$store"/.removed-*; do
		[ ! -e "$at" ] || { unprotect -R "$at" && rm -rf "$at"; } || return
	done
}

# settle: files and links say what the loader's files say, which are the truth. Sets current, next, rollback, and running.
settle() {
	sweep && boot_open read && boot_sweep && boot_truth || return
	collect || return
	running
	pointer current && current=$pointer
	pointer rollback && rollback=$pointer
	pointer next && next=$pointer
	if is_generation "$boot_current" && [ "$boot_current" != "$current" ]; then
		rollback=$current
		[ -z "$rollback" ] || point "$state/rollback" "generations/$rollback" || return
		current=$boot_current
		point "$state/current" "generations/$current" && put "$state/generations/$current/state" good || return
	fi
	if [ -n "$boot_next" ]; then
		settle_next || return
	elif [ -n "$next" ] && { [ "$next" != "$running" ] || [ -z "$trial" ]; }; then
		drop "$state/next" || return
		next=
	fi
	for each in $(numbers); do
		state_of "$each"
		if [ "$condition" = trial ] && [ "$each" != "$next" ] && [ "$each" != "$running" ]; then
			# It was never to be started: the call that added it did not come to that.
			forget "$each" "" || return
		else
			system_of "$each"
			point "$roots/system-$each" "$system" || return
		fi
	done
	for at in "$roots"/system-*; do
		[ ! -h "$at" ] || is_generation "${at##*/system-}" || ! is_number "${at##*/system-}" || drop "$at" || return
	done
	settle_root current "$current" && settle_root rollback "$rollback"
}

# settle_root NAME N
settle_root() {
	if is_generation "$2"; then
		system_of "$2" && point "$roots/$1-system" "$system"
	else
		drop "$roots/$1-system"
	fi
}

# The loader has something that it starts, or started, once.
settle_next() {
	is_on_trial=no
	[ "$boot_next" != "$running" ] || [ -z "$trial" ] || is_on_trial=yes
	if ! is_generation "$boot_next" || [ "$boot_next" = "$boot_current" ]; then
		boot_open write && boot_drop && drop "$state/next" || return
		next=
	elif [ "$boot_tried" = no ] || [ "$is_on_trial" = yes ]; then
		next=$boot_next
		state_of "$next"
		[ "$condition" = good ] || put "$state/generations/$next/state" trial || return
		point "$state/next" "generations/$next"
	else
		failed=$boot_next
		state_of "$failed"
		# One that was ready, and whose confirmation was cut off, has not failed.
		[ "$condition" = good ] || put "$state/generations/$failed/state" failed || return
		boot_open write && boot_drop && drop "$state/next" || return
		next=
		[ "$condition" = good ] || say "failed $failed"
	fi
}

# forget N removed-|"": the generation is none any more. With `removed-` its items go as well, later.
forget() {
	system_of "$1"
	at=$state/generations/.$2$1
	rm -rf "$at" && mv "$state/generations/$1" "$at" && durable "$state/generations" || return
	boot_open write && boot_forget "$1" "$system" && drop "$roots/system-$1" || return
	[ -n "$2" ] || rm -rf "$at"
}

# collect: the items of removed generations that nothing else names. Where Garth keeps the store it finds them itself.
collect() {
	for gone in "$state"/generations/.removed-*; do
		[ -d "$gone" ] || continue
		[ -e "$root/frx/var/garth/garth.db" ] || [ ! -r "$gone/items" ] || collect_items "$gone/items" || return
		rm -rf "$gone" || return
	done
}

collect_items() {
	# Where it cannot be known what the others need, nothing goes.
	kept=$(cat "$state"/generations/[1-9]*/items && rooted) || return 0
	while IFS= read -r name; do
		if ! is_item "$name" || [ ! -e "$store/$name" ] || is_kept "$name"; then continue; fi
		# Under its name an item is whole or not there.
		unprotect "$store/$name" && mv "$store/$name" "$store/.removed-$name" && durable "$store" || return
		unprotect -R "$store/.removed-$name" && rm -rf "$store/.removed-$name" || return
		say "collected $name"
	done <"$1"
}

# is_kept NAME: another generation or a root needs it, or a package manager put it there.
is_kept() {
	[ ! -h "$store/.packaged/$1" ] && [ ! -e "$store/.packaged/$1" ] || return 0
	case "
$kept
" in
	*"
$1
"*) ;;
	*) return 1 ;;
	esac
}

# rooted: names of the items that roots and what runs lead to, through links that stand elsewhere.
rooted() {
	for at in "$roots"/* "$root"/run/current-*; do
		hops=0
		while [ -h "$at" ] && [ "$hops" -lt 16 ]; do
			target=$(readlink "$at")
			case $target in
			/frx/store/*)
				target=${target#/frx/store/}
				echo "${target%%/*}"
				break
				;;
			/*) at=$root$target ;;
			*) at=${at%/*}/$target ;;
			esac
			hops=$((hops + 1))
		done
	done
}

# What is there when this ends, however it ends.
finish() {
	status=$?
	trap '' INT TERM HUP
	[ "$undo" = no ] || settle
	boot_close
	[ "$is_ready" = no ] || status=0
	exit "$status"
}

# begin TRIES: nobody else does, and what was done before is settled. What fails from here on is undone.
begin() {
	undo=no
	trap finish EXIT
	trap 'exit 1' INT TERM HUP
	trap '' PIPE
	take_lock "$1"
	settle || exit 1
	undo=yes
}

end() {
	undo=no
	exit 0
}

# seconds TEXT: as $seconds.
seconds() {
	seconds=${1:-$trial_s}
	is_number "$seconds" || usage
}

# Looked at before anything is written. Whoever goes back is not kept from it by a full root.
root_room() {
	root_free=$(free_bytes "$root/")
	[ "$root_free" -ge "$room_bytes" ] || {
		say "full root $room_bytes $root_free"
		return 1
	}
}

room() {
	boot_room "$1" || return
	[ "$boot_free" -ge "$boot_needed" ] || {
		say "full boot $boot_needed $boot_free"
		return 1
	}
}

free_bytes() {
	df -Pk "$1" | {
		read -r _
		read -r _ _ _ free _
		# Less than nothing, where what root alone may use is in use.
		case $free in '' | *[!0-9]*) free=0 ;; esac
		echo "$((free * 1024))"
	}
}

# supersede N: another one that waits for its trial, or is on it, is not going to be asked about.
supersede() {
	[ -z "$boot_next" ] || [ "$boot_next" = "$1" ] || put "$state/generations/$boot_next/state" failed
}

add() {
	closure=$1
	seconds "$2"
	case $closure in
	/frx/store/*) is_item "${closure#/frx/store/}" || usage ;;
	*) usage ;;
	esac
	items=$(cat && echo "${closure#/frx/store/}") || exit 1
	items=$(printf '%s\n' "$items" | sed '/^$/d' | sort -u)
	undo=no
	begin 1
	printf '%s\n' "$items" | while IFS= read -r name; do
		is_item "$name" && [ -e "$store/$name" ] || { say "missing $name" && exit 1; }
	done || refuse
	if ! root_room || ! room "$closure"; then refuse; fi
	number=$(numbers | tail -n 1)
	number=$((${number:-0} + 1))
	at=$state/generations/.$number
	mkdir -p "$roots" "$state/generations" && mkdir "$at" && ln -s "$closure" "$at/closure" || exit 1
	printf '%s\n' "$items" >"$at/items" && printf 'by=switch\nat=%s\n' "$(date +%s)" >"$at/made" && echo trial >"$at/state" || exit 1
	durable "$at/items" "$at/made" "$at/state" "$at" && mv "$at" "$state/generations/$number" && durable "$state/generations" || exit 1
	point "$roots/system-$number" "$closure" && boot_open write && boot_put "$number" "$closure" || exit 1
	supersede "$number" && point "$state/next" "generations/$number" && boot_try "$number" "$closure" "$seconds" || exit 1
	say "generation $number"
	end
}

# Nothing was done: there is nothing to undo.
refuse() {
	undo=no
	exit 1
}

select_generation() {
	seconds "$2"
	begin 1
	number=${1:-$rollback}
	is_generation "$number" || { say "unknown ${number:--}" && refuse; }
	whole "$number" || { say "missing $missing" && refuse; }
	system_of "$number"
	room "$system" || refuse
	state_of "$number"
	boot_open write && boot_put "$number" "$system" && supersede "$number" || exit 1
	if [ "$condition" = good ]; then
		boot_drop && drop "$state/next" && make_current "$number" || exit 1
	else
		point "$state/next" "generations/$number" && boot_try "$number" "$system" "$seconds" || exit 1
		put "$state/generations/$number/state" trial || exit 1
	fi
	say "generation $number"
	end
}

# make_current N: it is started from now on.
make_current() {
	system_of "$1"
	boot_keep "$1" "$system" || return
	if [ "$1" != "$current" ]; then
		rollback=$current
		[ -z "$rollback" ] || point "$state/rollback" "generations/$rollback" || return
		current=$1
		point "$state/current" "generations/$current" || return
	fi
	settle_root rollback "$rollback" && settle_root current "$current"
}

confirm() {
	# Without it there is nothing to be settled.
	[ -h "$state/next" ] || exit 0
	running
	[ -n "$running" ] || exit 0
	# What is not on trial is ready, whatever becomes of another one.
	[ -n "$trial" ] || is_ready=yes
	begin "$lock_tries"
	if [ -n "$trial" ] && [ "$next" = "$running" ]; then
		system_of "$running"
		put "$state/generations/$running/state" good && boot_open write && boot_put "$running" "$system" || exit 1
		make_current "$running" && boot_drop && drop "$state/next" || exit 1
		say "confirmed $running"
	fi
	end
}

watch() {
	is_number "$1" || usage
	running
	[ -n "$running" ] || exit 0
	sleep "$1"
	state_of "$running"
	[ "$condition" = trial ] || exit 0
	say "not ready within $1 s: what was started before is started again"
	reboot_now
}

remove() {
	[ "$#" -gt 0 ] || usage
	begin 1
	of=$(readlink "$root/run/current-system")
	for number; do
		is_generation "$number" || { say "unknown $number" && refuse; }
		system_of "$number"
		why=
		[ "$number" != "$next" ] || why=next
		[ "$number" != "$running" ] && [ "$system" != "$of" ] || why=running
		[ "$number" != "$current" ] || why=current
		[ -z "$why" ] || { say "in-use $number $why" && refuse; }
	done
	for number; do
		# Named twice.
		is_generation "$number" || continue
		if [ "$number" = "$rollback" ]; then
			drop "$state/rollback" && drop "$roots/rollback-system" || exit 1
		fi
		forget "$number" removed- || exit 1
		say "removed $number"
	done
	collect || exit 1
	end
}

status() {
	trap boot_close EXIT
	trap 'exit 1' INT TERM HUP
	running
	pointer current && current=$pointer
	pointer rollback && rollback=$pointer
	pointer next && next=$pointer
	failed=
	boot_free=-
	if boot_open read 2>/dev/null && boot_truth; then
		boot_room || boot_free=-
		! is_generation "$boot_current" || [ "$boot_current" = "$current" ] || { rollback=$current && current=$boot_current; }
		if [ -z "$boot_next" ] || [ "$boot_tried" = no ]; then
			next=$boot_next
		elif [ "$boot_next" != "$running" ] || [ -z "$trial" ]; then
			next=
			failed=$boot_next
		fi
	fi
	of=$(readlink "$root/run/current-system")
	on_trial=no
	if [ -n "$trial" ] && is_generation "$running"; then
		state_of "$running"
		[ "$condition" != trial ] || on_trial=yes
	fi
	echo "running ${running:--}"
	echo "running-system ${of:--}"
	echo "current ${current:--}"
	echo "rollback ${rollback:--}"
	echo "next ${next:--}"
	echo "booted-trial $on_trial"
	echo "boot-free $boot_free"
	echo "root-free $(free_bytes "$root/")"
	for number in $(numbers); do
		system_of "$number"
		made=-
		first "$state/generations/$number/made" && made=${first#by=}
		state_of "$number"
		[ "$number" != "$failed" ] || [ "$condition" = good ] || condition=failed
		whole "$number" || condition=broken
		echo "generation $number $condition ${system:--} $made"
	done
}

usage() {
	say "usage: generations status | add SYSTEM [SECONDS] | select [N [SECONDS]] | confirm | watch SECONDS | remove N..."
	exit 1
}

verb=${1:-}
[ "$#" -eq 0 ] || shift
case $verb in
status) status ;;
add) add "${1:-}" "${2:-}" ;;
select) select_generation "${1:-}" "${2:-}" ;;
confirm) confirm ;;
watch) watch "${1:-}" ;;
remove) remove "$@" ;;
*) usage ;;
esac
