//! The statements plays are made of.

/// Both databases before the first play. OTHER is a role their owner is a member of.
pub const SETUP: &str = "\
CREATE TABLE t (a int PRIMARY KEY, b text, c numeric);
CREATE SEQUENCE s;
CREATE SCHEMA other;
CREATE TABLE other.x (a text);
INSERT INTO other.x VALUES ('the other x');
GRANT USAGE ON SCHEMA other TO OTHER;
CREATE FUNCTION setter(n text, v text) RETURNS text LANGUAGE plpgsql AS
  'BEGIN PERFORM set_config(n, v, false); RETURN v; END';
CREATE FUNCTION boom(n int) RETURNS int LANGUAGE plpgsql AS
  'BEGIN RAISE NOTICE ''boom %'', n; RETURN 1 / n; END';
CREATE FUNCTION temporary() RETURNS void LANGUAGE plpgsql AS
  'BEGIN CREATE TEMP TABLE hidden (a int); END';
CREATE FUNCTION \"as other\"() RETURNS text LANGUAGE sql SET work_mem = '3MB' AS 'SELECT current_setting(''work_mem'')';
CREATE PROCEDURE commits() LANGUAGE plpgsql AS
  'BEGIN PERFORM set_config(''work_mem'', ''9MB'', false); COMMIT; PERFORM 1 / 0; END';
SET lock_timeout = '15s'";

/// Before each play.
pub const RESET: &str = "DROP TABLE IF EXISTS public.x; DROP TYPE IF EXISTS public.mood; TRUNCATE t; \
INSERT INTO t SELECT n, 'row ' || n, n / 7.0 FROM generate_series(1, 6) n; SELECT setval('s', 1, false)";

/// What any statement has in it that leaves something for [`RESET`], in lower case.
pub const LEAVES: &[&str] = &[
    "insert",
    "update",
    "delete",
    "truncate",
    "create",
    "drop",
    "nextval",
    "from stdin",
    "do '",
    "call ",
];

/// What a session has in the end.
pub const LEFT_BEHIND: &str = "\
SELECT current_user, session_user, current_setting('search_path'), current_setting('work_mem'), \
current_setting('TimeZone'), current_setting('DateStyle'), current_setting('statement_timeout'), \
coalesce(current_setting('app.x', true), ''), current_setting('default_transaction_isolation'), \
current_setting('extra_float_digits'), current_setting('application_name'), current_setting('role'); \
SELECT count(*), string_agg(b, ',' ORDER BY a) FROM public.t; \
SELECT count(*) FROM pg_catalog.pg_locks WHERE locktype = 'advisory' AND pid = pg_catalog.pg_backend_pid(); \
SELECT pg_catalog.pg_listening_channels(); SELECT name FROM pg_catalog.pg_cursors ORDER BY 1; \
SELECT name FROM pg_catalog.pg_prepared_statements WHERE from_sql ORDER BY 1; \
SELECT relname FROM pg_catalog.pg_class WHERE relnamespace = pg_catalog.pg_my_temp_schema() ORDER BY 1";

/// Reads and mistakes: no parameters, nothing left behind.
pub const PLAIN: &[&str] = &[
    "SELECT 1",
    "SELECT 1, 'two', NULL::int, 3.5::float8",
    "SELECT a, b, c FROM t ORDER BY a",
    "SELECT * FROM t ORDER BY a LIMIT 2",
    "SELECT count(*) FROM t",
    "SELECT generate_series(1, 5)",
    "TABLE t ORDER BY a",
    "VALUES (1, 'a'), (2, 'b')",
    "",
    ";",
    " -- nothing",
    "/* nothing */ ;;",
    "SELECT",
    "SELECT 1/0",
    "SELEC 1",
    "SELECT nothing",
    "SELECT * FROM nowhere",
    "SELECT 'unfinished",
    "SELECT boom(0)",
    "SELECT boom(2)",
    "SELECT 1/(3 - a) FROM generate_series(1, 6) a",
    "SELECT \"as other\"()",
    "SELECT repeat('long ', 3000)",
    "SELECT '\\x00ff'::bytea, now() - now(), true",
    "SELECT 'a\\'b'",
    "SHOW work_mem",
    "SHOW search_path",
    "SHOW TimeZone",
    "SHOW transaction_isolation",
    "SHOW transaction_read_only",
    "SHOW application_name",
    "SHOW is_superuser",
    "SELECT current_user, session_user",
    "SELECT current_schema() IS NULL",
    "SELECT '2020-02-03'::date, 0.1::float8 + 0.2",
    "SELECT coalesce(current_setting('app.x', true), '')",
    "EXPLAIN (COSTS OFF) SELECT * FROM t",
    "LOCK TABLE t IN ACCESS SHARE MODE",
    "SELECT a FROM t WHERE a = 1 FOR UPDATE",
];

