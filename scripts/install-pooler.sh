#!/usr/bin/env bash
# install-pooler.sh: PgBouncer, which the tests put in the way, from the system's packages.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

if ! command -v pgbouncer >/dev/null && [ ! -x /usr/sbin/pgbouncer ]; then
  apt_install pgbouncer
fi
