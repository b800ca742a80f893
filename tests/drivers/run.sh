#!/usr/bin/env bash
# Real drivers through some forty behaviours each, against PostgreSQL and through pgshunt, compared line by line.
#
#   tests/drivers/run.sh          psql and the drivers for Python and Node
#   tests/drivers/run.sh --all    also pgjdbc, lib/pq, pgx, tokio-postgres and sqlx
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
bash tests/drivers/setup.sh "$@"
cargo build --quiet --workspace --bins
PGSHUNT_BIN=${PGSHUNT_BIN:-$PWD/target/debug/pgshunt} RUST_BACKTRACE=0 cargo nextest run -p pgshunt-tests \
    $([[ ${1:-} != --all ]] || echo --run-ignored all) --no-fail-fast --success-output final -E 'binary(behaviours)'
