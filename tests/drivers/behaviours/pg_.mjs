// node-postgres. It connects as libpq's environment says.
import { createRequire } from "node:module";
import { behaviour, failing, run, TYPES, untilActive } from "./base.mjs";
const pg = createRequire(process.cwd() + "/")("pg");

const ssl = { rejectUnauthorized: false };
async function connect(options = {}) {
    const client = new pg.Client({ ssl, ...options });
    client.on("error", () => {});
    await client.connect();
    return client;
}
const value = async (c, sql, values) => Object.values((await c.query(sql, values)).rows[0])[0];

behaviour("simple", async (c) => (await c.query("SELECT 1 AS a, 'x' AS b")).rows);
behaviour("extended", async (c) => (await c.query("SELECT $1::int + 1 AS a, $2::text AS b", [41, "é"])).rows);
behaviour("types_text", async (c) => (await c.query(TYPES)).rows);
behaviour("types_binary", async (c) =>
    (await c.query({ text: "SELECT 1::int4 AS a, 2::int8 AS b, 1.5::float8 AS c, true AS d, 'x'::text AS e", binary: true, values: [] })).rows);
behaviour("columns", async (c) => (await c.query(TYPES)).fields.map((f) => [f.name, f.dataTypeID, f.format]));
behaviour("array_rows", async (c) => (await c.query({ text: "SELECT 1, 'a', NULL", rowMode: "array" })).rows);
behaviour("named_statement", async (c) => {
    const seen = [];
    for (let n = 0; n < 12; n++) seen.push((await c.query({ name: "twice", text: "SELECT $1::int * 2 AS a", values: [n] })).rows[0].a);
    return seen;
});
behaviour("named_statements_many", async (c) => {
    let sum = 0;
    for (let n = 0; n < 300; n++) sum += (await c.query({ name: `n${n % 250}`, text: `SELECT $1::int + ${n % 250} AS a`, values: [n] })).rows[0].a;
    return sum;
});
behaviour("named_statement_fails", async (c) => [
    await failing(c.query({ name: "wrong", text: "SELECT nowhere" })),
    await failing(c.query({ name: "zero", text: "SELECT 1 / $1::int", values: [0] })),
    (await c.query({ name: "zero", text: "SELECT 1 / $1::int", values: [1] })).rows,
]);
behaviour("sql_prepare", async (c) => {
    await c.query("PREPARE thrice (int) AS SELECT $1 * 3 AS a");
    const seen = (await c.query("EXECUTE thrice (4)")).rows;
    await c.query("DEALLOCATE thrice");
    return [seen, await failing(c.query("EXECUTE thrice (4)"))];
});
behaviour("cached_plan", async (c) => {
    await c.query("CREATE TABLE cached (a int); INSERT INTO cached VALUES (1)");
    const read = () => c.query({ name: "cached", text: "SELECT * FROM cached" }).then((r) => r.rows);
    const seen = [await read()];
    await c.query("ALTER TABLE cached ADD b text DEFAULT 'new'");
    seen.push(await failing(read()));
    await c.query("DROP TABLE cached");
    return seen;
});
behaviour("queue", async (c) => (await Promise.all([...Array(30).keys()].map((n) => value(c, "SELECT $1::int", [n])))).join());
behaviour("queue_error", async (c) =>
    (await Promise.all([value(c, "SELECT 1"), failing(c.query("SELECT 1 / 0")), failing(c.query("SELEC", [])), value(c, "SELECT 4")])));
