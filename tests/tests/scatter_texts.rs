//! Several statements in one text that are for several shards: what one PostgreSQL with the same rows says to each text, and what is
//! there afterwards.

use pgshunt::cli::demo::cluster::{Node, Plan};
use pgshunt_tests::sharded::{RULES, Sharded, TABLES};
use pgshunt_tests::{Cluster, Database, Frame, Messages, Proxy, Wire, cluster};

/// Four shards that can prepare transactions, and one database with all their rows.
struct World {
    whole: Database,
    sharded: Sharded,
    proxy: Proxy,
    _node: Node,
}

impl World {
    fn new() -> World {
        let node = cluster::private(&Plan {
            settings: &[("max_prepared_transactions", "50")],
            ..Plan::default()
        });
        let cluster = Cluster::of(&node);
        let sharded = Sharded::of(&cluster, 4).set_up().filled();
        let whole = cluster.database();
        let fill = format!(
            "{TABLES} INSERT INTO currency VALUES ('EUR', 'Euro'), ('USD', 'Dollar');\
             INSERT INTO tenants SELECT t, 'tenant ' || t FROM generate_series(1, 5) t;\
             INSERT INTO accounts SELECT n, t, 'account ' || n FROM generate_series(1, 5) t, generate_series(1, 2) n;\
             INSERT INTO orders SELECT n, t, n, n * 10, 'of ' || t FROM generate_series(1, 5) t, generate_series(1, 2) n;\
             INSERT INTO items SELECT t, n, n FROM generate_series(1, 5) t, generate_series(1, 2) n"
        );
        whole.door().psql(&fill);
        let proxy = sharded.config(RULES).start();
        World {
            whole,
            sharded,
            proxy,
            _node: node,
        }
    }

    /// The whole's session, and pgshunt's.
    fn wires(&self) -> (Wire, Wire) {
        let mut wires = (
            self.whole.door().wire(),
            self.proxy.door(&self.sharded.first).wire(),
        );
        for wire in [&mut wires.0, &mut wires.1] {
            wire.run("SET client_min_messages = warning");
        }
        wires
    }

    /// Nothing is left half done.
    #[track_caller]
    fn assert_settled(&self) {
        let left = self
            .sharded
            .first
            .door()
            .psql("SELECT count(*) FROM pg_prepared_xacts");
        assert_eq!(left, "0");
    }
}

/// What is answered, with the positions of errors.
fn said(frames: &[Frame]) -> Vec<String> {
    let lines = frames
        .iter()
        .filter(|frame| frame.kind != b'S')
        .map(|frame| match frame.kind {
            b'E' => format!("{frame} at {}", frame.field(b'P')),
            _ => frame.to_string(),
        });
    lines.collect()
}

fn ask(wire: &mut Wire, text: &str) -> Vec<String> {
    wire.send(&Messages::new().query(text));
    said(&wire.until_ready())
}

/// What both hold.
const STATE: &str = "SELECT id, tenant_id, amount, note FROM orders ORDER BY id, tenant_id, amount";

/// Each of these texts must be answered alike, and leave the same behind.
#[track_caller]
fn assert_same(world: &World, texts: &[&str]) {
    let (mut direct, mut through) = world.wires();
    for text in texts {
        let (expected, got) = (ask(&mut direct, text), ask(&mut through, text));
        assert_eq!(got, expected, "{text}");
        if !got.last().is_some_and(|last| last == "Z E") {
            assert_eq!(through.rows(STATE), direct.rows(STATE), "after {text}");
        }
    }
    world.assert_settled();
}

#[test]
fn a_text_is_one_transaction() {
    assert_same(
        &World::new(),
        &[
            "SELECT count(*) FROM orders; SELECT 1",
            "SELECT 1; SELECT sum(amount) FROM orders;; SELECT 'ü', name FROM accounts WHERE tenant_id = 2 ORDER BY id;",
            "INSERT INTO orders (id, tenant_id) VALUES (3, 1); INSERT INTO orders (id, tenant_id) VALUES (3, 2)",
            "UPDATE orders SET note = 'all'; SELECT count(*) FROM orders WHERE note = 'all'; DELETE FROM orders WHERE id = 2",
            "INSERT INTO orders (id, tenant_id) VALUES (9, 1); INSERT INTO orders (id, tenant_id) VALUES (3, 2); SELECT 1",
            "SELECT 'äöü'; UPDATE orders SET amount = 1 / (tenant_id - 3); SELECT 2",
            "SELECT 'äöü'; SELECT nothing FROM orders WHERE tenant_id = 3; SELECT count(*) FROM orders",
            "COPY (SELECT * FROM items WHERE tenant_id = 2 ORDER BY 2) TO STDOUT; SELECT count(*) FROM items",
        ],
    );
}

