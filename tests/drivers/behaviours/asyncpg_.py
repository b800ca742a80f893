"""asyncpg: its own protocol code, binary throughout, statements prepared and cached. It connects as libpq's environment says."""
import asyncio
import io
import uuid
from datetime import datetime, timedelta, timezone
from decimal import Decimal

import asyncpg

from base import ACTIVE, TYPES, behaviours, behaviour, one_line, told


async def failing(awaitable):
    try:
        return f"no error but {await awaitable}"
    except Exception as error:
        return told(error)


async def when_active(words, act):
    watcher = await asyncpg.connect()
    for _ in range(1000):
        if await watcher.fetchval(ACTIVE.format(words)):
            break
        await asyncio.sleep(0.02)
    await watcher.close()
    act()


@behaviour
async def simple(c):
    return await c.execute("SELECT 1; SELECT 2")


@behaviour
async def extended(c):
    return [tuple(row) for row in await c.fetch("SELECT $1::int + 1, $2::text", 41, "é")]


@behaviour
async def types_binary(c):
    return list((await c.fetchrow(TYPES)).values())


@behaviour
async def parameters(c):
    given = (7, 2**40, 1.5, Decimal("12.50"), "x", b"\x00\xff", uuid.UUID(int=5), datetime(2024, 1, 2, tzinfo=timezone.utc),
             [1, 2, None], '{"k": 1}', timedelta(days=1, seconds=2), None)
    return list(await c.fetchrow("SELECT $1::int, $2::int8, $3::float8, $4::numeric, $5::text, $6::bytea, $7::uuid,"
                                 " $8::timestamptz, $9::int[], $10::jsonb, $11::interval, $12::text", *given))


@behaviour
async def prepared_reuse(c):
    statement = await c.prepare("SELECT $1::int * 2")
    return [await statement.fetchval(n) for n in range(12)], [a.type.name for a in statement.get_attributes()]


@behaviour
async def statement_cache(c):
    return [await c.fetchval(f"SELECT $1::int + {n % 150}", n) for n in range(400)][-3:]


@behaviour
async def sql_prepare(c):
    await c.execute("PREPARE twice (int) AS SELECT $1 * 2")
    seen = [await c.fetchval(f"EXECUTE twice ({n})") for n in range(3)]
    await c.execute("DEALLOCATE twice")
    return seen, await failing(c.fetchval("EXECUTE twice (9)"))


@behaviour
async def cached_plan(c):
    await c.execute("CREATE TABLE cached (a int); INSERT INTO cached VALUES (1)")
    seen = [[tuple(row) for row in await c.fetch("SELECT * FROM cached")]]
    async with c.transaction():
        await c.execute("ALTER TABLE cached ADD b text DEFAULT 'new'")
        seen.append(await failing(c.fetch("SELECT * FROM cached")))
    seen.append([tuple(row) for row in await c.fetch("SELECT * FROM cached")])
    await c.execute("DROP TABLE cached")
    return seen


@behaviour
async def custom_type(c):
    await c.execute("CREATE TYPE mood AS ENUM ('sad', 'happy'); CREATE TYPE pair AS (a int, b mood)")
    try:
        return await c.fetchval("SELECT ROW(1, 'happy')::pair"), await c.fetchval("SELECT ARRAY['sad']::mood[]")
    finally:
        await c.execute("DROP TYPE pair; DROP TYPE mood")


@behaviour
async def execute_many(c):
    await c.execute("CREATE TEMP TABLE many (a int, b text)")
    await c.executemany("INSERT INTO many VALUES ($1, $2)", [(n, str(n)) for n in range(5000)])
    failed = await failing(c.executemany("INSERT INTO many VALUES (10 / $1, $2)", [(1, "x"), (0, "y"), (2, "z")]))
    return await c.fetchval("SELECT sum(a) FROM many"), failed


@behaviour
async def copy_in(c):
    await c.execute("CREATE TABLE copied (a int, b text)")
    seen = await c.copy_records_to_table("copied", records=[(n, f"row {n}") for n in range(3000)])
    more = await c.copy_to_table("copied", source=io.BytesIO(b"9000,x\n9001,y\n"), format="csv")
    return seen, more, await c.fetchval("SELECT sum(a) FROM copied")


@behaviour
async def copy_in_fails(c):
    wrong = await failing(c.copy_to_table("copied", source=io.BytesIO(b"not a number,x\n"), format="csv"))

    async def broken():
        yield b"1,x\n"
        raise ValueError("ours")

    return wrong, await failing(c.copy_to_table("copied", source=broken(), format="csv")), \
        await c.fetchval("SELECT count(*) FROM copied")