/// Writes and schema changes.
pub const WRITES: &[&str] = &[
    "INSERT INTO t VALUES (100, 'new', 1)",
    "INSERT INTO t VALUES (1, 'taken', 1)",
    "INSERT INTO t SELECT max(a) + 1, 'next' FROM t RETURNING a, b",
    "UPDATE t SET c = c + 1 WHERE a < 3",
    "UPDATE t SET b = upper(b) RETURNING b",
    "DELETE FROM t WHERE a = 6",
    "DELETE FROM t WHERE a > 1000",
    "CREATE TABLE x (a int)",
    "CREATE TABLE x AS SELECT 1 AS a",
    "DROP TABLE x",
    "DROP TABLE IF EXISTS x",
    "INSERT INTO x VALUES (1)",
    "SELECT * FROM x",
    "SELECT nextval('s'), currval('s'), lastval()",
    "DO 'BEGIN INSERT INTO t VALUES (50, ''do''); END'",
    "DO 'BEGIN RAISE NOTICE ''done''; END'",
    "DO 'BEGIN RAISE EXCEPTION ''undone'' USING ERRCODE = ''P0099'', HINT = ''h''; END'",
    "CALL commits()",
    "TRUNCATE t",
    "SET CONSTRAINTS ALL DEFERRED",
    "CREATE TYPE mood AS ENUM ('good', 'bad')",
];

/// Transactions.
pub const CONTROL: &[&str] = &[
    "BEGIN",
    "BEGIN",
    "BEGIN",
    "begin transaction;",
    "BEGIN ISOLATION LEVEL REPEATABLE READ",
    "BEGIN READ ONLY",
    "START TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ WRITE",
    "COMMIT",
    "COMMIT",
    "COMMIT",
    "END",
    "ROLLBACK",
    "ROLLBACK",
    "ABORT",
    "COMMIT AND CHAIN",
    "ROLLBACK AND CHAIN",
    "SAVEPOINT one",
    "SAVEPOINT two",
    "ROLLBACK TO one",
    "ROLLBACK TO two",
    "RELEASE one",
    "RELEASE two",
    "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
    "SET TRANSACTION READ ONLY",
];

/// Settings.
pub const SETTINGS: &[&str] = &[
    "SET work_mem = '5MB'",
    "SET work_mem = 'nonsense'",
    "SET LOCAL work_mem = '6MB'",
    "RESET work_mem",
    "SET work_mem TO DEFAULT",
    "SET TIME ZONE 'America/Lima'",
    "SET LOCAL TIME ZONE 'Europe/Paris'",
    "SET TIME ZONE LOCAL",
    "SET DateStyle = 'SQL, DMY'",
    "SET IntervalStyle = 'iso_8601'",
    "RESET DateStyle",
    "SET search_path = other, public",
    "SET LOCAL search_path = other",
    "RESET search_path",
    "SET search_path = pg_temp, public",
    "SET app.x = 'mine'",
    "SET LOCAL app.x = 'for now'",
    "SELECT set_config('app.x', 'by function', false)",
    "SELECT set_config('work_mem', '8MB', true)",
    "SELECT set_config('work_mem', '2MB', false)",
    "SELECT setter('work_mem', '4MB')",
    "SELECT setter('extra_float_digits', '-3')",
    "DO 'BEGIN PERFORM set_config(''statement_timeout'', ''11s'', false); END'",
    "SET statement_timeout = '12s'",
    "SET application_name = 'play'",
    "SET standard_conforming_strings = off",
    "SET standard_conforming_strings = on",
    "SET client_encoding = 'LATIN1'",
    "SET NAMES 'UTF8'",
    "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
    "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE",
    "SET default_transaction_isolation = 'repeatable read'",
    "RESET ALL",
    "SET ROLE NONE",
    "SET SESSION AUTHORIZATION DEFAULT",
    "SET nonsense = 1",
    "SET nonsense.of_ours = 1",
    "SET server_version = '1'",
    "SET no_such.thing TO 'x'",
    "DISCARD PLANS",
    "DISCARD SEQUENCES",
    "DISCARD TEMP",
    "DISCARD ALL",
];

