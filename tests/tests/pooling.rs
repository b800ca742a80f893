//! Many clients on few servers: pgbench in every protocol, never more servers than the pool has places.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pgshunt_tests::load::Done;
use pgshunt_tests::{Config, Database, Door, Messages, Proxy, cluster, until};

const POOL: usize = 10;

/// Runs pgbench while somebody counts servers, and says the most there were.
fn servers_at_most(database: &Database, work: impl FnOnce()) -> usize {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let count = scope.spawn(|| {
            let mut watcher = database.cluster.superuser().wire();
            let question = format!(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = '{0}' AND usename = '{0}'",
                database.name
            );
            let mut most = 0;
            while !done.load(Ordering::Relaxed) {
                most = most.max(watcher.value(&question).parse().expect("a number"));
                std::thread::sleep(Duration::from_millis(20));
            }
            most
        });
        // Also when the work fails, or the watcher would watch for ever.
        let finished = Done(&done);
        work();
        drop(finished);
        count.join().expect("a count")
    })
}

fn bench(script: &str, clients: &[usize], seconds: u32) {
    let database = cluster::database();
    database.door().pgbench("-i -q -s 1");
    let proxy = Proxy::sized(&database, POOL);
    let door = proxy.door(&database);
    let most = servers_at_most(&database, || {
        for clients in clients {
            for protocol in ["simple", "extended", "prepared"] {
                run(&door, script, *clients, protocol, seconds);
            }
        }
    });
    assert!(most <= POOL, "{most} servers for a pool of {POOL}");
}

fn run(door: &Door, script: &str, clients: usize, protocol: &str, seconds: u32) {
    let report = door.pgbench(&format!(
        "-n {script} -M {protocol} -c {clients} -j 2 -T {seconds}"
    ));
    assert!(
        report.contains("number of failed transactions: 0 "),
        "{script} {clients} {protocol}\n{report}"
    );
}

#[test]
fn select_only() {
    bench("-S", &[1, 16, 64], 1);
}

#[test]
fn tpcb_like() {
    bench("-b tpcb-like", &[1, 16, 64], 1);
}

#[test]
#[ignore = "takes a minute"]
fn two_hundred_and_fifty_six_clients() {
    bench("-S", &[256], 10);
    bench("-b tpcb-like", &[256], 10);
}

#[test]
fn a_connection_for_each_transaction() {
    let database = cluster::database();
    database.door().pgbench("-i -q -s 1");
    let proxy = Proxy::sized(&database, 4);
    let door = proxy.door(&database);
    let most = servers_at_most(&database, || {
        door.pgbench("-n -S -C -c 8 -j 2 -T 2");
    });
    assert!(most <= 4, "{most} servers for a pool of 4");
}

#[test]
fn idle_clients_hold_no_servers() {
    let database = cluster::database();
    let proxy = Proxy::sized(&database, 2);
    let door = proxy.door(&database);
    let mut clients: Vec<_> = (0..40).map(|_| door.wire()).collect();
    for round in 0..3 {
        for (number, client) in clients.iter_mut().enumerate() {
            let sum = number + round;
            assert_eq!(
                client.value(&format!("SELECT {number} + {round}")),
                sum.to_string()
            );
        }
    }
    assert!(database.servers() <= 2);
}

#[test]
fn idle_transactions_that_have_done_nothing_hold_no_servers() {
    let database = cluster::database();
    let proxy = Proxy::sized(&database, 1);
    let door = proxy.door(&database);
    let mut idle: Vec<_> = (0..5).map(|_| door.wire()).collect();
    for client in &mut idle {
        assert_eq!(client.query("BEGIN"), ["C BEGIN", "Z T"]);
    }
    assert_eq!(door.wire().value("SELECT 1"), "1");
    for client in &mut idle {
        assert_eq!(client.query("ROLLBACK"), ["C ROLLBACK", "Z I"]);
    }
}

#[test]
fn a_transaction_keeps_its_server() {
    let database = cluster::database();
    let proxy = Proxy::sized(&database, 2);
    let door = proxy.door(&database);
    let (mut a, mut b, mut c) = (door.wire(), door.wire(), door.wire());
    a.run("CREATE TABLE t (who text)");
    a.run("BEGIN; INSERT INTO t VALUES ('a')");
    for other in [&mut b, &mut c] {
        assert_eq!(other.value("SELECT count(*) FROM t"), "0");
    }
    assert_eq!(a.value("SELECT who FROM t"), "a");
    a.run("ROLLBACK");
    assert_eq!(a.value("SELECT count(*) FROM t"), "0");
}

