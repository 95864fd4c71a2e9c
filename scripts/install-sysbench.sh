#!/usr/bin/env bash
# install-sysbench.sh: sysbench, a load of the soak tests.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

command -v sysbench >/dev/null || apt_install sysbench
