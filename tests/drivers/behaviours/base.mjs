// What the programs for Node share: a behaviour is a function of a new connection; its result or its error is one line.
const behaviours = [];
export const behaviour = (name, does) => behaviours.push([name, does]);

const told = (error) => `${error.code ?? error.name} ${error.message}`.split("\n")[0];
export const failing = (promise) => promise.then((seen) => `no error but ${JSON.stringify(seen)}`, told);

const plain = (_, value) => (typeof value === "bigint" ? `${value}n` : typeof value === "number" && !isFinite(value) ? `${value}` : value);

export async function run(connect, close) {
    for (const [name, does] of behaviours) {
        const connection = await connect();
        try {
            console.log(`${name}: ${JSON.stringify(await does(connection), plain)}`);
        } catch (error) {
            console.log(`${name}: error ${told(error)}`);
            console.error(error);
        }
        await close(connection);
    }
}

export async function untilActive(value, words) {
    const sql =
        "SELECT count(*)::int FROM pg_stat_activity WHERE datname = current_database() AND state = 'active'" +
        ` AND pid <> pg_backend_pid() AND strpos(query, '${words}') > 0`;
    for (let n = 0; n < 1000 && !(await value(sql)); n++) await new Promise((done) => setTimeout(done, 20));
}

export const TYPES =
    "SELECT true AS a, 1::int2 AS b, 2::int4 AS c, 3::int8 AS d, 1.5::float4 AS e, 2.25::float8 AS f," +
    " 12345678901234567890.123456789::numeric AS g, 'text'::text AS h, 'v'::varchar AS i, 'c'::char(3) AS j," +
    " '\\xdeadbeef'::bytea AS k, '2024-02-29'::date AS l, '12:34:56.789'::time AS m," +
    " '2024-02-29 12:34:56.789'::timestamp AS n, '2024-02-29 12:34:56+02'::timestamptz AS o," +
    " '1 mon 2 days 03:04:05'::interval AS p, '0b9c3f4e-6f0e-4ad7-9c0a-3f3f6d8c1a52'::uuid AS q," +
    " '{\"a\": [1, null]}'::json AS r, '{\"b\": {\"c\": 2}}'::jsonb AS s, ARRAY[1, NULL, 3] AS t," +
    " ARRAY[['x', 'y'], ['z', NULL]] AS u, NULL::int AS v, 'NaN'::numeric AS w, '-infinity'::float8 AS x";
