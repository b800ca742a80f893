"""psycopg2: libpq with parameters put into the text. It connects as libpq's environment says."""
import io
import select

import psycopg2
import psycopg2.extras
from psycopg2 import extensions

from base import ACTIVE, TYPES, behaviour, failing, run, when_active

psycopg2.extras.register_uuid()


def connect(autocommit=True, **options):
    connection = psycopg2.connect("", **options)
    connection.autocommit = autocommit
    return connection


def execute(c, sql, parameters=None):
    cursor = c.cursor()
    cursor.execute(sql, parameters)
    return cursor


def rows(c, sql, parameters=None):
    return execute(c, sql, parameters).fetchall()


def value(c, sql, parameters=None):
    return execute(c, sql, parameters).fetchone()[0]


def watch(words):
    watcher = connect()
    try:
        return value(watcher, ACTIVE.format(words)) > 0
    finally:
        watcher.close()


@behaviour
def simple(c):
    return rows(c, "SELECT 1, 'a' UNION ALL SELECT 2, NULL")


@behaviour
def parameters(c):
    return rows(c, "SELECT %s, %s, %s, %s", (1, "it's", None, b"\x00\xff"))[0][:3]


@behaviour
def types(c):
    row = list(rows(c, TYPES)[0])
    return [bytes(v) if isinstance(v, memoryview) else v for v in row]


@behaviour
def sql_prepare(c):
    execute(c, "PREPARE twice (int) AS SELECT $1 * 2")
    seen = [value(c, "EXECUTE twice (%s)", (n,)) for n in range(3)]
    execute(c, "DEALLOCATE ALL")
    return seen, failing(execute, c, "EXECUTE twice (1)")


@behaviour
def dictionary_rows(c):
    cursor = c.cursor(cursor_factory=psycopg2.extras.RealDictCursor)
    cursor.execute("SELECT 1 AS one, ARRAY[1, 2] AS two")
    return dict(cursor.fetchone())


@behaviour
def execute_values(c):
    execute(c, "CREATE TEMP TABLE valued (a int, b text)")
    seen = psycopg2.extras.execute_values(
        c.cursor(), "INSERT INTO valued VALUES %s RETURNING a", [(n, "v") for n in range(250)], fetch=True)
    return len(seen), value(c, "SELECT sum(a) FROM valued")


@behaviour
def call_procedure(c):
    cursor = c.cursor()
    cursor.callproc("upper", ("abc",))
    return cursor.fetchone()


@behaviour
def copy_in(c):
    execute(c, "CREATE TABLE copied (a int, b text)")
    c.cursor().copy_from(io.StringIO("".join(f"{n}\trow {n}\n" for n in range(2000))), "copied")
    return rows(c, "SELECT count(*), sum(a) FROM copied")


@behaviour
def copy_in_fails(c):
    def wrong():
        c.cursor().copy_expert("COPY copied FROM STDIN", io.StringIO("1\tx\nnot a number\ty\n"))

    class Broken(io.StringIO):
        def read(self, *_):
            raise ValueError("ours")

    def ours():
        c.cursor().copy_expert("COPY copied FROM STDIN", Broken())

    return failing(wrong), failing(ours), value(c, "SELECT count(*) FROM copied")


@behaviour
def copy_out(c):
    out = io.StringIO()
    c.cursor().copy_expert("COPY (SELECT * FROM copied ORDER BY a LIMIT 3) TO STDOUT CSV HEADER", out)
    execute(c, "DROP TABLE copied")
    return out.getvalue()


@behaviour
def cancel(c):
    canceller = when_active(watch, "pg_sleep(62)", c.cancel)
    seen = failing(execute, c, "SELECT pg_sleep(62)")
    canceller.join()
    return seen, value(c, "SELECT 'alive'")


@behaviour
def listen_notify(c):
    execute(c, "LISTEN here")
    other = connect()
    execute(other, "NOTIFY here, 'first'")
    execute(other, "NOTIFY here, 'second'")
    other.close()
    while len(c.notifies) < 2 and select.select([c], [], [], 20)[0]:
        c.poll()
    return [(n.channel, n.payload) for n in c.notifies]


