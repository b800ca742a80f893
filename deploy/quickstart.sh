#!/bin/sh
# From a fresh clone to a running pgshunt: installs what is missing (and says so first), builds, runs the demo.
#
#   deploy/quickstart.sh               PostgreSQL with a replica and sample rows, pgshunt in front, until Ctrl-C
#   deploy/quickstart.sh --check       a tour of what pgshunt promises; exit 0 only if all of it holds
#   deploy/quickstart.sh --seconds 60  as the first, for a minute
#
# Needs Debian or Ubuntu for the installing; elsewhere install PostgreSQL 13 to 18, a C compiler and Rust yourself.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)

main() {
    PATH="$PATH:${CARGO_HOME:-$HOME/.cargo}/bin"
    need_rust
    packages=$(missing_packages)
    [ -z "$packages" ] || install_packages "$packages"
    echo "Building pgshunt (cargo build --release); the first time takes a few minutes."
    cd "$root"
    cargo build --release --locked -p pgshunt
    exec "${CARGO_TARGET_DIR:-target}/release/pgshunt" demo "$@"
}

# The Debian packages of what is not here yet.
missing_packages() {
    has_postgresql || printf 'postgresql postgresql-contrib '
    # Two of the libraries pgshunt uses are written in C.
    has cc || printf 'gcc libc6-dev '
}

has() {
    command -v "$1" >/dev/null 2>&1
}

# Looks where "pgshunt demo" looks.
has_postgresql() {
    [ -z "${PGSHUNT_PG_BIN:-}" ] || return 0
    for major in 18 17 16 15 14 13; do
        bin=/usr/lib/postgresql/$major/bin
        if [ -x "$bin/initdb" ] && [ -x "$bin/pgbench" ]; then
            return 0
        fi
    done
    has initdb && has pgbench
}

install_packages() {
    echo "Missing here, to be installed with apt-get: $1"
    case "$1" in
    *postgresql*) echo "(Debian then starts a server of its own on port 5432. The demo neither uses nor touches it.)" ;;
    esac
    if ! has apt-get; then
        echo "There is no apt-get on this system: install the like of these yourself, then run this again." >&2
        exit 1
    fi
    sudo=
    if [ "$(id -u)" != 0 ]; then
        if ! has sudo; then
            echo "Neither root nor sudo: have somebody run  apt-get install $1" >&2
            exit 1
        fi
        sudo=sudo
    fi
    $sudo apt-get update -q
    # shellcheck disable=SC2086 # several packages
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $1
}

# Rust is not installed here: which one, and for whom, is the user's to say.
need_rust() {
    if ! has cargo; then
        found="No Rust was found"
    else
        # cargo 1.93.0 (083ac5135 2025-12-15)
        version=$(cargo --version | cut -d' ' -f2)
        minor=$(echo "$version" | cut -d. -f2)
        [ "${version%%.*}" = 1 ] && [ "$minor" -lt "$oldest_minor" ] || return 0
        found="Rust $version was found, which is too old"
    fi
    cat >&2 <<END
$found: pgshunt is built with Rust 1.$oldest_minor or newer. To install it for yourself:

    curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh

Then run this again. (Debian's own cargo may be too old.)
END
    exit 1
}

# Chains of "if let" came with 1.88.
oldest_minor=88

main "$@"
