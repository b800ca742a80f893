// postgres.js: everything prepared by protocol, several statements under way at one time. It connects as libpq's environment says.
import { createRequire } from "node:module";
import { behaviour, failing, run, TYPES, untilActive } from "./base.mjs";
const postgres = createRequire(process.cwd() + "/")("postgres");

const notices = [];
const connect = (options = {}) =>
    postgres({ ssl: "require", max: 1, fetch_types: true, onnotice: (n) => notices.push([n.severity, n.code, n.message]), ...options });
const value = async (c, text) => Object.values((await c.unsafe(text))[0])[0];

behaviour("simple", async (c) => c.unsafe("SELECT 1 AS a, 'x' AS b").simple());
behaviour("tagged", async (c) => c`SELECT ${41}::int + 1 AS a, ${"é"}::text AS b`);
behaviour("types", async (c) => c.unsafe(TYPES));
behaviour("columns", async (c) => (await c.unsafe(TYPES)).columns.map((column) => [column.name, column.type]));
behaviour("describe", async (c) => {
    const seen = await c`SELECT ${1}::int AS a, ${"x"}::text AS b`.describe();
    return [seen.types, seen.columns.map((column) => column.name)];
});
behaviour("values", async (c) => c`SELECT 1, 'a', NULL`.values());
behaviour("raw", async (c) => (await c`SELECT 'bytes' AS a`.raw())[0].map((each) => each.toString()));
behaviour("prepared_reuse", async (c) => {
    const seen = [];
    for (let n = 0; n < 12; n++) seen.push((await c`SELECT ${n}::int * 2 AS a`)[0].a);
    return seen;
});
behaviour("unprepared", async () => {
    const c = connect({ prepare: false });
    const seen = [await c`SELECT ${1}::int AS a`, await c`SELECT ${2}::int AS a`];
    await c.end();
    return seen;
});
behaviour("pipelined", async (c) => (await Promise.all([...Array(50).keys()].map((n) => c`SELECT ${n}::int AS a`))).map((rows) => rows[0].a));
behaviour("pipelined_error", async (c) =>
    Promise.all([c`SELECT 1 AS a`, failing(c`SELECT 1 / ${0}::int`), failing(c`SELECT nowhere`), c`SELECT 4 AS a`]));
behaviour("cached_plan", async (c) => {
    await c.unsafe("CREATE TABLE cached (a int); INSERT INTO cached VALUES (1)");
    const read = () => c`SELECT * FROM cached`;
    const seen = [await read()];
    await c.unsafe("ALTER TABLE cached ADD b text DEFAULT 'new'");
    seen.push(await failing(read()), await failing(read()));
    await c.unsafe("DROP TABLE cached");
    return seen;
});
behaviour("insert_helper", async (c) => {
    await c`CREATE TEMP TABLE people (id serial, name text, age int)`;
    await c`INSERT INTO people ${c([{ name: "a", age: 1 }, { name: "b", age: 2 }])}`;
    return c`UPDATE people SET ${c({ age: 3 }, "age")} WHERE name = ANY(${["a"]}) RETURNING *`;
});
behaviour("copy_in", async (c) => {
    const { pipeline } = await import("node:stream/promises");
    const { Readable } = await import("node:stream");
    await c`CREATE TABLE copied (a int, b text)`;
    const lines = [...Array(2000).keys()].map((n) => `${n}\trow ${n}\n`);
    await pipeline(Readable.from(lines), await c`COPY copied FROM STDIN`.writable());
    return c`SELECT count(*), sum(a) FROM copied`;
});
behaviour("copy_out", async (c) => {
    const chunks = [];
    for await (const chunk of await c`COPY (SELECT * FROM copied ORDER BY a LIMIT 3) TO STDOUT CSV`.readable()) chunks.push(chunk);
    await c`DROP TABLE copied`;
    return Buffer.concat(chunks).toString();
});
behaviour("cancel", async (c) => {
    const running = c`SELECT pg_sleep(65)`;
    const seen = failing(running);
    const watcher = connect();
    await untilActive((sql) => value(watcher, sql), "pg_sleep(65)");
    running.cancel();
    await watcher.end();
    return [await seen, await value(c, "SELECT 'alive'")];
});
behaviour("listen_notify", async (c) => {
    const seen = [];
    let done;
    const two = new Promise((resolve) => (done = resolve));
    const { unlisten } = await c.listen("here", (payload) => seen.push(payload) === 2 && done());
    await c.notify("here", "first");
    await c`SELECT pg_notify('here', ${"second"})`;
    await two;
    await unlisten();
    return seen;
});
behaviour("error_outside_transaction", async (c) => [await failing(c`SELEC 1`), await failing(c`SELECT * FROM nowhere`), await value(c, "SELECT 1")]);
behaviour("error_fields", async (c) => {
    try {
        await c`SELECT 1 / ${0}::int`;
    } catch (e) {
        return [e.severity, e.code, e.routine, e.message];
    }
});
behaviour("transaction", async (c) => {
    await c`CREATE TABLE kept (a int)`;
    await c.begin((t) => [t`INSERT INTO kept VALUES (1)`, t`INSERT INTO kept VALUES (2)`]);
    const failed = await failing(c.begin(async (t) => {
        await t`INSERT INTO kept VALUES (3)`;
        await t`SELECT 1 / 0`;
    }));
    const seen = [failed, await c`SELECT * FROM kept`];
    await c`DROP TABLE kept`;
    return seen;
});
behaviour("savepoints", async (c) =>
    c.begin(async (t) => {
        await t`CREATE TEMP TABLE saved (a int) ON COMMIT DROP`;
        await failing(t.savepoint(async (s) => {
            await s`INSERT INTO saved VALUES (1)`;
            await s`SELECT 1 / 0`;
        }));
        await t.savepoint("named", (s) => s`INSERT INTO saved VALUES (2)`);
        return t`SELECT * FROM saved`;
    }));
