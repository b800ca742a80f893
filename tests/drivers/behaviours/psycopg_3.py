"""psycopg 3. It connects as libpq's environment says."""
import uuid
from datetime import datetime, timezone
from decimal import Decimal

import psycopg
from psycopg.types.json import Jsonb

from base import ACTIVE, TYPES, behaviour, failing, run, when_active


def connect(**options):
    return psycopg.connect(**{"autocommit": True, **options})


def value(connection, sql, *parameters, **options):
    return connection.execute(sql, parameters or None, **options).fetchone()[0]


def watch(words):
    with connect() as watcher:
        return value(watcher, ACTIVE.format(words)) > 0


@behaviour
def simple(c):
    return c.pgconn.exec_(b"SELECT 1, 'a' UNION ALL SELECT 2, NULL").get_value(0, 1)


@behaviour
def extended(c):
    return c.execute("SELECT %s::int + 1, %s::text", (41, "é")).fetchone()


@behaviour
def types_text(c):
    return c.execute(TYPES).fetchone()


@behaviour
def types_binary(c):
    return c.cursor(binary=True).execute(TYPES).fetchone()


@behaviour
def parameters_binary(c):
    given = (7, 2**40, 1.5, Decimal("12.50"), "x", b"\x00\xff", uuid.UUID(int=5), datetime(2024, 1, 2, tzinfo=timezone.utc),
             [1, 2, None], Jsonb({"k": 1}))
    return c.execute("SELECT %b, %b, %b, %b, %b, %b, %b, %b, %b::int[], %b", given).fetchone()


@behaviour
def prepared_reuse(c):
    return [value(c, "SELECT %s::int * 2", n) for n in range(12)], c._prepared._names and len(c._prepared._names)


@behaviour
def prepared_at_once(c):
    return [value(c, "SELECT %s::text", n, prepare=True) for n in ("a", "b", None)]


@behaviour
def prepared_many(c):
    c.prepared_max = 3
    c.prepare_threshold = 0
    return [value(c, f"SELECT %s::int + {n}", n) for n in list(range(8)) * 2]


@behaviour
def sql_prepare(c):
    c.execute("PREPARE double (int) AS SELECT $1 * 2")
    seen = [value(c, f"EXECUTE double ({n})") for n in range(3)]
    c.execute("DEALLOCATE double")
    return seen, failing(c.execute, "EXECUTE double (1)")


@behaviour
def cached_plan(c):
    c.execute("CREATE TABLE cached (a int)")
    c.execute("INSERT INTO cached VALUES (1)")
    seen = [c.execute("SELECT * FROM cached", prepare=True).fetchall()]
    c.execute("ALTER TABLE cached ADD b text DEFAULT 'new'")
    seen.append(failing(lambda: c.execute("SELECT * FROM cached", prepare=True).fetchall()))
    c.execute("DROP TABLE cached")
    return seen


@behaviour
def pipeline(c):
    with c.pipeline():
        cursors = [c.execute("SELECT %s::int", (n,)) for n in range(20)]
    return [cursor.fetchone()[0] for cursor in cursors]


@behaviour
def pipeline_error(c):
    seen = []
    try:
        with c.pipeline() as p:
            first = c.execute("SELECT 1")
            p.sync()
            c.execute("SELECT 1 / 0")
            c.execute("SELECT 3")
    except psycopg.Error as error:
        seen.append(error.sqlstate)
    seen += [first.fetchone(), value(c, "SELECT 4")]
    return seen


@behaviour
def execute_many(c):
    c.execute("CREATE TEMP TABLE many (a int, b text)")
    with c.cursor() as cursor:
        cursor.executemany("INSERT INTO many VALUES (%s, %s) RETURNING a", [(n, str(n)) for n in range(200)], returning=True)
    return value(c, "SELECT sum(a) FROM many")


