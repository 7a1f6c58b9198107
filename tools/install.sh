#!/bin/sh
# install.sh PROGRAM | --uninstall - put the program and what goes with it below $DESTDIR$PREFIX, /usr/local by default, or take it away from there. The sample
# configuration goes to $DESTDIR/etc/btrkeep, unless there is one. Taking away leaves the configuration, the state, all snapshots and all backups.
#
# $HOST_PROGRAM is one that this machine can run, where PROGRAM is for another: it prints the completions. Man pages are made with scdoc.
set -eu
case $1 in
/* | --uninstall) program=$1 ;;
*) program=$PWD/$1 ;;
esac
cd "$(dirname "$0")/.."
DESTDIR=${DESTDIR:-}
PREFIX=${PREFIX:-/usr/local}
zsh=${ZSH_COMPLETIONS:-share/zsh/site-functions}
root=$DESTDIR$PREFIX
doc=share/doc/btrkeep

# Each file that is installed, relative to PREFIX: mode, path, and the command that prints it.
files() {
	cat <<-END
		0755 bin/btrkeep cat "\$program"
		0755 lib/btrkeep/plug cat contrib/udev/plug
		0644 lib/systemd/system/btrkeep.service unit contrib/systemd/btrkeep.service
		0644 lib/systemd/system/btrkeep-plug@.service unit contrib/systemd/btrkeep-plug@.service
		0644 $doc/examples/udev/90-btrkeep-plug.rules cat contrib/udev/90-btrkeep-plug.rules
		0644 $doc/examples/udev/plug.conf cat contrib/udev/plug.conf
		0644 $doc/examples/btrkeep.rules.yml cat contrib/prometheus/btrkeep.rules.yml
		0644 $doc/examples/grafana.json cat contrib/grafana/btrkeep.json
		0644 share/man/man1/btrkeep.1.gz man docs/man/btrkeep.1.scd
		0644 share/man/man5/btrkeep.toml.5.gz man docs/man/btrkeep.toml.5.scd
		0644 share/bash-completion/completions/btrkeep completion bash
		0644 $zsh/_btrkeep completion zsh
		0644 share/fish/vendor_completions.d/btrkeep.fish completion fish
		0644 $doc/README.md cat README.md
		0644 $doc/CHANGELOG.md cat CHANGELOG.md
		0644 $doc/LICENSE cat LICENSE
		0644 $doc/LICENSES-OF-OTHERS tools/licences.sh
	END
	for page in docs/*.md; do
		echo "0644 $doc/${page#docs/} cat $page"
	done
	(cd contrib/systemd && find drop-ins -type f | LC_ALL=C sort) | while read -r file; do
		echo "0644 $doc/examples/$file cat contrib/systemd/$file"
	done
}

unit() { sed -e "s|/usr/bin/btrkeep|$PREFIX/bin/btrkeep|" -e "s|/usr/lib/btrkeep|$PREFIX/lib/btrkeep|" "$1"; }
man() { page=$(scdoc <"$1") && printf '%s\n' "$page" | gzip -9n; }
completion() { "${HOST_PROGRAM:-$program}" completion "$1"; }

# systemd is told if this is the running system, and not a directory from which a package is made.
booted() { [ -z "$DESTDIR" ] && [ -d /run/systemd/system ]; }

if [ "$program" = --uninstall ]; then
	# The unit may also be one of a package.
	if booted && [ -e "$root/lib/systemd/system/btrkeep.service" ]; then
		systemctl disable --now btrkeep.service || true
	fi
	files | while read -r _ path _; do
		rm -f "$root/$path"
	done
	for dir in lib/btrkeep $doc/examples/drop-ins $doc/examples/udev $doc/examples $doc; do
		rmdir "$root/$dir" 2>/dev/null || true
	done
	if booted; then
		systemctl daemon-reload
	fi
	echo "Left as they are: $DESTDIR/etc/btrkeep, $DESTDIR/var/lib/btrkeep, all snapshots and all backups." >&2
	exit 0
fi

files | while read -r mode path command; do
	mkdir -p "$(dirname "$root/$path")"
	# At its name at once and whole, also where the daemon runs what is there now.
	eval "$command" >"$root/$path.new"
	chmod "$mode" "$root/$path.new"
	mv "$root/$path.new" "$root/$path"
done
mkdir -p "$DESTDIR/etc/btrkeep/conf.d"
if [ ! -e "$DESTDIR/etc/btrkeep/btrkeep.toml" ]; then
	# It may come to hold the addresses of notifications, which are secrets.
	install -m 0600 contrib/systemd/btrkeep.toml "$DESTDIR/etc/btrkeep/btrkeep.toml"
fi
if booted; then
	systemctl daemon-reload
fi
