//! Each statement goes to its tenant's shard, or is refused; never to a wrong one.

use pgshunt_tests::Messages;
use pgshunt_tests::sharded::{RULES, Sharded};

/// Where the last statement went: the shard, and why.
#[track_caller]
fn shard(wire: &mut pgshunt_tests::Wire) -> String {
    let row = wire.value("SHOW pgshunt.last_route");
    row.split('|').nth(1).expect("a shard").to_owned()
}

#[test]
fn statements_find_their_tenants_shard() {
    let sharded = Sharded::databases(4).filled();
    let proxy = sharded.config(RULES).start();
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
        assert!(
            answer.iter().any(|line| line.contains(&format!("of {tenant}"))),
            "{answer:?}"
        );
        wire.run(&format!("INSERT INTO orders VALUES (9, {tenant}, 1, 1, 'new')"));
        wire.run(&format!(
            "UPDATE orders SET note = 'changed' WHERE tenant_id = {tenant} AND id = 9"
        ));
        let there = sharded.shard(home).psql(&format!(
            "SELECT note FROM orders WHERE tenant_id = {tenant} AND id = 9"
        ));
        assert_eq!(there, "changed");
        wire.run(&format!(
            "DELETE FROM orders WHERE tenant_id = {tenant} AND id = 9"
        ));
    }
}

#[test]
fn a_prepared_statement_goes_where_each_bind_says() {
    let sharded = Sharded::databases(4).filled();
    let proxy = sharded.config(RULES).start();
    let mut wire = proxy.door(&sharded.first).wire();
    let prepare = Messages::new()
        .parse("o", "SELECT note FROM orders WHERE tenant_id = $1 AND id = $2")
        .describe(b'S', "o");
    wire.exchange(&prepare.sync());
    for tenant in [1, 2, 3, 4, 3, 2, 1] {
        let answer = wire.exchange(&Messages::new().run("o", &[&tenant.to_string(), "2"]).sync());
        assert!(
            answer.iter().any(|line| line.contains(&format!("of {tenant}"))),
            "{answer:?}"
        );
    }
}