@behaviour
def copy_in(c):
    c.execute("CREATE TABLE copied (a int, b text)")
    with c.cursor().copy("COPY copied FROM STDIN") as copy:
        for n in range(1000):
            copy.write_row((n, None if n % 7 == 0 else f"row\t{n}"))
    return c.execute("SELECT count(*), sum(a), count(b) FROM copied").fetchone()


@behaviour
def copy_in_binary(c):
    with c.cursor().copy("COPY copied FROM STDIN (FORMAT BINARY)") as copy:
        copy.set_types(["int4", "text"])
        copy.write_row((5000, "binary"))
    return value(c, "SELECT b FROM copied WHERE a = 5000")


@behaviour
def copy_in_fails(c):
    def wrong():
        with c.cursor().copy("COPY copied FROM STDIN") as copy:
            copy.write("1\tgood\nnot a number\tbad\n")

    def ours():
        with c.cursor().copy("COPY copied FROM STDIN"):
            raise ValueError("ours")

    return failing(wrong), failing(ours), value(c, "SELECT count(*) FROM copied")


@behaviour
def copy_out(c):
    with c.cursor().copy("COPY (SELECT * FROM copied ORDER BY a LIMIT 3) TO STDOUT (FORMAT CSV)") as copy:
        seen = b"".join(copy)
    c.execute("DROP TABLE copied")
    return seen


@behaviour
def cancel(c):
    canceller = when_active(watch, "pg_sleep(61)", c.cancel_safe)
    seen = failing(c.execute, "SELECT pg_sleep(61)")
    canceller.join()
    return seen, value(c, "SELECT 'alive'")


@behaviour
def listen_notify(c):
    c.execute("LISTEN here")
    with connect() as other:
        other.execute("NOTIFY here, 'first'")
        other.execute("SELECT pg_notify('here', 'second')")
        other.execute("NOTIFY elsewhere")
    seen = [(n.channel, n.payload) for n in c.notifies(timeout=20, stop_after=2)]
    c.execute("UNLISTEN *")
    return seen


@behaviour
def error_outside_transaction(c):
    errors = [failing(c.execute, sql) for sql in ("SELEC 1", "SELECT * FROM nowhere", "SELECT 1 / 0")]
    return errors, value(c, "SELECT 1")


@behaviour
def error_details(c):
    c.execute("CREATE TEMP TABLE detailed (a int PRIMARY KEY CONSTRAINT positive CHECK (a > 0))")
    try:
        c.execute("INSERT INTO detailed VALUES (-1)")
    except psycopg.Error as error:
        d = error.diag
        return d.severity, d.constraint_name, d.table_name, d.message_primary, d.message_detail, d.source_function


@behaviour
def error_in_transaction(c):
    c.autocommit = False
    seen = [failing(c.execute, "SELECT 1 / 0"), failing(c.execute, "SELECT 1"), c.info.transaction_status.name]
    c.rollback()
    return seen + [value(c, "SELECT 2"), c.info.transaction_status.name]


@behaviour
def savepoints(c):
    with c.transaction():
        c.execute("CREATE TEMP TABLE saved (a int)")
        c.execute("INSERT INTO saved VALUES (1)")
        try:
            with c.transaction():
                c.execute("INSERT INTO saved VALUES (2)")
                c.execute("SELECT 1 / 0")
        except psycopg.errors.DivisionByZero:
            pass
        with c.transaction(savepoint_name="named"):
            c.execute("INSERT INTO saved VALUES (3)")
    return c.execute("SELECT array_agg(a) FROM saved").fetchone()


@behaviour
def savepoint_settings(c):
    with c.transaction():
        c.execute("SET work_mem = '5MB'")
        try:
            with c.transaction():
                c.execute("SET work_mem = '6MB'")
                raise ValueError
        except ValueError:
            pass
    return value(c, "SHOW work_mem")


@behaviour
def statement_timeout(c):
    c.execute("SET statement_timeout = '50ms'")
    seen = failing(c.execute, "SELECT pg_sleep(10)")
    c.execute("RESET statement_timeout")
    return seen, value(c, "SHOW statement_timeout")


