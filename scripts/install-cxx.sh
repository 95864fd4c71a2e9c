#!/usr/bin/env bash
# install-cxx.sh: what linking DuckDB takes beside a C compiler, C++'s library. Without
# cgo, or with the build tag nosql, nothing is needed: such a build has no `query`.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

if [ "$(go env CGO_ENABLED)" = 0 ] || [[ "$(go env GOFLAGS)" == *nosql* ]]; then exit 0; fi

links() { echo 'int main(void) { return 0; }' | $(go env CC) -x c - -lstdc++ -o /dev/null 2>/dev/null; }

links || apt_install g++
links || die "C++'s library is missing: install g++, or build without SQL: GOFLAGS=-tags=nosql make build"
