//! Several shards answer as one PostgreSQL with all the rows does, byte for byte, or not at all: through the real proxy, by both
//! protocols, in text and binary.

use pgshunt_tests::programs::resident_bytes_max;
use pgshunt_tests::twins::{Twins, assert_same};
use pgshunt_tests::ways::{Way, frames, messages, refusal};
use pgshunt_tests::{Messages, Wire};

#[test]
fn every_type_sorts_as_postgresql_sorts_it() {
    let twins = Twins::new();
    twins.typed();
    let columns = "t c v n f d s b o bo da ts tz ti i u by j ip m na bi";
    let mut texts: Vec<String> = Vec::new();
    for column in columns.split(' ') {
        texts.push(format!("SELECT {column}, id FROM typed ORDER BY {column}, id"));
        texts.push(format!(
            "SELECT id FROM typed ORDER BY {column} DESC NULLS LAST, id DESC LIMIT 9 OFFSET 4"
        ));
        if column != "j" {
            texts.push(format!(
                "SELECT {column} FROM typed WHERE id < 30 GROUP BY {column} ORDER BY {column}"
            ));
        }
    }
    texts.push("SELECT min(t), max(da), min(tz), max(n), sum(b), avg(f::float8) FROM typed".into());
    texts.push("SELECT t COLLATE \"C\" FROM typed ORDER BY 1, id".replace("1, id", "t COLLATE \"C\", id"));
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    assert_same(&twins, &texts);
    // Other settings, other texts.
    let (mut direct, mut through) = twins.wires();
    let arrays = "SELECT a, id FROM typed ORDER BY a, id";
    assert_eq!(direct.query(arrays), through.query(arrays));
    let answer = frames(&mut through, &messages(Way::Binary, arrays));
    assert!(
        refusal(&answer).is_some_and(|why| why.contains("array")),
        "{answer:?}"
    );
    for setting in [
        "SET datestyle = 'German'",
        "SET timezone = 'America/New_York'",
        "SET bytea_output = 'escape'",
    ] {
        for text in [
            "SELECT da, id FROM typed ORDER BY da, id",
            "SELECT tz FROM typed ORDER BY tz, id",
            "SELECT by FROM typed ORDER BY by",
        ] {
            direct.run(setting);
            through.run(setting);
            assert_eq!(direct.query(text), through.query(text), "{setting} {text}");
        }
    }
}

#[test]
fn parameters_are_those_of_every_text() {
    let twins = Twins::new();
    let (mut direct, mut through) = twins.wires();
    for (text, values) in [
        (
            "SELECT id, note FROM orders WHERE amount > $1 ORDER BY id LIMIT $2 OFFSET $3",
            &["100", "7", "2"][..],
        ),
        (
            "SELECT id FROM orders WHERE tenant_id = ANY ($1) ORDER BY id",
            &["{1,2,3}"],
        ),
        (
            "SELECT id FROM orders WHERE tenant_id IN ($1, $2) AND id < $3 ORDER BY id DESC",
            &["4", "9", "200"],
        ),
        (
            "SELECT kind, count(*) + $1::int FROM orders WHERE id > $2 GROUP BY kind HAVING count(*) > $3 ORDER BY kind",
            &["5", "20", "2"],
        ),
        ("SELECT sum(amount) FROM orders WHERE note LIKE $1", &["a%"]),
        ("SELECT id FROM orders ORDER BY id LIMIT $1", &["-1"]),
        ("SELECT id FROM orders ORDER BY id LIMIT 5 OFFSET $1", &["-3"]),
        ("SELECT id FROM orders WHERE amount > $1", &["no number"]),
    ] {
        let expected = direct.extended(text, values);
        let got = through.extended(text, values);
        let sorted = |mut lines: Vec<String>| {
            if !text.contains("ORDER BY") {
                lines.sort();
            }
            // A value that can't be read is found when it is run, not when it is bound.
            if lines.iter().any(|line| line.starts_with("E ERROR 22")) {
                lines.retain(|line| !line.starts_with(['2', 'T']));
            }
            lines
        };
        assert_eq!(sorted(expected), sorted(got), "{text}");
    }
    // By name, described first, run again and again.
    let prepare = Messages::new()
        .parse("p", "SELECT id, kind FROM orders WHERE id < $1 ORDER BY kind, id")
        .describe(b'S', "p")
        .sync();
    assert_eq!(direct.exchange(&prepare), through.exchange(&prepare));
    for most in ["5", "50", "0"] {
        let run = Messages::new().run("p", &[most]).sync();
        assert_eq!(direct.exchange(&run), through.exchange(&run));
    }
    let two = Messages::new()
        .run("p", &["4"])
        .run("p", &["3"])
        .close(b'S', "p")
        .sync();
    assert_eq!(direct.exchange(&two), through.exchange(&two));
}

