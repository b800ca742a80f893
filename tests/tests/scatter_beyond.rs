//! What is more than sums of the shards' sums, over all of them: windows, values that count once, rows in order, queries within
//! queries. The same bytes as from one PostgreSQL with all rows.

use pgshunt_tests::beside::Beside;
use pgshunt_tests::twins::{Twins, assert_same};
use pgshunt_tests::ways::{Way, frames, messages, refusal};

#[test]
fn windows_over_groups() {
    assert_same(
        &Twins::new(),
        &[
            // Month over month.
            "SELECT date_trunc('month', day)::date AS month, sum(amount) AS revenue, sum(amount) - lag(sum(amount)) OVER (ORDER BY \
             date_trunc('month', day)) AS change FROM orders GROUP BY date_trunc('month', day) ORDER BY 1",
            "WITH m AS (SELECT date_trunc('month', day) AS month, sum(amount) AS revenue FROM orders GROUP BY 1) SELECT month, revenue, \
             round(100 * revenue / NULLIF(lag(revenue) OVER (ORDER BY month), 0) - 100, 1) AS percent FROM m ORDER BY month",
            "SELECT kind, count(*), rank() OVER (ORDER BY count(*) DESC), round(100.0 * sum(amount) / sum(sum(amount)) OVER (), 2) AS share \
             FROM orders GROUP BY kind ORDER BY 3, 1",
            "SELECT day, sum(sum(small)) OVER w AS running, first_value(sum(small)) OVER w, avg(count(*)) OVER (w ROWS BETWEEN 2 PRECEDING \
             AND 1 FOLLOWING) FROM orders GROUP BY day WINDOW w AS (ORDER BY day) ORDER BY day LIMIT 20 OFFSET 3",
            "SELECT day, sum(count(*)) OVER (ORDER BY day RANGE BETWEEN interval '5 days' PRECEDING AND CURRENT ROW) FROM orders GROUP BY day \
             ORDER BY 1",
            "SELECT kind, ok, row_number() OVER (PARTITION BY kind ORDER BY count(*) DESC, ok NULLS FIRST) AS place FROM orders \
             GROUP BY kind, ok ORDER BY kind, place",
            "SELECT note FROM orders GROUP BY note ORDER BY dense_rank() OVER (ORDER BY count(*)), note LIMIT 5",
            "SELECT DISTINCT count(*), max(sum(small)) OVER (PARTITION BY count(*)) FROM orders GROUP BY note ORDER BY 1",
            "SELECT count(*), pg_catalog.lag(count(*), 1, 0) OVER () FROM orders",
            "SELECT kind, CASE WHEN lag(count(*)) OVER (ORDER BY kind) > count(*) THEN 'less' ELSE 'more' END FROM orders GROUP BY kind \
             HAVING count(*) > 2 ORDER BY kind",
            // What PostgreSQL itself refuses, it refuses here.
            "SELECT kind, lag(amount) OVER (ORDER BY kind) FROM orders GROUP BY kind",
            "SELECT kind FROM orders GROUP BY kind HAVING rank() OVER () > 1",
            "SELECT kind, sum(count(*)) OVER nowhere FROM orders GROUP BY kind",
        ],
    );
}

