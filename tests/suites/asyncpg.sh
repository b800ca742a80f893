# asyncpg's own tests, from its source on PyPI, with the wheel of the same version. Those that start servers of their own
# do so in both places or in none. Sourced by run.sh.

pool=5
short_files="tests/test_cache_invalidation.py tests/test_cancellation.py tests/test_copy.py tests/test_cursor.py
    tests/test_execute.py tests/test_listeners.py tests/test_prepare.py tests/test_transaction.py"

fetch() {
    python_with asyncpg==0.31.0 pytest==8.4.2 distro==1.9.0 && source_of asyncpg 0.31.0
    # Beside its tests lies the package without what is compiled, which would be found first.
    rm -rf "$source/asyncpg"
}

run() { # PORT RESULTS
    sql "$direct" postgres "CREATE DATABASE asyncpg_test"
    local files=tests
    ((!short)) || files=$short_files
    (
        cd "$source"
        export PGPORT=$1 PGDATABASE=asyncpg_test
        # It fails directly now and then: whether the server's error comes before the client has sent all is a matter of luck.
        local left_out=(--deselect
            tests/test_execute.py::TestExecuteMany::test_executemany_server_failure_during_writes)
        # What the sources look like is not our subject.
        run_pytest "$2" --ignore tests/test__sourcecode.py "${left_out[@]}" $files
    )
    sql "$direct" postgres "DROP DATABASE asyncpg_test WITH (FORCE)"
}