#[test]
fn portals_give_a_few_rows_at_a_time() {
    let twins = Twins::new();
    let (mut direct, mut through) = twins.wires();
    for text in [
        "SELECT id FROM orders ORDER BY id LIMIT 12",
        "SELECT kind, count(*) FROM orders GROUP BY kind ORDER BY kind",
        "SELECT id FROM orders WHERE false ORDER BY id",
    ] {
        let fetches = Messages::new()
            .parse("", text)
            .bind("p", "", &[])
            .describe(b'P', "p")
            .execute("p", 5)
            .execute("p", 1)
            .execute("p", 6)
            .execute("p", 0)
            .close(b'P', "p")
            .sync();
        assert_eq!(direct.exchange(&fetches), through.exchange(&fetches), "{text}");
    }
    let begin = Messages::new()
        .query("BEGIN")
        .parse("", "SELECT id FROM orders ORDER BY id")
        .bind("c", "", &[])
        .execute("c", 3)
        .sync();
    let more = Messages::new().execute("c", 2).sync().query("COMMIT");
    assert_eq!(direct.exchange(&begin), through.exchange(&begin));
    assert_eq!(direct.exchange(&more), through.exchange(&more));
    let gone = Messages::new().execute("c", 2).sync();
    assert_eq!(direct.exchange(&gone), through.exchange(&gone));
}

#[test]
fn mistakes_are_told_as_postgresql_tells_them() {
    let twins = Twins::new();
    assert_same(
        &twins,
        &[
            "SELECT nothing FROM orders",
            "SELECT id FROM orders ORDER BY nothing",
            "SELECT sum(note) FROM orders",
            "SELECT 1 / (tenant_id - 3) FROM orders WHERE tenant_id = 3 OR tenant_id = 4",
            "SELECT id, 1 / (id - 10) FROM orders ORDER BY id",
            "SELECT count(*) FROM orders WHERE 1 / (id - 10) > 0",
        ],
    );
}

#[test]
fn a_failed_shard_is_named_and_the_others_stop() {
    let twins = Twins::new();
    let (_, mut through) = twins.wires();
    for way in [Way::Simple, Way::Text] {
        let text = "SELECT id, 1 / (id - 10), pg_sleep(CASE WHEN tenant_id = 11 THEN 0 ELSE 0.5 END) FROM orders ORDER BY id";
        let answer = frames(&mut through, &messages(way, text));
        let error = answer.iter().find(|frame| frame.kind == b'E').expect("an error");
        assert_eq!(
            (error.sqlstate().as_str(), error.field(b'M').as_str()),
            ("22012", "division by zero")
        );
        assert!(error.field(b'W').contains("shard \"s"), "{}", error.field(b'W'));
        assert_eq!(through.value("SELECT count(*) FROM orders"), "300");
    }
    // In a transaction it is the transaction that has failed.
    through.run("BEGIN");
    assert_eq!(through.value("SELECT count(*) FROM orders"), "300");
    through.run("SAVEPOINT here");
    assert_eq!(through.sqlstate("SELECT 1 / (id - 10) FROM orders"), "22012");
    assert_eq!(through.sqlstate("SELECT count(*) FROM orders"), "25P02");
    through.run("ROLLBACK TO here");
    assert_eq!(through.value("SELECT count(*) FROM orders"), "300");
    assert_eq!(through.sqlstate("SELECT 1 / (id - 10) FROM orders"), "22012");
    assert_eq!(through.query("COMMIT"), ["C ROLLBACK", "Z I"]);
}

#[test]
fn a_cancel_reaches_every_shard() {
    let twins = Twins::new();
    let (_, mut through) = twins.wires();
    for text in [
        "SELECT count(*) FROM orders WHERE pg_sleep(1) IS NOT NULL",
        "SELECT id, pg_sleep(1) FROM orders ORDER BY id",
    ] {
        through.send(&Messages::new().query(text));
        twins.sharded.first.runs("pg_sleep");
        through.cancel();
        let answer = through.until_ready();
        let error = answer.iter().find(|frame| frame.kind == b'E').expect("an error");
        assert_eq!(error.sqlstate(), "57014", "{error}");
        let mut watcher = twins.sharded.first.superuser().wire();
        let works = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE datname LIKE '{}%' AND state = 'active' AND pid <> pg_backend_pid()",
            twins.sharded.first.name
        );
        pgshunt_tests::until("shards at rest", || watcher.value(&works) == "0");
        assert_eq!(through.value("SELECT count(*) FROM orders"), "300");
    }
}