#[test]
fn values_that_count_once() {
    assert_same(
        &Twins::new(),
        &[
            "SELECT count(DISTINCT note) FROM orders",
            "SELECT count(DISTINCT note), count(*), count(note), sum(amount), avg(small), stddev(amount) FROM orders",
            "SELECT kind, count(DISTINCT note), count(DISTINCT day) FILTER (WHERE ok), min(amount) FROM orders GROUP BY kind ORDER BY kind",
            "SELECT sum(DISTINCT small), avg(DISTINCT amount), max(DISTINCT day), sum(DISTINCT ratio), stddev(DISTINCT ratio) FROM orders",
            "SELECT count(DISTINCT (kind, ok)), count(DISTINCT (note)), count(DISTINCT NULL), count(DISTINCT 1) FROM orders",
            "SELECT array_agg(DISTINCT kind), array_agg(DISTINCT note), json_agg(DISTINCT small) FROM orders WHERE id < 50",
            "SELECT string_agg(DISTINCT note, ', ' ORDER BY note) FROM orders",
            "SELECT ok, string_agg(DISTINCT note, ', ' ORDER BY note DESC), count(*) FROM orders GROUP BY ok ORDER BY ok",
            "SELECT day, count(DISTINCT kind) AS kinds FROM orders GROUP BY day HAVING count(DISTINCT kind) > 2 ORDER BY kinds DESC, day",
            "SELECT count(DISTINCT kind), count(*), sum(amount), bool_or(ok) FROM orders WHERE false",
            "SELECT kind, count(DISTINCT note), lag(count(DISTINCT note)) OVER (ORDER BY kind) FROM orders GROUP BY kind ORDER BY kind",
            "SELECT DISTINCT count(DISTINCT note) FROM orders GROUP BY day ORDER BY 1",
            "SELECT count(DISTINCT x) FROM (SELECT CASE id % 4 WHEN 0 THEN 0.0 WHEN 1 THEN '-0.0' WHEN 2 THEN 'NaN' ELSE ratio END AS x \
             FROM orders) o",
            "SELECT count(DISTINCT x), sum(DISTINCT x * 1000) FROM (SELECT round(small::numeric, id % 5) AS x FROM orders) o",
            "SELECT count(DISTINCT note || kind) FILTER (WHERE amount > 200 OR amount IS NULL) AS n FROM orders",
            "SELECT date_trunc('month', o.day)::date AS month, count(DISTINCT i.order_id) FROM orders o JOIN items i ON i.tenant_id = o.tenant_id \
             WHERE o.kind <> 2 GROUP BY 1 ORDER BY 1",
            "SELECT count(DISTINCT nothing) FROM orders",
        ],
    );
}

#[test]
fn values_of_every_type_count_once() {
    let twins = Twins::new();
    twins.typed();
    let columns = "t c v n f d s b o bo da ts tz ti i u by j ip m na bi";
    let texts: Vec<String> = columns
        .split(' ')
        .flat_map(|column| {
            [
                // An array of a type that users made tells its number, which is another one in each database.
                match column {
                    "m" => "SELECT count(DISTINCT m) FROM typed".to_owned(),
                    _ => format!("SELECT count(DISTINCT {column}), array_agg(DISTINCT {column}) FROM typed"),
                },
                format!("SELECT {column}, rank() OVER (ORDER BY {column}), count(*) OVER (PARTITION BY {column}) FROM typed ORDER BY 2, 3, {column}"),
            ]
        })
        .collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    assert_same(&twins, &texts);
    let (_, mut through) = twins.wires();
    assert_eq!(through.sqlstate("SELECT count(DISTINCT a) FROM typed"), "0A000");
}

#[test]
fn rows_of_all_shards() {
    assert_same(
        &Twins::new(),
        &[
            "SELECT id, note, row_number() OVER (ORDER BY amount DESC NULLS LAST, id) FROM orders WHERE ok ORDER BY 3 LIMIT 10",
            "SELECT *, lag(day) OVER (PARTITION BY kind ORDER BY id) AS before FROM orders ORDER BY id LIMIT 30",
            "SELECT o.*, k.name, rank() OVER (ORDER BY o.small, o.id) FROM orders o JOIN kinds k ON k.kind = o.kind ORDER BY o.id LIMIT 9",
            "SELECT * FROM (SELECT id, kind, row_number() OVER (PARTITION BY kind ORDER BY amount DESC NULLS LAST, id) AS place FROM orders) o \
             WHERE place <= 2 ORDER BY kind, place",
            "SELECT id, (SELECT count(*) FROM items i WHERE i.tenant_id = o.tenant_id) AS items, sum(small) OVER (ORDER BY id) FROM orders o \
             ORDER BY id LIMIT 12",
            "SELECT DISTINCT ON (kind) kind, id, amount FROM orders ORDER BY kind, amount DESC NULLS LAST, id",
            "SELECT DISTINCT kind, count(*) OVER (PARTITION BY kind) FROM orders ORDER BY kind",
            "SELECT kind, array_agg(id ORDER BY id DESC), string_agg(note, ',' ORDER BY id) FROM orders WHERE id < 60 GROUP BY kind ORDER BY kind",
            "SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY amount), mode() WITHIN GROUP (ORDER BY small) FROM orders",
            "SELECT kind, ok, count(*), sum(amount) FROM orders GROUP BY CUBE (kind, ok) ORDER BY 1, 2, 3",
            "SELECT amount / 10 * 2 AS b, count(*) FROM orders GROUP BY amount / 10 ORDER BY 1 LIMIT 5",
            "SELECT id AS kind, rank() OVER (ORDER BY kind, id) FROM orders ORDER BY kind LIMIT 7",
            "SELECT small % 4 AS bucket, string_agg(note, '' ORDER BY id) FROM orders GROUP BY bucket ORDER BY bucket",
        ],
    );
}

