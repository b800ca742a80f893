//! What several shards write they write together: DDL, statements without a key, tables that are whole on every shard, rows of
//! many tenants in one statement, and transactions that go from one shard to another.

use pgshunt::cli::demo::cluster::{Node, Plan};
use pgshunt_tests::sharded::{RULES, Sharded};
use pgshunt_tests::{Cluster, Messages, Proxy, Wire, cluster};

/// Four shards on a server that can prepare transactions.
struct World {
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
        let sharded = Sharded::of(&Cluster::of(&node), 4).set_up().filled();
        let proxy = sharded.config(RULES).start();
        World {
            sharded,
            proxy,
            _node: node,
        }
    }

    fn wire(&self) -> Wire {
        self.proxy.door(&self.sharded.first).wire()
    }

    /// What a query gives on each shard.
    fn each(&self, sql: &str) -> Vec<String> {
        (0..4)
            .map(|number| self.sharded.shard(number).psql(sql))
            .collect()
    }

    /// Nothing is left half done.
    #[track_caller]
    fn assert_settled(&self) {
        assert_eq!(
            self.each("SELECT count(*) FROM pg_prepared_xacts WHERE database = current_database()"),
            ["0"; 4]
        );
    }
}

#[test]
fn ddl_is_done_on_every_shard_or_on_none() {
    let world = World::new();
    let mut wire = world.wire();
    assert_eq!(
        wire.query("CREATE TABLE notes (tenant_id bigint, note text)"),
        ["C CREATE TABLE", "Z I"]
    );
    assert_eq!(
        world.each("SELECT count(*) FROM pg_class WHERE relname = 'notes'"),
        ["1"; 4]
    );
    // It is known at once.
    assert_eq!(wire.value("SELECT count(*) FROM notes"), "0");
    assert_eq!(
        wire.extended("ALTER TABLE notes ADD n int", &[]),
        ["1", "2", "n", "C ALTER TABLE", "Z I"]
    );
    assert_eq!(
        wire.query("CREATE INDEX CONCURRENTLY notes_n ON notes (n)"),
        ["C CREATE INDEX", "Z I"]
    );
    assert_eq!(
        world.each("SELECT count(*) FROM pg_class WHERE relname = 'notes_n'"),
        ["1"; 4]
    );
    let dropped = wire.query("DROP TABLE IF EXISTS never_there");
    assert_eq!(dropped.len(), 3, "one notice: {dropped:?}");
    // On one shard there is something in the way.
    world.sharded.shard(2).psql("CREATE TABLE taken (id int)");
    assert_eq!(wire.sqlstate("CREATE TABLE taken (tenant_id bigint)"), "42P07");
    assert_eq!(
        world.each("SELECT count(*) FROM pg_class WHERE relname = 'taken'"),
        ["0", "0", "1", "0"]
    );
    // In a transaction, and taken back.
    wire.run("BEGIN");
    wire.run("CREATE TABLE gone (tenant_id bigint)");
    wire.run("ROLLBACK");
    assert_eq!(
        world.each("SELECT count(*) FROM pg_class WHERE relname = 'gone'"),
        ["0"; 4]
    );
    world.assert_settled();
}

#[test]
fn statements_without_a_key_write_everywhere() {
    let world = World::new();
    let mut wire = world.wire();
    assert_eq!(
        wire.query("UPDATE orders SET note = 'all' WHERE id = 1"),
        ["C UPDATE 5", "Z I"]
    );
    assert_eq!(wire.value("SELECT count(*) FROM orders WHERE note = 'all'"), "5");
    let mut returned = wire.rows("DELETE FROM orders WHERE id = 2 RETURNING tenant_id");
    returned.sort();
    assert_eq!(returned, ["1", "2", "3", "4", "5"]);
    let updated = wire.extended(
        "UPDATE orders SET amount = amount + $1 WHERE note = $2",
        &["1", "all"],
    );
    assert!(updated.contains(&"C UPDATE 5".to_owned()), "{updated:?}");
    // One fails, none has written.
    let failed = "UPDATE orders SET amount = 1 / (tenant_id - 3)";
    assert_eq!(wire.sqlstate(failed), "22012");
    assert_eq!(wire.value("SELECT count(*) FROM orders WHERE amount = 11"), "5");
    world.assert_settled();
}

