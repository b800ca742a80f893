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