behaviour("isolation", async (c) => c.begin("ISOLATION LEVEL SERIALIZABLE", (t) => t`SHOW transaction_isolation`));
behaviour("read_only", async (c) => failing(c.begin("READ ONLY", (t) => t`CREATE TABLE never (a int)`)));
behaviour("statement_timeout", async (c) => {
    await c`SET statement_timeout = 50`;
    return [await failing(c`SELECT pg_sleep(10)`), await c`SHOW statement_timeout`];
});
behaviour("large_value", async (c) =>
    [(await c`SELECT length(${"x".repeat(8000000)}::text) AS a`)[0].a, (await c`SELECT ${Buffer.alloc(3000000)}::bytea AS a`)[0].a.length]);
behaviour("large_result", async (c) => (await c`SELECT n, repeat('y', 100) FROM generate_series(1, 50000) n`).reduce((sum, row) => sum + row.n, 0));
behaviour("cursor", async (c) => {
    const sizes = [];
    await c`SELECT generate_series(1, 250) AS n`.cursor(100, (rows) => void sizes.push(rows.length));
    for await (const [row] of c`SELECT generate_series(1, 3) AS n`.cursor()) sizes.push(row.n);
    await c`SELECT generate_series(1, 250) AS n`.cursor(10, () => c.CLOSE);
    return sizes;
});
behaviour("for_each", async (c) => {
    let sum = 0;
    await c`SELECT generate_series(1, 1000) AS n`.forEach((row) => (sum += row.n));
    return sum;
});
behaviour("notices", async (c) => {
    notices.length = 0;
    await c.unsafe("DO $$BEGIN RAISE NOTICE 'one'; RAISE WARNING 'two'; END$$");
    return notices;
});
behaviour("settings", async () => {
    const c = connect({ connection: { application_name: "behaviours", search_path: "pg_catalog", work_mem: "9MB" } });
    const seen = [await c`SHOW application_name`, await c`SHOW search_path`, await c`SHOW work_mem`, c.parameters.application_name];
    await c.end();
    return seen;
});
behaviour("set_local", async (c) => [
    await c.begin(async (t) => {
        await t`SET LOCAL work_mem = '7MB'`;
        return t`SHOW work_mem`;
    }),
    await c`SHOW work_mem`,
]);
behaviour("temp_table", async (c) => {
    await c`CREATE TEMP TABLE mine AS SELECT 1 AS a`;
    const other = connect();
    const stranger = await failing(other`SELECT * FROM mine`);
    await other.end();
    return [await c`SELECT * FROM mine`, stranger];
});
behaviour("reserve", async (c) => {
    const reserved = await c.reserve();
    await reserved`SELECT pg_advisory_lock(4715)`;
    const other = connect();
    const seen = [await other`SELECT pg_try_advisory_lock(4715) AS a`, await reserved`SELECT pg_advisory_unlock(4715) AS a`];
    await other.end();
    reserved.release();
    return seen;
});
behaviour("multi_statement", async (c) => c`SELECT 1 AS a; SELECT 'two' AS b`.simple());
behaviour("empty_query", async (c) => [await c.unsafe(""), await c.unsafe(";").simple()]);
behaviour("nulls_arrays_json", async (c) =>
    c`SELECT ${null}::text AS a, ${[1, 2]}::int[] AS b, ${c.json({ k: [1, null] })}::jsonb AS c, ${["x", null]}::text[] AS d`);
behaviour("enum_array", async (c) => {
    await c.unsafe("CREATE TYPE mood AS ENUM ('sad', 'happy')");
    const fresh = connect();
    const seen = await fresh`SELECT ARRAY['sad', 'happy']::mood[] AS a`;
    await fresh.end();
    await c`DROP TYPE mood`;
    return seen;
});
behaviour("pool", async () => {
    const c = connect({ max: 8 });
    const rows = await Promise.all([...Array(80).keys()].map((n) => c`SELECT ${n}::int AS a FROM pg_sleep(0.01)`));
    await c.end();
    return rows.reduce((sum, [row]) => sum + row.a, 0);
});
behaviour("wrong_password", async () => {
    const c = connect({ password: "wrong" });
    const seen = await failing(c`SELECT 1`);
    await c.end();
    return seen;
});
behaviour("reconnect", async () => {
    const seen = [];
    for (let n = 0; n < 10; n++) {
        const c = connect();
        seen.push((await c`SELECT ${n}::int AS a`)[0].a);
        await c.end();
    }
    return seen;
});

await run(async () => connect(), (c) => c.end({ timeout: 5 }));