#[test]
fn a_table_that_is_whole_everywhere_stays_so() {
    let world = World::new();
    let mut wire = world.wire();
    assert_eq!(
        wire.query("INSERT INTO currency VALUES ('GBP', 'Pound')"),
        ["C INSERT 0 1", "Z I"]
    );
    assert_eq!(
        wire.rows("UPDATE currency SET name = 'Pound sterling' WHERE code = 'GBP' RETURNING name"),
        ["Pound sterling"]
    );
    assert_eq!(
        world.each("SELECT name FROM currency WHERE code = 'GBP'"),
        ["Pound sterling"; 4]
    );
    assert_eq!(
        wire.sqlstate("INSERT INTO currency VALUES ('GBP', 'again')"),
        "23505"
    );
    world.assert_settled();
}

#[test]
fn rows_of_many_tenants_go_each_to_its_shard() {
    let world = World::new();
    let mut wire = world.wire();
    let rows = "INSERT INTO orders (id, tenant_id, amount) VALUES (7, 1, 1), (7, 2, 2), (7, 3, 3), (7, 4, 4), (8, 1, 5) RETURNING id";
    let answer = wire.query(rows);
    assert_eq!(
        answer.iter().filter(|line| line.starts_with('D')).count(),
        5,
        "{answer:?}"
    );
    assert!(answer.contains(&"C INSERT 0 5".to_owned()), "{answer:?}");
    assert_eq!(
        world.each("SELECT count(*) FROM orders WHERE id IN (7, 8)"),
        ["1", "2", "1", "1"]
    );
    let extended = "INSERT INTO orders (id, tenant_id, amount) VALUES ($1, $2, 1), ($1, $3, 2)";
    let answer = wire.extended(extended, &["9", "2", "3"]);
    assert!(answer.contains(&"C INSERT 0 2".to_owned()), "{answer:?}");
    assert_eq!(
        world.each("SELECT count(*) FROM orders WHERE id = 9"),
        ["0", "0", "1", "1"]
    );
    // One of the rows is there already.
    assert_eq!(
        wire.sqlstate("INSERT INTO orders (id, tenant_id) VALUES (100, 1), (9, 2)"),
        "23505"
    );
    assert_eq!(world.each("SELECT count(*) FROM orders WHERE id = 100"), ["0"; 4]);
    world.assert_settled();
}

#[test]
fn copy_splits_its_rows() {
    let world = World::new();
    let mut wire = world.wire();
    let copy = Messages::new()
        .query("COPY items FROM STDIN")
        .copy_data(b"1\t70\t1\n2\t70\t2\n3\t7")
        .copy_data(b"0\t3\n4\t70\t4\n5\t70\t\\N\n")
        .copy_done();
    let answer = wire.exchange(&copy);
    assert_eq!(answer[1..], ["C COPY 5", "Z I"], "{answer:?}");
    assert_eq!(
        world.each("SELECT count(*) FROM items WHERE order_id = 70"),
        ["2", "1", "1", "1"]
    );
    let csv = Messages::new()
        .query("COPY items (qty, tenant_id, order_id) FROM STDIN WITH (FORMAT csv, HEADER)")
        .copy_data(b"qty,tenant_id,order_id\n1,\"1\",71\n2,2,71\n")
        .copy_done();
    let answer = wire.exchange(&csv);
    assert_eq!(answer[1..], ["C COPY 2", "Z I"], "{answer:?}");
    assert_eq!(
        world.each("SELECT count(*) FROM items WHERE order_id = 71"),
        ["0", "1", "1", "0"]
    );
    // What one shard refuses, none has.
    let bad = Messages::new()
        .query("COPY items FROM STDIN")
        .copy_data(b"1\t72\t1\n2\tseventy\t2\n")
        .copy_done();
    let answer = wire.exchange(&bad);
    assert!(
        answer.iter().any(|line| line.starts_with("E ERROR 22P02")),
        "{answer:?}"
    );
    let failed = Messages::new()
        .query("COPY items FROM STDIN")
        .copy_data(b"1\t72\t1\n")
        .copy_fail("no more");
    let answer = wire.exchange(&failed);
    assert!(
        answer.iter().any(|line| line.starts_with("E ERROR 57014")),
        "{answer:?}"
    );
    assert_eq!(
        world.each("SELECT count(*) FROM items WHERE order_id = 72"),
        ["0"; 4]
    );
    assert_eq!(wire.value("SELECT count(*) FROM items"), "17");
    world.assert_settled();
}

