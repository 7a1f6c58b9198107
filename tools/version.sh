#!/bin/sh
# version.sh - the version of this checkout, as packages can carry it: that of the tag, v1.2.3 -> 1.2.3 and v1.2.3-rc1 -> 1.2.3~rc1;
# behind a tag 1.2.3+4.gCOMMIT, before the first one 0~DATE.gCOMMIT; with .dirty where files differ from the commit. Each is newer for
# dpkg and rpm than those before it. Without git, set VERSION.
set -eu
cd "$(dirname "$0")/.."

if ! commit=$(git rev-parse --short=12 HEAD); then
	echo "git does not tell the version: set VERSION, as in make VERSION=1.2.3 deb" >&2
	exit 1
fi
dirty=
[ -z "$(git status --porcelain --untracked-files=no)" ] || dirty=.dirty
if described=$(git describe --tags --long --abbrev=12 --match 'v[0-9]*' 2>/dev/null); then
	tag=${described%-*-g*}
	behind=${described#"$tag"-}
	behind=${behind%-g*}
	version=$(echo "${tag#v}" | tr - '~')
	[ "$behind$dirty" = 0 ] || version=$version+$behind.g$commit$dirty
else
	version="0~$(TZ=UTC git log -1 --date=format-local:%Y%m%d%H%M%S --format=%cd).g$commit$dirty"
fi
echo "$version"
