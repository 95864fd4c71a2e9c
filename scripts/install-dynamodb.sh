#!/usr/bin/env bash
# install-dynamodb.sh: DynamoDB Local, which the tests of the DynamoDB lock run on
# the Java that install-interop.sh finds. Under $CACHE/dynamodb:
#   lib/    DynamoDB Local and what it needs, jars and the native SQLite
set -euo pipefail
. "$(dirname "$0")/lib.sh"

# Newer releases miss parts on Maven Central.
VERSION=3.1.0

D=$CACHE/dynamodb
[ -x "$CACHE/interop/java/bin/java" ] || "$(dirname "$0")/install-interop.sh"

if ! done_before "$D/stamp" "$VERSION"; then
  need_maven
  say "DynamoDB Local $VERSION from Maven (about 110 MB)"
  mkdir -p "$D"
  tmp=$(mktemp -d "$D/tmp.XXXXXX")
  cat >"$tmp/pom.xml" <<POM
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>lakefeed</groupId>
  <artifactId>dynamodb-local</artifactId>
  <version>1</version>
  <dependencies>
    <dependency>
      <groupId>software.amazon.dynamodb</groupId>
      <artifactId>DynamoDBLocal</artifactId>
      <version>$VERSION</version>
    </dependency>
  </dependencies>
</project>
POM
  retry maven -f "$tmp/pom.xml" org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies \
    -DincludeScope=runtime -DoutputDirectory="$tmp/lib"
  rm -rf "$D/lib"
  mv "$tmp/lib" "$D/lib"
  rm -rf "$tmp"
  stamp "$D/stamp" "$VERSION"
fi