#[test]
fn a_shard_that_takes_too_long_is_named() {
    let twins = Twins::with("shard_timeout = \"5s\"", "");
    let (_, mut through) = twins.wires();
    through.send(&Messages::new().query("SELECT count(*) FROM orders WHERE pg_sleep(1) IS NOT NULL"));
    let answer = through.until_ready();
    let error = answer.iter().find(|frame| frame.kind == b'E').expect("an error");
    assert_eq!(error.sqlstate(), "57014");
    assert_eq!(
        error.field(b'M'),
        "canceling statement: a shard took longer than shard_timeout"
    );
    assert!(error.field(b'D').contains("Shard \"s"), "{}", error.field(b'D'));
    assert_eq!(through.value("SELECT count(*) FROM orders"), "300");
}

#[test]
fn what_may_be_held_is_bounded() {
    let twins = Twins::with("merge_memory = 65536", "");
    let (_, mut through) = twins.wires();
    for (text, hint) in [
        (
            "SELECT o.id, i.id, count(*) FROM orders o JOIN items i USING (tenant_id) GROUP BY 1, 2",
            "Group by less",
        ),
        (
            "SELECT o.day - i.id * interval '1 hour' AS i, o.id FROM orders o JOIN items i USING (tenant_id) ORDER BY o.id * interval '1 h'",
            "LIMIT",
        ),
        (
            "SELECT repeat('x', 100000) FROM orders WHERE id < 20",
            "merge_memory",
        ),
    ] {
        through.send(&Messages::new().query(text));
        let answer = through.until_ready();
        let error = answer
            .iter()
            .find(|frame| frame.kind == b'E')
            .unwrap_or_else(|| panic!("{text} was answered"));
        assert_eq!(error.sqlstate(), "53200", "{text}: {error}");
        assert!(error.field(b'H').contains(hint), "{text}: {}", error.field(b'H'));
        assert_eq!(through.value("SELECT count(*) FROM orders"), "300");
    }
}

#[test]
fn settings_and_transactions_are_the_same_everywhere() {
    let twins = Twins::new();
    let (_, mut through) = twins.wires();
    through.run("SET work_mem = '7MB'");
    let everywhere = "SELECT DISTINCT current_setting('work_mem') AS w FROM orders";
    assert_eq!(through.value(everywhere), "7MB");
    through.run("BEGIN");
    through.run("SET LOCAL work_mem = '9MB'");
    assert_eq!(through.value(everywhere), "9MB");
    through.run("SAVEPOINT a");
    through.run("SET work_mem = '11MB'");
    assert_eq!(through.value(everywhere), "11MB");
    through.run("ROLLBACK TO a");
    assert_eq!(through.value(everywhere), "9MB");
    through.run("COMMIT");
    assert_eq!(through.value(everywhere), "7MB");
    through.run("BEGIN");
    assert_eq!(through.value("SELECT count(*) FROM orders"), "300");
    through.run("SET work_mem = '13MB'");
    through.run("COMMIT");
    assert_eq!(through.value(everywhere), "13MB");
    // Another session gets none of it.
    let (_, mut other) = twins.wires();
    assert_ne!(other.value(everywhere), "13MB");
}

#[test]
fn a_repeatable_read_stays_on_one_shard() {
    let twins = Twins::new();
    let (_, mut through) = twins.wires();
    through.run("BEGIN ISOLATION LEVEL REPEATABLE READ");
    through.run("SELECT count(*) FROM orders WHERE tenant_id = 1");
    through.send(&Messages::new().query("SELECT count(*) FROM orders"));
    let answer = through.until_ready();
    let error = answer.iter().find(|frame| frame.kind == b'E').expect("an error");
    assert_eq!(error.sqlstate(), "0A000");
    assert!(error.field(b'M').contains("REPEATABLE READ"), "{error}");
    through.run("ROLLBACK");
    assert_eq!(through.value("SELECT count(*) FROM orders"), "300");
}

#[test]
fn explain_shows_the_plan_of_each_shard() {
    let twins = Twins::new();
    let (_, mut through) = twins.wires();
    let lines = through.rows("EXPLAIN SELECT count(*) FROM orders");
    for shard in ["Shard s0:", "Shard s1:", "Shard s2:", "Shard s3:"] {
        assert!(lines.iter().any(|line| line == shard), "{lines:?}");
    }
    assert_eq!(
        lines
            .iter()
            .filter(|line| line.contains("Seq Scan on orders"))
            .count(),
        4
    );
    through.run("SELECT count(*) FROM orders");
    let route = through.value("SHOW pgshunt.last_route");
    assert!(route.starts_with("shards|s0, s1, s2, s3|"), "{route}");
}

