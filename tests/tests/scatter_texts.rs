//! Several statements in one text that are for several shards: what one PostgreSQL with the same rows says to each text, and what is
//! there afterwards.

use pgshunt_tests::beside::Beside;

#[test]
fn a_text_is_one_transaction() {
    Beside::new().assert_same(
        &[
            "SELECT count(*) FROM orders; SELECT 1",
            "SELECT 1; SELECT sum(amount) FROM orders;; SELECT 'ü', name FROM accounts WHERE tenant_id = 2 ORDER BY id;",
            "INSERT INTO orders (id, tenant_id) VALUES (3, 1); INSERT INTO orders (id, tenant_id) VALUES (3, 2)",
            "UPDATE orders SET note = 'all'; SELECT count(*) FROM orders WHERE note = 'all'; DELETE FROM orders WHERE id = 2",
            "INSERT INTO orders (id, tenant_id) VALUES (9, 1); INSERT INTO orders (id, tenant_id) VALUES (3, 2); SELECT 1",
            "SELECT 'äöü'; UPDATE orders SET amount = 1 / (tenant_id - 3); SELECT 2",
            "SELECT 'äöü'; SELECT nothing FROM orders WHERE tenant_id = 3; SELECT count(*) FROM orders",
            "COPY (SELECT * FROM items WHERE tenant_id = 2 ORDER BY 2) TO STDOUT; SELECT count(*) FROM items",
            // What can't be read at all is told of before anything is run.
            "SELECT count(*) FROM orders; DELETE FROM orders; CREATE TABL x ()",
            "SELECT 'äöü'; SELECT count(*) FROM orders; SELECT count(*) FROM orders ORDER BY ,",
            "SELECT count(*) FROM orders; SELECT oops FROM orders WHERE tenant_id = 1",
            "SELECT count(*) FROM orders ORDER BY ,",
            "SELECT 'without an end FROM orders",
            "SELEC 1; SELECT 'without an end FROM orders",
        ],
    );
}

#[test]
fn transactions_begin_and_end_within_texts() {
    Beside::new().assert_same(
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
    Beside::new().assert_same(&[
        "BEGIN",
        "SAVEPOINT a; INSERT INTO orders (id, tenant_id) VALUES (4, 1)",
        "INSERT INTO orders (id, tenant_id) VALUES (4, 2); SELECT count(*) FROM orders",
        "ROLLBACK TO a; SELECT count(*) FROM orders",
        "INSERT INTO orders (id, tenant_id) VALUES (5, 3); CREATE TABL x; COMMIT",
        "COMMIT",
    ]);
}

#[test]
fn settings_of_a_text_that_fails_are_taken_back() {
    Beside::new().assert_same(&[
        "SET work_mem = '9MB'; UPDATE orders SET amount = 1 / (tenant_id - 3)",
        "SHOW work_mem",
        "SET work_mem = '9MB'; UPDATE orders SET amount = 1",
        "SHOW work_mem",
        "SET LOCAL work_mem = '7MB'; SELECT count(*) FROM orders; SHOW work_mem",
        "SHOW work_mem",
        "SELECT count(*), current_setting('work_mem') FROM orders GROUP BY 2",
    ]);
}

#[test]
fn a_mistake_in_a_transaction_fails_it_and_one_that_is_prepared_is_told_of() {
    let world = Beside::new();
    world.assert_same(&[
        "BEGIN",
        "INSERT INTO orders (id, tenant_id) VALUES (40, 1)",
        "SELECT count(*) FROM orders ORDER BY ,",
        "SELECT 1",
        "ROLLBACK",
        "SELECT count(*) FROM orders",
    ]);
    let (mut direct, mut through) = world.wires();
    // Longer than what is looked at to find a statement's first words, with a quote over that end.
    let long = format!(
        "SELECT count(*) FROM orders WHERE note <> '{}' AND id = $1",
        "x".repeat(9000)
    );
    for (sql, values) in [
        ("SELECT count(*) FROM orders ORDER BY ,", &[][..]),
        (&long, &["1"]),
    ] {
        assert_eq!(direct.extended(sql, values), through.extended(sql, values));
    }
}

#[test]
fn what_can_not_be_right_is_refused() {
    let world = Beside::new();
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

/// A migration: what a transaction makes of the schema is there for the statements behind.
#[test]
fn tables_are_there_for_the_transaction_that_makes_them() {
    let world = Beside::new();
    world.assert_same(&[
        "CREATE TABLE fresh (id int, tenant_id bigint); INSERT INTO fresh VALUES (1, 1), (1, 2), (1, 3); SELECT count(*) FROM fresh",
        "SELECT * FROM fresh ORDER BY tenant_id",
        "BEGIN",
        "CREATE TABLE later (id int, tenant_id bigint)",
        "INSERT INTO later (tenant_id, id) SELECT tenant_id, id FROM orders",
        "SELECT count(*), sum(tenant_id) FROM later",
        "SAVEPOINT a",
        "ALTER TABLE later ADD COLUMN note text; ALTER TABLE later RENAME TO newest",
        "UPDATE newest SET note = 'x' WHERE tenant_id IN (1, 2)",
        "SELECT n.note, count(*) FROM newest n JOIN orders o USING (tenant_id, id) GROUP BY n.note ORDER BY 1",
        "ROLLBACK TO a",
        "SELECT count(*) FROM later WHERE tenant_id = 2",
        "DROP TABLE fresh",
        "CREATE TABLE fresh (tenant_id bigint, other text)",
        "INSERT INTO fresh VALUES (3, 'c'), (2, 'b')",
        "SELECT other FROM fresh ORDER BY other",
        "COMMIT",
        "SELECT * FROM fresh ORDER BY tenant_id",
        "SELECT count(*) FROM later",
        "BEGIN; CREATE TABLE gone (tenant_id bigint); INSERT INTO gone VALUES (1), (2); ROLLBACK; SELECT 1",
        "SELECT * FROM gone",
        "SELECT 1; SELECT * FROM gone",
        "BEGIN",
        "SET LOCAL search_path = public",
        "DROP TABLE later",
        "SELECT * FROM later",
        "ROLLBACK",
        "SELECT count(*) FROM later",
        "BEGIN",
        "CREATE TABLE gone (tenant_id bigint)",
        "SELECT 1 / 0 FROM orders",
        "SELECT * FROM gone; SELECT 1",
        "ROLLBACK; SELECT 1",
        "TABLE currency",
        "SELEC 1",
        "SELECT 1; SELEC 1",
    ]);
    // Its own operators are not pgshunt's.
    let (mut direct, mut through) = world.wires();
    for wire in [&mut direct, &mut through] {
        wire.run(
            "CREATE FUNCTION never(name, name) RETURNS bool IMMUTABLE LANGUAGE sql AS 'SELECT false'; \
             CREATE OPERATOR <> (LEFTARG = name, RIGHTARG = name, FUNCTION = never)",
        );
        wire.run("SET search_path = public, pg_catalog");
        wire.run("BEGIN; CREATE TABLE own (tenant_id bigint)");
        wire.run("INSERT INTO own VALUES (1), (2)");
        assert_eq!(wire.rows("SELECT count(*) FROM own"), ["2"]);
        assert_eq!(wire.rows("SHOW search_path"), ["public, pg_catalog"]);
        wire.run("COMMIT");
    }
    // What it makes and has no place has none.
    through.run("BEGIN; CREATE TABLE placeless (id int)");
    assert_eq!(through.sqlstate("SELECT * FROM placeless"), "0A000");
    through.run("ROLLBACK");
}
