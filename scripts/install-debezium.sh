#!/usr/bin/env bash
# install-debezium.sh: Debezium's PostgreSQL connector and its embedded engine, which
# the benchmark runs beside Lakefeed. Under $CACHE/debezium:
#   lib/    the jars
set -euo pipefail
. "$(dirname "$0")/lib.sh"

VERSION=3.6.1.Final

# The engine's program is compiled as it starts.
command -v javac >/dev/null || apt_install openjdk-17-jdk-headless
maven_libs debezium "about 38 MB" "io.debezium:debezium-connector-postgres:$VERSION" "io.debezium:debezium-embedded:$VERSION" org.slf4j:slf4j-simple:1.7.36
