//! What only reads on several shards is read on their replicas: as fresh as the session must have it, and on the primaries where
//! a replica can't do it.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use pgshunt::cli::demo::cluster::{Node, Stop};
use pgshunt_tests::load::Done;
use pgshunt_tests::sharded::Sharded;
use pgshunt_tests::{Messages, Proxy, Wire, until};

/// Tenant 1 is on s1, all others are on s0.
const RULES: &str = "[sharding]\ncolumn = \"tenant_id\"\ntype = \"bigint\"\nfunction = \"list\"\nothers = \"s0\"\n\
    reference = [\"currency\"]\n[sharding.list]\ns1 = [\"1\"]\n\
    [sharding.columns]\ntenants = \"id\"\n[sharding.home]\naudit_log = \"s0\"\n[split]\ncatchup_wait = \"10ms\"\n";

/// A row of each order, with the port of the server that has read it.
const WHERE: &str = "SELECT current_setting('port'), note FROM orders";

/// Two shards, each with a replica, and pgshunt in front of them.
struct World {
    proxy: Proxy,
    sharded: Sharded,
}

impl World {
    fn new() -> World {
        World::with(&[])
    }

    /// Replicas with these settings.
    fn with(settings: &[(&str, &str)]) -> World {
        let sharded = Sharded::replicated(2, settings).set_up().filled();
        let proxy = sharded.config(RULES).pool("size = 10").start();
        let world = World { proxy, sharded };
        let mut wire = world.wire();
        until("reads to be served by replicas", || {
            ports(&mut wire, WHERE) == world.replicas()
        });
        world
    }

    fn wire(&self) -> Wire {
        self.proxy.door(&self.sharded.first).wire()
    }

    fn primaries(&self) -> BTreeSet<String> {
        let nodes = self.sharded.head.iter().chain(&self.sharded.nodes);
        nodes.map(|node| node.port().to_string()).collect()
    }

    fn replicas(&self) -> BTreeSet<String> {
        let nodes = self.sharded.replicas.iter();
        nodes.map(|node| node.port().to_string()).collect()
    }

    /// The primary of s0 and the replica of s1.
    fn mixed(&self) -> BTreeSet<String> {
        let head = self.sharded.head.as_ref().expect("a primary");
        [head, &self.sharded.replicas[1]]
            .map(|node| node.port().to_string())
            .into()
    }
}

/// The servers that have read the rows of a query like [`WHERE`].
fn ports(wire: &mut Wire, sql: &str) -> BTreeSet<String> {
    let port = |row: String| row.split('|').next().unwrap_or_default().to_owned();
    wire.rows(sql).into_iter().map(port).collect()
}

fn last_route(wire: &mut Wire) -> String {
    wire.rows("SHOW pgshunt.last_route")[0].clone()
}

fn replay(node: &Node, verb: &str) {
    let sql = format!("SELECT pg_wal_replay_{verb}()");
    node.psql("postgres", &sql).expect("done");
}