#[test]
fn a_transaction_goes_from_shard_to_shard() {
    let world = World::new();
    let mut wire = world.wire();
    for (end, expected) in [("COMMIT", "15"), ("ROLLBACK", "11")] {
        wire.run("BEGIN");
        wire.run("INSERT INTO orders (id, tenant_id) SELECT 20, 1 WHERE NOT EXISTS (SELECT FROM orders WHERE tenant_id = 1 AND id = 20)");
        wire.run("SAVEPOINT a");
        wire.run("INSERT INTO orders (id, tenant_id) VALUES (21, 1)");
        wire.run("ROLLBACK TO a");
        wire.run("INSERT INTO orders (id, tenant_id) VALUES (22, 2)");
        wire.run("INSERT INTO orders (id, tenant_id) VALUES (23, 3), (23, 4), (23, 5)");
        assert_eq!(wire.value("SELECT count(*) FROM orders WHERE id = 21"), "0");
        wire.run("SAVEPOINT b");
        assert_eq!(
            wire.sqlstate("INSERT INTO orders (id, tenant_id) VALUES (22, 2)"),
            "23505"
        );
        wire.run("ROLLBACK TO b");
        assert_eq!(wire.value("SELECT count(*) FROM orders"), "15");
        assert_eq!(wire.query(end), [format!("C {end}"), "Z I".into()]);
        assert_eq!(wire.value("SELECT count(*) FROM orders"), expected);
        world.assert_settled();
        if end == "COMMIT" {
            wire.run("DELETE FROM orders WHERE id > 21");
            assert_eq!(wire.value("SELECT count(*) FROM orders"), "11");
        }
    }
}

/// They meet on the first shard, or their tenant's, wherever the transaction is.
#[test]
fn notifications_and_locks_of_a_transaction_meet_others() {
    let world = World::new();
    let (mut listener, mut wire, mut other) = (world.wire(), world.wire(), world.wire());
    listener.run("LISTEN news");
    let mut hears = |what: &str| {
        let heard = listener.until(b'A');
        let heard = heard.last().map(ToString::to_string).unwrap_or_default();
        assert!(heard.contains(what), "{heard}");
    };
    let insert = |wire: &mut Wire, id: i32, tenant: i32| {
        wire.run(&format!(
            "INSERT INTO orders (id, tenant_id) VALUES ({id}, {tenant})"
        ));
    };
    // Behind a write on another shard, in front of one, and among several.
    wire.run("BEGIN");
    insert(&mut wire, 30, 1);
    wire.run("NOTIFY news, 'behind'");
    wire.run("COMMIT");
    hears("behind");
    wire.run("BEGIN");
    wire.run("NOTIFY news, 'in front'");
    insert(&mut wire, 31, 1);
    insert(&mut wire, 31, 2);
    wire.run("COMMIT");
    hears("in front");
    wire.run("BEGIN");
    insert(&mut wire, 32, 1);
    wire.run("SELECT pg_notify('news', 'among')");
    insert(&mut wire, 32, 2);
    insert(&mut wire, 32, 4);
    wire.run("COMMIT");
    hears("among");
    // One that is rolled back tells nobody.
    wire.run("BEGIN");
    insert(&mut wire, 33, 1);
    wire.run("NOTIFY news, 'never'");
    wire.run("ROLLBACK");
    wire.run("INSERT INTO orders (id, tenant_id) VALUES (34, 1); NOTIFY news, 'of a text'");
    hears("of a text");
    assert_eq!(wire.value("SELECT count(*) FROM orders WHERE id > 29"), "7");
    // Locks.
    let tries = |wire: &mut Wire| wire.value("SELECT pg_try_advisory_xact_lock(5)");
    wire.run("BEGIN");
    insert(&mut wire, 35, 1);
    assert_eq!(tries(&mut wire), "t");
    assert_eq!(tries(&mut other), "f");
    insert(&mut wire, 35, 2);
    wire.run("COMMIT");
    assert_eq!(tries(&mut other), "t");
    wire.run("BEGIN");
    insert(&mut wire, 36, 1);
    wire.run("SELECT pg_advisory_lock(5)");
    wire.run("COMMIT");
    assert_eq!(tries(&mut other), "f");
    assert_eq!(wire.value("SELECT pg_advisory_unlock(5)"), "t");
    assert_eq!(tries(&mut other), "t");
    // A tenant's own.
    for wire in [&mut listener, &mut wire] {
        wire.run("UNLISTEN *");
        wire.run("SET pgshunt.tenant = '2'");
    }
    listener.run("LISTEN news");
    wire.run("BEGIN");
    insert(&mut wire, 37, 2);
    wire.run("UPDATE currency SET name = name");
    wire.run("NOTIFY news, 'of two'");
    wire.run("COMMIT");
    let heard = listener.until(b'A');
    assert!(
        heard
            .last()
            .is_some_and(|frame| frame.to_string().contains("of two"))
    );
    // Nobody could hear what is listened to among shards.
    wire.run("RESET pgshunt.tenant");
    wire.run("BEGIN");
    insert(&mut wire, 38, 1);
    assert_eq!(wire.sqlstate("LISTEN news"), "0A000");
    wire.run("ROLLBACK");
    world.assert_settled();
}

