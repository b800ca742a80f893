#!/usr/bin/env bash
# Runs every check and every test, on a machine that may have nothing but Rust.
#
#   tests/run.sh            everything
#   tests/run.sh cancel     only tests whose name or file contains "cancel", and no other check
#
# Installs Debian packages that are missing (as root; an ordinary user is told which ones), cargo-nextest, and the drivers
# of tests/drivers in target/drivers: from PyPI, npm and Debian.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

only=${1:-}
# A failed test says what it saw; where the harness stands while it says so is of no interest.
export RUST_BACKTRACE=0
# The same random tests each time, so that a failure can be looked at. Other seeds: PGSHUNT_SEED=… tests/run.sh
export PGSHUNT_SEED=${PGSHUNT_SEED:-20261124} PROPTEST_RNG_SEED=${PROPTEST_RNG_SEED:-20261124}
failed=() left_out=()

say() { printf '\n== %s\n' "$*"; }

# The package of everything the tests run, if it is not there.
missing_packages() {
    compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || [[ -n ${PGSHUNT_PG_BIN:-} ]] ||
        command -v initdb >/dev/null || echo postgresql postgresql-contrib
    command -v psql >/dev/null || [[ -n ${PGSHUNT_PG_BIN:-} ]] || echo postgresql-client
    command -v openssl >/dev/null || echo openssl
    command -v setpriv >/dev/null || echo util-linux
    command -v ps >/dev/null || echo procps
    command -v redis-server >/dev/null || echo redis-server
    command -v cc >/dev/null || echo build-essential
    if wants_drivers; then
        command -v node >/dev/null || echo nodejs
        command -v npm >/dev/null || echo npm
        command -v javac >/dev/null || echo default-jdk-headless
        python3 -c 'import ensurepip' 2>/dev/null || echo python3 python3-venv
        [[ -e /usr/share/java/postgresql.jar || -e target/drivers/postgresql.jar ]] || echo libpostgresql-jdbc-java
    fi
}

# Do the tests that run need real drivers?
wants_drivers() {
    [[ -z $only || drivers == *"$only"* || behaviours == *"$only"* ]]
}

# Where they can't be had, their tests are left out, and the last lines say so.
install_drivers() {
    say "installing drivers in $1"
    if ! sh tests/drivers/doors/setup.sh "$1"; then
        left_out+=("binary(drivers): its drivers could not be installed")
    fi
    if ! bash tests/drivers/setup.sh "$1"; then
        left_out+=("binary(behaviours): its drivers could not be installed")
    fi
}

install_packages() {
    local missing
    read -ra missing <<<"$(missing_packages | tr '\n' ' ')"
    if ((${#missing[@]} == 0)); then
        return
    fi
    say "installing Debian packages: ${missing[*]}"
    if ((EUID != 0)); then
        echo "not root: run  apt-get install ${missing[*]}  first" >&2
        exit 1
    fi
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

install_nextest() {
    if cargo nextest --version >/dev/null 2>&1; then
        return
    fi
    say "installing cargo-nextest (some minutes)"
    cargo install --locked --quiet cargo-nextest
}

# A check that fails does not hide what the others find.
check() {
    say "$*"
    "$@" || failed+=("$*")
}

# One PostgreSQL for all tests that do not stop theirs, and one initdb for those that do.
start_shared_postgresql() {
    say "starting the tests' PostgreSQL"
    scratch=$(mktemp -d "${TMPDIR:-/tmp}/pgshunt-tests-run.XXXXXX")
    chmod 755 "$scratch"
    export PGSHUNT_TEST_TEMPLATE=$scratch/template
    coproc postgresql { exec "$target/debug/test-cluster"; }
    read -r PGSHUNT_TEST_PG <&"${postgresql[0]}"
    export PGSHUNT_TEST_PG
    echo "at $PGSHUNT_TEST_PG"
}

clean_up() {
    if [[ -n ${postgresql_PID:-} ]]; then
        # Its standard input ends, and so does it.
        exec {postgresql[1]}>&-
        wait "$postgresql_PID" 2>/dev/null || true
    fi
    if [[ -n ${scratch:-} ]]; then
        rm -rf "$scratch"
    fi
}
trap clean_up EXIT

install_packages
install_nextest
target=$(cargo metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
if wants_drivers; then
    export PGSHUNT_TEST_DRIVERS=$target/drivers
    install_drivers "$PGSHUNT_TEST_DRIVERS"
fi

if [[ -z $only ]]; then
    check cargo fmt --all --check
    check cargo clippy --workspace --all-targets --quiet -- -D warnings
fi
say "cargo build"
cargo build --workspace --bins
export PGSHUNT_BIN=$target/debug/pgshunt
if [[ -z $only ]]; then
    check cargo test --workspace --doc --quiet
fi
start_shared_postgresql
summary=$scratch/summary
filter=${only:+test($only) | binary($only)}
filter=${filter:-all()}
for what in "${left_out[@]}"; do
    filter="($filter) & !${what%%:*}"
done
say "cargo nextest run"
cargo nextest run --workspace --config-file .ci/nextest.toml -E "$filter" 2>&1 |
    tee "$summary" || failed+=("cargo nextest run")
if [[ -z $only ]]; then
    # Two of them need PyPI alone; PostgreSQL's own need its source package, and say so if that cannot be had.
    check tests/suites/run.sh --short regress psycopg2 asyncpg
fi

if ((${#left_out[@]})); then
    say "not run:"
    printf '%s\n' "${left_out[@]}"
fi
if ((${#failed[@]})); then
    say "failed:"
    printf '%s\n' "${failed[@]}"
fi
grep 'tests\? run:' "$summary" | tail -1
((${#failed[@]} == 0))