#[test]
fn reads_of_several_shards_are_on_replicas_and_say_so() {
    let world = World::new();
    let mut wire = world.wire();
    until("a read on replicas", || {
        ports(&mut wire, WHERE) == world.replicas()
    });
    let route = last_route(&mut wire);
    let servers: Vec<String> = world
        .sharded
        .replicas
        .iter()
        .map(|node| format!("127.0.0.1:{}", node.port()))
        .collect();
    assert_eq!(
        route,
        format!(
            "shards|s0, s1|{}|read|off|the text only reads; consistency is session; \
             several shards answer together, from replicas",
            servers.join(", ")
        )
    );
    // Sums, orders and parameters, in either protocol.
    assert_eq!(wire.value("SELECT sum(amount) FROM orders"), "150");
    let sorted = wire.rows("SELECT tenant_id, id FROM orders ORDER BY tenant_id DESC, id LIMIT 3");
    assert_eq!(sorted, ["5|1", "5|2", "4|1"]);
    let answer = wire.extended(
        "SELECT count(*), max(current_setting('port')) FROM orders WHERE id = $1",
        &["1"],
    );
    let highest = world.replicas().into_iter().max().expect("one");
    assert!(answer.contains(&format!("D 5|{highest}")), "{answer:?}");
    let named = Messages::new()
        .parse("p", "SELECT count(*) FROM orders WHERE id >= $1")
        .describe(b'S', "p");
    wire.exchange(&named.sync());
    for _ in 0..3 {
        let answer = wire.exchange(&Messages::new().run("p", &["1"]).sync());
        assert_eq!(answer[1], "D 10");
        assert!(last_route(&mut wire).contains("from replicas"));
    }
    assert!(wire.query("COPY (SELECT note FROM orders) TO STDOUT").len() >= 10);
    let told = wire.value("EXPLAIN (ROUTE) SELECT count(*) FROM orders");
    assert!(
        told.starts_with("shards|s0, s1||read|") && told.contains("from replicas"),
        "{told}"
    );
    let told = wire.value("EXPLAIN (ROUTE) UPDATE orders SET note = ''");
    assert!(
        told.starts_with("shards|s0, s1||write|") && !told.contains("from replicas"),
        "{told}"
    );
    let told = wire.value("EXPLAIN (ROUTE) SELECT * FROM orders WHERE tenant_id = 1");
    assert!(told.starts_with("replica|s1|"), "{told}");
    // What the session asks for.
    for (set, because) in [
        ("SET pgshunt.target = 'primary'", "pgshunt.target is primary"),
        ("SET pgshunt.consistency = 'strong'", "consistency is strong"),
    ] {
        wire.run(set);
        assert_eq!(ports(&mut wire, WHERE), world.primaries(), "{set}");
        let route = last_route(&mut wire);
        assert!(
            route.contains(because) && !route.contains("from replicas"),
            "{route}"
        );
        wire.run("RESET ALL");
    }
    // One that writes is on primaries.
    wire.run("UPDATE orders SET note = note || '!' WHERE id = 1");
    assert!(last_route(&mut wire).contains("UPDATE is not proven to only read"));
    let routes = world.proxy.console().wire().rows("SHOW ROUTES").join("\n");
    assert!(routes.contains("|replica|"), "{routes}");
}

#[test]
fn a_session_reads_what_it_has_written_on_whichever_shard() {
    let world = World::new();
    let mut wire = world.wire();
    for round in 10..60 {
        let tenant = round % 2;
        wire.run(&format!(
            "INSERT INTO orders (id, tenant_id, amount) VALUES ({round}, {tenant}, 0)"
        ));
        assert_eq!(wire.value("SELECT count(*) FROM orders"), (round + 1).to_string());
    }
    // On both at once, in two phases.
    for round in 60..70 {
        wire.run("BEGIN");
        for tenant in [0, 1] {
            wire.run(&format!(
                "INSERT INTO orders (id, tenant_id, amount) VALUES ({round}, {tenant}, 0)"
            ));
        }
        wire.run("COMMIT");
        let sum = wire.value("SELECT count(*) FROM orders");
        assert_eq!(sum, (60 + 2 * (round - 59)).to_string());
    }
    // A replica that stands still is not read by who has written on its shard, and is by who has not.
    until("a read on replicas", || {
        ports(&mut wire, WHERE) == world.replicas()
    });
    let mut stranger = world.wire();
    replay(&world.sharded.replicas[0], "pause");
    wire.run("UPDATE orders SET note = 'new' WHERE tenant_id = 4");
    let news = "SELECT current_setting('port'), note FROM orders WHERE note = 'new'";
    assert_eq!(wire.rows(news).len(), 2);
    assert_eq!(ports(&mut wire, WHERE), world.mixed());
    let route = last_route(&mut wire);
    assert!(route.contains("some of them from replicas"), "{route}");
    assert_eq!(stranger.rows(news).len(), 0);
    // What it has seen on the primary, it sees again.
    stranger.run("SET pgshunt.consistency = 'strong'");
    assert_eq!(stranger.rows(news).len(), 2);
    stranger.run("SET pgshunt.consistency = 'session'");
    assert_eq!(stranger.rows(news).len(), 2);
    // Who puts up with it reads the old.
    stranger.run("SET pgshunt.consistency = 'eventual'");
    assert_eq!(stranger.rows(news).len(), 0);
    replay(&world.sharded.replicas[0], "resume");
    until("a read on replicas", || {
        ports(&mut wire, WHERE) == world.replicas()
    });
    assert_eq!(wire.rows(news).len(), 2);
}

