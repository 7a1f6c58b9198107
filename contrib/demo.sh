#!/bin/bash
# demo.sh [BTRKEEP] - btrkeep at work on two throw-away disks, in half a minute. Needs root and a kernel with btrfs and loop.
#
# Everything happens in a mount and PID namespace and in memory: however this ends, nothing is left but, at worst, an empty directory.
set -euo pipefail
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

if [ -z "${BTRKEEP_DEMO:-}" ]; then
	[ "$(id -u)" = 0 ] || { echo "demo: mounting disks needs root" >&2; exit 1; }
	program=$(realpath "${1:-btrkeep}")
	dir=$(mktemp -d /tmp/btrkeep-demo.XXXX)
	trap 'rmdir "$dir"' EXIT
	# Ctrl-C reaches everybody; the demo inside ends, then this does. A killed `unshare` takes the rest with it.
	trap : INT
	trap 'kill "$demo"' TERM HUP
	BTRKEEP_DEMO=$dir unshare --mount --pid --fork --kill-child --mount-proc "$0" "$program" <&0 &
	demo=$! status=0
	while kill -0 "$demo" 2>/dev/null; do status=0; wait "$demo" || status=$?; done
	exit "$status"
fi

dir=$BTRKEEP_DEMO
daemon=
stop() { # the daemon, and after it the one who prints its lines
	[ -z "$daemon" ] || { kill "$daemon" 2>/dev/null && wait "$daemon" || true; }
	daemon=
	cd /
}
trap stop EXIT
trap 'trap "" INT TERM; echo; say "Stopped."; exit 130' INT TERM HUP

bold= dim= plain=
if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then bold=$'\e[1m' dim=$'\e[2m' plain=$'\e[0m'; fi
say() { echo; echo "$bold== $*$plain"; }
show() { echo "$bold\$ $*$plain"; "$@"; sleep 0.2; }
btrkeep() { "$dir/bin/btrkeep" -c btrkeep.toml "$@"; }

disk() { # disk NAME: a btrfs on a loop device that goes away with its mount
	truncate -s 1G "$1.img"
	mkfs.btrfs -q -L "$1" "$1.img"
	mkdir "$1"
	mount -o loop,noatime "$1.img" "$1"
}
mount -t tmpfs -o mode=0700 btrkeep-demo "$dir"
mkdir "$dir/bin"
cp "$1" "$dir/bin/btrkeep"
cd "$dir"

say "Two disks: the laptop with the subvolume home, and a USB disk"
disk laptop
disk usb
btrfs -q subvolume create laptop/home 2>/dev/null || btrfs subvolume create laptop/home >/dev/null
mkdir laptop/home/photos
for i in $(seq 40); do head -c 500K /dev/urandom >"laptop/home/photos/$i.jpg"; done
echo "draft 1" >laptop/home/thesis.txt
show df -h --output=target,fstype,size,used laptop usb

say "A configuration: what, where to, when, what is kept"
cat >btrkeep.toml <<END
state_dir   = "$dir/state"
runtime_dir = "$dir/run"

[jobs.home]
source      = "$dir/laptop/home"
destination = "$dir/usb/home"
schedule    = "@hourly"
keep        = { last = 2 }

[jobs.home.destinations.usb]
url  = "$dir/usb/home"
keep = { last = 3 }
END
sed -i '/^destination /d' btrkeep.toml
show cat btrkeep.toml
show btrkeep check

say "The daemon, as systemd would start it; its log lines begin with |"
btrkeep daemon 2>&1 > >(sed -u "s/^/$dim| /; s/\$/$plain/") 2>&1 &
