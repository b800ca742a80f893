//! Each statement goes to its tenant's shard, or is refused; never to a wrong one.

use pgshunt_tests::sharded::{RULES, Sharded};
use pgshunt_tests::{Messages, Proxy, Wire};

/// Four shards with rows, and pgshunt in front of them.
#[track_caller]
fn four() -> (Sharded, Proxy) {
    let sharded = Sharded::databases(4).filled();
    let proxy = sharded.config(RULES).start();
    (sharded, proxy)
}

/// The shard the last statement went to.
#[track_caller]
fn shard(wire: &mut Wire) -> String {
    let row = wire.value("SHOW pgshunt.last_route");
    row.split('|').nth(1).expect("a shard").to_owned()
}

/// SQLSTATE and message of a refusal, by both protocols.
#[track_caller]
fn refused(wire: &mut Wire, sql: &str) -> String {
    let simple = wire.query(sql);
    let extended = wire.extended(sql, &[]);
    let error = |answer: &[String]| answer.iter().find(|line| line.starts_with('E')).cloned();
    let (simple, extended) = (error(&simple), error(&extended));
    assert_eq!(simple, extended, "{sql}");
    simple.unwrap_or_else(|| panic!("{sql} was not refused"))
}

/// What is answered must be right; what can't be answered by one shard is refused by this version.
#[track_caller]
fn right_or_refused(wire: &mut Wire, sql: &str, expected: &[&str]) {
    let answer = wire.query(sql);
    match answer.iter().find(|line| line.starts_with('E')) {
        Some(error) => assert!(
            error.contains("0A000") || error.contains("23502"),
            "{sql}: {error}"
        ),
        None => assert_eq!(wire.rows(sql), expected, "{sql}"),
    }
}

#[test]
fn statements_find_their_tenants_shard() {
    let (sharded, proxy) = four();
    let mut wire = proxy.door(&sharded.first).wire();
    for tenant in 1..=5 {
        let home = if tenant <= 3 { tenant } else { 0 };
        let rows = wire.rows(&format!(
            "SELECT note FROM orders WHERE tenant_id = {tenant} ORDER BY id"
        ));
        assert_eq!(rows, [format!("of {tenant}"), format!("of {tenant}")]);
        assert_eq!(shard(&mut wire), format!("s{home}"));
        let answer = wire.extended(
            "SELECT note FROM orders WHERE tenant_id = $1 AND id = 1",
            &[&tenant.to_string()],
        );
        let expected = format!("of {tenant}");
        assert!(answer.iter().any(|line| line.contains(&expected)), "{answer:?}");
        wire.run(&format!("INSERT INTO orders VALUES (9, {tenant}, 1, 1, 'new')"));
        wire.run(&format!(
            "UPDATE orders SET note = 'changed' WHERE tenant_id = {tenant} AND id = 9"
        ));
        let look = format!("SELECT note FROM orders WHERE tenant_id = {tenant} AND id = 9");
        assert_eq!(sharded.shard(home).psql(&look), "changed");
        wire.run(&format!(
            "DELETE FROM orders WHERE tenant_id = {tenant} AND id = 9"
        ));
    }
}

#[test]
fn four_servers_are_four_shards_too() {
    let sharded = Sharded::servers(4).filled();
    let proxy = sharded.config(RULES).start();
    let mut wire = proxy.door(&sharded.first).wire();
    for tenant in [1, 2, 3, 4] {
        let note = wire.value(&format!(
            "SELECT note FROM orders WHERE tenant_id = {tenant} AND id = 1"
        ));
        assert_eq!(note, format!("of {tenant}"));
    }
    let mut console = proxy.console().wire();
    let shards = console.rows("SHOW SHARDS");
    let names: Vec<&str> = shards.iter().filter_map(|row| row.split('|').nth(1)).collect();
    assert_eq!(names, ["s0", "s1", "s2", "s3"]);
    let states: Vec<&str> = shards.iter().filter_map(|row| row.split('|').nth(3)).collect();
    assert_eq!(states, ["up", "up", "up", "up"]);
}