/// Each session writes a register of its own and reads all, those of both shards at once or one of them alone.
#[test]
fn nobody_reads_less_than_what_was_written_or_seen() {
    const SESSIONS: usize = 8;
    let world = World::with(&[("recovery_min_apply_delay", "30ms")]);
    let mut wire = world.wire();
    // The odd ones are on s1.
    let rules = RULES.replace("s1 = [\"1\"]", "s1 = [\"1\", \"3\", \"5\", \"7\"]");
    wire.run("CREATE TABLE registers (tenant_id bigint PRIMARY KEY, value int)");
    let proxy = world.sharded.config(&rules).pool("size = 10").start();
    let door = proxy.door(&world.sharded.first);
    let mut filler = door.wire();
    for tenant in 0..SESSIONS {
        filler.run(&format!("INSERT INTO registers VALUES ({tenant}, 0)"));
    }
    let on_replicas = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for own in 0..SESSIONS {
            let (door, on_replicas, replicas) = (&door, &on_replicas, world.replicas());
            scope.spawn(move || {
                let mut wire = door.wire();
                let mut seen = [0; SESSIONS];
                for round in 0..150 {
                    let (verb, one) = ((round * 7 + own) % 5, (round + own) % SESSIONS);
                    if verb == 0 {
                        wire.run(&format!(
                            "UPDATE registers SET value = value + 1 WHERE tenant_id = {own}"
                        ));
                        seen[own] += 1;
                    }
                    let filter = match verb {
                        1 => format!("WHERE tenant_id = {one}"),
                        2 => format!("WHERE tenant_id IN ({one}, {own})"),
                        _ => String::new(),
                    };
                    let sql =
                        format!("SELECT current_setting('port'), tenant_id, value FROM registers {filter}");
                    for row in wire.rows(&sql) {
                        let mut fields = row.split('|');
                        let port = fields.next().expect("a port");
                        let mut number =
                            || -> usize { fields.next().expect("a field").parse().expect("a number") };
                        let (tenant, value) = (number(), number());
                        on_replicas.fetch_add(usize::from(replicas.contains(port)), Ordering::Relaxed);
                        assert!(
                            value >= seen[tenant],
                            "session {own}: {tenant} was {}, is {value}",
                            seen[tenant]
                        );
                        assert!(tenant != own || value == seen[own], "session {own}: its own");
                        seen[tenant] = value;
                    }
                }
            });
        }
    });
    let on_replicas = on_replicas.into_inner();
    println!("{on_replicas} rows were read on replicas");
    assert!(on_replicas > 100, "{on_replicas}");
}

#[test]
fn what_a_replica_refuses_is_run_on_the_primaries_once() {
    let world = World::new();
    let mut wire = world.wire();
    wire.run("SET pgshunt.target = 'replica'");
    until("a read on replicas", || {
        ports(&mut wire, WHERE) == world.replicas()
    });
    let sql = "SELECT current_setting('port'), pg_current_xact_id()::text <> '' FROM orders";
    assert_eq!(ports(&mut wire, sql), world.primaries());
    let route = last_route(&mut wire);
    assert!(
        route.contains("a replica could not do it")
            || route.contains("a replica has refused a statement like it"),
        "{route}"
    );
    let answer = wire.extended(sql, &[]);
    assert_eq!(answer.iter().filter(|line| line.starts_with("D ")).count(), 10);
    // A mistake is the client's, wherever it is found.
    until("a read on replicas", || {
        ports(&mut wire, WHERE) == world.replicas()
    });
    assert_eq!(wire.sqlstate("SELECT 1 / (id - 1) FROM orders"), "22012");
    assert_eq!(wire.sqlstate("SELECT oops FROM orders"), "42703");
}

