#!/usr/bin/env bash
# Has libFuzzer search for bytes that break a promise: tests/fuzz/run.sh [subject|all] [executions]
#
# Works with a stable compiler: coverage is an LLVM pass, and without the address sanitizer no nightly flag is needed
# (pgshunt has no unsafe code of its own). "cargo fuzz run SUBJECT" works too, where it is installed. Needs g++.
set -euo pipefail
cd "$(dirname "$0")"

subject=${1:-all} executions=${2:-1000000}
subjects=$(sed -n 's/^name = "\([a-z_]*\)"$/\1/p' Cargo.toml)
case " $(echo $subjects) all " in
    *" $subject "*) ;;
    *) echo "no such subject: $subject; there are: all" $subjects >&2; exit 2 ;;
esac
[ "$subject" = all ] || subjects=$subject

host=$(rustc -vV | sed -n 's/^host: //p')
export CARGO_TARGET_DIR=$PWD/../../target/fuzz
# A target is named so that build scripts are built without these flags.
RUSTFLAGS="--cfg fuzzing -Ccodegen-units=1 -Cpasses=sancov-module
    -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters
    -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares" \
    cargo build --release --quiet --target "$host"

for name in $subjects; do
    mkdir -p "corpus/$name" "artifacts/$name"
    echo "== $name"
    # A failure leaves its input in artifacts/; run the binary with that file to see it again.
    "$CARGO_TARGET_DIR/$host/release/$name" "corpus/$name" -runs="$executions" -max_len=600 -timeout=10 \
        -rss_limit_mb=1024 -artifact_prefix="artifacts/$name/" -print_final_stats=1 -print_funcs=0 -verbosity=0
done
