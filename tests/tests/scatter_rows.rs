//! Details of statements for several shards that one PostgreSQL with the same rows settles: which columns are copied, the order in
//! which an INSERT returns its rows, the place in the client's text that an error points to.

use pgshunt_tests::Messages;
use pgshunt_tests::beside::{Beside, said};

#[test]
fn copy_without_a_list_takes_the_columns_that_are_copied() {
    let world = Beside::with(
        "CREATE TABLE calc (twice int GENERATED ALWAYS AS (n * 2) STORED, gone int, tenant_id bigint, n int, \
            id int GENERATED ALWAYS AS IDENTITY, half int GENERATED ALWAYS AS (n / 2) STORED);\
         ALTER TABLE calc DROP COLUMN gone",
        |config| config,
    );
    let (mut direct, mut through) = world.wires();
    for messages in [
        Messages::new()
            .query("COPY calc FROM STDIN")
            .copy_data(b"1\t10\t1\n2\t20\t2\n3\t30\t3\n4\t40\t4\n")
            .copy_done(),
        Messages::new()
            .query("COPY calc FROM STDIN (FORMAT csv)")
            .copy_data(b"1,11,5\n2,21,6\n")
            .copy_done(),
        Messages::new().query("SELECT * FROM calc ORDER BY id"),
        Messages::new()
            .query("COPY calc (n, tenant_id) FROM STDIN")
            .copy_data(b"5\t1\n")
            .copy_fail("no"),
    ] {
        let (expected, got) = (said(&mut direct, &messages), said(&mut through, &messages));
        assert_eq!(got, expected);
    }
    let at_home = |shard: usize| {
        world
            .sharded
            .shard(shard)
            .psql("SELECT min(tenant_id), max(tenant_id) FROM calc")
    };
    assert_eq!([0, 1, 2, 3].map(at_home), ["4|4", "1|1", "2|2", "3|3"]);
}

#[test]
fn an_insert_returns_its_rows_in_order() {
    let world = Beside::new();
    let (mut direct, mut through) = world.wires();
    let values = "VALUES (70, 3, 1), (70, 1, 2), (70, 2, 3), (71, 3, 4), (70, 5, 5), (71, 1, 6) RETURNING id, tenant_id, amount";
    for messages in [
        Messages::new().query(&format!("INSERT INTO orders (id, tenant_id, amount) {values}")),
        Messages::new().query("DELETE FROM orders WHERE id >= 70"),
        Messages::new().once(&format!("INSERT INTO orders (id, tenant_id, amount) {values}"), &[]).sync(),
        Messages::new()
            .once(
                "INSERT INTO orders (id, tenant_id) VALUES ($1, $2), ($1, $3), ($4, $2) RETURNING tenant_id, id",
                &["80", "2", "1", "81"],
            )
            .sync(),
        Messages::new()
            .parse("", "INSERT INTO orders (id, tenant_id) VALUES (90, 2), (90, 1), (90, 3) RETURNING tenant_id")
            .bind("", "", &[])
            .execute("", 2)
            .execute("", 0)
            .sync(),
        // None of them is returned.
        Messages::new().query("INSERT INTO orders (id, tenant_id) VALUES (90, 2), (90, 1) ON CONFLICT DO NOTHING RETURNING id"),
    ] {
        let (expected, got) = (said(&mut direct, &messages), said(&mut through, &messages));
        assert_eq!(got, expected);
    }
}

#[test]
fn an_error_points_into_the_clients_text_or_nowhere() {
    let world = Beside::new();
    let (mut direct, mut through) = world.wires();
    for text in [
        "SELECT nothing FROM orders",
        "SELECT id FROM orders ORDER BY id, nothing",
        "SELECT id, nothing FROM orders ORDER BY amount LIMIT 2",
        "SELECT tenant_id, sum(nothing) FROM orders GROUP BY 1",
        "SELECT count(*) FROM orders HAVING max(nothing) > 1",
        "SELECT DISTINCT note, nothing FROM orders",
        "UPDATE orders SET nothing = 1",
        "DELETE FROM orders WHERE 'x' = id",
        "INSERT INTO orders (id, tenant_id) VALUES (91, 1), ('x', 2)",
        "INSERT INTO orders (id, tenant_id) VALUES (91, 1), (nothing, 2)",
        "COPY (SELECT nothing FROM orders) TO STDOUT",
        "EXPLAIN SELECT nothing FROM orders",
        "BEGIN; DECLARE c CURSOR FOR SELECT id, nothing FROM orders ORDER BY 1",
        "ROLLBACK; SELECT 'ü'; SELECT 1, nothing FROM orders",
    ] {
        let messages = Messages::new().query(text);
        let (expected, got) = (said(&mut direct, &messages), said(&mut through, &messages));
        let place = |lines: &[String]| {
            let error = lines.iter().find(|line| line.starts_with('E'));
            error.and_then(|error| {
                error
                    .rsplit_once(" at ")
                    .map(|(what, at)| (what.to_owned(), at.to_owned()))
            })
        };
        let (Some(expected), Some(got)) = (place(&expected), place(&got)) else {
            panic!("{text}: {expected:?} / {got:?}");
        };
        assert_eq!(got.0, expected.0, "{text}");
        assert!(
            got.1 == expected.1 || got.1.is_empty(),
            "{text}: {got:?}, not {expected:?}"
        );
    }
}