@behaviour
async def copy_out(c):
    out = io.BytesIO()
    seen = await c.copy_from_query("SELECT * FROM copied ORDER BY a LIMIT $1", 3, output=out, format="csv")
    await c.execute("DROP TABLE copied")
    return seen, out.getvalue()


@behaviour
async def cancel(c):
    running = asyncio.ensure_future(c.fetchval("SELECT pg_sleep(63)"))
    await when_active("pg_sleep(63)", running.cancel)
    try:
        await running
    except asyncio.CancelledError:
        return "cancelled", await c.fetchval("SELECT 'alive'")


@behaviour
async def driver_timeout(c):
    return await failing(c.fetchval("SELECT pg_sleep(10)", timeout=0.1)), await c.fetchval("SELECT 'alive'")


@behaviour
async def listen_notify(c):
    queue = asyncio.Queue()
    await c.add_listener("here", lambda _c, _pid, channel, payload: queue.put_nowait((channel, payload)))
    other = await asyncpg.connect()
    await other.execute("NOTIFY here, 'first'")
    await other.execute("SELECT pg_notify($1, $2)", "here", "second")
    await other.close()
    seen = [await asyncio.wait_for(queue.get(), 20) for _ in range(2)]
    await c.reset()
    return seen


@behaviour
async def error_outside_transaction(c):
    return [await failing(c.fetch(sql)) for sql in ("SELEC 1", "SELECT * FROM nowhere", "SELECT 1 / 0")], \
        await c.fetchval("SELECT 1")


@behaviour
async def error_in_transaction(c):
    transaction = c.transaction()
    await transaction.start()
    seen = [await failing(c.fetch("SELECT 1 / 0")), await failing(c.fetch("SELECT 1")), c.is_in_transaction()]
    await transaction.rollback()
    return seen + [await c.fetchval("SELECT 2"), c.is_in_transaction()]


@behaviour
async def savepoints(c):
    async with c.transaction():
        await c.execute("CREATE TEMP TABLE saved (a int); INSERT INTO saved VALUES (1)")
        try:
            async with c.transaction():
                await c.execute("INSERT INTO saved VALUES (2); SET work_mem = '5MB'")
                await c.execute("SELECT 1 / 0")
        except asyncpg.DivisionByZeroError:
            pass
        async with c.transaction():
            await c.execute("INSERT INTO saved VALUES (3)")
    return await c.fetchval("SELECT array_agg(a) FROM saved"), await c.fetchval("SHOW work_mem")


@behaviour
async def statement_timeout(c):
    await c.execute("SET statement_timeout = '50ms'")
    return await failing(c.fetch("SELECT pg_sleep(10)")), await c.fetchval("SHOW statement_timeout")


@behaviour
async def large_value(c):
    return await c.fetchval("SELECT length($1::text)", "x" * 8_000_000), len(await c.fetchval("SELECT $1::bytea", b"\0" * 3_000_000))


@behaviour
async def large_result(c):
    rows = await c.fetch("SELECT n, repeat('y', 100) FROM generate_series(1, 50000) n")
    return len(rows), sum(row[0] for row in rows)


@behaviour
async def cursor(c):
    async with c.transaction():
        seen = [row[0] async for row in c.cursor("SELECT generate_series(1, $1::int)", 120, prefetch=25)]
        served = await c.cursor("SELECT generate_series(1, 100)")
        first = await served.fetch(3)
        await served.forward(50)
        return sum(seen), [row[0] for row in first], (await served.fetchrow())[0]


@behaviour
async def with_hold(c):
    await c.execute("DECLARE held CURSOR WITH HOLD FOR SELECT generate_series(1, 10)")
    seen = [[row[0] for row in await c.fetch("FETCH 2 FROM held")] for _ in range(2)]
    await c.execute("CLOSE held")
    return seen


@behaviour
async def notices(c):
    seen = []
    c.add_log_listener(lambda _c, message: seen.append((message.severity, message.sqlstate, message.message)))
    await c.execute("DO $$BEGIN RAISE NOTICE 'one'; RAISE WARNING 'two'; END$$")
    await c.fetchval("SELECT 1")
    await asyncio.sleep(0)
    return seen