/// What lives in one server.
pub const KEPT: &[&str] = &[
    "PREPARE q AS SELECT 'prepared by SQL'",
    "PREPARE q (int) AS SELECT $1 + 1",
    "PREPARE a AS SELECT 'prepared as a'",
    "EXECUTE q",
    "EXECUTE q (41)",
    "EXECUTE a",
    "EXECUTE a (1)",
    "DEALLOCATE q",
    "DEALLOCATE a",
    "DEALLOCATE PREPARE b",
    "DEALLOCATE ALL",
    "DECLARE k CURSOR FOR SELECT a FROM t ORDER BY a",
    "DECLARE k CURSOR WITH HOLD FOR SELECT a, b FROM t ORDER BY a",
    "DECLARE p SCROLL CURSOR FOR VALUES (1), (2), (3)",
    "FETCH k",
    "FETCH 2 FROM k",
    "FETCH ALL FROM k",
    "FETCH BACKWARD 1 FROM p",
    "MOVE 1 IN k",
    "CLOSE k",
    "CLOSE ALL",
    "CREATE TEMP TABLE x (a int, mine text)",
    "CREATE TEMP TABLE y (a int) ON COMMIT DROP",
    "CREATE TEMP TABLE z ON COMMIT DELETE ROWS AS SELECT 1 AS a",
    "INSERT INTO y VALUES (1)",
    "SELECT * FROM y",
    "SELECT * FROM z",
    "DROP TABLE z",
    "SELECT temporary()",
    "SELECT * FROM hidden",
    "LISTEN c",
    "LISTEN d",
    "UNLISTEN c",
    "UNLISTEN *",
    "NOTIFY c, 'payload'",
    "SELECT pg_notify('d', 'by function')",
    "SELECT pg_advisory_lock(7)",
    "SELECT pg_advisory_unlock(7)",
    "SELECT pg_try_advisory_lock(8)",
    "SELECT pg_advisory_unlock_all()",
    "SELECT pg_advisory_xact_lock(9)",
    "SELECT pg_backend_pid() = pg_backend_pid()",
];

/// Data that comes back by COPY, and COPY that never begins.
pub const COPY_OUT: &[&str] = &[
    "COPY t TO STDOUT",
    "COPY (SELECT a, b FROM t ORDER BY a) TO STDOUT (FORMAT csv, HEADER)",
    "COPY (SELECT 1, 'x'::text) TO STDOUT (FORMAT binary)",
    "COPY (SELECT 1/(3 - a) FROM generate_series(1, 6) a) TO STDOUT",
    "COPY nowhere TO STDOUT",
    "COPY nowhere FROM STDIN",
    "COPY t FROM '/dev/null'",
];

/// Data that goes in by COPY.
pub const COPY_IN: &[&str] = &[
    "COPY t FROM STDIN",
    "COPY t (a, b) FROM STDIN (FORMAT csv)",
    "COPY public.t FROM STDIN (FORMAT binary)",
];

/// Statements with parameters: how many there are.
pub const WITH_PARAMETERS: &[(&str, usize)] = &[
    ("SELECT $1::int + 1", 1),
    ("SELECT $1::text, $2::int", 2),
    ("SELECT a, b FROM t WHERE a >= $1 ORDER BY a", 1),
    ("SELECT 10 / $1::int", 1),
    ("SELECT $1", 1),
    ("INSERT INTO t VALUES ($1, $2, 0) RETURNING a", 2),
    ("UPDATE t SET b = $2 WHERE a = $1", 2),
    ("SELECT set_config('work_mem', $1 || 'MB', false)", 1),
    ("SELECT set_config($1, '3MB', true)", 1),
    ("SELECT boom($1::int)", 1),
    ("SELECT generate_series(1, $1::int)", 1),
    ("SELECT $2::int", 2),
    ("SELECT $1 + ", 1),
    ("SELECT $1::numeric, $1::bytea", 1),
];

/// Two or three statements in one text come from these as well as from all others.
pub const SEVERAL: &[&str] = &[
    "SELECT 1; SELECT 2",
    "SELECT 1; SELECT 1/0; SELECT 2",
    "BEGIN; SELECT 1",
    "BEGIN; INSERT INTO t VALUES (200); COMMIT; SELECT 1",
    "INSERT INTO t VALUES (201); SELECT 1/0",
    "INSERT INTO t VALUES (202); ROLLBACK; SELECT 1",
    "INSERT INTO t VALUES (203); COMMIT; SELECT 1/0",
    "SET work_mem = '13MB'; SELECT 1/0",
    "SET work_mem = '14MB'; SHOW work_mem",
    "SET LOCAL work_mem = '15MB'; SHOW work_mem; COMMIT; SHOW work_mem",
    "BEGIN; SET work_mem = '16MB'; ROLLBACK; SHOW work_mem",
    "BEGIN; SAVEPOINT s; SET TIME ZONE 'UTC'; ROLLBACK TO s; COMMIT",
    "CREATE TEMP TABLE w (a int); INSERT INTO w VALUES (1); SELECT * FROM w; DROP TABLE w",
    "COPY t TO STDOUT; SELECT 1",
    "SELECT 1; COPY (SELECT 2) TO STDOUT; SELECT 1/0",
    "PREPARE q AS SELECT 1; EXECUTE q; DEALLOCATE q",
    "LISTEN c; NOTIFY c, 'now'",
    "BEGIN; DECLARE k CURSOR FOR SELECT 1; FETCH k; COMMIT",
    "SELECT 1;",
    "SELECT 1; ; SELECT 2;",
    "SELECT 1; SELEC",
    "DISCARD ALL; SELECT 1",
    "SELECT 1; DISCARD ALL",
];