/// Whichever workers the clients are on, one of them waits while the other worker has a server and nothing to do.
#[test]
fn a_free_server_serves_clients_of_every_worker() {
    let database = cluster::database();
    let proxy = Proxy::sized(&database, 2);
    let door = proxy.door(&database);
    let mut clients: Vec<_> = (0..4).map(|_| door.wire()).collect();
    for holder in 0..4 {
        clients[holder].run("BEGIN");
        clients[holder].run("SELECT txid_current()");
        for other in (0..4).filter(|other| *other != holder) {
            assert_eq!(clients[other].value("SELECT 1"), "1");
        }
        clients[holder].run("COMMIT");
    }
    assert!(database.servers() <= 2);
}

/// One worker has one queue. Clients log in before the only server is taken.
#[test]
fn waiting_clients_are_served_in_order() {
    let database = cluster::database();
    let proxy = Config::new(&database).threads(1).pool("size = 1").start();
    let door = proxy.door(&database);
    let mut holder = door.wire();
    holder.run("CREATE TABLE came (who int, nr serial)");
    let mut waiting: Vec<_> = (0..5).map(|_| door.wire()).collect();
    holder.run("BEGIN; SELECT 1 FROM came");
    for (number, client) in waiting.iter_mut().enumerate() {
        client.send(&Messages::new().query(&format!("INSERT INTO came (who) VALUES ({number})")));
        // What pgshunt has read is in the queue.
        until("the query to be read", || unread_bytes(proxy.port()) == 0);
    }
    holder.run("COMMIT");
    for client in &mut waiting {
        client.until_ready();
    }
    let order = holder.value("SELECT string_agg(who::text, ' ' ORDER BY nr) FROM came");
    assert_eq!(order, "0 1 2 3 4");
}

#[test]
fn a_client_logs_in_while_every_server_is_held() {
    let database = cluster::database();
    let proxy = Proxy::sized(&database, 1);
    let door = proxy.door(&database);
    let mut holder = door.wire();
    holder.run("CREATE TABLE t ()");
    holder.run("BEGIN; SELECT FROM t");
    let late: Vec<_> = (0..4).map(|_| door.wire()).collect();
    holder.run("COMMIT");
    for mut client in late {
        assert_eq!(client.value("SELECT 1"), "1");
    }
}

/// Bytes that clients have sent to this port and its owner has not yet read.
fn unread_bytes(port: u16) -> u64 {
    let table = std::fs::read_to_string("/proc/net/tcp").expect("/proc");
    let local = format!(":{port:04X}");
    let is_ours = |line: &&str| {
        line.split_whitespace()
            .nth(1)
            .is_some_and(|at| at.ends_with(&local))
    };
    let unread = |line: &str| {
        let queues = line.split_whitespace().nth(4)?;
        u64::from_str_radix(queues.split_once(':')?.1, 16).ok()
    };
    table.lines().filter(is_ours).filter_map(unread).sum()
}

/// PostgreSQL drops no database that anybody is connected to; servers that only wait for clients are nobody.
#[test]
fn a_database_without_clients_can_be_dropped() {
    let database = cluster::database();
    let proxy = Proxy::to(&format!(
        "postgres://postgres@127.0.0.1:{}/postgres",
        database.cluster.port
    ));
    let door = proxy.door(&database).as_user("postgres");
    let at = |name: &str| Door {
        database: name.into(),
        ..door.clone()
    };
    let mut master = at("postgres").wire();
    let doomed = cluster::unique("doomed");
    let drop = format!("DROP DATABASE {doomed}");
    for form in ["simple", "unnamed", "named"] {
        master.run(&format!("CREATE DATABASE {doomed}"));
        for _ in 0..3 {
            let mut client = at(&doomed).wire();
            // One leaves a server that has to be cleaned first.
            client.run("CREATE TEMP TABLE t (a int)");
            client.hang_up();
            assert_eq!(at(&doomed).wire().value("SELECT 1"), "1");
        }
        let seen = match form {
            "simple" => master.query(&drop),
            "unnamed" => master.extended(&drop, &[]),
            _ => master.exchange(&Messages::new().parse("s", &drop).run("s", &[]).sync()),
        };
        assert!(seen.contains(&"C DROP DATABASE".to_owned()), "{form}: {seen:?}");
    }
}