@behaviour
async def settings(c):
    await c.execute("SET search_path = pg_catalog; SET TimeZone = 'Asia/Tokyo'")
    seen = [await c.fetchval("SHOW search_path"), c.get_settings().TimeZone]
    await c.execute("RESET ALL")
    return seen + [await c.fetchval("SHOW search_path"), await failing(c.execute("SET work_mem = 'nonsense'"))]


@behaviour
async def server_settings(c):
    other = await asyncpg.connect(server_settings={"work_mem": "9MB", "app.tenant": "t1", "application_name": "behaviours"})
    seen = [await other.fetchval(f"SHOW {name}") for name in ("work_mem", "app.tenant", "application_name")]
    await other.close()
    return seen


@behaviour
async def temp_table(c):
    await c.execute("CREATE TEMP TABLE mine (a int); INSERT INTO mine VALUES (1), (2)")
    other = await asyncpg.connect()
    stranger = await failing(other.fetch("SELECT * FROM mine"))
    await other.close()
    return await c.fetchval("SELECT count(*) FROM mine"), stranger


@behaviour
async def advisory_lock(c):
    await c.execute("SELECT pg_advisory_lock(4713)")
    other = await asyncpg.connect()
    seen = [await other.fetchval("SELECT pg_try_advisory_lock(4713)"), await c.fetchval("SELECT pg_advisory_unlock(4713)"),
            await other.fetchval("SELECT pg_try_advisory_lock(4713)")]
    await other.close()
    return seen


@behaviour
async def generated_ids(c):
    await c.execute("CREATE TABLE numbered (id serial, a text)")
    async with c.transaction():
        seen = [await c.fetchval("INSERT INTO numbered (a) VALUES ($1) RETURNING id", n) for n in "xy"]
        seen.append(await c.fetchval("SELECT lastval()"))
    await c.execute("DROP TABLE numbered")
    return seen


@behaviour
async def multi_statement(c):
    return await failing(c.fetch("SELECT 1; SELECT 2")), await failing(c.execute("SELECT 1; SELECT 1 / 0")), \
        await c.execute("SELECT 1; CREATE TEMP TABLE multi AS SELECT 1 AS a")


@behaviour
async def empty_query(c):
    return await c.fetch(""), await c.execute(""), await c.execute(";"), await c.fetch("-- nothing")


@behaviour
async def isolation(c):
    seen = []
    for level in ("serializable", "repeatable_read", "read_committed"):
        async with c.transaction(isolation=level):
            seen.append(await c.fetchval("SHOW transaction_isolation"))
    return seen


@behaviour
async def read_only(c):
    async with c.transaction(isolation="serializable", readonly=True, deferrable=True):
        seen = await c.fetchval("SHOW transaction_read_only")

    async def write():
        async with c.transaction(readonly=True):
            await c.execute("CREATE TABLE never (a int)")

    return seen, await failing(write())


@behaviour
async def pool(c):
    async with asyncpg.create_pool(min_size=2, max_size=8) as pool:

        async def work(n):
            async with pool.acquire() as each:
                async with each.transaction():
                    return await each.fetchval("SELECT $1::int FROM pg_sleep(0.01)", n)

        return sum(await asyncio.gather(*(work(n) for n in range(60))))


@behaviour
async def close_in_transaction(c):
    await c.execute("CREATE TABLE unfinished (a int)")
    other = await asyncpg.connect()
    await other.transaction().start()
    await other.execute("INSERT INTO unfinished VALUES (1)")
    await other.close()
    seen = await c.fetchval("SELECT count(*) FROM unfinished")
    await c.execute("DROP TABLE unfinished")
    return seen


@behaviour
async def terminate(c):
    other = await asyncpg.connect()
    await other.execute("CREATE TEMP TABLE lost (a int)")
    other.terminate()
    return await failing(c.fetch("SELECT * FROM lost"))


@behaviour
async def reset(c):
    await c.execute("SET work_mem = '10MB'; CREATE TEMP TABLE kept (a int)")
    await c.reset()
    return await c.fetchval("SHOW work_mem"), await c.fetch("SELECT * FROM kept")


@behaviour
async def reconnect(c):
    seen = []
    for n in range(10):
        other = await asyncpg.connect()
        seen.append(await other.fetchval("SELECT $1::int", n))
        await other.close()
    return seen


async def main():
    for each in behaviours:
        connection = await asyncpg.connect()
        try:
            print(f"{each.__name__}: {one_line(await each(connection))}", flush=True)
        except Exception as error:
            print(f"{each.__name__}: error {one_line(told(error))}", flush=True)
        finally:
            await connection.close(timeout=20)


asyncio.run(main())
