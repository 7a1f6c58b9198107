#!/bin/sh
# install-deps.sh PROGRAM=PACKAGE… - install the Debian packages of the programs that are missing; nothing is done, and the network
# is not asked, if all are there. PROGRAM can also be the path of any file.
set -eu
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

missing='' packages=''
for pair; do
	name=${pair%%=*}
	case $name in
	/*) [ ! -e "$name" ] || continue ;;
	*) ! command -v "$name" >/dev/null || continue ;;
	esac
	missing="$missing $name"
	packages="$packages ${pair#*=}"
done
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null; then
	echo "Missing:$missing. This is not a Debian: please install what Debian has as$packages." >&2
	exit 1
fi
if [ "$(id -u)" != 0 ]; then
	echo "Missing:$missing. As root, run: apt-get install --no-install-recommends$packages" >&2
	exit 1
fi
echo "installing$packages"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# Another apt may be at work, as on a machine that has just been started.
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086 # a list of words
if ! { apt-get -qq -o DPkg::Lock::Timeout=300 update && apt-get -qq -y -o DPkg::Lock::Timeout=300 install --no-install-recommends $packages; } >"$log" 2>&1; then
	cat "$log" >&2
	exit 1
fi