#[test]
fn a_prepared_statement_goes_where_each_bind_says() {
    let (sharded, proxy) = four();
    let mut wire = proxy.door(&sharded.first).wire();
    let sql = "SELECT note FROM orders WHERE tenant_id = $1 AND id = $2";
    wire.exchange(&Messages::new().parse("o", sql).describe(b'S', "o").sync());
    for tenant in [1, 2, 3, 4, 3, 2, 1] {
        let run = Messages::new().run("o", &[&tenant.to_string(), "2"]).sync();
        let (answer, expected) = (wire.exchange(&run), format!("of {tenant}"));
        assert!(answer.iter().any(|line| line.contains(&expected)), "{answer:?}");
    }
}

#[test]
fn a_pipeline_visits_shard_after_shard() {
    let (sharded, proxy) = four();
    let mut wire = proxy.door(&sharded.first).wire();
    let sql = "SELECT note FROM orders WHERE tenant_id = $1 AND id = 1";
    let mut messages = Messages::new();
    for tenant in ["1", "2", "3", "4", "1"] {
        messages = messages.once(sql, &[tenant]).sync();
    }
    let answer = wire.exchange(&messages);
    let notes: Vec<&String> = answer.iter().filter(|line| line.starts_with('D')).collect();
    let expected = ["D of 1", "D of 2", "D of 3", "D of 4", "D of 1"];
    assert_eq!(notes, expected, "{answer:?}");
}

// The traps of routing by the first key that is found.

#[test]
fn trap_union_of_two_tenants() {
    let (sharded, proxy) = four();
    let mut wire = proxy.door(&sharded.first).wire();
    let sql = "SELECT note FROM orders WHERE tenant_id = 1 AND id = 1 UNION ALL SELECT note FROM orders \
               WHERE tenant_id = 2 AND id = 1 ORDER BY note";
    right_or_refused(&mut wire, sql, &["of 1", "of 2"]);
    let one = "SELECT id FROM orders WHERE tenant_id = 1 UNION SELECT id FROM accounts WHERE tenant_id = 1 ORDER BY 1";
    assert_eq!(wire.rows(one), ["1", "2"]);
    assert_eq!(shard(&mut wire), "s1");
}

#[test]
fn trap_join_with_different_keys() {
    let (sharded, proxy) = four();
    let mut wire = proxy.door(&sharded.first).wire();
    let sql = "SELECT a.name, o.note FROM accounts a JOIN orders o ON o.id = a.id WHERE a.tenant_id = 1 AND \
               o.tenant_id = 2 ORDER BY a.id";
    right_or_refused(&mut wire, sql, &["account 1|of 2", "account 2|of 2"]);
    let one = "SELECT a.name, o.note FROM accounts a JOIN orders o ON o.account_id = a.id AND o.tenant_id = \
               a.tenant_id WHERE a.tenant_id = 2 AND a.id = 1";
    assert_eq!(wire.rows(one), ["account 1|of 2"]);
}

#[test]
fn trap_subquery_with_another_key() {
    let (sharded, proxy) = four();
    let mut wire = proxy.door(&sharded.first).wire();
    let sql = "SELECT id FROM orders WHERE tenant_id = 1 AND id IN (SELECT order_id FROM items WHERE tenant_id = 2) \
               ORDER BY id";
    right_or_refused(&mut wire, sql, &["1", "2"]);
    let sql =
        "SELECT (SELECT count(*) FROM items WHERE tenant_id = 3) FROM orders WHERE tenant_id = 1 AND id = 1";
    right_or_refused(&mut wire, sql, &["2"]);
}

#[test]
fn trap_null_key() {
    let (sharded, proxy) = four();
    let mut wire = proxy.door(&sharded.first).wire();
    for sql in [
        "SELECT count(*) FROM orders WHERE tenant_id = NULL",
        "INSERT INTO orders (id, tenant_id) VALUES (1, NULL)",
        "INSERT INTO orders (id) VALUES (1)",
    ] {
        assert!(refused(&mut wire, sql).contains("23502"), "{sql}");
    }
    let bind = b"\0\0\0\0\0\x01\xff\xff\xff\xff\0\0";
    let messages = Messages::new()
        .parse("", "SELECT count(*) FROM orders WHERE tenant_id = $1")
        .raw(b'B', bind)
        .execute("", 0)
        .sync();
    let answer = wire.exchange(&messages);
    assert!(answer[0].contains("23502"), "{answer:?}");
}

