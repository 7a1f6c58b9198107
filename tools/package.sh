#!/bin/sh
# package.sh deb|rpm [ARCH] - a package for amd64 (default: this machine), arm64 or armv7, in $DIST, dist by default; its path is printed. What is in it is what install.sh
# installs, beside contrib/package. Of one source and one version of Go it has the same bytes wherever and whenever it is made.
set -eu
format=$1 arch=${2:-$(${GO:-go} env GOHOSTARCH)}
dist=$(realpath -m "${DIST:-dist}")
cd "$(dirname "$0")/.."
VERSION=${VERSION:-$(tools/version.sh)}
# Times in the package: that of the commit, or of the last change of the changelog.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || stat -c %Y CHANGELOG.md)}
export VERSION SOURCE_DATE_EPOCH
case $arch in
x86_64) arch=amd64 ;;
aarch64) arch=arm64 ;;
esac
case $arch in
arm | armv7) arch=armv7 goarch=arm package_arch=arm7 ;;
*) goarch=$arch package_arch=$arch ;;
esac
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT

GOOS=linux GOARCH=$goarch GOARM=7 tools/build.sh "$stage/btrkeep"
HOST_PROGRAM=$stage/btrkeep
if [ "$goarch" != "$(${GO:-go} env GOHOSTARCH)" ]; then
	HOST_PROGRAM=$stage/host-btrkeep
	GOOS='' GOARCH='' tools/build.sh "$HOST_PROGRAM"
fi
export HOST_PROGRAM
case $format in
deb) zsh=share/zsh/vendor-completions ;;
*) zsh=share/zsh/site-functions ;;
esac
umask 022
DESTDIR=$stage/root PREFIX=/usr ZSH_COMPLETIONS=$zsh tools/install.sh "$stage/btrkeep"
doc=$stage/root/usr/share/doc/btrkeep
case $format in
deb) # The names that Debian has for the licence and the changelog.
	install -m 0644 contrib/package/deb/copyright "$doc/copyright"
	rm "$doc/LICENSE"
	gzip -9n >"$doc/changelog.gz" <<-END
		btrkeep ($VERSION) unstable; urgency=medium

		  * What has changed is in CHANGELOG.md.

		 -- btrkeep developers <btrkeep@users.noreply.github.com>  $(LC_ALL=C TZ=UTC date -R -d "@$SOURCE_DATE_EPOCH")
	END
	install -D -m 0644 contrib/package/deb/lintian-overrides "$stage/root/usr/share/lintian/overrides/btrkeep"
	;;
rpm)
	mkdir -p "$stage/root/usr/share/licenses/btrkeep"
	mv "$doc/LICENSE" "$stage/root/usr/share/licenses/btrkeep/LICENSE"
	;;
esac
# Directories too.
find "$stage/root" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +

mkdir -p "$dist"
config=$stage/nfpm.yaml
sed -e "s|@ARCH@|$package_arch|" -e "s|@VERSION@|$VERSION|" -e "s|@ROOT@|$stage/root|" contrib/package/nfpm.yaml >"$config"
package=$dist/btrkeep_${VERSION}_$arch.$format
${GO:-go} tool -modfile=tools/go.mod nfpm package --config "$config" --packager "$format" --target "$package" >"$stage/log" || { cat "$stage/log" >&2; exit 1; }
echo "$package"
