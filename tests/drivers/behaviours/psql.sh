#!/bin/bash
# psql: libpq by simple queries, COPY, variables and descriptions. It connects as libpq's environment says.

# One behaviour: its script on standard input, its output on one line.
behaviour() { # NAME ARGUMENT...
    local name=$1
    shift
    printf '%s: %s\n' "$name" "$(psql -Xq -v VERBOSITY=verbose -v SHOW_CONTEXT=never "$@" 2>&1 |
        sed -E '/^LOCATION:/d; s/line [0-9]+//' | tr '\n' '|')"
}

behaviour simple <<<"SELECT 1 AS a, 'x' AS b, NULL AS c"
behaviour types -At <<<"SELECT true, 1.5::float4, 12345678901234567890.123456789::numeric, '\xdeadbeef'::bytea,
    '2024-02-29 12:34:56+02'::timestamptz, '1 mon 2 days'::interval, ARRAY[1, NULL], '{\"a\": 1}'::jsonb"
behaviour several_commands -At -c "SELECT 1" -c "SELECT 2; SELECT 3" -c "SELECT 4 / 0; SELECT 5" -c "SELECT 6"
behaviour single_transaction -At -1 -c "CREATE TABLE half (a int)" -c "SELECT 1 / 0"
behaviour nothing_left -At <<<"SELECT to_regclass('half')"
behaviour empty_query <<<";"
behaviour errors <<<"SELEC 1; SELECT * FROM nowhere; SELECT 1 / 0; SELECT 'still here'"
behaviour error_with_position <<'SQL'
SELECT 1,
       wrong
FROM pg_class;
\errverbose
SQL
behaviour on_error_rollback -v ON_ERROR_ROLLBACK=on <<'SQL'
BEGIN;
CREATE TEMP TABLE saved (a int);
INSERT INTO saved VALUES (1);
SELECT 1 / 0;
INSERT INTO saved VALUES (2);
COMMIT;
SELECT * FROM saved;
SQL
behaviour error_in_transaction -At <<'SQL'
BEGIN;
SELECT 1 / 0;
SELECT 1;
COMMIT;
SELECT 'after';
SQL
behaviour savepoints -At <<'SQL'
BEGIN;
SET work_mem = '5MB';
SAVEPOINT s;
SET work_mem = '6MB';
ROLLBACK TO s;
SHOW work_mem;
ROLLBACK;
SHOW work_mem;
SQL
behaviour prepare_execute -At <<'SQL'
PREPARE twice (int) AS SELECT $1 * 2;
EXECUTE twice (1);
EXECUTE twice (2);
SELECT name, parameter_types FROM pg_prepared_statements;
DEALLOCATE twice;
EXECUTE twice (3);
SQL
behaviour describe <<'SQL'
CREATE TABLE described (id serial PRIMARY KEY, a text NOT NULL DEFAULT 'x', b numeric(10, 2) CHECK (b > 0));
CREATE INDEX ON described (lower(a));
\d described
\dt described
SELECT 1 AS one, 'x'::varchar(3) AS two \gdesc
DROP TABLE described;
SQL
behaviour gset_gexec -At <<'SQL'
SELECT 41 + 1 AS answer, 'it''s' AS quoted \gset
SELECT :answer, :'quoted';
SELECT format('SELECT %s', n) FROM generate_series(1, 3) n \gexec
SQL
behaviour crosstab <<<"SELECT a, b, a * b FROM generate_series(1, 2) a, generate_series(1, 3) b \crosstabview"
behaviour copy_in -At <<'SQL'
CREATE TABLE copied (a int, b text);
COPY copied FROM STDIN;
1	one
2	\N
3	a\tb
\.
SELECT count(*), count(b) FROM copied;
COPY copied FROM STDIN;
wrong	x
\.
SELECT count(*) FROM copied;
SQL
behaviour copy_in_client -At <<'SQL'
\copy copied from program 'seq 10 2000 | sed "s/.*/&,row &/"' csv
SELECT count(*), sum(a) FROM copied;
SQL
behaviour copy_out -At <<'SQL'
COPY (SELECT * FROM copied ORDER BY a LIMIT 4) TO STDOUT (FORMAT csv, HEADER);
\copy (select count(*) from copied) to stdout
COPY copied TO STDOUT (FORMAT nonsense);
DROP TABLE copied;
SQL
behaviour copy_in_multi_statement -At <<'SQL'
CREATE TEMP TABLE twice (a int);
SELECT 'before' \; COPY twice FROM STDIN \; COPY twice FROM STDIN \; SELECT 'after';
1
\.
2
\.
SELECT sum(a) FROM twice;
SQL
behaviour listen_notify -At <<'SQL' | sed -E 's/PID [0-9]+/PID N/g'
LISTEN here;
NOTIFY here, 'first';
SELECT pg_notify('here', 'second');
UNLISTEN here;
NOTIFY here, 'third';
SELECT 'end';
SQL
behaviour statement_timeout -At <<'SQL'
SET statement_timeout = '50ms';
SELECT pg_sleep(10);
SHOW statement_timeout;
RESET statement_timeout;
SHOW statement_timeout;
SQL
behaviour large_value -At <<<"SELECT length(repeat('x', 20000000)), md5(repeat('y', 3000000)); SELECT length('$(head -c 100000 /dev/zero | tr '\0' z)')"
printf 'large_result: %s\n' "$(psql -XqAt -c "SELECT n, repeat('y', 100) FROM generate_series(1, 100000) n" | md5sum)"
behaviour fetch_count -At -v FETCH_COUNT=50 <<<"SELECT generate_series(1, 175)"
behaviour cursors -At <<'SQL'
BEGIN;
DECLARE served SCROLL CURSOR FOR SELECT generate_series(1, 10);
FETCH 2 FROM served;
FETCH LAST FROM served;
FETCH BACKWARD 2 FROM served;
COMMIT;
FETCH 1 FROM served;
SQL
behaviour with_hold -At <<'SQL'
DECLARE held CURSOR WITH HOLD FOR SELECT generate_series(1, 10);
FETCH 2 FROM held;
SELECT 'between';
FETCH 2 FROM held;
CLOSE held;
FETCH 1 FROM held;
SQL
behaviour notices <<'SQL'
DO $$BEGIN RAISE NOTICE 'one'; RAISE WARNING 'two' USING HINT = 'three'; END$$;
DROP TABLE IF EXISTS nowhere;
COMMIT;
SET client_min_messages = error;
DROP TABLE IF EXISTS nowhere;
SQL
behaviour set_reset -At <<'SQL'
SET search_path = pg_catalog, pg_temp;
SHOW search_path;
SET DateStyle = 'German';
SELECT date '2024-02-29';
SET work_mem = 'nonsense';
SET app.custom = 'mine';
SHOW app.custom;
RESET ALL;
SHOW search_path;
SHOW DateStyle;
SET LOCAL work_mem = '7MB';
SHOW work_mem;
SQL
PGOPTIONS='-c work_mem=9MB' PGAPPNAME=behaviours PGTZ=Asia/Tokyo PGDATESTYLE='SQL, DMY' PGCLIENTENCODING=LATIN1 \
    behaviour startup_options -At <<<"SHOW work_mem; SHOW application_name; SELECT timestamptz '2024-02-29 00:00+00'; SHOW client_encoding"
