#!/usr/bin/env bash
# install-interop.sh: the engines that read Lakefeed's tables in the tests of
# parity/. Spark with two releases of Hudi, and hudi-rs, under $CACHE/interop:
#   venv/   a Python environment with pyspark and hudi (hudi-rs)
#   jars/   the Hudi bundles for Spark; jars/s3/ what lets Spark read buckets;
#           jars/locks/ AWS's lock client, on which Hudi's lock in DynamoDB stands
#   java    a link to the Java that Spark runs on
set -euo pipefail
. "$(dirname "$0")/lib.sh"

SPARK=3.5.7
HUDI="1.2.0 0.15.0"
S3="org.apache.hadoop:hadoop-aws:3.3.4 com.amazonaws:aws-java-sdk-bundle:1.12.262" # of Spark 3.5's Hadoop
LOCKS="com.amazonaws:dynamodb-lock-client:1.3.0 software.amazon.awssdk:url-connection-client:2.20.8"
WHEELS="pyspark==$SPARK hudi==0.5.0 pyarrow==26.0.1 duckdb==2.0.1 fastavro==1.13.1"

I=$CACHE/interop
mkdir -p "$I/jars/s3" "$I/tmp"

# find_java prints the home of a Java that Spark 3.5 runs on.
find_java() {
  local home
  for home in "${JAVA_HOME:-/nowhere}" /usr/lib/jvm/*17* /usr/lib/jvm/*11*; do
    [ -x "$home/bin/java" ] || continue
    case $("$home/bin/java" -version 2>&1) in
    *'version "17.'* | *'version "11.'*)
      echo "$home"
      return
      ;;
    esac
  done
}

if [ ! -x "$I/java/bin/java" ]; then
  [ -n "$(find_java)" ] || apt_install openjdk-17-jre-headless
  home=$(find_java)
  [ -n "$home" ] || die "Spark needs Java 17 or 11: set JAVA_HOME to one"
  ln -sfn "$home" "$I/java"
fi

for v in $HUDI; do
  jar=hudi-spark3.5-bundle_2.12-$v.jar
  [ -f "$I/jars/$jar" ] && continue
  need_maven
  say "Hudi $v for Spark from Maven (about 100 MB)"
  tmp=$(mktemp -d "$I/tmp/jar.XXXXXX")
  maven_copy "org.apache.hudi:hudi-spark3.5-bundle_2.12:$v" "$tmp"
  mv "$tmp/$jar" "$I/jars/$jar"
  rmdir "$tmp"
done

for artifact in $S3; do
  name=${artifact#*:}
  jar=${name/:/-}.jar
  [ -f "$I/jars/s3/$jar" ] && continue
  need_maven
  say "$jar from Maven (both about 280 MB)"
  tmp=$(mktemp -d "$I/tmp/jar.XXXXXX")
  maven_copy "$artifact" "$tmp"
  mv "$tmp/$jar" "$I/jars/s3/$jar"
  rmdir "$tmp"
done

# Of what the lock client needs only what Spark has not.
groups=com.amazonaws,software.amazon.awssdk,software.amazon.eventstream,org.reactivestreams \
  maven_libs interop/jars/locks "7 MB" $LOCKS # a list of words

if ! done_before "$I/venv/stamp" "$WHEELS"; then
  need_python
  say "Python packages (about 450 MB): $WHEELS"
  rm -rf "$I/venv"
  python3 -m venv "$I/venv"
  # shellcheck disable=SC2086 # a list of words
  retry "$I/venv/bin/pip" install -q $WHEELS
  stamp "$I/venv/stamp" "$WHEELS"
fi
