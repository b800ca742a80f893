//! Cursors and portals over more rows of several shards than may be held: their rows come as they are asked for, and some outlive the
//! transaction.

use std::time::Instant;

use pgshunt_tests::beside::{Beside, said};
use pgshunt_tests::programs::resident_bytes_max;
use pgshunt_tests::{Messages, Wire};

/// Rows of each of five tenants.
const EACH: usize = 4000;

/// A world whose items take some 60 times what may be held.
fn world() -> Beside {
    let world = Beside::with("", |config| config.pool("merge_memory = 65536"));
    for tenant in 1..=5 {
        let fill = format!(
            "INSERT INTO items SELECT {tenant}, n, n * 7919 % 1000 FROM generate_series(100, {}) n; ANALYZE items",
            EACH + 99
        );
        world.whole.door().psql(&fill);
        let shard = if tenant <= 3 { tenant } else { 0 };
        world.sharded.shard(shard).psql(&fill);
    }
    world
}

const ITEMS: &str =
    "SELECT qty, tenant_id, order_id, repeat('x', 150) FROM items ORDER BY qty DESC, order_id, tenant_id";

#[test]
fn more_rows_than_fit_come_as_they_are_fetched() {
    let world = world();
    let (mut direct, mut through) = world.wires();
    let mut both = |text: &str| {
        let (expected, got) = (direct.query(text), through.query(text));
        assert_eq!(got, expected, "{text}");
        got.len()
    };
    both("BEGIN");
    both(&format!("DECLARE c NO SCROLL CURSOR FOR {ITEMS}"));
    both("FETCH 3 FROM c");
    // What is written meanwhile is not seen, nor what another cursor is at.
    both("UPDATE items SET qty = -1 WHERE tenant_id = 2");
    both(&format!("DECLARE d CURSOR FOR {ITEMS}"));
    both("FETCH 10 FROM d");
    both("SELECT count(*), sum(qty) FROM items");
    let mut rounds = 0;
    while both("FETCH 1000 FROM c") > 3 {
        rounds += 1;
        both("FETCH 1 FROM d");
        both("SELECT count(*) FROM orders");
        both("MOVE 100 IN c");
    }
    assert!(rounds > 15, "{rounds}");
    both("CLOSE c");
    both("FETCH ALL FROM d");
    both("ROLLBACK");
}

#[test]
fn the_first_rows_come_before_the_last_are_read() {
    let world = world();
    let (_, mut through) = world.wires();
    // Half a millisecond for each row: all of them would take ten seconds.
    let began = Instant::now();
    through.run("BEGIN");
    through.run("DECLARE c NO SCROLL CURSOR FOR SELECT qty, pg_sleep(0.0005) FROM items");
    assert_eq!(through.rows("FETCH 100 FROM c").len(), 100);
    let took = began.elapsed();
    through.run("COMMIT");
    assert!(took < std::time::Duration::from_secs(2), "{took:?}");
}

/// Rows are not held: `PGSHUNT_ROWS=10000000` for ten million.
#[test]
fn millions_of_rows_are_fetched_in_little_memory() {
    let rows = std::env::var("PGSHUNT_ROWS")
        .ok()
        .and_then(|rows| rows.parse().ok());
    let rows = rows.unwrap_or(200_000_u64);
    let world = Beside::new();
    let (_, mut through) = world.wires();
    let peak = || resident_bytes_max(world.proxy.pid()) / 1024;
    through.run("SELECT count(*) FROM orders");
    let before = peak();
    for order in ["", " ORDER BY o.id"] {
        through.run("BEGIN");
        through.run(&format!(
            "DECLARE c NO SCROLL CURSOR FOR SELECT o.id, g, repeat('x', 50) FROM orders o, generate_series(1, {}) g{order}",
            rows / 10
        ));
        let began = Instant::now();
        let mut count = through.rows("FETCH 1000 FROM c").len();
        let first = began.elapsed();
        loop {
            let fetched = through.rows("FETCH 1000 FROM c").len();
            count += fetched;
            if fetched == 0 {
                break;
            }
        }
        through.run("COMMIT");
        let took = began.elapsed();
        println!("{count} rows{order}: the first 1000 within {first:?}, all within {took:?}");
        assert_eq!(count as u64, rows / 10 * 10);
    }
    let grown = peak() - before;
    println!("pgshunt's memory grew by {grown} kB");
    assert!(grown < 16 * 1024, "{grown} kB");
}

