//! What nobody can place, or is down, has a code and a name; and everybody else goes on.

use pgshunt_tests::sharded::{RULES, Sharded};
use pgshunt_tests::{Messages, Wire};

/// SQLSTATE and text of what a statement fails with, by both protocols.
#[track_caller]
fn failed(wire: &mut Wire, sql: &str) -> String {
    let (simple, extended) = (wire.query(sql), wire.extended(sql, &[]));
    let error = |answer: &[String]| answer.iter().find(|line| line.starts_with('E')).cloned();
    let (simple, extended) = (error(&simple), error(&extended));
    assert_eq!(simple, extended, "{sql}");
    simple.unwrap_or_else(|| panic!("{sql} did not fail"))
}

#[test]
fn what_cannot_be_placed_has_a_code_and_a_name() {
    let sharded = Sharded::databases(4).filled();
    // Nobody but tenants 1 to 3 has a shard.
    let proxy = sharded.config(&RULES.replace("others = \"s0\"\n", "")).start();
    let mut wire = proxy.door(&sharded.first).wire();
    for (sql, parts) in [
        (
            "SELECT * FROM nowhere WHERE tenant_id = 1",
            &["42P01", "nowhere"][..],
        ),
        ("SELECT * FROM keyless", &["keyless"]),
        (
            "SELECT * FROM orders WHERE tenant_id = 'one'",
            &["22P02", "integer"],
        ),
        (
            "SELECT * FROM orders WHERE tenant_id = 1.5",
            &["22P02", "integer"],
        ),
        ("SELECT * FROM orders WHERE tenant_id = 7", &["0A000", "no shard"]),
        (
            "INSERT INTO orders (id, tenant_id) VALUES (1, 7)",
            &["0A000", "no shard"],
        ),
        (
            "DELETE FROM orders WHERE tenant_id IN (1, 7)",
            &["0A000", "no shard"],
        ),
        ("UPDATE nowhere SET a = 1", &["42P01", "nowhere"]),
    ] {
        let told = failed(&mut wire, sql);
        assert!(parts.iter().all(|part| told.contains(part)), "{sql}: {told}");
    }
    let bound = |value: &'static str| {
        Messages::new()
            .parse("", "SELECT note FROM orders WHERE tenant_id = $1")
            .bind("", "", &[value])
            .execute("", 0)
            .sync()
    };
    for (value, state) in [("two", "22P02"), ("7", "0A000"), ("9223372036854775808", "22P02")] {
        let told = wire.exchange(&bound(value)).join("\n");
        assert!(told.contains(state), "{value}: {told}");
    }
    let told = wire.exchange(&bound("2")).join("\n");
    assert!(told.contains("D of 2"), "{told}");
    wire.run("SET pgshunt.tenant = '1'");
    assert_eq!(
        wire.value("SELECT DISTINCT note FROM orders WHERE tenant_id = 1"),
        "of 1"
    );
    wire.run("SET pgshunt.tenant = 'nobody'");
    let told = failed(&mut wire, "SELECT count(*) FROM orders");
    assert!(told.contains("22023") && told.contains("integer"), "{told}");
}

#[test]
fn a_shard_that_is_down_is_named_and_costs_the_others_nothing() {
    let mut sharded = Sharded::servers(3).filled();
    let rules = RULES.replace("s3 = [\"3\"]\n", "");
    let config = sharded.config(&rules).pool("query_wait_timeout = \"2s\"");
    let proxy = config.pool("server_login_retry = \"100ms\"").start();
    let mut wire = proxy.door(&sharded.first).wire();
    assert_eq!(wire.value("SELECT count(*) FROM orders"), "10");
    drop(sharded.nodes.remove(1));
    for sql in [
        "SELECT note FROM orders WHERE tenant_id = 2",
        "SELECT count(*) FROM orders",
    ] {
        // The first may still meet the connection that was cut.
        wire.query(sql);
        wire.send(&Messages::new().query(sql));
        let answer = wire.until_ready();
        let error = answer.iter().find(|frame| frame.kind == b'E').expect("an error");
        assert_eq!(error.sqlstate(), "08001", "{sql}: {error}");
        let place = error.field(b'D') + &error.field(b'W');
        assert!(place.contains("hard \"s2\""), "{sql}: {error} {place}");
    }
    // In a transaction of its own, another tenant notices nothing.
    for tenant in [1, 4] {
        let note = format!("of {tenant}");
        assert_eq!(
            wire.value(&format!(
                "SELECT DISTINCT note FROM orders WHERE tenant_id = {tenant}"
            )),
            note
        );
        wire.run("BEGIN");
        wire.run(&format!(
            "UPDATE orders SET note = note WHERE tenant_id = {tenant}"
        ));
        assert_eq!(wire.query("COMMIT"), ["C COMMIT", "Z I"]);
    }
    let shards = proxy.console().wire().rows("SHOW SHARDS");
    let state = |at: usize| shards[at].split('|').nth(3).map(str::to_owned);
    assert_eq!(state(0).as_deref(), Some("up"), "{shards:?}");
    pgshunt_tests::until("the shard to be known as down", || {
        let shards = proxy.console().wire().rows("SHOW SHARDS");
        shards[2].split('|').nth(3) == Some("down")
    });
}