@behaviour
def lock_timeout(c):
    c.execute("CREATE TABLE locked (a int)")
    with connect(autocommit=False) as other:
        other.execute("LOCK locked")
        c.execute("SET lock_timeout = '50ms'")
        seen = failing(c.execute, "SELECT * FROM locked")
    c.execute("DROP TABLE locked")
    return seen


@behaviour
def large_value(c):
    given = "x" * 8_000_000
    return value(c, "SELECT length(%s::text)", given), len(value(c, "SELECT %s::bytea", b"\x00" * 3_000_000))


@behaviour
def large_result(c):
    rows = c.execute("SELECT n, repeat('y', 100) FROM generate_series(1, 50000) n").fetchall()
    return len(rows), sum(row[0] for row in rows)


@behaviour
def stream(c):
    return sum(row[0] for row in c.cursor().stream("SELECT generate_series(1, 5000)"))


@behaviour
def server_cursor(c):
    with c.transaction(), c.cursor(name="served") as cursor:
        cursor.execute("SELECT generate_series(1, 1000)")
        cursor.itersize = 100
        first = cursor.fetchmany(3)
        cursor.scroll(500)
        return first, cursor.fetchone(), len(cursor.fetchall())


@behaviour
def with_hold(c):
    with c.cursor(name="held", withhold=True) as cursor:
        cursor.execute("SELECT generate_series(1, 10)")
        return cursor.fetchmany(2), value(c, "SELECT 'between'"), cursor.fetchmany(2)


@behaviour
def notices(c):
    seen = []
    c.add_notice_handler(lambda diag: seen.append((diag.severity, diag.sqlstate, diag.message_primary)))
    c.execute("DO $$BEGIN RAISE NOTICE 'one'; RAISE WARNING 'two'; END$$")
    c.execute("DROP TABLE IF EXISTS nowhere")
    c.execute("ROLLBACK")
    return seen


@behaviour
def set_reset(c):
    c.execute("SET search_path = pg_catalog, public")
    c.execute("SET TimeZone = 'Asia/Tokyo'")
    seen = [value(c, "SHOW search_path"), c.info.timezone.key, failing(c.execute, "SET work_mem = 'nonsense'")]
    c.execute("RESET ALL")
    return seen + [value(c, "SHOW search_path"), value(c, "SELECT current_setting('app.custom', true)")]


@behaviour
def set_local(c):
    with c.transaction():
        c.execute("SET LOCAL work_mem = '7MB'")
        inside = value(c, "SHOW work_mem")
    return inside, value(c, "SHOW work_mem"), value(c, "SELECT set_config('app.custom', 'kept', false)"), \
        value(c, "SHOW app.custom")


@behaviour
def startup_options(c):
    with connect(options="-c work_mem=9MB -c app.tenant=t1", application_name="behaviours") as other:
        return [value(other, f"SHOW {name}") for name in ("work_mem", "app.tenant", "application_name")]


@behaviour
def encoding(c):
    with connect(client_encoding="latin1") as other:
        return other.info.encoding, value(other, "SELECT %s::text || chr(233)", "é"), failing(other.execute, "SELECT chr(8364)")


@behaviour
def temp_table(c):
    c.execute("CREATE TEMP TABLE mine (a int)")
    c.execute("INSERT INTO mine VALUES (1), (2)")
    with connect() as other:
        stranger = failing(other.execute, "SELECT * FROM mine")
    return value(c, "SELECT count(*) FROM mine"), stranger


@behaviour
def advisory_lock(c):
    c.execute("SELECT pg_advisory_lock(4711)")
    with connect() as other:
        seen = [value(other, "SELECT pg_try_advisory_lock(4711)")]
        seen.append(value(c, "SELECT pg_advisory_unlock(4711)"))
        seen.append(value(other, "SELECT pg_try_advisory_lock(4711)"))
    return seen