#[test]
fn one_declared_without_a_word_goes_back_as_long_as_its_rows_fit() {
    let world = world();
    let (mut direct, mut through) = world.wires();
    let mut both = |text: &str| {
        let (expected, got) = (direct.query(text), through.query(text));
        assert_eq!(got, expected, "{text}");
    };
    both("BEGIN");
    both(&format!("DECLARE c CURSOR FOR {ITEMS}"));
    both("FETCH 50 FROM c");
    both("FETCH BACKWARD 20 FROM c");
    both("FETCH ABSOLUTE 3 FROM c");
    both("FETCH 3000 FROM c");
    let error = through.query("FETCH PRIOR FROM c").remove(0);
    assert!(
        error.contains("55000") && error.contains("cursor can only scan forward"),
        "{error}"
    );
    through.run("ROLLBACK");
    through.run("BEGIN");
    through.run(&format!("DECLARE c SCROLL CURSOR FOR {ITEMS}"));
    assert_eq!(through.sqlstate("FETCH 3000 FROM c"), "53200");
    through.run("ROLLBACK");
}

/// As JDBC does with a fetch size, and psycopg with `stream`.
#[test]
fn portals_give_more_rows_than_fit_a_few_at_a_time() {
    let world = world();
    let (mut direct, mut through) = world.wires();
    let mut both = |messages: Messages| {
        let (expected, got) = (said(&mut direct, &messages), said(&mut through, &messages));
        assert!(
            got == expected,
            "{:?}\n{:?}",
            &got[got.len() - 2..],
            &expected[expected.len() - 2..]
        );
        got
    };
    let bind = |portal: &str, statement: &str| {
        Messages::new()
            .bind(portal, statement, &["-1"])
            .describe(b'P', portal)
    };
    let query = ITEMS.replace("ORDER", "WHERE qty > $1::int ORDER");
    both(Messages::new().parse("s", &query).describe(b'S', "s").sync());
    both(Messages::new().query("BEGIN"));
    both(bind("p", "s").execute("p", 700).sync());
    // Another of the same, in which something is written meanwhile.
    both(bind("q", "s").execute("q", 3).sync());
    both(Messages::new().query("UPDATE items SET qty = 5 WHERE tenant_id = 3"));
    both(Messages::new().query("SAVEPOINT a"));
    both(bind("", "s").execute("", 5).execute("", 6).sync());
    both(bind("", "s").execute("", 5).sync());
    both(Messages::new().query("ROLLBACK TO a"));
    both(Messages::new().execute("", 5).sync());
    both(Messages::new().query("ROLLBACK TO a"));
    let mut rounds = 0;
    while both(Messages::new().execute("p", 700).execute("q", 1).sync()).len() > 5 {
        rounds += 1;
    }
    assert!(rounds > 20, "{rounds}");
    both(Messages::new().close(b'P', "p").sync());
    both(Messages::new().execute("q", 0).sync());
    both(Messages::new().execute("q", 5).sync());
    both(Messages::new().query("COMMIT"));
    both(Messages::new().execute("q", 5).sync());
}

#[test]
fn a_cursor_fetched_in_binary_comes_in_binary() {
    let world = world();
    let (mut direct, mut through) = world.wires();
    let fetch = |format: u16, count: u32| {
        let mut bind = b"\0\0\0\0\0\0\0\x01".to_vec();
        bind.extend_from_slice(&format.to_be_bytes());
        let text = format!("FETCH FORWARD {count} FROM c");
        let messages = Messages::new().parse("", &text).raw(b'B', &bind);
        messages.describe(b'P', "").execute("", 0).sync()
    };
    for messages in [
        Messages::new().query("BEGIN"),
        Messages::new().query(&format!("DECLARE c NO SCROLL CURSOR FOR {ITEMS}")),
        Messages::new().describe(b'P', "c").sync(),
        fetch(1, 300),
        fetch(1, 3000),
        Messages::new().query("CLOSE c"),
        Messages::new().query(&format!("DECLARE c BINARY NO SCROLL CURSOR FOR {ITEMS}")),
        Messages::new().describe(b'P', "c").sync(),
        Messages::new().query("FETCH 5 FROM c"),
        fetch(1, 3),
        Messages::new().query("CLOSE c"),
    ] {
        let (expected, got) = (said(&mut direct, &messages), said(&mut through, &messages));
        assert!(got == expected, "{:?} {:?}", got.first(), expected.first());
    }
    through.run(&format!("DECLARE c NO SCROLL CURSOR FOR {ITEMS}"));
    through.run("FETCH 5 FROM c");
    let refused = said(&mut through, &fetch(1, 3)).join(" ");
    assert!(refused.contains("0A000"), "{refused}");
}

fn pins(through: &mut Wire, world: &Beside) -> Vec<String> {
    through.run("SELECT 1");
    let rows = world.proxy.console().wire().rows("SHOW PINS");
    rows.iter()
        .filter_map(|row| {
            row.rsplit('|')
                .find(|field| field.contains("HOLD"))
                .map(str::to_owned)
        })
        .collect()
}