#[test]
fn trap_any_of_an_array() {
    let (sharded, proxy) = four();
    let mut wire = proxy.door(&sharded.first).wire();
    let sql = "SELECT note FROM orders WHERE tenant_id = ANY ($1) AND id = 1";
    let answer = wire.extended(sql, &["{2}"]);
    assert!(answer.iter().any(|line| line == "D of 2"), "{answer:?}");
    let answer = wire.extended(sql, &["{4,5}"]);
    assert_eq!(
        answer.iter().filter(|line| line.starts_with('D')).count(),
        2,
        "one shard"
    );
    right_or_refused(
        &mut wire,
        "SELECT note FROM orders WHERE tenant_id = ANY ('{1,2}') AND id = 1 ORDER BY 1",
        &["of 1", "of 2"],
    );
}

#[test]
fn trap_merge() {
    let (sharded, proxy) = four();
    let mut wire = proxy.door(&sharded.first).wire();
    let merge = "MERGE INTO orders o USING (SELECT * FROM items WHERE tenant_id = 1) i ON o.tenant_id = i.tenant_id \
                 AND o.id = i.order_id WHEN MATCHED THEN UPDATE SET note = 'merged'";
    wire.run(merge);
    let look = "SELECT count(*) FROM orders WHERE note = 'merged'";
    assert_eq!(sharded.shard(1).psql(look), "2");
    let other = "MERGE INTO orders o USING (SELECT * FROM items WHERE tenant_id = 1) i ON o.id = i.order_id \
                 WHEN MATCHED THEN DELETE";
    assert!(refused(&mut wire, other).contains("0A000"));
    assert_eq!(sharded.shard(2).psql("SELECT count(*) FROM orders"), "2");
}

#[test]
fn trap_call() {
    let (sharded, proxy) = four();
    sharded.on_all("CREATE PROCEDURE note_it(t bigint) LANGUAGE sql AS 'UPDATE orders SET note = ''called'' WHERE tenant_id = t'");
    let mut wire = proxy.door(&sharded.first).wire();
    assert!(refused(&mut wire, "CALL note_it(2)").contains("0A000"));
    wire.run("SET pgshunt.tenant = '2'");
    wire.run("CALL note_it(2)");
    assert_eq!(shard(&mut wire), "s2");
    let look = "SELECT count(*) FROM orders WHERE note = 'called'";
    assert_eq!(sharded.shard(2).psql(look), "2");
}

#[test]
fn trap_insert_select() {
    let (sharded, proxy) = four();
    let mut wire = proxy.door(&sharded.first).wire();
    wire.run("INSERT INTO items (tenant_id, order_id) SELECT tenant_id, id FROM orders WHERE tenant_id = 3");
    assert_eq!(sharded.shard(3).psql("SELECT count(*) FROM items"), "4");
    let other = "INSERT INTO items (tenant_id, order_id) SELECT 2, id FROM orders WHERE tenant_id = 3";
    assert!(refused(&mut wire, other).contains("0A000"));
}

#[test]
fn trap_nested_cte() {
    let (sharded, proxy) = four();
    let mut wire = proxy.door(&sharded.first).wire();
    let one = "WITH a AS (WITH b AS (SELECT * FROM orders WHERE tenant_id = 2) SELECT * FROM b) SELECT count(*) FROM a";
    assert_eq!(wire.value(one), "2");
    assert_eq!(shard(&mut wire), "s2");
    let two = "WITH a AS (WITH b AS (SELECT * FROM orders WHERE tenant_id = 2) SELECT * FROM b) SELECT count(*) FROM a, \
               items i WHERE i.tenant_id = 1";
    right_or_refused(&mut wire, two, &["4"]);
}

#[test]
fn the_key_is_not_updated() {
    let (sharded, proxy) = four();
    let mut wire = proxy.door(&sharded.first).wire();
    for sql in [
        "UPDATE orders SET tenant_id = 2 WHERE tenant_id = 1",
        "UPDATE orders SET tenant_id = account_id WHERE tenant_id = 1",
    ] {
        assert!(refused(&mut wire, sql).contains("0A000"), "{sql}");
    }
    wire.run("UPDATE orders SET tenant_id = 1 WHERE tenant_id = 1");
    assert_eq!(
        sharded
            .shard(1)
            .psql("SELECT count(*) FROM orders WHERE tenant_id = 1"),
        "2"
    );
}