behaviour encoding -At <<'SQL'
\encoding LATIN1
SELECT octet_length(convert_to(chr(233), 'UTF8'));
SELECT chr(8364);
SQL
behaviour temp_table -At <<'SQL'
CREATE TEMP TABLE mine (a int) ON COMMIT DELETE ROWS;
INSERT INTO mine VALUES (1);
SELECT count(*) FROM mine;
BEGIN;
INSERT INTO mine VALUES (1);
SELECT count(*) FROM mine;
COMMIT;
\c -
SELECT count(*) FROM mine;
SQL
behaviour advisory_locks -At <<'SQL'
SELECT pg_advisory_lock(4716);
SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid();
SELECT pg_advisory_unlock(4716), pg_advisory_unlock(4716);
SQL
behaviour generated_ids -At <<'SQL'
CREATE TABLE numbered (id serial, a text);
INSERT INTO numbered (a) VALUES ('x') RETURNING id;
BEGIN;
INSERT INTO numbered (a) VALUES ('y');
SELECT lastval(), currval('numbered_id_seq');
COMMIT;
DROP TABLE numbered;
SQL
behaviour isolation -At <<'SQL'
BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY DEFERRABLE;
SHOW transaction_isolation;
SHOW transaction_read_only;
CREATE TABLE never (a int);
COMMIT;
SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL REPEATABLE READ;
SHOW default_transaction_isolation;
BEGIN; SHOW transaction_isolation; COMMIT AND CHAIN; SHOW transaction_isolation; ROLLBACK;
SQL
behaviour roles -At <<'SQL'
SET ROLE nobody_at_all;
SET SESSION AUTHORIZATION postgres;
SELECT current_user = session_user;
SQL
behaviour schema_change_under_plan -At <<'SQL'
CREATE TABLE changing AS SELECT 1 AS a;
PREPARE read AS SELECT * FROM changing;
EXECUTE read;
ALTER TABLE changing ADD b int DEFAULT 2;
EXECUTE read;
DROP TABLE changing;
SQL
behaviour discard -At <<'SQL'
SET work_mem = '11MB';
CREATE TEMP TABLE gone (a int);
PREPARE p AS SELECT 1;
DISCARD ALL;
SHOW work_mem;
SELECT * FROM gone;
EXECUTE p;
BEGIN;
DISCARD ALL;
ROLLBACK;
SQL
behaviour large_object -At <<'SQL'
BEGIN;
SELECT lo_from_bytea(4717, 'large');
SELECT lo_get(4717, 1, 3);
SELECT lo_unlink(4717);
COMMIT;
SQL
psql -XqAt -c "CREATE TABLE unfinished (a int)"
psql -XqAt <<<"BEGIN; INSERT INTO unfinished VALUES (1); \q"
behaviour close_in_transaction -At -c "SELECT count(*) FROM unfinished" -c "DROP TABLE unfinished"
psql -XqAt -c "SELECT pg_sleep(66)" 2>/tmp/pgshunt-behaviours.$$ & sleeper=$!
watch="SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'active' AND pid <> pg_backend_pid()
    AND strpos(query, 'pg_sleep(66)') > 0"
for _ in {1..200}; do
    [[ $(psql -XqAt -c "$watch") == 0 ]] || break
done
kill -INT "$sleeper"
wait "$sleeper"
printf 'cancel: %s\n' "$(cat /tmp/pgshunt-behaviours.$$)"
rm -f /tmp/pgshunt-behaviours.$$
PGPASSWORD=wrong behaviour wrong_password <<<"" | sed -E 's/(at|server|port) ("[^"]*"|[0-9.:]+)//g; s/\([^)]*\)//g; s/port [0-9]+//g'
PGDATABASE=nowhere_at_all behaviour wrong_database <<<"" | sed -E 's/(at|server|port) ("[^"]*"|[0-9.:]+)//g; s/\([^)]*\)//g; s/port [0-9]+//g'
