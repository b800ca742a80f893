#!/bin/sh
# Puts the drivers that tests/tests/drivers.rs runs into a folder (default: target/drivers) from the package registries:
# psycopg with libpq 18, node-postgres, pgjdbc. Then: cargo nextest run -p pgshunt-tests --run-ignored all -E 'binary(drivers)'
set -eu
here=$(cd "$(dirname "$0")" && pwd)
folder=${1:-$here/../../../target/drivers}
mkdir -p "$folder"
cd "$folder"
[ -x python/bin/python ] || { python3 -m venv python; python/bin/pip install -q "psycopg[binary]>=3.3"; }
[ -d node_modules/pg ] || npm install --silent --no-audit --no-fund --prefix . pg
if [ ! -f postgresql.jar ]; then
    # Debian's package, unpacked and not installed.
    apt-get download -q libpostgresql-jdbc-java >/dev/null && dpkg-deb -x libpostgresql-jdbc-java_*.deb jdbc
    cp "$(find jdbc -name 'postgresql*.jar' -type f | head -1)" postgresql.jar
fi
cp "$here/Door.java" . && javac -cp postgresql.jar Door.java
echo "drivers are in $PWD"
