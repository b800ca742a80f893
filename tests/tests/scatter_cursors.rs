//! Cursors over the rows of several shards: what is fetched is what one PostgreSQL with the same rows gives.

use pgshunt_tests::Messages;
use pgshunt_tests::beside::{Beside, said};

#[test]
fn a_cursor_gives_its_rows_a_few_at_a_time() {
    Beside::new().assert_same(&[
        "BEGIN",
        "DECLARE c CURSOR FOR SELECT id, tenant_id FROM orders ORDER BY id, tenant_id",
        "FETCH c",
        "FETCH 3 FROM c",
        "MOVE 2 IN c",
        "INSERT INTO orders (id, tenant_id) VALUES (9, 1), (9, 2), (9, 3)",
        "FETCH FORWARD 1 FROM c",
        "FETCH ALL FROM c",
        "FETCH c",
        "CLOSE c",
        "FETCH c",
        "ROLLBACK",
        "BEGIN; DECLARE \"C c\" CURSOR WITHOUT HOLD FOR SELECT tenant_id, sum(amount) FROM orders GROUP BY 1 ORDER BY 1; \
            FETCH ALL \"C c\"; COMMIT",
        "DECLARE c CURSOR FOR SELECT count(*) FROM orders; FETCH 2 c; SELECT 1",
        "DECLARE c CURSOR FOR SELECT count(*) FROM orders",
        "FETCH c",
        "BEGIN",
        "ROLLBACK",
    ]);
}

#[test]
fn a_cursor_moves_both_ways() {
    Beside::new().assert_same(&[
        "BEGIN",
        "DECLARE s SCROLL CURSOR FOR SELECT id, tenant_id FROM orders ORDER BY tenant_id DESC, id LIMIT 7",
        "FETCH LAST s",
        "FETCH PRIOR s",
        "FETCH BACKWARD 2 s",
        "FETCH 0 s",
        "FETCH ABSOLUTE 2 s",
        "FETCH RELATIVE -1 s",
        "FETCH RELATIVE 10 s",
        "FETCH BACKWARD ALL s",
        "FETCH FIRST s",
        "MOVE ABSOLUTE 100 s",
        "MOVE BACKWARD ALL s",
        "FETCH -1 s",
        "DECLARE n NO SCROLL CURSOR FOR SELECT id FROM items, orders USING (tenant_id) ORDER BY id LIMIT 5",
        "SAVEPOINT a",
        "FETCH 2 n",
        "FETCH BACKWARD 1 n",
        "ROLLBACK TO a",
        "DECLARE s CURSOR FOR SELECT count(*) FROM orders",
        "ROLLBACK TO a",
        "DECLARE t CURSOR FOR SELECT count(*) FROM orders",
        "RELEASE a",
        "SAVEPOINT b",
        "DECLARE u CURSOR FOR SELECT count(*) FROM orders",
        "ROLLBACK TO b",
        "FETCH t",
        "CLOSE ALL",
        "FETCH u",
        "ROLLBACK",
    ]);
}

#[test]
fn cursors_of_one_shard_and_of_several_live_together() {
    Beside::new().assert_same(&[
        "BEGIN",
        "DECLARE one CURSOR FOR SELECT id FROM orders WHERE tenant_id = 2 ORDER BY id",
        "FETCH one",
        "DECLARE all_of_them CURSOR FOR SELECT tenant_id FROM orders WHERE id = 1 ORDER BY 1",
        "FETCH 2 FROM all_of_them",
        "FETCH one",
        "DECLARE three CURSOR FOR SELECT id FROM orders WHERE tenant_id = 3 ORDER BY id",
        "FETCH ALL FROM three",
        "FETCH ALL FROM all_of_them",
        "CLOSE one",
        "FETCH one",
        "COMMIT",
    ]);
}

#[test]
fn drivers_declare_with_parameters_and_describe() {
    let world = Beside::new();
    let (mut direct, mut through) = world.wires();
    let of_amount = |format: u16| {
        let mut bind = b"\0\0\0\0\0\0\0\x01".to_vec();
        bind.extend_from_slice(&format.to_be_bytes());
        bind
    };
    let script = [
        Messages::new().query("BEGIN"),
        Messages::new()
            .once("DECLARE c CURSOR FOR SELECT tenant_id, amount FROM orders WHERE amount = $1::numeric ORDER BY 1", &["10"])
            .sync(),
        // As psycopg does to learn its columns.
        Messages::new().describe(b'P', "c").sync(),
        Messages::new().parse("f", "FETCH FORWARD 2 FROM c").describe(b'S', "f").sync(),
        Messages::new().bind("", "f", &[]).describe(b'P', "").execute("", 0).sync(),
        Messages::new().bind("", "f", &[]).execute("", 0).sync(),
        Messages::new().once("CLOSE c", &[]).sync(),
        Messages::new().query("DECLARE b BINARY CURSOR FOR SELECT tenant_id FROM orders ORDER BY 1 LIMIT 2"),
        Messages::new().query("FETCH 1 FROM b"),
        Messages::new()
            .parse("", "FETCH 1 FROM b")
            .raw(b'B', &of_amount(1))
            .execute("", 0)
            .sync(),
        Messages::new().query("COMMIT"),
    ];
    for messages in &script {
        let (expected, got) = (said(&mut direct, messages), said(&mut through, messages));
        assert_eq!(got, expected);
    }
}

#[test]
fn what_a_cursor_can_not_do_is_refused() {
    let world = Beside::with("", |config| config.pool("merge_memory = 65536"));
    let (_, mut through) = world.wires();
    for (text, sqlstate) in [
        ("DECLARE c CURSOR WITH HOLD FOR SELECT id FROM orders", "0A000"),
        ("DECLARE c CURSOR FOR SELECT id FROM orders FOR UPDATE", "0A000"),
        (
            "DECLARE c CURSOR FOR SELECT id, rank() OVER (ORDER BY id) FROM orders",
            "0A000",
        ),
        (
            "DECLARE c CURSOR FOR SELECT repeat('x', 20000) FROM orders",
            "53200",
        ),
    ] {
        through.run("BEGIN");
        through.run("SELECT count(*) FROM orders");
        assert_eq!(through.sqlstate(text), sqlstate, "{text}");
        through.run("ROLLBACK");
    }
    through.run("BEGIN");
    through.run("DECLARE c CURSOR FOR SELECT repeat('x', 5000) FROM orders");
    assert_eq!(
        through.sqlstate("DECLARE d CURSOR FOR SELECT repeat('x', 5000) FROM orders"),
        "53200"
    );
    through.run("ROLLBACK");
}
