//! The result cache of a database of several shards: what one shard answers is kept, and made old by writes on whichever.

use pgshunt::cli::demo::cluster::{Node, Plan};
use pgshunt_tests::cached::{EVERYTHING, FOLLOWED, hit, said};
use pgshunt_tests::cluster::{self, Cluster};
use pgshunt_tests::sharded::{RULES, Sharded};
use pgshunt_tests::{Wire, until};

/// Four shards on a server of their own: roles that come and go elsewhere on it make all answers old.
fn shards() -> (Node, Sharded) {
    let node = cluster::private(&Plan {
        settings: &[("wal_level", "logical"), ("max_prepared_transactions", "20")],
        ..Plan::default()
    });
    let sharded = Sharded::of(&Cluster::of(&node), 4).set_up().filled();
    (node, sharded)
}

fn of(tenant: u32) -> String {
    format!("SELECT sum(amount) FROM orders WHERE tenant_id = {tenant}")
}

#[test]
fn what_one_shard_answers_is_kept_until_it_is_written() {
    let (_node, sharded) = shards();
    let proxy = sharded.config(&format!("{RULES}{EVERYTHING}")).start();
    let door = proxy.door(&sharded.first);
    let (mut reader, mut writer) = (door.wire(), door.wire());
    let mut direct = [0, 1, 2, 3].map(|shard| sharded.shard(shard).wire());
    for tenant in 1..=4 {
        assert_eq!(hit(&mut reader, &of(tenant)), ["30"]);
    }
    // Rows of one shard; of several; with nobody's key, so anybody's.
    for (write, others) in [
        (
            "UPDATE orders SET amount = amount + 1 WHERE tenant_id = 1",
            &[2, 3, 4][..],
        ),
        (
            "INSERT INTO orders (id, tenant_id, amount) VALUES ({n}, 1, 100), ({n}, 2, 100)",
            &[3, 4],
        ),
        ("UPDATE orders SET amount = amount + 1", &[]),
    ] {
        let mut tries = 100;
        // While pgshunt finds out about the shards, everything may be old once more.
        until("the others' answers to be left", || {
            tries += 1;
            for tenant in 1..=4 {
                hit(&mut reader, &of(tenant));
            }
            writer.run(&write.replace("{n}", &tries.to_string()));
            let is_left = others.iter().all(|tenant| {
                reader.rows(&of(*tenant));
                said(&mut reader) == "hit"
            });
            for tenant in 1..=4 {
                let expected = direct[tenant as usize % 4].rows(&of(tenant));
                assert_eq!(reader.rows(&of(tenant)), expected, "{write}");
            }
            is_left
        });
    }
    // In a transaction over two of them: with its end.
    let before = hit(&mut reader, &of(2));
    writer.run("BEGIN");
    writer.run("UPDATE orders SET amount = 0 WHERE tenant_id = 1");
    writer.run("UPDATE orders SET amount = 0 WHERE tenant_id = 2");
    assert_eq!(reader.rows(&of(2)), before);
    writer.run("COMMIT");
    assert_eq!(
        [1, 2].map(|tenant| reader.rows(&of(tenant)).remove(0)),
        ["0", "0"]
    );
    // What is whole on every shard, written on all.
    assert_eq!(hit(&mut reader, "SELECT count(*) FROM currency"), ["2"]);
    writer.run("INSERT INTO currency VALUES ('CHF', 'Franken')");
    assert_eq!(reader.rows("SELECT count(*) FROM currency"), ["3"]);
    // What several shards answer is asked each time.
    for _ in 0..3 {
        reader.rows("SELECT count(*) FROM orders");
        assert_eq!(said(&mut reader), "several shards answer it");
    }
}

#[test]
fn a_tenant_hears_its_own_shard_and_no_other() {
    let (_node, sharded) = shards();
    let proxy = sharded.config(&format!("{RULES}{EVERYTHING}")).start();
    let mut wires: Vec<Wire> = (1..=4)
        .map(|tenant| {
            let mut wire = proxy.door(&sharded.first).wire();
            wire.run(&format!("SET pgshunt.tenant = '{tenant}'"));
            wire
        })
        .collect();
    let sql = "SELECT string_agg(DISTINCT tenant_id::text, ',' ORDER BY tenant_id::text) FROM orders";
    until("an answer from the cache", || {
        wires[0].rows(sql);
        said(&mut wires[0]) == "hit"
    });
    for _ in 0..20 {
        let told: Vec<String> = wires.iter_mut().map(|wire| wire.value(sql)).collect();
        assert_eq!(told, ["1", "2", "3", "4,5"]);
    }
    assert!(wires.iter_mut().any(|wire| said(wire) == "hit"));
    let mut wire = proxy.door(&sharded.first).wire();
    for _ in 0..20 {
        for (shard, told) in [("s0", "4,5"), ("s1", "1"), ("s2", "2")] {
            wire.run(&format!("SET pgshunt.target = 'shard:{shard}'"));
            assert_eq!(wire.value(sql), told);
        }
    }
    assert_eq!(said(&mut wire), "hit");
}

#[test]
fn with_a_guard_nothing_is_kept() {
    let sharded = Sharded::databases(2).filled();
    let rules = RULES.replace("s2 = [\"2\"]\ns3 = [\"3\"]\n", "");
    let rules = rules.replacen("[sharding]\n", "[sharding]\nguard = \"enforce\"\n", 1);
    let proxy = sharded.config(&format!("{rules}{EVERYTHING}")).start();
    let mut wire = proxy.door(&sharded.first).wire();
    wire.run("SET pgshunt.tenant = '1'");
    for _ in 0..5 {
        wire.rows(&of(1));
        assert_eq!(said(&mut wire), "off");
    }
    assert_eq!(wire.sqlstate(&of(2)), "42501");
}

#[test]
fn a_write_on_any_shard_from_elsewhere_is_heard_of() {
    let (_node, sharded) = shards();
    let proxy = sharded.config(&format!("{RULES}{FOLLOWED}")).start();
    let mut wire = proxy.door(&sharded.first).wire();
    for round in 0..3 {
        for tenant in 1..=4 {
            hit(&mut wire, &of(tenant));
            let shard = sharded.shard(tenant as usize % 4);
            let amount = 1000 * (round + 1) + tenant;
            shard.wire().run(&format!(
                "UPDATE orders SET amount = {amount} WHERE tenant_id = {tenant}"
            ));
            let written = std::time::Instant::now();
            until("the write to be heard of", || {
                wire.rows(&of(tenant)) == [(2 * amount).to_string()]
            });
            assert!(
                written.elapsed() < std::time::Duration::from_secs(2),
                "{:?}",
                written.elapsed()
            );
        }
    }
    // One shard's stream is cut: what was written behind it is not missed.
    hit(&mut wire, &of(2));
    let slots = "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots \
        WHERE slot_name LIKE 'pgshunt_cache%' AND database = current_database()";
    let superuser = pgshunt_tests::Door {
        user: "postgres".into(),
        ..sharded.shard(2)
    };
    superuser.wire().run(slots);
    sharded
        .shard(2)
        .wire()
        .run("UPDATE orders SET amount = 7 WHERE tenant_id = 2");
    until("the write behind the cut", || wire.rows(&of(2)) == ["14"]);
    assert_eq!(hit(&mut wire, &of(2)), ["14"]);
}
