#!/bin/bash
# demo.sh [BTRKEEP] - btrkeep at work on two throw-away disks, in half a minute. Needs root and a kernel with btrfs and loop.
#
# Everything happens in namespaces of its own, on a /mnt that is in memory: however this ends, nothing is left of it.
set -euo pipefail
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
program=$(realpath -- "${1:-btrkeep}")

if [ -z "${BTRKEEP_DEMO:-}" ]; then
	[ "$(id -u)" = 0 ] || { echo "demo: mounting disks needs root" >&2; exit 1; }
	# In a process group of its own (set -m), so that signals reach it in one way, whether they are Ctrl-C's or another's. If this shell is killed, the demo
	# goes on to its end.
	set -m
	BTRKEEP_DEMO=inside unshare --mount --pid --fork --kill-child --mount-proc "$0" "$program" </dev/null &
	demo=$! status=0
	trap 'kill -TERM -- "-$demo"' INT TERM HUP
	wait "$demo" || status=$?
	while kill -0 "$demo" 2>/dev/null; do wait "$demo" || status=$?; done # a signal ends wait early
	exit "$status"
fi

exec 3<"$program" # which may itself be below /mnt
mount -t tmpfs -o mode=0755 btrkeep-demo /mnt
mkdir /mnt/bin
cat <&3 >/mnt/bin/btrkeep
exec 3<&-
chmod +x /mnt/bin/btrkeep
PATH=/mnt/bin:$PATH
cd /mnt

bold= dim= plain=
if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then bold=$'\e[1m' dim=$'\e[2m' plain=$'\e[0m'; fi
say() { printf '\n%s== %s%s\n' "$bold" "$*" "$plain"; }
show() { # show COMMAND…: print it, then do it; the daemon's lines come before what follows
	printf '%s$ %s%s\n' "$bold" "$*" "$plain"
	"$@"
	sleep 0.3
}

daemon=
stop() {
	[ -z "$daemon" ] || kill "$daemon" 2>/dev/null || true
	[ -z "$daemon" ] || wait "$daemon" || true
	daemon=
}
trap 'trap "" TERM; say "Stopped."; stop; exit 130' TERM

plug() { # mount a disk on a loop device that goes away with the mount
	# Not mount -o loop, which asks every loop device of the machine for its file first and hangs if one of them does.
	local device
	device=$(losetup --find --show "$1.img")
	mount -o noatime "$device" "$1" && losetup --detach "$device"
}
unplug() { umount "$1"; }
disk() {
	truncate -s 1G "$1.img"
	said=$(mkfs.btrfs -q -L "$1" "$1.img" 2>&1) || { echo "$said" >&2; exit 1; }
	mkdir "$1"
	plug "$1"
}
photos() { # photos FROM TO: new files of about a megabyte
	for i in $(seq "$1" "$2"); do head -c 1M /dev/urandom >"laptop/home/photo$i.jpg"; done
}

say "Two disks: a laptop's, with the subvolume home, and a USB disk's."
disk laptop
disk usb
btrfs subvolume create laptop/home >/dev/null
photos 1 40
echo "draft 1" >laptop/home/thesis.txt
show df -h --output=target,fstype,size,used laptop usb

say "The configuration: what, where to, when, what is kept."
cat >btrkeep.toml <<END
state_dir   = "/mnt/state"
runtime_dir = "/mnt/run"

[jobs.home]
source      = "/mnt/laptop/home"
schedule    = "@hourly"
keep        = { last = 2 }

[jobs.home.destinations.usb]
url         = "/mnt/usb/home"
keep        = { last = 3 }
END
show cat btrkeep.toml
show btrkeep -c btrkeep.toml check

say "The daemon, as the service starts it. Its log lines begin with |."
printf '%s$ btrkeep -c btrkeep.toml daemon &%s\n' "$bold" "$plain"
btrkeep -c btrkeep.toml daemon > >(sed -u "s/^/$dim| /; s/\$/$plain/") 2>&1 &
daemon=$!
sleep 1

say "The first backup is a full one."
show btrkeep -c btrkeep.toml run home

say "Some files change; the next one is incremental."
echo "draft 2" >laptop/home/thesis.txt
photos 41 43
rm laptop/home/photo1.jpg
show btrkeep -c btrkeep.toml run home

say "Three more, of a line each."
for draft in 3 4 5; do
	sleep 1
	echo "draft $draft" >laptop/home/thesis.txt
	show btrkeep -c btrkeep.toml run home
done

say "What there is now: the laptop keeps 2 snapshots, the USB disk 3 backups."
show btrkeep -c btrkeep.toml list
show btrkeep -c btrkeep.toml history

say "The USB disk is unplugged. That is no error; the snapshot that it needs to go on stays."
show unplug usb
echo "draft 6" >laptop/home/thesis.txt
show btrkeep -c btrkeep.toml run home || echo "(exit status $?: not now)"

say "Plugged in again, it gets what it missed. First, what would be done, and why:"
show plug usb
show btrkeep -c btrkeep.toml plan
show btrkeep -c btrkeep.toml run home

say "How it stands."
show btrkeep -c btrkeep.toml status

say "A backup is a directory with everything in it."
newest=$(cd usb/home && ls | tail -n 1)
show cat "usb/home/$newest/thesis.txt"
show diff --recursive --exclude=.btrkeep "laptop/home/.btrkeep/$newest" "usb/home/$newest"
echo "No difference."

say "The end. The disks were files in memory and are gone."
stop
