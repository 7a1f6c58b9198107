#!/bin/sh
# each.sh 'WORD…' COMMAND [ARGUMENT…] - run the command with each word as one more argument, side by side; what each says comes at once, in their order.
# Exit status 0 if all ended well.
set -u
words=$1
shift
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
for word in $words; do
	{ "$@" "$word" >"$dir/$word.out" 2>&1 || touch "$dir/failed"; } &
done
wait
for word in $words; do
	cat "$dir/$word.out"
done
[ ! -e "$dir/failed" ]
