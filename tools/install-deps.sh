#!/bin/sh
# install-deps.sh PROGRAM=PACKAGE… - install the Debian packages of the programs that are missing; nothing is done, and the network
# is not asked, if all are there. PROGRAM can also be the path of any file. With PROGRAM=@PACKAGE the program alone is taken out of the package, into
# /usr/local/sbin: installed, the package would start a service.
set -eu
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

missing='' packages='' programs=''
for pair; do
	name=${pair%%=*}
	case $name in
	/*) [ ! -e "$name" ] || continue ;;
	*) ! command -v "$name" >/dev/null || continue ;;
	esac
	missing="$missing $name"
	case $pair in
	*=@*) programs="$programs $pair" ;;
	*) packages="$packages ${pair#*=}" ;;
	esac
done
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null; then
	echo "Missing:$missing. This is not a Debian: please install what Debian has as$packages$programs." >&2
	exit 1
fi
if [ "$(id -u)" != 0 ]; then
	echo "Missing:$missing. As root, run: $0 $*" >&2
	exit 1
fi
echo "installing$packages$programs"
log=$(mktemp)
unpacked=$(mktemp -d)
trap 'rm -rf "$log" "$unpacked"' EXIT

# unpack PROGRAM=@PACKAGE
unpack() {
	(cd "$unpacked" && apt-get -qq -o APT::Sandbox::User=root download "${1#*=@}" && dpkg-deb -x "${1#*=@}"_*.deb .) &&
		install -D -m 0755 "$unpacked/usr/bin/${1%%=*}" "/usr/local/sbin/${1%%=*}"
}

get() {
	apt-get -qq -o DPkg::Lock::Timeout=300 update || return
	# shellcheck disable=SC2086 # a list of words
	[ -z "$packages" ] || apt-get -qq -y -o DPkg::Lock::Timeout=300 install --no-install-recommends $packages || return
	for pair in $programs; do
		unpack "$pair" || return
	done
}

# Another apt may be at work, as on a machine that has just been started.
export DEBIAN_FRONTEND=noninteractive
if ! get >"$log" 2>&1; then
	cat "$log" >&2
	exit 1
fi
