#!/usr/bin/env bash
# install-regress.sh: PostgreSQL's own regression suite (its SQL, data, schedule and expected
# output, and the library of C functions that some of it calls), from Debian's source package
# of the system's PostgreSQL, into $CACHE/regress. TestRegressLong and TestRegressSoak of e2e run it.
#
# The machine's own lists of packages are left as they are: the source's are kept beside.
# apt checks what it fetches against Debian's signatures.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

REGRESS=$CACHE/regress

# The newest PostgreSQL of the system that has the suite's driver. No other will do: the
# driver, the suite and the library belong to one major version.
major=
for bin in /usr/lib/postgresql/*/lib/pgxs/src/test/regress/pg_regress; do
  if [ -x "$bin" ]; then major=$(cut -d/ -f5 <<<"$bin"); fi
done
[ -n "$major" ] || die "PostgreSQL's regression suite: this system has no PostgreSQL from a package of Debian's"
bin=/usr/lib/postgresql/$major/bin
version=$("$bin/postgres" --version)
if done_before "$REGRESS/stamp" "$version"; then exit 0; fi

command -v apt-get >/dev/null || die "PostgreSQL's regression suite: this machine has no apt-get"
say "the regression suite of $version"
tmp=$(mktemp -d "$CACHE/tmp.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
mkdir -p "$tmp/lists/partial" "$tmp/archives/partial"
targets() { apt-get indextargets --format '$(REPO_URI) $(CODENAME) $(COMPONENT) $(ORIGIN)' 'Created-By: Packages'; }
[ -n "$(targets)" ] || retry as_root apt-get -qq update </dev/null
targets | awk '/ Debian$/ { print "deb-src", $1, $2, $3; print "deb", $1, $2, $3 }' | sort -u >"$tmp/sources.list"
apt() {
  local program=$1
  shift
  "$program" -qq -o Dir::Etc::sourcelist="$tmp/sources.list" -o Dir::Etc::sourceparts=/dev/null \
    -o Dir::State::lists="$tmp/lists" -o Dir::Cache="$tmp" -o APT::Sandbox::User="$(id -un)" "$@" </dev/null
}
# first COMMAND VERSION... runs it with the first version that is to be had: any of the major
# version will do, and a mirror may lack the newest.
first() {
  local command=$1 v
  shift
  for v in "$@"; do if "$command" "$v" >&2; then return; fi; done
  die "PostgreSQL's regression suite: none of these can be had: $*"
}
get_source() { apt apt-get source --download-only "postgresql-$major=$1"; }
get_headers() { apt apt-get download "postgresql-server-dev-$major=$1"; }
versions() { awk '/^Version:/ { print $2 }' | sort -ruV; }
retry apt apt-get update
cd "$tmp"
installed=$(dpkg-query -W -f '${source:Version}' "postgresql-$major")
# shellcheck disable=SC2046 # one word a version
first get_source "$installed" $(apt apt-cache showsrc --only-source "postgresql-$major" | versions)
# shellcheck disable=SC2046
first get_headers "$installed" $(apt apt-cache show "postgresql-server-dev-$major" | versions)
command -v bzip2 >/dev/null || apt_install bzip2
tar --no-same-owner -xf postgresql-*.orig.tar.* --wildcards '*/src/test/regress/*'
dpkg-deb -x postgresql-server-dev-*.deb dev

suite=$tmp/suite
mkdir "$suite"
mv postgresql-*/src/test/regress/{sql,data,expected,parallel_schedule} "$suite"
[ ! -e postgresql-*/src/test/regress/resultmap ] || mv postgresql-*/src/test/regress/resultmap "$suite"
mkdir "$suite/lib"
cc -O1 -fPIC -shared -I "dev/usr/include/postgresql/$major/server" -o "$suite/lib/regress.so" postgresql-*/src/test/regress/regress.c
for lib in autoinc refint; do ln -s "/usr/lib/postgresql/$major/lib/$lib.so" "$suite/lib/$lib.so"; done
ln -s "$bin" "$suite/bin"
ln -s "/usr/lib/postgresql/$major/lib/pgxs/src/test/regress/pg_regress" "$suite/pg_regress"
stamp "$suite/major" "$major"
stamp "$suite/stamp" "$version"
chmod -R go-w,a+rX "$suite"
rm -rf "$REGRESS"
mv "$suite" "$REGRESS"