#[test]
fn a_read_only_transaction_is_one_wherever_it_is() {
    let world = World::new();
    let mut wire = world.wire();
    let begun = |wire: &mut Wire, begin: &str| {
        until("a transaction on replicas", || {
            wire.run(begin);
            let is_there = ports(wire, WHERE) == world.replicas();
            if !is_there {
                wire.run("ROLLBACK");
            }
            is_there
        });
    };
    begun(&mut wire, "BEGIN READ ONLY");
    assert_eq!(wire.value("SELECT count(*) FROM orders"), "10");
    assert_eq!(
        wire.value("SELECT note FROM orders WHERE tenant_id = 1 AND id = 1"),
        "of 1"
    );
    assert_eq!(wire.value("SHOW transaction_read_only"), "on");
    assert_eq!(
        wire.sqlstate("INSERT INTO orders (id, tenant_id) VALUES (9, 1)"),
        "25006"
    );
    assert_eq!(wire.sqlstate("SELECT 1"), "25P02");
    wire.run("ROLLBACK");
    // What only primaries do has it begin again there.
    begun(&mut wire, "BEGIN READ ONLY");
    assert_eq!(wire.query("SELECT pg_advisory_xact_lock(1)").len(), 4);
    assert_eq!(ports(&mut wire, WHERE), world.primaries());
    wire.run("COMMIT");
    // On one shard's replica, and then on both.
    wire.run("BEGIN READ ONLY");
    wire.run("SELECT 1 FROM orders WHERE tenant_id = 1");
    assert_eq!(wire.value("SELECT count(*) FROM orders"), "10");
    wire.run("COMMIT");
    // A pipeline behind it does not follow it to the replicas.
    begun(&mut wire, "BEGIN READ ONLY");
    wire.send(
        &Messages::new()
            .query("COMMIT")
            .query("UPDATE orders SET note = 'piped'")
            .query("SELECT count(*) FROM orders WHERE note = 'piped'"),
    );
    let heard: Vec<String> = (0..3)
        .flat_map(|_| wire.until_ready())
        .map(|frame| frame.to_string())
        .collect();
    assert!(heard.contains(&"D 10".to_owned()), "{heard:?}");
    begun(&mut wire, "BEGIN READ ONLY");
    wire.run("COMMIT; UPDATE orders SET note = 'again'");
    assert_eq!(
        wire.value("SELECT count(*) FROM orders WHERE note = 'again'"),
        "10"
    );
    // A transaction that may write is on primaries.
    wire.run("BEGIN");
    assert_eq!(ports(&mut wire, WHERE), world.primaries());
    assert!(last_route(&mut wire).contains("its transaction may write"));
    wire.run("COMMIT");
    wire.run("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
    assert_eq!(wire.sqlstate("SELECT count(*) FROM orders"), "0A000");
    wire.run("ROLLBACK");
}

#[test]
fn replicas_that_are_killed_cost_reads_of_several_shards_nothing() {
    let mut world = World::new();
    let (done, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    let door = world.proxy.door(&world.sharded.first);
    std::thread::scope(|scope| {
        let _done = Done(&done);
        for _ in 0..16 {
            scope.spawn(|| {
                let mut wire = door.wire();
                while !done.load(Ordering::Relaxed) {
                    assert_eq!(wire.value("SELECT sum(amount) FROM orders"), "150");
                    let sum = wire.extended("SELECT sum(amount) FROM orders WHERE id = $1", &["1"]);
                    assert!(sum.contains(&"D 50".to_owned()), "{sum:?}");
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let more = |count: usize| {
            let before = answered.load(Ordering::Relaxed);
            until("more answers", || {
                answered.load(Ordering::Relaxed) >= before + count
            });
        };
        more(100);
        for replica in &mut world.sharded.replicas {
            replica.stop(Stop::Kill).expect("killed");
            more(100);
        }
        for replica in &mut world.sharded.replicas {
            replica.start().expect("started");
            more(100);
        }
    });
    let mut wire = world.wire();
    until("a read on replicas", || {
        ports(&mut wire, WHERE) == world.replicas()
    });
}

#[test]
fn rows_of_a_replica_that_dies_amid_end_with_an_error() {
    let mut world = World::new();
    let mut wire = world.wire();
    until("a read on replicas", || {
        ports(&mut wire, WHERE) == world.replicas()
    });
    wire.send(
        &Messages::new().query("SELECT repeat('x', 1000) FROM orders, generate_series(0, 1000000) AS i"),
    );
    for _ in 0..1000 {
        wire.read();
    }
    world.sharded.replicas[1].stop(Stop::Kill).expect("killed");
    let last: Vec<String> = wire.until_ready().iter().map(ToString::to_string).collect();
    let errors: Vec<&String> = last.iter().filter(|line| line.starts_with("E ")).collect();
    assert!(errors.len() == 1 && errors[0].contains(" 08006 "), "{errors:?}");
    assert_eq!(wire.value("SELECT sum(amount) FROM orders"), "150");
}
