#!/usr/bin/env bash
# install-s3.sh: versitygw, the S3 server of the tests, built from source into $CACHE/bin.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

VERSION=v1.8.0

if ! done_before "$CACHE/bin/versitygw.stamp" "$VERSION"; then
  say "versitygw $VERSION (built from source: two minutes, once)"
  mkdir -p "$CACHE/bin"
  retry env GOBIN="$CACHE/bin" GOFLAGS= go install -trimpath -ldflags '-s -w' "github.com/versity/versitygw/cmd/versitygw@$VERSION"
  stamp "$CACHE/bin/versitygw.stamp" "$VERSION"
fi