#[test]
fn cursors_with_hold_outlive_their_transaction() {
    let world = world();
    let texts: Vec<String> = [
        "BEGIN",
        "DECLARE c SCROLL CURSOR WITH HOLD FOR SELECT id, tenant_id FROM orders ORDER BY 1, 2",
        "DECLARE n NO SCROLL CURSOR WITH HOLD FOR SELECT id, tenant_id FROM orders ORDER BY 1 DESC, 2 LIMIT 7",
        "DECLARE one CURSOR WITH HOLD FOR SELECT id FROM orders WHERE tenant_id = 3 ORDER BY 1",
        "DECLARE g CURSOR WITH HOLD FOR SELECT tenant_id, count(*) FROM orders GROUP BY 1 ORDER BY 1",
        "DECLARE gone CURSOR FOR SELECT id FROM orders ORDER BY 1",
        "FETCH 3 c",
        "FETCH 2 n",
        "UPDATE orders SET amount = amount + 1",
        "COMMIT",
        "FETCH 2 c",
        "FETCH 1 n",
        "FETCH ALL one",
        "FETCH 2 g",
        "FETCH gone",
        "FETCH BACKWARD 10 c",
        "UPDATE orders SET amount = amount + 1 WHERE tenant_id = 2",
        "BEGIN",
        "FETCH 2 c",
        "SELECT sum(amount) FROM orders",
        "SELECT 1 / 0",
        "ROLLBACK",
        "FETCH c",
        "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
        "CLOSE c",
        "FETCH c",
        "BEGIN",
        "DECLARE c CURSOR WITH HOLD FOR SELECT id FROM orders ORDER BY 1",
        "ROLLBACK",
        "FETCH c",
        "FETCH n",
        "DECLARE c NO SCROLL CURSOR WITH HOLD FOR SELECT id, tenant_id FROM orders ORDER BY 1, 2",
        "FETCH 4 c",
        "SELECT count(*) FROM orders WHERE tenant_id = 1",
        "FETCH 4 c",
        "FETCH ALL n; FETCH 1 g; SELECT 1",
        "DECLARE e CURSOR WITH HOLD FOR SELECT id FROM orders ORDER BY 1; FETCH 2 e",
        "FETCH 3 e",
        "DISCARD ALL",
        "FETCH e",
        "FETCH c",
    ]
    .map(str::to_owned)
    .into();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    world.assert_same(&texts);
}

#[test]
fn outside_of_a_transaction_the_shards_keep_what_a_cursor_with_hold_has_left() {
    let world = world();
    let (mut direct, mut through) = world.wires();
    let mut both = |text: &str, through: &mut Wire| {
        let (expected, got) = (direct.query(text), through.query(text));
        assert_eq!(got, expected, "{text}");
        got.len()
    };
    both(
        &format!("DECLARE c NO SCROLL CURSOR WITH HOLD FOR {ITEMS}"),
        &mut through,
    );
    both("FETCH 10 FROM c", &mut through);
    assert_eq!(pins(&mut through, &world), ["cursors WITH HOLD"]);
    both("UPDATE items SET qty = -5 WHERE tenant_id = 4", &mut through);
    let mut rounds = 0;
    while both("FETCH 1500 FROM c", &mut through) > 3 {
        rounds += 1;
        both("SELECT count(*) FROM orders", &mut through);
    }
    assert!(rounds > 10, "{rounds}");
    both("CLOSE c", &mut through);
    assert_eq!(pins(&mut through, &world), [""; 0]);
    // Nothing of it is left on a server that others are lent.
    let mut other = world.proxy.door(&world.sharded.first).wire();
    for tenant in 1..=4 {
        other.run(&format!("SELECT count(*) FROM orders WHERE tenant_id = {tenant}"));
        assert_eq!(other.rows("SELECT name FROM pg_cursors"), [""; 0]);
    }
    // In a transaction what is left must fit when it commits.
    through.run("BEGIN");
    through.run(&format!("DECLARE c NO SCROLL CURSOR WITH HOLD FOR {ITEMS}"));
    through.run("UPDATE orders SET note = 'never' WHERE id = 1");
    assert_eq!(through.sqlstate("COMMIT"), "53200");
    assert_eq!(
        through.rows("SELECT count(*) FROM orders WHERE note = 'never'"),
        ["0"]
    );
    assert_eq!(pins(&mut through, &world), [""; 0]);
    through.run("BEGIN");
    through.run(&format!("DECLARE c NO SCROLL CURSOR WITH HOLD FOR {ITEMS}"));
    through.run(&format!("MOVE {} IN c", 5 * EACH - 50));
    through.run("COMMIT");
    let left = through.rows("FETCH ALL FROM c").len();
    assert_eq!(left, 60, "{left}");
}

