#!/usr/bin/env bash
# Other people's test suites, each against PostgreSQL itself and through pgshunt (mode auto, SCRAM, TLS on both sides).
#
#   tests/suites/run.sh SUITE... [--short] [--again] [--replicas]     SUITE: regress psycopg2 asyncpg sqlalchemy django, or all
#
# --short   a part of each that runs in a minute
# --again   the direct results of the last run, where there are some
# --replicas   pgshunt reads from two replicas as well, one of them three seconds behind
#
# Ends with a table, and with 1 if a test has another result through pgshunt than directly and README.md does not list
# it. Everything is fetched into target/suites from Debian's and PyPI's packages. What cannot be fetched is said, and skipped.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
here=$root/tests/suites
folder=${PGSHUNT_SUITES:-$root/target/suites}
. "$here/stage.sh"

suites=() short=0 again=0 replicas=0
for word in "$@"; do
    case $word in
        --short) short=1 ;;
        --again) again=1 ;;
        --replicas) replicas=1 ;;
        all) suites+=(regress psycopg2 asyncpg sqlalchemy django) ;;
        regress | psycopg2 | asyncpg | sqlalchemy | django) suites+=("$word") ;;
        *) sed -n '2,12s/^# \{0,1\}//p' "$0"; exit 2 ;;
    esac
done
((${#suites[@]})) || suites=(regress psycopg2 asyncpg sqlalchemy django)

say() { printf '\n== %s\n' "$*"; }

need_packages() {
    if ((EUID != 0)); then
        echo "not root: run  apt-get install $*  first" >&2
        return 1
    fi
    echo "installing Debian packages: $*"
    DEBIAN_FRONTEND=noninteractive apt-get update -qq || true
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

need() { # COMMAND PACKAGE
    command -v "$1" >/dev/null || [[ -x $pg_bin/$1 ]] || need_packages "$2"
}

sql() { # PORT DATABASE STATEMENT...
    local port=$1 database=$2 statements=()
    shift 2
    for statement in "$@"; do statements+=(-c "$statement"); done
    if [[ $* == *'\gexec'* ]]; then
        printf '%s\n' "$*" | "$pg_bin/psql" -Xq -h 127.0.0.1 -p "$port" -d "$database"
    else
        "$pg_bin/psql" -XqAt -v ON_ERROR_STOP=1 -h 127.0.0.1 -p "$port" -d "$database" "${statements[@]}"
    fi
}

# Files to look at afterwards.
keep() { # FILE...
    local file
    for file in "$@"; do
        [[ ! -e $file ]] || cp "$file" "$results/$place.$(basename "$file")"
    done
}

# A virtual environment with what a suite needs; $python is its interpreter.
python_with() { # REQUIREMENT...
    python=$folder/python-$suite/bin/python
    if [[ ! -x $python || $(cat "$folder/python-$suite/has" 2>/dev/null) != "$*" ]]; then
        python3 -c 'import ensurepip, venv' 2>/dev/null || need_packages python3-venv || return 1
        python3 -m venv "$folder/python-$suite" || return 1
        "$python" -m pip install -q --disable-pip-version-check "$@" || return 1
        echo "$*" >"$folder/python-$suite/has"
    fi
}

# The source distribution of a package, unpacked at $source.
source_of() { # PACKAGE (as its files are named) VERSION
    source=$folder/$1-$2
    if [[ ! -d $source/tests && ! -d $source/test ]]; then
        mkdir -p "$folder/sdists"
        # pip builds a package's metadata before it hands out its source; psycopg2's build asks for pg_config.
        need pg_config libpq-dev
        "$python" -m pip download -q --disable-pip-version-check --no-deps --no-binary :all: \
            -d "$folder/sdists" "$1==$2" || return 1
        mkdir -p "$source"
        tar -xf "$folder/sdists/$1-$2.tar.gz" -C "$source" --strip-components 1 || return 1
    fi
}

# Ten minutes are enough for any of them; one that hangs has no results for what it did not reach.
run_pytest() { # RESULTS ARGUMENT...
    local file=$1
    shift
    OUTCOMES=$file PYTHONPATH=$here PYTHONDONTWRITEBYTECODE=1 timeout --kill-after 20 -s INT 600 \
        "$python" -m pytest -p outcomes -p no:cacheprovider -q --tb=short "$@" >"$stage/$place.log" 2>&1 || true
    keep "$stage/$place.log"
}

run_suite() {
    suite=$1
    results=$folder/results/$suite$( ((!short)) || echo -short)
    if ((replicas)); then
        mkdir -p "$results" "$results-replicas"
        ((!again)) || cp -n "$results"/direct* "$results-replicas/" 2>/dev/null || true
        results+=-replicas
    fi
    mkdir -p "$results"
    . "$here/$suite.sh"
    if ! fetch; then
        skipped+=("$suite")
        return
    fi
    raise "$pool"
    local port
    for place in direct through; do
        port=${!place}
        if [[ $place == direct ]] && ((again)) && [[ -s $results/direct ]]; then
            continue
        fi
        say "$suite, $place"
        local begin=$SECONDS
        run "$port" "$results/$place"
        echo "$((SECONDS - begin)) s" | tee "$results/$place.seconds"
    done
    local all pinned
    all=$(count pgshunt_transactions_total) pinned=$(count pgshunt_pinned_transactions_total)
    echo "transactions $all, on a pinned server $pinned, probes $(count pgshunt_probes_total)" | tee "$results/pinned"
    keep "$stage/pgshunt.log"
    strike || failed+=("$suite: pgshunt")
    python3 "$here/compare.py" "$suite" "$results" || failed+=("$suite")
}

trap strike EXIT
pg_bin=${PGSHUNT_PG_BIN:-$(printf '%s\n' /usr/lib/postgresql/*/bin | sort -V | tail -1)}
[[ -x $pg_bin/initdb ]] || need_packages postgresql postgresql-contrib
pg_bin=${PGSHUNT_PG_BIN:-$(printf '%s\n' /usr/lib/postgresql/*/bin | sort -V | tail -1)}
pg_major=$("$pg_bin/postgres" --version | sed -E 's/[^0-9]*([0-9]+).*/\1/')
pgshunt=${PGSHUNT_BIN:-}
if [[ -z $pgshunt ]]; then
    cargo build --quiet --manifest-path "$root/Cargo.toml" -p pgshunt --bin pgshunt
    pgshunt=$root/target/debug/pgshunt
fi
mkdir -p "$folder"
failed=() skipped=()
for name in "${suites[@]}"; do run_suite "$name"; done
say "summary"
python3 "$here/compare.py" --table "$folder/results" $( ((!short)) || echo --short) $( ((!replicas)) || echo --replicas) "${suites[@]}"
((${#skipped[@]} == 0)) || echo "not run, as their sources cannot be had: ${skipped[*]}"
((${#failed[@]} == 0)) || echo "with differences that README.md does not list: ${failed[*]}"
((${#failed[@]} == 0))