@behaviour
def own_notification(c):
    execute(c, "LISTEN here")
    execute(c, "NOTIFY here, 'own'")
    return [(n.channel, n.payload) for n in c.notifies]


@behaviour
def error_outside_transaction(c):
    return failing(execute, c, "SELECT 1 / 0"), failing(execute, c, "SELECT * FROM nowhere"), value(c, "SELECT 1")


@behaviour
def error_in_transaction(c):
    c.autocommit = False
    seen = [failing(execute, c, "SELECT 1 / 0"), failing(execute, c, "SELECT 1"), c.get_transaction_status()]
    c.rollback()
    return seen + [value(c, "SELECT 2"), c.get_transaction_status()]


@behaviour
def transaction_block(c):
    c.autocommit = False
    with c:
        execute(c, "CREATE TABLE blocked (a int)")
        execute(c, "INSERT INTO blocked VALUES (1)")

    def broken():
        with c:
            execute(c, "INSERT INTO blocked VALUES (2)")
            raise ValueError("ours")

    seen = failing(broken), rows(c, "SELECT * FROM blocked")
    execute(c, "DROP TABLE blocked")
    c.commit()
    return seen


@behaviour
def savepoints(c):
    c.autocommit = False
    execute(c, "CREATE TEMP TABLE saved (a int) ON COMMIT PRESERVE ROWS")
    execute(c, "INSERT INTO saved VALUES (1); SAVEPOINT s; INSERT INTO saved VALUES (2)")
    execute(c, "SET work_mem = '5MB'")
    failing(execute, c, "SELECT 1 / 0")
    execute(c, "ROLLBACK TO s")
    execute(c, "RELEASE s")
    c.commit()
    return rows(c, "SELECT * FROM saved"), value(c, "SHOW work_mem")


@behaviour
def statement_timeout(c):
    execute(c, "SET statement_timeout = 50")
    return failing(execute, c, "SELECT pg_sleep(10)"), value(c, "SHOW statement_timeout")


@behaviour
def large_value(c):
    return value(c, "SELECT length(%s)", ("z" * 5_000_000,)), len(value(c, "SELECT repeat('q', 5000000)"))


@behaviour
def large_result(c):
    return sum(row[0] for row in rows(c, "SELECT n, repeat('y', 50) FROM generate_series(1, 50000) n"))


@behaviour
def server_cursor(c):
    c.autocommit = False
    with c.cursor("served", scrollable=True) as cursor:
        cursor.itersize = 10
        cursor.execute("SELECT generate_series(1, 100)")
        seen = [cursor.fetchmany(3)]
        cursor.scroll(50)
        seen += [cursor.fetchone(), sum(row[0] for row in cursor)]
    c.commit()
    return seen


@behaviour
def with_hold(c):
    c.autocommit = False
    cursor = c.cursor("held", withhold=True)
    cursor.execute("SELECT generate_series(1, 10)")
    seen = [cursor.fetchmany(2)]
    c.commit()
    seen += [value(c, "SELECT 'between'"), cursor.fetchmany(2)]
    cursor.close()
    c.commit()
    return seen


@behaviour
def notices(c):
    execute(c, "DO $$BEGIN RAISE NOTICE 'one'; RAISE WARNING 'two'; END$$")
    execute(c, "CREATE TABLE IF NOT EXISTS pg_temp.noticed (a int); CREATE TABLE IF NOT EXISTS pg_temp.noticed (a int)")
    return [notice.splitlines()[0] for notice in c.notices]


@behaviour
def set_reset(c):
    execute(c, "SET search_path = pg_catalog")
    execute(c, "SET DateStyle = 'German'")
    seen = [value(c, "SHOW search_path"), value(c, "SELECT '2024-02-29'::date::text"), c.get_parameter_status("DateStyle")]
    execute(c, "RESET ALL")
    return seen + [value(c, "SHOW search_path"), value(c, "SHOW DateStyle"), c.get_parameter_status("DateStyle")]


@behaviour
def connection_reset(c):
    execute(c, "SET work_mem = '10MB'")
    c.reset()
    return value(c, "SHOW work_mem")


@behaviour
def client_encoding(c):
    c.set_client_encoding("LATIN1")
    return c.encoding, value(c, "SELECT chr(233)"), failing(execute, c, "SELECT chr(8364)")


