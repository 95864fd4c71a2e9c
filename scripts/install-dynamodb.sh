#!/usr/bin/env bash
# install-dynamodb.sh: DynamoDB Local, which the tests of the DynamoDB lock run on
# the Java that install-interop.sh finds. Under $CACHE/dynamodb:
#   lib/    DynamoDB Local and what it needs, jars and the native SQLite
set -euo pipefail
. "$(dirname "$0")/lib.sh"

# Newer releases miss parts on Maven Central.
VERSION=3.1.0

[ -x "$CACHE/interop/java/bin/java" ] || "$(dirname "$0")/install-interop.sh"
maven_libs dynamodb "about 110 MB" "software.amazon.dynamodb:DynamoDBLocal:$VERSION"
