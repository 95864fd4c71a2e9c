#!/usr/bin/env bash
# install-lint.sh: golangci-lint, built from source into $CACHE/bin.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

VERSION=v2.15.0
WANT="golangci-lint $VERSION, $(go env GOVERSION)" # a linter built by an older Go refuses newer code

if ! done_before "$CACHE/bin/golangci-lint.stamp" "$WANT"; then
  say "$WANT (built from source: some minutes, once)"
  mkdir -p "$CACHE/bin"
  retry env GOBIN="$CACHE/bin" GOFLAGS= go install "github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$VERSION"
  stamp "$CACHE/bin/golangci-lint.stamp" "$WANT"
fi
