#!/bin/sh
# build.sh OUT - the program, static, for $GOOS/$GOARCH/$GOARM or this machine. Of one source it has the same bytes wherever and whenever it is built with
# one version of Go. $VERSION is what `btrkeep version` says; by default that of the checkout, and if there is no git what Go knows.
set -eu
out=$(realpath -m "$1")
cd "$(dirname "$0")/.."
version=${VERSION:-$(tools/version.sh 2>/dev/null || true)}
# Nothing about git: a tarball gives the same. No build id: it tells of the tools that were used.
CGO_ENABLED=0 ${GO:-go} build -trimpath -buildvcs=false -ldflags "-s -buildid= -X main.release=$version" -o "$out" ./cmd/btrkeep