#[test]
fn queries_within_queries() {
    assert_same(
        &Twins::new(),
        &[
            "SELECT avg(n), max(n) FROM (SELECT kind, count(*) AS n FROM orders GROUP BY kind) x",
            "WITH o AS (SELECT * FROM orders WHERE id < 200), m AS (SELECT kind, count(*) AS n FROM o GROUP BY kind) SELECT max(n) FROM m",
            "WITH a AS (SELECT kind, sum(amount) AS amount FROM orders GROUP BY kind), b (kind, notes) AS (SELECT kind, count(DISTINCT note) \
             FROM orders GROUP BY kind) SELECT a.kind, amount, notes, k.name FROM a JOIN b USING (kind) LEFT JOIN kinds k USING (kind) \
             ORDER BY kind",
            "SELECT kind, count(*) FROM orders GROUP BY kind HAVING count(*) > (SELECT count(*) / 12 FROM items) ORDER BY kind",
            "SELECT tenant_id, sum(small) FROM orders GROUP BY tenant_id HAVING sum(small) > (SELECT avg(i.order_id) / 100 FROM items i) \
             ORDER BY tenant_id",
            "SELECT kind, 100.0 * count(*) / (SELECT count(*) FROM orders) AS percent FROM orders GROUP BY kind ORDER BY kind",
            "SELECT o.id, i.qty FROM (SELECT id FROM orders WHERE id < 40) o JOIN (SELECT order_id, qty FROM items) i ON i.order_id = o.id \
             ORDER BY 1, 2",
            "SELECT sum(x.amount) FROM (SELECT amount FROM orders ORDER BY id LIMIT 17) x",
            "SELECT 'orders' AS what, n FROM (SELECT count(*) AS n FROM orders) o UNION ALL SELECT 'items', n FROM (SELECT count(*) AS n FROM \
             items) i ORDER BY 1",
            "SELECT k.name FROM kinds k WHERE k.kind IN (SELECT kind FROM orders GROUP BY kind HAVING count(*) > 50) ORDER BY 1",
            "SELECT id, amount FROM orders WHERE amount > (SELECT avg(amount) FROM orders) AND kind BETWEEN 1 AND 3 ORDER BY amount, id",
            "SELECT count(*), sum(small) FROM orders WHERE amount = (SELECT max(amount) FROM orders) OR id < 9",
            "SELECT x.kind, count(*) FROM (SELECT kind FROM orders o WHERE small > (SELECT avg(i.small) FROM orders i) AND EXISTS (SELECT FROM items x \
             WHERE x.tenant_id = o.tenant_id AND x.order_id = o.id)) x GROUP BY x.kind ORDER BY x.kind",
            "WITH r AS (SELECT tenant_id, sum(small) AS total FROM orders GROUP BY tenant_id) SELECT tenant_id, total FROM r WHERE total = \
             (SELECT max(total) FROM r)",
            "SELECT tenant_id, id FROM orders WHERE (tenant_id, id) IN (SELECT tenant_id, order_id FROM items GROUP BY 1, 2) ORDER BY 2",
        ],
    );
}