#[test]
fn copy_out_has_one_header() {
    let twins = Twins::new();
    let (mut direct, mut through) = twins.wires();
    for text in [
        "COPY orders TO STDOUT",
        "COPY orders (id, note, amount) TO STDOUT WITH (FORMAT csv, HEADER)",
        "COPY (SELECT id, day FROM orders WHERE amount > 300) TO STDOUT WITH CSV",
    ] {
        let lines = |wire: &mut Wire| {
            let mut lines = wire.query(text);
            let has_header = text.contains("HEADER");
            let first = if has_header { 2 } else { 1 };
            lines[first..].sort();
            lines
        };
        assert_eq!(lines(&mut direct), lines(&mut through), "{text}");
    }
    // A result in binary can be read again.
    let binary = frames(
        &mut through,
        &Messages::new().query("COPY (SELECT id, tenant_id FROM orders) TO STDOUT WITH (FORMAT binary)"),
    );
    let data: Vec<u8> = binary
        .iter()
        .filter(|frame| frame.kind == b'd')
        .flat_map(|frame| frame.body.clone())
        .collect();
    direct.run("CREATE TABLE again (id int, tenant_id bigint)");
    let copied = direct.exchange(
        &Messages::new()
            .query("COPY again FROM STDIN WITH (FORMAT binary)")
            .copy_data(&data)
            .copy_done(),
    );
    assert!(copied.iter().any(|line| line == "C COPY 300"), "{copied:?}");
}

/// The reports of a business, and TPC-H's way of asking.
#[test]
fn reports_are_those_of_one_server() {
    let twins = Twins::new();
    assert_same(
        &twins,
        &[
            "SELECT date_trunc('month', day) AS month, count(*) AS orders, sum(amount) AS revenue, round(avg(amount), 2) AS average \
             FROM orders GROUP BY 1 ORDER BY 1",
            "SELECT tenant_id, sum(amount) AS revenue FROM orders GROUP BY tenant_id ORDER BY revenue DESC NULLS LAST, tenant_id LIMIT 5",
            "WITH m AS (SELECT tenant_id, date_trunc('month', day) AS month, sum(amount) AS revenue FROM orders GROUP BY 1, 2) \
             SELECT tenant_id, month, revenue, revenue - lag(revenue) OVER (PARTITION BY tenant_id ORDER BY month) AS change \
             FROM m ORDER BY tenant_id, month",
            "SELECT ok, kind, sum(amount) AS sum_amount, sum(amount * (1 - ratio::numeric)) AS sum_disc, avg(amount) AS avg_amount, \
             count(*) AS count_order FROM orders WHERE day <= date '2024-03-15' GROUP BY ok, kind ORDER BY ok, kind",
            "SELECT sum(amount * ratio::numeric) AS revenue FROM orders WHERE day >= date '2024-01-10' AND day < date '2024-02-10' \
             AND ratio BETWEEN 0.1 AND 0.9 AND small < 24",
            "SELECT o.kind, k.name, count(*) FROM orders o JOIN kinds k ON k.kind = o.kind WHERE EXISTS (SELECT FROM items i WHERE \
             i.tenant_id = o.tenant_id AND i.order_id = o.id) GROUP BY o.kind, k.name ORDER BY o.kind, k.name",
            "SELECT CASE WHEN sum(CASE WHEN ok THEN 1 ELSE 0 END) > 10 THEN 'many' ELSE 'few' END AS word, max(day) FROM orders",
            "SELECT o.id, sum(i.qty) AS qty FROM orders o JOIN items i ON i.tenant_id = o.tenant_id AND i.order_id = o.id \
             GROUP BY o.tenant_id, o.id HAVING sum(i.qty) > 300000000000 ORDER BY qty DESC, o.id LIMIT 10",
        ],
    );
}

/// Rows are not held: `PGSHUNT_ROWS=10000000` for ten million.
#[test]
fn millions_of_rows_pass_in_little_memory() {
    let rows = std::env::var("PGSHUNT_ROWS")
        .ok()
        .and_then(|rows| rows.parse().ok())
        .unwrap_or(600_000_u64);
    let twins = Twins::new();
    let (_, mut through) = twins.wires();
    let peak = || resident_bytes_max(twins.proxy.pid()) / 1024;
    through.run("SELECT count(*) FROM orders");
    let before = peak();
    for order in ["", " ORDER BY o.id"] {
        let text = format!(
            "SELECT o.id, g, o.note FROM orders o, generate_series(1, {}) g{order}",
            rows / 300
        );
        through.send(&Messages::new().query(&text));
        let (mut count, mut last) = (0, i64::MIN);
        loop {
            let frame = through.read();
            match frame.kind {
                b'D' => {
                    count += 1;
                    if !order.is_empty() {
                        let row = frame.row();
                        let id = row
                            .split('|')
                            .next()
                            .and_then(|id| id.parse().ok())
                            .expect("a number");
                        assert!(id >= last, "{id} behind {last}");
                        last = id;
                    }
                }
                b'Z' => break,
                b'E' => panic!("{frame}"),
                _ => {}
            }
        }
        assert_eq!(count, rows / 300 * 300);
    }
    let grown = peak() - before;
    assert!(grown < 64 * 1024, "{rows} rows took {grown} KiB");
}