@behaviour
def generated_ids(c):
    c.execute("CREATE TABLE numbered (id serial, a text)")
    seen = [value(c, "INSERT INTO numbered (a) VALUES ('x') RETURNING id"), value(c, "SELECT lastval()")]
    with c.transaction():
        c.execute("INSERT INTO numbered (a) VALUES ('y')")
        seen += [value(c, "SELECT lastval()"), value(c, "SELECT currval('numbered_id_seq')")]
    c.execute("DROP TABLE numbered")
    return seen


@behaviour
def multi_statement(c):
    cursor = c.execute("SELECT 1; SELECT 'two'; SELECT 3 WHERE false")
    seen = [cursor.fetchall()]
    while cursor.nextset():
        seen.append(cursor.fetchall())
    return seen


@behaviour
def multi_statement_fails(c):
    c.execute("CREATE TEMP TABLE multi (a int)")
    return failing(c.execute, "INSERT INTO multi VALUES (1); SELECT 1 / 0; INSERT INTO multi VALUES (2)"), \
        value(c, "SELECT count(*) FROM multi")


@behaviour
def empty_query(c):
    return c.execute("").statusmessage, c.execute(" ; ").statusmessage, c.execute("-- nothing").pgresult.status


@behaviour
def isolation(c):
    c.autocommit = False
    c.isolation_level = psycopg.IsolationLevel.SERIALIZABLE
    seen = [value(c, "SHOW transaction_isolation")]
    c.commit()
    c.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    seen.append(value(c, "SHOW transaction_isolation"))
    c.commit()
    c.isolation_level = None
    return seen + [value(c, "SHOW transaction_isolation")]


@behaviour
def serialization_failure(c):
    c.execute("CREATE TABLE contested (a int)")
    c.execute("INSERT INTO contested VALUES (1)")
    with connect(autocommit=False) as first, connect(autocommit=False) as second:
        for each in (first, second):
            each.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            each.execute("SELECT * FROM contested")
        first.execute("UPDATE contested SET a = 2")
        first.commit()
        seen = failing(second.execute, "UPDATE contested SET a = 3")
    c.execute("DROP TABLE contested")
    return seen


@behaviour
def read_only(c):
    c.autocommit = False
    c.read_only = True
    seen = failing(c.execute, "CREATE TABLE never (a int)")
    c.rollback()
    c.read_only = None
    return seen, value(c, "SHOW transaction_read_only")


@behaviour
def roles(c):
    return failing(c.execute, "SET ROLE nobody_at_all"), failing(c.execute, "SET SESSION AUTHORIZATION postgres")


@behaviour
def two_phase(c):
    c.autocommit = False
    c.execute("SELECT 1")
    c.rollback()
    return failing(c.tpc_recover), c.info.transaction_status.name


@behaviour
def close_in_transaction(c):
    c.execute("CREATE TABLE unfinished (a int)")
    other = connect(autocommit=False)
    other.execute("INSERT INTO unfinished VALUES (1)")
    other.close()
    seen = value(c, "SELECT count(*) FROM unfinished")
    c.execute("DROP TABLE unfinished")
    return seen


@behaviour
def discard_all(c):
    c.execute("SET work_mem = '11MB'")
    c.execute("CREATE TEMP TABLE gone (a int)")
    c.execute("DISCARD ALL")
    return value(c, "SHOW work_mem"), failing(c.execute, "SELECT * FROM gone")


@behaviour
def reconnect(c):
    seen = []
    for n in range(10):
        with connect() as other:
            seen.append(value(other, "SELECT %s::int", n))
    return seen


@behaviour
def large_object(c):
    c.autocommit = False
    oid = value(c, "SELECT lo_from_bytea(0, 'large')")
    seen = value(c, "SELECT lo_get(%s)", oid)
    c.rollback()
    return seen


run(connect, lambda connection: connection.close())
