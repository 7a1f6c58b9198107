#!/bin/sh
# release.sh [DIR] - static binaries for all kinds of machines that are released, and their SHA256SUMS, in DIR, dist by default.
set -eu
dir=$(realpath -m "${1:-dist}")
cd "$(dirname "$0")/.."
VERSION=${VERSION:-$(tools/version.sh)}
export VERSION
mkdir -p "$dir"
GOOS=linux GOARCH=amd64 GOAMD64=v1 tools/build.sh "$dir/btrkeep-linux-amd64"
GOOS=linux GOARCH=arm64 GOARM64=v8.0 tools/build.sh "$dir/btrkeep-linux-arm64"
GOOS=linux GOARCH=arm GOARM=7 tools/build.sh "$dir/btrkeep-linux-armv7"
cd "$dir"
sha256sum btrkeep-linux-amd64 btrkeep-linux-arm64 btrkeep-linux-armv7 >SHA256SUMS