behaviour("cancel", async (c) => {
    const running = failing(c.query("SELECT pg_sleep(64)"));
    const watcher = await connect();
    await untilActive(async (sql) => value(watcher, sql), "pg_sleep(64)");
    await watcher.end();
    // Its own cancel speaks no TLS, which a cancel request need not.
    const { Socket } = await import("node:net");
    await new Promise((done) => {
        const request = Buffer.alloc(16);
        [16, 80877102, c.processID, c.secretKey].forEach((n, at) => request.writeInt32BE(n, at * 4));
        const socket = new Socket().connect(Number(process.env.PGPORT), process.env.PGHOST, () => socket.end(request));
        socket.on("close", done).resume();
    });
    return [await running, await value(c, "SELECT 'alive'")];
});
behaviour("listen_notify", async (c) => {
    const seen = [];
    const two = new Promise((done) => c.on("notification", (n) => seen.push([n.channel, n.payload]) === 2 && done()));
    await c.query("LISTEN here");
    const other = await connect();
    await other.query("NOTIFY here, 'first'");
    await other.query("SELECT pg_notify('here', $1)", ["second"]);
    await other.end();
    await two;
    return seen;
});
behaviour("error_outside_transaction", async (c) =>
    [await failing(c.query("SELEC 1")), await failing(c.query("SELECT * FROM nowhere WHERE a = $1", [1])), await value(c, "SELECT 1")]);
behaviour("error_fields", async (c) => {
    try {
        await c.query("SELECT 'x' FROM nowhere_at_all");
    } catch (e) {
        return [e.severity, e.code, e.position, e.file, e.routine, e.message];
    }
});
behaviour("error_in_transaction", async (c) => {
    await c.query("BEGIN");
    const seen = [await failing(c.query("SELECT 1 / 0")), await failing(c.query("SELECT $1::int", [1]))];
    return [...seen, (await c.query("COMMIT")).command, await value(c, "SELECT 2")];
});
behaviour("savepoints", async (c) => {
    await c.query("BEGIN; CREATE TEMP TABLE saved (a int); INSERT INTO saved VALUES (1)");
    await c.query("SAVEPOINT s");
    await failing(c.query("INSERT INTO saved VALUES (1 / 0)"));
    await c.query("ROLLBACK TO s");
    await c.query("INSERT INTO saved VALUES ($1)", [3]);
    await c.query("COMMIT");
    return (await c.query("SELECT * FROM saved")).rows;
});
behaviour("statement_timeout", async () => {
    const c = await connect({ statement_timeout: 50 });
    const seen = [await failing(c.query("SELECT pg_sleep(10)")), await value(c, "SHOW statement_timeout")];
    await c.end();
    return seen;
});
behaviour("large_value", async (c) =>
    [await value(c, "SELECT length($1::text)", ["x".repeat(8000000)]), (await value(c, "SELECT $1::bytea", [Buffer.alloc(3000000)])).length]);
behaviour("large_result", async (c) =>
    (await c.query("SELECT n, repeat('y', 100) FROM generate_series(1, 50000) n")).rows.reduce((sum, row) => sum + row.n, 0));
behaviour("portal_rows", async (c) =>
    (await c.query({ text: "SELECT generate_series(1, 1000) AS n", rows: 100, values: [] })).rows.length);