#[test]
fn parameters_are_where_they_belong() {
    let twins = Twins::new();
    let (mut direct, mut through) = twins.wires();
    for (text, values) in [
        (
            "SELECT kind, count(DISTINCT note) FILTER (WHERE id > $1), lag(count(*), $2, $3) OVER (ORDER BY kind) FROM orders WHERE small > $4 \
             GROUP BY kind ORDER BY kind LIMIT $5",
            &["20", "1", "77", "-9", "3"][..],
        ),
        (
            "WITH m AS (SELECT kind, sum(amount) + $1 AS a FROM orders WHERE id < $2 GROUP BY kind) SELECT kind, a - $1 FROM m WHERE kind > $3 \
             ORDER BY kind",
            &["5", "100", "1"],
        ),
        (
            "SELECT kind, count(*) FROM orders GROUP BY kind HAVING count(*) > (SELECT count(*) FROM items WHERE id < $1) ORDER BY kind",
            &["50"],
        ),
        (
            "SELECT id, lag(id, $2) OVER (ORDER BY id) FROM orders WHERE kind = $1 ORDER BY id LIMIT $3",
            &["2", "2", "9"],
        ),
    ] {
        assert_eq!(
            direct.extended(text, values),
            through.extended(text, values),
            "{text}"
        );
    }
}

#[test]
fn more_than_may_be_held_is_refused() {
    let twins = Twins::with("merge_memory = 65536", "");
    let (_, mut through) = twins.wires();
    for text in [
        "SELECT count(DISTINCT repeat(note || id, 500)) FROM orders",
        "SELECT count(DISTINCT (id, g)) FROM orders, generate_series(1, 90) g",
        "SELECT id, rank() OVER (ORDER BY g, id) FROM orders, generate_series(1, 90) g",
        "SELECT max(n) FROM (SELECT id, g, count(*) AS n FROM orders, generate_series(1, 90) g GROUP BY id, g) x",
    ] {
        assert_eq!(through.sqlstate(text), "53200", "{text}");
        assert_eq!(through.value("SELECT count(*) FROM orders"), "300");
    }
}

/// Other collations than the database's are not known: what sorts or tells apart by them is refused.
#[test]
fn texts_under_other_collations_are_not_guessed() {
    let own = "CREATE DOMAIN word AS text COLLATE \"C\"; CREATE TABLE own (id int, tenant_id bigint, t text COLLATE \"C\", d text, w word); \
        INSERT INTO own SELECT n, n, chr(60 + n), chr(60 + n), chr(60 + n) FROM generate_series(1, 60) n;";
    let twins = Twins::with("", own);
    for number in 0..4 {
        let keep = format!(
            "CREATE TABLE placed (k bigint) PARTITION BY HASH (k); DELETE FROM own WHERE NOT satisfies_hash_partition('placed'::regclass, 4, \
             {number}, tenant_id); DROP TABLE placed"
        );
        twins.sharded.shard(number).psql(&keep);
    }
    assert_same(
        &twins,
        &[
            "SELECT count(DISTINCT d), min(d) FROM own",
            "SELECT id FROM own ORDER BY t COLLATE \"C\"",
        ],
    );
    let (_, mut through) = twins.wires();
    for text in [
        "SELECT min(t) FROM own",
        "SELECT count(DISTINCT t) FROM own",
        "SELECT max(w) FROM own",
        "SELECT t FROM own ORDER BY t",
        "SELECT t, count(*) FROM own GROUP BY t ORDER BY t",
        "SELECT min(d COLLATE \"C\") FROM own",
        "SELECT id, rank() OVER (ORDER BY t) FROM own",
        "SELECT max(x) FROM (SELECT t AS x, count(*) FROM own GROUP BY 1) o",
    ] {
        let answer = frames(&mut through, &messages(Way::Simple, text));
        assert!(refusal(&answer).is_some(), "{text}: {answer:?}");
    }
}

