"""What the Python programs share: a behaviour is a function of a new connection; its result or its error is one line."""
import threading
import time
import traceback

behaviours = []


def behaviour(function):
    behaviours.append(function)
    return function


def one_line(value):
    return " / ".join(str(value).splitlines()) or "(empty)"


def told(error):
    """SQLSTATE and the first line of an error, as the driver gives them."""
    state = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
    orig = getattr(error, "orig", None)
    if state is None and orig is not None:
        return told(orig)
    return f"{type(error).__name__} {state or '-'} {(str(error).splitlines() or ['-'])[0]}"


def failing(function, *arguments, **named):
    """What a call fails with."""
    try:
        return f"no error but {function(*arguments, **named)}"
    except Exception as error:
        return told(error)


def report(name, function):
    try:
        print(f"{name}: {one_line(function())}", flush=True)
    except Exception as error:
        print(f"{name}: error {one_line(told(error))}", flush=True)
        traceback.print_exc()


def run(connect, close):
    for each in behaviours:
        connection = connect()
        try:
            report(each.__name__, lambda: each(connection))
        finally:
            try:
                close(connection)
            except Exception as error:
                print(f"{each.__name__}: closing failed: {told(error)}", flush=True)


def when_active(watch, words, act):
    """Calls `act` in a thread as soon as `watch` sees a statement with these words at work."""

    def wait():
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and not watch(words):
            time.sleep(0.02)
        act()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


ACTIVE = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'active'"
    " AND pid <> pg_backend_pid() AND strpos(query, '{}') > 0"
)

TYPES = (
    "SELECT true AS a, 1::int2 AS b, 2::int4 AS c, 3::int8 AS d, 1.5::float4 AS e, 2.25::float8 AS f,"
    " 12345678901234567890.123456789::numeric AS g, 'text'::text AS h, 'v'::varchar AS i, 'c'::char(3) AS j,"
    " '\\xdeadbeef'::bytea AS k, '2024-02-29'::date AS l, '12:34:56.789'::time AS m,"
    " '2024-02-29 12:34:56.789'::timestamp AS n, '2024-02-29 12:34:56+02'::timestamptz AS o,"
    " '1 mon 2 days 03:04:05'::interval AS p, '0b9c3f4e-6f0e-4ad7-9c0a-3f3f6d8c1a52'::uuid AS q,"
    " '{\"a\": [1, null]}'::json AS r, '{\"b\": {\"c\": 2}}'::jsonb AS s, ARRAY[1, NULL, 3] AS t,"
    " ARRAY[['x', 'y'], ['z', NULL]] AS u, NULL::int AS v, 'NaN'::numeric AS w, '-infinity'::float8 AS x"
)