@behaviour
def startup_options(c):
    other = connect(options="-c work_mem=9MB -c statement_timeout=5s", application_name="behaviours")
    seen = [value(other, f"SHOW {name}") for name in ("work_mem", "statement_timeout", "application_name")]
    other.close()
    return seen


@behaviour
def temp_table(c):
    execute(c, "CREATE TEMP TABLE mine (a int); INSERT INTO mine VALUES (1), (2)")
    other = connect()
    stranger = failing(execute, other, "SELECT * FROM mine")
    other.close()
    return value(c, "SELECT count(*) FROM mine"), stranger


@behaviour
def advisory_lock(c):
    execute(c, "SELECT pg_advisory_lock(4712)")
    other = connect()
    seen = [value(other, "SELECT pg_try_advisory_lock(4712)"), value(c, "SELECT pg_advisory_unlock(4712)"),
            value(other, "SELECT pg_try_advisory_lock(4712)")]
    other.close()
    return seen


@behaviour
def generated_ids(c):
    c.autocommit = False
    execute(c, "CREATE TABLE numbered (id serial, a text)")
    execute(c, "INSERT INTO numbered (a) VALUES ('x')")
    seen = [value(c, "SELECT lastval()"), value(c, "INSERT INTO numbered (a) VALUES ('y') RETURNING id")]
    c.rollback()
    return seen


@behaviour
def multi_statement(c):
    return rows(c, "SELECT 1; SELECT 'last'"), failing(execute, c, "CREATE TABLE half (a int); SELECT 1 / 0"), \
        failing(execute, c, "SELECT * FROM half")


@behaviour
def empty_query(c):
    return failing(execute, c, ""), failing(execute, c, ";"), execute(c, "-- nothing\n;").statusmessage


@behaviour
def isolation(c):
    c.autocommit = False
    seen = []
    for level in (extensions.ISOLATION_LEVEL_SERIALIZABLE, extensions.ISOLATION_LEVEL_REPEATABLE_READ,
                  extensions.ISOLATION_LEVEL_READ_COMMITTED):
        c.set_isolation_level(level)
        seen.append(value(c, "SHOW transaction_isolation"))
        c.rollback()
    return seen


@behaviour
def session_characteristics(c):
    c.set_session(isolation_level="SERIALIZABLE", readonly=True, deferrable=True, autocommit=False)
    seen = rows(c, "SELECT current_setting('transaction_isolation'), current_setting('transaction_read_only'),"
                   " current_setting('transaction_deferrable')")
    c.rollback()
    c.set_session(isolation_level="DEFAULT", readonly="DEFAULT", deferrable="DEFAULT", autocommit=True)
    return seen, value(c, "SHOW default_transaction_read_only")


@behaviour
def read_only(c):
    c.set_session(readonly=True, autocommit=True)
    return failing(execute, c, "CREATE TABLE never (a int)")


@behaviour
def asynchronous(c):
    other = psycopg2.connect("", async_=True)
    psycopg2.extras.wait_select(other)
    cursor = other.cursor()
    cursor.execute("SELECT 'later' FROM pg_sleep(0.05)")
    psycopg2.extras.wait_select(other)
    seen = cursor.fetchall()
    other.close()
    return seen


@behaviour
def close_in_transaction(c):
    execute(c, "CREATE TABLE unfinished (a int)")
    other = connect(autocommit=False)
    execute(other, "INSERT INTO unfinished VALUES (1)")
    other.close()
    seen = value(c, "SELECT count(*) FROM unfinished")
    execute(c, "DROP TABLE unfinished")
    return seen


@behaviour
def large_object(c):
    c.autocommit = False
    large = c.lobject(0, "wb")
    large.write(b"0123456789" * 1000)
    large.seek(5)
    seen = large.read(7) if "r" in large.mode else large.tell()
    large.truncate(50)
    large.seek(0, 2)
    seen = seen, large.tell()
    large.unlink()
    c.commit()
    return seen


@behaviour
def reconnect(c):
    seen = []
    for n in range(10):
        other = connect()
        seen.append(value(other, "SELECT %s", (n,)))
        other.close()
    return seen


run(connect, lambda connection: connection.close())
