#!/usr/bin/env bash
# Puts the drivers that tests/tests/behaviours.rs runs into a folder (default: target/drivers), from the package
# registries: those for Python and Node; with --all also pgjdbc, lib/pq, pgx, tokio-postgres and sqlx, which need a JDK, Go
# and minutes. What is there already is left as it is.
#
#   tests/drivers/setup.sh [--all] [FOLDER]
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
all=0
if [[ ${1:-} == --all ]]; then
    all=1
    shift
fi
folder=${1:-${PGSHUNT_TEST_DRIVERS:-$here/../../target/drivers}}
mkdir -p "$folder"
cd "$folder"

install() { # PACKAGE...
    if ((EUID != 0)); then
        echo "not root: run  apt-get install $*  first" >&2
        exit 1
    fi
    echo "installing Debian packages: $*"
    DEBIAN_FRONTEND=noninteractive apt-get update -qq || true
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

python_drivers() {
    local wanted=("psycopg[binary]==3.3.4" psycopg2-binary==2.9.10 asyncpg==0.31.0 SQLAlchemy==2.0.58 greenlet==3.2.4
        Django==5.2.19 asgiref==3.10.0 sqlparse==0.5.3)
    local old=
    [[ ! -f behaviours-python/has ]] || old=$(<behaviours-python/has)
    [[ $old != "${wanted[*]}" ]] || return 0
    python3 -c 'import ensurepip, venv' 2>/dev/null || install python3-venv
    python3 -m venv behaviours-python
    behaviours-python/bin/pip install -q --disable-pip-version-check "${wanted[@]}"
    echo "${wanted[*]}" >behaviours-python/has
}

node_drivers() {
    command -v npm >/dev/null || install nodejs npm
    if [[ ! -d behaviours-node/node_modules/postgres ]]; then
        mkdir -p behaviours-node
        npm install --silent --no-audit --no-fund --prefix behaviours-node pg@8 postgres@3
    fi
}

java_driver() {
    command -v javac >/dev/null || install default-jdk-headless
    if [[ ! -f behaviours-java/postgresql.jar ]]; then
        # Debian's package, unpacked and not installed.
        mkdir -p behaviours-java
        (cd behaviours-java && apt-get download -q libpostgresql-jdbc-java >/dev/null 2>&1 && dpkg-deb -x libpostgresql-jdbc-java_*.deb .)
        cp "$(find behaviours-java/usr -name 'postgresql*.jar' -type f | head -1)" behaviours-java/postgresql.jar
    fi
    javac -d behaviours-java -cp behaviours-java/postgresql.jar "$here/behaviours/Jdbc.java"
}

go_drivers() {
    local sources=/usr/share/gocode/src/github.com
    command -v go >/dev/null || install golang-go
    [[ -d $sources/lib/pq && -d $sources/jackc/pgx ]] || install golang-github-lib-pq-dev golang-github-jackc-pgx-v4-dev
    local program
    for program in pq pgx; do
        GO111MODULE=off GOPATH=/usr/share/gocode GOCACHE=$PWD/go-cache GOFLAGS= go build -o "behaviours-$program" \
            "$here/behaviours/go/$program.go" "$here/behaviours/go/base.go"
    done
}

rust_drivers() {
    cargo build --quiet --locked --manifest-path "$here/behaviours/rust/Cargo.toml" --target-dir behaviours-rust
}

python_drivers
node_drivers
if ((all)); then
    java_driver
    go_drivers
    rust_drivers
fi
echo "drivers are in $PWD"
