#!/bin/sh
# Puts the drivers that tests/tests/drivers runs into a folder (default: target/drivers) from the package registries:
# psycopg with libpq 18, node-postgres, pgjdbc. tests/run.sh does this by itself.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../install.sh"
folder=${1:-$here/../../../target/drivers}
mkdir -p "$folder"
cd "$folder"
python_packages "psycopg[binary]==3.3.9"
node_packages pg@8.23.1
pgjdbc
java_classes "$here/Door.java"
echo "drivers are in $PWD"
