# Shared by the install-*.sh scripts: where things are kept, how they are fetched.
#
# They install what the tests need on a Debian machine that has Go, make and a C
# compiler, through the ordinary clients (apt, pip, Maven, go) as the machine has
# them configured. Each download is kept under $CACHE and tried three times.

# The Go side of this rule is CacheDir in internal/pgserver.
if [ -n "${LAKEFEED_CACHE:-}" ]; then
  CACHE=$LAKEFEED_CACHE
elif [ "$(id -u)" = 0 ]; then
  CACHE=/var/cache/lakefeed # PostgreSQL runs as another user, who may not look into root's home
else
  CACHE=$HOME/.cache/lakefeed
fi
mkdir -p "$CACHE"

say() { echo "setup: $*" >&2; }
die() { say "$*"; exit 1; }

# retry COMMAND... runs it up to three times, with a growing pause.
retry() {
  local try
  for try in 1 2 3; do
    if "$@"; then return 0; fi
    [ "$try" = 3 ] || { say "that failed, trying again in $((try * 5)) s: $*"; sleep $((try * 5)); }
  done
  die "gave up: $*"
}

# as_root COMMAND... uses sudo where it must.
as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# apt_install PACKAGE... installs Debian packages.
apt_install() {
  command -v apt-get >/dev/null || die "please install by hand (this machine has no apt-get): $*"
  say "apt-get install $*"
  retry as_root apt-get -qq update </dev/null
  retry as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends \
    -o Dpkg::Options::=--force-confold install "$@" </dev/null >/dev/null
}

need_python() {
  command -v python3 >/dev/null && python3 -c 'import ensurepip, venv' 2>/dev/null && return
  apt_install python3 python3-venv python3-pip
}

need_maven() { command -v mvn >/dev/null || apt_install maven; }

# maven_copy GROUP:ARTIFACT:VERSION FOLDER puts a jar from the machine's Maven repository into a folder.
maven_copy() {
  retry maven org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy -Dartifact="$1" -DoutputDirectory="$2"
}

# maven_libs NAME SIZE GROUP:ARTIFACT:VERSION... puts jars, and all that they need, into $CACHE/NAME/lib;
# with the variable groups only those of these groups.
maven_libs() {
  local name=$1 size=$2 tmp artifact
  shift 2
  done_before "$CACHE/$name/stamp" "$*" && return
  need_maven
  say "$* from Maven ($size)"
  mkdir -p "$CACHE/$name"
  tmp=$(mktemp -d "$CACHE/$name/tmp.XXXXXX")
  {
    echo "<project xmlns='http://maven.apache.org/POM/4.0.0'><modelVersion>4.0.0</modelVersion>"
    echo "<groupId>lakefeed</groupId><artifactId>${name//\//-}</artifactId><version>1</version><dependencies>"
    for artifact in "$@"; do
      IFS=: read -r g a v <<<"$artifact"
      echo "<dependency><groupId>$g</groupId><artifactId>$a</artifactId><version>$v</version></dependency>"
    done
    echo "</dependencies></project>"
  } >"$tmp/pom.xml"
  retry maven -f "$tmp/pom.xml" org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies \
    -DincludeScope=runtime -DoutputDirectory="$tmp/lib" -DincludeGroupIds="${groups:-}"
  rm -rf "${CACHE:?}/$name/lib"
  mv "$tmp/lib" "$CACHE/$name/lib"
  rm -rf "$tmp"
  stamp "$CACHE/$name/stamp" "$*"
}

# maven runs quietly, without the colour codes that it prints all the same.
maven() { mvn -B -q "$@" </dev/null 2>&1 | sed 's/\x1b\[[0-9;]*m//g' >&2; }

# done_before FILE TEXT tells whether stamp wrote that text into that file.
done_before() { [ -f "$1" ] && [ "$(cat "$1")" = "$2" ]; }
stamp() { printf '%s\n' "$2" >"$1"; }