#[test]
fn a_commit_that_fails_on_one_shard_fails_on_all() {
    let world = World::new();
    world.sharded.on_all(
        "ALTER TABLE accounts ADD CONSTRAINT one UNIQUE (tenant_id, name) DEFERRABLE INITIALLY DEFERRED",
    );
    let mut wire = world.wire();
    wire.run("BEGIN");
    wire.run("INSERT INTO accounts VALUES (5, 1, 'new')");
    wire.run("INSERT INTO accounts VALUES (5, 2, 'account 1')");
    assert_eq!(wire.sqlstate("COMMIT"), "23505");
    assert_eq!(wire.value("SELECT count(*) FROM accounts WHERE id = 5"), "0");
    world.assert_settled();
    // The next one is as any other.
    wire.run("BEGIN");
    wire.run("UPDATE accounts SET name = name || '!'");
    wire.run("COMMIT");
    assert_eq!(
        wire.value("SELECT count(*) FROM accounts WHERE name LIKE '%!'"),
        "10"
    );
    world.assert_settled();
}

#[test]
fn an_extended_batch_is_one_transaction() {
    let world = World::new();
    let mut wire = world.wire();
    let batch = Messages::new()
        .once("UPDATE orders SET note = 'batch'", &[])
        .once("INSERT INTO orders (id, tenant_id) VALUES (1, 1), (1, 2)", &[])
        .sync();
    let answer = wire.exchange(&batch);
    assert!(
        answer.iter().any(|line| line.starts_with("E ERROR 23505")),
        "{answer:?}"
    );
    assert_eq!(
        wire.value("SELECT count(*) FROM orders WHERE note = 'batch'"),
        "0"
    );
    world.assert_settled();
}

#[test]
fn what_a_function_has_written_is_committed_everywhere_or_nowhere() {
    let mut world = World::new();
    // It marks the tenant; that there is one mark only is looked at when the transaction ends.
    world.sharded.on_all(
        "CREATE TABLE marks (tenant_id bigint, UNIQUE (tenant_id) DEFERRABLE INITIALLY DEFERRED);\
         CREATE FUNCTION mark(bigint) RETURNS bigint LANGUAGE sql AS 'INSERT INTO marks VALUES ($1) RETURNING $1'",
    );
    let rules = RULES.replace("[sharding]\n", "[sharding]\nfunctions = [\"mark\"]\n");
    world.proxy = world.sharded.config(&rules).start();
    let marks = |world: &World| world.each("SELECT count(*) FROM marks");
    world.sharded.shard(2).psql("INSERT INTO marks VALUES (2)");
    let mut wire = world.wire();
    wire.run("BEGIN");
    for tenant in [1, 2, 3] {
        wire.run(&format!("SELECT mark(id) FROM tenants WHERE id = {tenant}"));
    }
    assert_eq!(wire.sqlstate("COMMIT"), "23505");
    assert_eq!(marks(&world), ["0", "0", "1", "0"]);
    let text = "SELECT mark(id) FROM tenants WHERE id = 2; SELECT mark(id) FROM tenants WHERE id = 1";
    assert_eq!(wire.sqlstate(text), "23505");
    assert_eq!(marks(&world), ["0", "0", "1", "0"]);
    let batch = Messages::new()
        .once("SELECT count(*) FROM tenants", &[])
        .once("SELECT mark(id) FROM tenants WHERE id = $1", &["1"])
        .once("SELECT mark(id) FROM tenants WHERE id = $1", &["2"])
        .sync();
    let answer = wire.exchange(&batch);
    assert!(
        answer.iter().any(|line| line.starts_with("E ERROR 23505")),
        "{answer:?}"
    );
    assert_eq!(marks(&world), ["0", "0", "1", "0"]);
    world.sharded.shard(2).psql("DELETE FROM marks");
    wire.run(text);
    assert_eq!(marks(&world), ["0", "1", "1", "0"]);
    world.assert_settled();
}
