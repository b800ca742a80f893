# psycopg2's own tests, from its source on PyPI, with the binary wheel of the same version; replication tests as well.
# Sourced by run.sh.

pool=5
short_files="tests/test_async.py tests/test_cancel.py tests/test_copy.py tests/test_cursor.py tests/test_lobject.py
    tests/test_notify.py tests/test_transaction.py tests/test_with.py"

fetch() {
    python_with psycopg2-binary==2.9.10 pytest==8.4.2 && source_of psycopg2 2.9.10
}

run() { # PORT RESULTS
    sql "$direct" postgres "CREATE DATABASE psycopg2_test"
    sql "$direct" psycopg2_test "CREATE EXTENSION hstore"
    local files=tests
    ((!short)) || files=$short_files
    (
        cd "$source"
        export PSYCOPG2_TESTDB_HOST=localhost PSYCOPG2_TESTDB_PORT=$1 PSYCOPG2_TESTDB_USER=app PSYCOPG2_TEST_REPL_DSN=
        # Its connection string has no quotes around the password.
        export PSYCOPG2_TESTDB_PASSWORD="'$password'" PGPORT=$1
        run_pytest "$2" $files
    )
    sql "$direct" postgres "DROP DATABASE psycopg2_test WITH (FORCE)"
}