#[test]
fn transactions_begin_and_end_within_texts() {
    assert_same(
        &World::new(),
        &[
            "BEGIN; INSERT INTO orders (id, tenant_id) VALUES (4, 1); INSERT INTO orders (id, tenant_id) VALUES (4, 2); COMMIT",
            "BEGIN; INSERT INTO orders (id, tenant_id) VALUES (5, 1); INSERT INTO orders (id, tenant_id) VALUES (5, 2); ROLLBACK",
            "BEGIN; INSERT INTO orders (id, tenant_id) VALUES (5, 1); INSERT INTO orders (id, tenant_id) VALUES (4, 2); COMMIT",
            "ROLLBACK; SELECT count(*) FROM orders",
            "INSERT INTO orders (id, tenant_id) VALUES (6, 1); COMMIT; INSERT INTO orders (id, tenant_id) VALUES (4, 2)",
            "INSERT INTO orders (id, tenant_id) VALUES (7, 1); ROLLBACK; INSERT INTO orders (id, tenant_id) VALUES (7, 2)",
            "INSERT INTO orders (id, tenant_id) VALUES (8, 1); BEGIN; INSERT INTO orders (id, tenant_id) VALUES (8, 2)",
            "SAVEPOINT a; INSERT INTO orders (id, tenant_id) VALUES (8, 3)",
            "INSERT INTO orders (id, tenant_id) VALUES (8, 4); SELECT count(*) FROM orders; ROLLBACK TO a; COMMIT; SELECT 1",
            "BEGIN; UPDATE orders SET amount = 5; COMMIT; BEGIN; UPDATE orders SET amount = 6; ROLLBACK; SELECT count(*) FROM orders",
            "UPDATE orders SET amount = 7; SAVEPOINT a",
            "BEGIN; UPDATE orders SET amount = 8; COMMIT; CREATE TABL x ()",
            "BEGIN; BEGIN; SELECT count(*) FROM orders; COMMIT; COMMIT",
        ],
    );
}

#[test]
fn a_transaction_on_one_shard_goes_on_with_a_text() {
    assert_same(
        &World::new(),
        &[
            "BEGIN",
            "SAVEPOINT a; INSERT INTO orders (id, tenant_id) VALUES (4, 1)",
            "INSERT INTO orders (id, tenant_id) VALUES (4, 2); SELECT count(*) FROM orders",
            "ROLLBACK TO a; SELECT count(*) FROM orders",
            "INSERT INTO orders (id, tenant_id) VALUES (5, 3); CREATE TABL x; COMMIT",
            "COMMIT",
        ],
    );
}

#[test]
fn settings_of_a_text_that_fails_are_taken_back() {
    assert_same(
        &World::new(),
        &[
            "SET work_mem = '9MB'; UPDATE orders SET amount = 1 / (tenant_id - 3)",
            "SHOW work_mem",
            "SET work_mem = '9MB'; UPDATE orders SET amount = 1",
            "SHOW work_mem",
            "SET LOCAL work_mem = '7MB'; SELECT count(*) FROM orders; SHOW work_mem",
            "SHOW work_mem",
            "SELECT count(*), current_setting('work_mem') FROM orders GROUP BY 2",
        ],
    );
}

#[test]
fn what_can_not_be_right_is_refused() {
    let world = World::new();
    let (_, mut through) = world.wires();
    for text in [
        "SET search_path = other; SELECT count(*) FROM orders",
        "SELECT count(*) FROM orders; CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT 2; END",
        "INSERT INTO orders (id, tenant_id) VALUES (9, 1); INSERT INTO keyless VALUES (1)",
        "UPDATE orders SET amount = 1; BEGIN ISOLATION LEVEL SERIALIZABLE; UPDATE orders SET amount = 2; COMMIT",
    ] {
        assert!(matches!(&*through.sqlstate(text), "0A000" | "42P01"), "{text}");
        assert_eq!(through.value("SELECT count(*) FROM orders WHERE amount < 3"), "0");
    }
    // What PostgreSQL does outside of transactions only.
    assert_eq!(
        through.sqlstate("SELECT count(*) FROM orders; VACUUM orders"),
        "25001"
    );
    world.assert_settled();
}