#[test]
fn a_fetch_is_cancelled_and_a_shard_that_is_lost_is_told_of() {
    let world = world();
    let (_, mut through) = world.wires();
    through.run("BEGIN");
    through.run("DECLARE before NO SCROLL CURSOR FOR SELECT id FROM orders ORDER BY id, tenant_id");
    through.run("SAVEPOINT a");
    through.run("DECLARE c NO SCROLL CURSOR FOR SELECT id, pg_sleep(1) FROM orders");
    through.send(&Messages::new().query("FETCH ALL FROM c"));
    world.sharded.first.runs("FETCH FORWARD");
    through.cancel();
    let answer = through.until_ready();
    let error = answer.iter().find(|frame| frame.kind == b'E').expect("an error");
    assert_eq!(error.sqlstate(), "57014", "{error}");
    through.run("ROLLBACK TO a");
    assert_eq!(through.rows("FETCH 2 FROM before"), ["1", "1"]);
    through.run("COMMIT");
    let lose = || {
        let lost = format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{}_s2'",
            world.sharded.first.name
        );
        world.sharded.first.superuser().psql(&lost);
    };
    for hold in ["", "WITH HOLD"] {
        through.run(if hold.is_empty() { "BEGIN" } else { "SELECT 1" });
        through.run(&format!("DECLARE c NO SCROLL CURSOR {hold} FOR {ITEMS}"));
        through.run("FETCH 1 FROM c");
        lose();
        let code = through.sqlstate("FETCH ALL FROM c");
        assert!(["57P01", "08006"].contains(&&*code), "{code}");
        through.run(if hold.is_empty() { "ROLLBACK" } else { "CLOSE c" });
        assert_eq!(through.rows("SELECT count(*) FROM orders"), ["10"]);
    }
    assert_eq!(pins(&mut through, &world), [""; 0]);
}

#[test]
fn what_is_written_otherwise_from_now_on_is_sorted_all_the_same() {
    Beside::new().assert_same(&[
        "BEGIN",
        "SELECT count(*) FROM orders",
        "SET LOCAL bytea_output = 'escape'",
        "SELECT decode(lpad(to_hex(id * 50 + tenant_id * 9), 2, '0'), 'hex') AS b FROM orders ORDER BY b",
        "DECLARE c CURSOR FOR SELECT decode(lpad(to_hex(id * 50 + tenant_id * 9), 2, '0'), 'hex') AS b FROM orders ORDER BY b",
        "FETCH 4 c",
        "FETCH ALL c",
        "ROLLBACK",
    ]);
}

/// What a database's sessions begin with, nobody reports; it is asked for.
#[test]
fn a_database_may_begin_its_sessions_with_values_written_otherwise() {
    let own = "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET bytea_output = escape', current_database()); \
        EXECUTE format('ALTER DATABASE %I SET extra_float_digits = 0', current_database()); END $$";
    let beside = Beside::with(own, |config| config);
    let bytes =
        "SELECT decode(lpad(to_hex(id * 50 + tenant_id * 9), 2, '0'), 'hex') AS b FROM orders ORDER BY b";
    // Written rounded they are all alike.
    let floats = "SELECT id, tenant_id FROM orders ORDER BY (0.1 + tenant_id * id * 1e-16)::float8, id";
    let shown =
        "SELECT (0.1 + tenant_id * id * 1e-16)::float8 AS f, id, tenant_id FROM orders ORDER BY f DESC, id";
    beside.assert_same(&[
        "SHOW bytea_output",
        "SHOW extra_float_digits",
        bytes,
        "SET bytea_output = hex",
        bytes,
        "SET extra_float_digits = 1",
        floats,
        shown,
        "BEGIN",
        &format!("DECLARE c CURSOR FOR {shown}"),
        "FETCH 3 c",
        "FETCH ALL c",
        "COMMIT",
    ]);
    let (_, mut through) = beside.wires();
    let refused =
        "E ERROR 0A000 rows of several shards can't be sorted by floating point that is written rounded";
    for text in [floats, shown] {
        assert_eq!(through.query(text)[1..], [refused, "Z I"], "{text}");
        through.run("BEGIN; SET LOCAL extra_float_digits = 3");
        assert_eq!(through.rows(text).len(), 10, "{text}");
        through.run("ROLLBACK");
    }
    through.run("SET extra_float_digits = 1");
    through.run("BEGIN");
    assert_eq!(through.rows("SELECT count(*) FROM orders"), ["10"]);
    through.run("SET LOCAL extra_float_digits = -14");
    assert_eq!(through.query(shown)[1..], [refused, "Z E"]);
    through.run("ROLLBACK");
}