behaviour("sql_cursor", async (c) => {
    await c.query("BEGIN");
    await c.query("DECLARE served SCROLL CURSOR FOR SELECT generate_series(1, 100) AS n");
    const seen = [(await c.query("FETCH 2 FROM served")).rows, (await c.query("FETCH LAST FROM served")).rows];
    await c.query("COMMIT");
    return seen;
});
behaviour("with_hold", async (c) => {
    await c.query("DECLARE held CURSOR WITH HOLD FOR SELECT generate_series(1, 10) AS n");
    const seen = [(await c.query("FETCH 2 FROM held")).rows, (await c.query("FETCH 2 FROM held")).rows];
    await c.query("CLOSE held");
    return seen;
});
behaviour("notices", async (c) => {
    const seen = [];
    c.on("notice", (n) => seen.push([n.severity, n.code, n.message]));
    await c.query("DO $$BEGIN RAISE NOTICE 'one'; RAISE WARNING 'two'; END$$");
    await c.query("COMMIT");
    return seen;
});
behaviour("set_reset", async (c) => {
    await c.query("SET search_path = pg_catalog");
    const seen = [await value(c, "SHOW search_path"), await failing(c.query("SET work_mem = 'nonsense'"))];
    await c.query("RESET ALL");
    return [...seen, await value(c, "SHOW search_path")];
});
behaviour("startup_options", async () => {
    const c = await connect({ options: "-c work_mem=9MB", application_name: "behaviours" });
    const seen = [await value(c, "SHOW work_mem"), await value(c, "SHOW application_name")];
    await c.end();
    return seen;
});
behaviour("temp_table", async (c) => {
    await c.query("CREATE TEMP TABLE mine (a int); INSERT INTO mine VALUES (1), (2)");
    const other = await connect();
    const stranger = await failing(other.query("SELECT * FROM mine"));
    await other.end();
    return [await value(c, "SELECT count(*) FROM mine"), stranger];
});
behaviour("advisory_lock", async (c) => {
    await c.query("SELECT pg_advisory_lock(4714)");
    const other = await connect();
    const seen = [await value(other, "SELECT pg_try_advisory_lock(4714)"), await value(c, "SELECT pg_advisory_unlock(4714)"),
        await value(other, "SELECT pg_try_advisory_lock(4714)")];
    await other.end();
    return seen;
});
behaviour("generated_ids", async (c) => {
    await c.query("CREATE TEMP TABLE numbered (id serial, a text)");
    return [await value(c, "INSERT INTO numbered (a) VALUES ($1) RETURNING id", ["x"]), await value(c, "SELECT lastval()")];
});
behaviour("multi_statement", async (c) =>
    [(await c.query("SELECT 1 AS a; SELECT 'two' AS b; SELECT 3 AS c WHERE false")).map((r) => r.rows), await failing(c.query("SELECT 1; SELECT 2", [1]))]);
behaviour("multi_statement_fails", async (c) =>
    [await failing(c.query("CREATE TABLE half (a int); SELECT 1 / 0")), await failing(c.query("SELECT * FROM half"))]);
behaviour("empty_query", async (c) => [(await c.query("")).command, (await c.query("", [])).rows, (await c.query(";")).rows]);
behaviour("nulls", async (c) => (await c.query("SELECT $1::text AS a, $2::int AS b, NULL AS c", [null, undefined])).rows);
behaviour("arrays_json", async (c) =>
    (await c.query("SELECT $1::int[] AS a, $2::text[] AS b, $3::jsonb AS c", [[1, null, 3], ["x", "y,z"], { k: [1] }])).rows);
behaviour("isolation", async (c) => {
    const seen = [];
    for (const level of ["SERIALIZABLE", "REPEATABLE READ", "READ COMMITTED"]) {
        await c.query(`BEGIN ISOLATION LEVEL ${level}`);
        seen.push(await value(c, "SHOW transaction_isolation"));
        await c.query("ROLLBACK");
    }
    return seen;
});
behaviour("read_only", async (c) => {
    await c.query("START TRANSACTION READ ONLY");
    const seen = await failing(c.query("CREATE TABLE never (a int)"));
    await c.query("ROLLBACK");
    return [seen, await value(c, "SHOW transaction_read_only")];
});
behaviour("pool", async () => {
    const pool = new pg.Pool({ ssl, max: 8 });
    const seen = await Promise.all([...Array(60).keys()].map((n) => value(pool, "SELECT $1::int FROM pg_sleep(0.01)", [n])));
    await pool.end();
    return seen.reduce((a, b) => a + b);
});
behaviour("close_in_transaction", async (c) => {
    await c.query("CREATE TABLE unfinished (a int)");
    const other = await connect();
    await other.query("BEGIN; INSERT INTO unfinished VALUES (1)");
    await other.end();
    const seen = await value(c, "SELECT count(*) FROM unfinished");
    await c.query("DROP TABLE unfinished");
    return seen;
});
behaviour("wrong_password", async () => failing(connect({ password: "wrong" })));
behaviour("wrong_database", async () => failing(connect({ database: "nowhere_at_all" })));
behaviour("reconnect", async () => {
    const seen = [];
    for (let n = 0; n < 10; n++) {
        const c = await connect();
        seen.push(await value(c, "SELECT $1::int", [n]));
        await c.end();
    }
    return seen;
});

await run(connect, (c) => c.end());