/// Each shard answers all queries within one at one moment.
#[test]
fn queries_within_one_are_of_one_moment() {
    let twins = Twins::new();
    let (_, mut through) = twins.wires();
    let mut writer = twins.proxy.door(&twins.sharded.first).wire();
    let written = "BEGIN; INSERT INTO orders (id, tenant_id) VALUES (1000, 3); INSERT INTO items (id, tenant_id, order_id) VALUES (1000, 3, 1000); \
        COMMIT";
    writer.query(written);
    let is_over = std::sync::atomic::AtomicBool::new(false);
    let over = || is_over.load(std::sync::atomic::Ordering::Relaxed);
    std::thread::scope(|threads| {
        threads.spawn(|| {
            while !over() {
                writer.query(written);
            }
        });
        let text = "WITH a AS (SELECT id, count(*) AS n FROM orders WHERE id = 1000 GROUP BY id), b AS (SELECT order_id, count(*) AS n FROM items \
            WHERE order_id = 1000 GROUP BY order_id) SELECT a.n - b.n FROM a FULL JOIN b ON b.order_id = a.id";
        let seen: Vec<String> = (0..60).flat_map(|_| through.rows(text)).collect();
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(
            seen.len() == 60 && seen.iter().all(|difference| difference == "0"),
            "{seen:?}"
        );
    });
}

/// What the parser of trees has no words for is read all the same: nothing else is in it.
#[test]
fn forms_that_few_know_are_answered() {
    let more = "CREATE UNIQUE INDEX ON orders (tenant_id, lower(note)) WHERE id > 5; ALTER TABLE orders ADD COLUMN places inet[]; \
        ALTER TABLE orders ADD COLUMN data jsonb DEFAULT '{}'; ALTER TABLE orders ADD COLUMN n bigint GENERATED ALWAYS AS IDENTITY;";
    let beside = Beside::with(more, |config| config);
    let all = "SELECT id, tenant_id, note, places, data FROM orders ORDER BY tenant_id, id";
    beside.assert_same(&[
        "SELECT id, note FROM orders ORDER BY (note || id)::text COLLATE \"C\" DESC, lower(note)::varchar(4) COLLATE \"C\"",
        "SELECT note::name COLLATE \"C\" FROM orders ORDER BY 1, id",
        "INSERT INTO orders (id, tenant_id, note) VALUES (7, 1, 'A'), (7, 2, 'B'), (8, 3, 'C')",
        "INSERT INTO orders (id, tenant_id, note) VALUES (9, 1, 'a'), (9, 2, 'b'), (9, 4, 'd') \
            ON CONFLICT (tenant_id, lower(note)) WHERE id > 5 DO UPDATE SET note = excluded.note || '!'",
        "UPDATE orders SET places[2] = inet '10.0.0.1', data['a']['b'] = '1' WHERE note NOT SIMILAR TO '%[cC]%'",
        all,
        "SELECT tenant_id, sum(id) OVER (PARTITION BY tenant_id ORDER BY id RANGE BETWEEN '1'::int PRECEDING AND 1::int FOLLOWING \
            EXCLUDE CURRENT ROW) FROM orders ORDER BY tenant_id, id",
        "SELECT count(*), sum(count(*)) OVER (ORDER BY tenant_id ROWS 1 PRECEDING EXCLUDE CURRENT ROW) FROM orders \
            GROUP BY tenant_id ORDER BY tenant_id",
        "SELECT max(concat(VARIADIC ARRAY[note, '-'])) FROM orders WHERE coalesce(places[2], inet '10.0.0.2') > inet '10.0.0.1'",
    ]);
    beside.assert_same(&[
        "BEGIN",
        "INSERT INTO orders (id, tenant_id, n) OVERRIDING SYSTEM VALUE VALUES (20, 1, 1000), (20, 2, 1000), (20, 3, 1000)",
        "SELECT tenant_id, n FROM orders WHERE id = 20 ORDER BY 1",
        "ROLLBACK",
    ]);
}
