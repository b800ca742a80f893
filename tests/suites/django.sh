# Django's own tests of the parts that talk to a database, with psycopg 3, then with server-side binding. Sourced by run.sh.

pool=5
apps="aggregation annotations async backends basic bulk_create constraints custom_pk datetimes db_functions delete
    expressions expressions_window get_or_create indexes inspectdb introspection lookup migrations model_fields
    postgres_tests queries raw_query schema select_for_update timezones transaction_hooks transactions update"
short_apps="backends basic bulk_create raw_query select_for_update transaction_hooks transactions"

fetch() {
    python_with Django==5.2.19 "psycopg[binary,pool]==3.2.9" asgiref==3.10.0 sqlparse==0.5.3 && source_of django 5.2.19
}

run() { # PORT RESULTS
    run_django "$1" "$2" 0
    ((!short)) || return 0
    run_django "$1" "$2.bound" 1
    sed 's/\t/\tserver-side binding: /' "$2.bound" >>"$2"
    rm "$2.bound"
}

run_django() { # PORT RESULTS BINDING
    local selection=$apps
    ((!short)) || selection=$short_apps
    (
        cd "$source/tests"
        OUTCOMES=$2 PGPORT=$1 BINDING=$3 PYTHONPATH=$here PYTHONDONTWRITEBYTECODE=1 timeout --kill-after 20 -s INT 600 \
            "$python" runtests.py --settings=django_settings --parallel 1 --noinput $selection \
            >"$stage/$place.log" 2>&1 || true
    )
    keep "$stage/$place.log"
    sql "$direct" postgres "SET client_min_messages = warning" "DROP DATABASE IF EXISTS test_django WITH (FORCE)" \
        "DROP DATABASE IF EXISTS test_django_other WITH (FORCE)"
}
