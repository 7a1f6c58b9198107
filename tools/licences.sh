#!/bin/sh
# licences.sh - the licences of Go and of the modules that are in the program.
set -eu
cd "$(dirname "$0")/.."
go=${GO:-go}

echo "btrkeep is under the Apache License 2.0. In its program are also:"
modules=$(GOOS=linux GOARCH=amd64 "$go" list -deps -f '{{with .Module}}{{if not .Main}}{{.Path}} {{.Dir}}{{end}}{{end}}' ./cmd/btrkeep)
{
	echo "$modules" | LC_ALL=C sort -u | sed '/^$/d'
	echo "Go $("$go" env GOROOT)"
} | while read -r module dir; do
	texts=$(find -L "$dir" -maxdepth 1 -type f \( -iname 'licen[cs]e*' -o -iname 'copying*' -o -iname 'notice*' \) | LC_ALL=C sort)
	if [ -z "$texts" ] && [ "$module" = Go ]; then # as Debian has it
		texts=$(find /usr/share/doc/golang* -maxdepth 1 -name copyright | LC_ALL=C sort | tail -n 1)
	fi
	[ -n "$texts" ] || { echo "licences.sh: no licence in $dir" >&2; exit 1; }
	echo "$texts" | while read -r text; do
		printf '\n-- %s: %s\n\n' "$module" "${text##*/}"
		cat "$text"
	done
done
