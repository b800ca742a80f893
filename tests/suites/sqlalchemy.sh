# SQLAlchemy's suite for dialects, its tests of PostgreSQL, and those of transactions, reconnection and RETURNING, with
# psycopg2, then those of PostgreSQL alone with psycopg 3 and asyncpg. Sourced by run.sh.

pool=5
common_files="test/dialect/test_suite.py test/dialect/postgresql test/engine/test_transaction.py
    test/engine/test_reconnect.py test/sql/test_returning.py"
short_files="test/dialect/postgresql/test_dialect.py
    test/dialect/postgresql/test_on_conflict.py
    test/engine/test_transaction.py"

fetch() {
    python_with psycopg2-binary==2.9.10 "psycopg[binary]==3.2.9" asyncpg==0.31.0 greenlet==3.2.4 \
        typing_extensions==4.15.0 pytest==8.4.2 && source_of sqlalchemy 2.0.58
}

run() { # PORT RESULTS
    run_with "$1" "$2" psycopg2 $( ((short)) && echo $short_files || echo $common_files)
    ((!short)) || return 0
    local driver
    for driver in psycopg asyncpg; do
        run_with "$1" "$2.$driver" $driver test/dialect/postgresql test/engine/test_transaction.py
        cat "$2.$driver" >>"$2"
        rm "$2.$driver"
    done
}

run_with() { # PORT RESULTS DRIVER FILE...
    local port=$1 results_file=$2 driver=$3
    shift 3
    sql "$direct" postgres "CREATE DATABASE sqlalchemy_test TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'" \
        "ALTER DATABASE sqlalchemy_test SET default_text_search_config = 'pg_catalog.english'"
    sql "$direct" sqlalchemy_test "CREATE SCHEMA test_schema" "CREATE SCHEMA test_schema_2" \
        "CREATE EXTENSION hstore" "CREATE EXTENSION citext"
    (
        cd "$source"
        run_pytest "$results_file" --maxfail 100000 \
            --dburi "postgresql+$driver://app:s3cret%20pass%2Fword@localhost:$port/sqlalchemy_test" "$@"
    )
    sql "$direct" postgres "DROP DATABASE sqlalchemy_test WITH (FORCE)"
}
