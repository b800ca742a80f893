//! Cancel requests: they stop the query they are meant for, and never another.

use std::time::Instant;

use pgshunt_tests::{Config, Database, Door, Messages, PATIENCE, Proxy, Wire, cluster, wire};

const LONG: &str = "SELECT pg_sleep(60)";

fn proxy(database: &Database) -> Proxy {
    Config::new(database).threads(1).pool("size = 1").start()
}

fn start(wire: &mut Wire, sql: &str) {
    wire.send(&Messages::new().query(sql));
}

fn end(wire: &mut Wire) -> Vec<String> {
    wire::transcript(&wire.until_ready())
}

const CANCELED: [&str; 2] = ["E ERROR 57014 canceling statement due to user request", "Z I"];

fn canceled(seen: &[String]) -> bool {
    seen.len() >= 2 && seen[seen.len() - 2..] == CANCELED
}

#[test]
fn a_long_query_stops() {
    let database = cluster::database();
    let proxy = proxy(&database);
    let mut client = proxy.door(&database).wire();
    for _ in 0..3 {
        start(&mut client, LONG);
        database.runs("pg_sleep");
        let began = Instant::now();
        client.cancel();
        let seen = end(&mut client);
        assert!(canceled(&seen), "{seen:?}");
        assert!(began.elapsed() < PATIENCE / 2);
        assert_eq!(client.value("SELECT 1"), "1");
    }
}

#[test]
fn psql_and_ctrl_c() {
    let database = cluster::database();
    let proxy = proxy(&database);
    let mut psql = proxy.door(&database).program("psql");
    psql.args(["-Xc", LONG]).stderr(std::process::Stdio::piped());
    let psql = psql.spawn().expect("psql");
    database.runs("pg_sleep");
    pgshunt_tests::programs::signal(psql.id(), "INT");
    let output = psql.wait_with_output().expect("psql");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        errors.contains("canceling statement due to user request"),
        "{errors}"
    );
}

#[test]
fn a_query_in_a_transaction_stops_and_the_transaction_is_aborted() {
    let database = cluster::database();
    let proxy = proxy(&database);
    let mut client = proxy.door(&database).wire();
    client.run("BEGIN");
    start(&mut client, LONG);
    database.runs("pg_sleep");
    client.cancel();
    assert_eq!(end(&mut client).last().map(String::as_str), Some("Z E"));
    assert_eq!(client.sqlstate("SELECT 1"), "25P02");
    assert_eq!(client.query("ROLLBACK"), ["C ROLLBACK", "Z I"]);
}

#[test]
fn a_client_that_waits_for_a_server_stops_waiting() {
    let database = cluster::database();
    let proxy = proxy(&database);
    let door = proxy.door(&database);
    let (mut holder, mut waiting) = (door.wire(), door.wire());
    holder.run("BEGIN");
    holder.run("SELECT txid_current()");
    start(&mut waiting, "SELECT 'never'");
    waiting.cancel();
    let seen = end(&mut waiting);
    assert!(canceled(&seen), "{seen:?}");
    assert_eq!(holder.query("COMMIT"), ["C COMMIT", "Z I"]);
    assert_eq!(waiting.value("SELECT 'later'"), "later");
}

#[test]
fn a_wrong_key_does_nothing() {
    let database = cluster::database();
    let proxy = proxy(&database);
    let door = proxy.door(&database);
    let mut client = door.wire();
    start(&mut client, "SELECT pg_sleep(1), 'done'");
    database.runs("pg_sleep");
    let (pid, secret) = (client.welcome.pid, client.welcome.cancel_secret.clone());
    let mut wrong = secret.clone();
    wrong[0] ^= 1;
    wire::cancel(&door, pid, &wrong);
    wire::cancel(&door, pid.wrapping_add(1), &secret);
    wire::cancel(&door, 0, &[0; 4]);
    assert!(end(&mut client).contains(&"D |done".to_owned()));
}

/// Cancels that come late, again and again, while the one server goes from client to client: nobody else is hit.
#[test]
fn a_late_cancel_hits_nobody_else() {
    let database = cluster::database();
    let proxy = proxy(&database);
    let door = proxy.door(&database);
    let mut others: Vec<Wire> = (0..3).map(|_| door.wire()).collect();
    let mut canceler = door.wire();
    for _ in 0..40 {
        start(&mut canceler, "SELECT 'short'");
        canceler.cancel();
        // The query was stopped or it was not; its session lives on.
        let seen = end(&mut canceler);
        assert!(
            canceled(&seen) || seen.contains(&"D short".to_owned()),
            "{seen:?}"
        );
        for other in &mut others {
            assert_eq!(other.value("SELECT pg_sleep(0.001), 'unharmed'"), "|unharmed");
        }
        canceler.cancel();
        for other in &mut others {
            assert_eq!(other.value("SELECT 'unharmed'"), "unharmed");
        }
    }
}

#[test]
fn many_cancels_at_once() {
    let database = cluster::database();
    let proxy = Config::new(&database).pool("size = 8").start();
    let door: Door = proxy.door(&database);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut client = door.wire();
                for _ in 0..5 {
                    start(&mut client, "SELECT pg_sleep(60)");
                    // The cancel may come before the query does: then it has no effect, as at PostgreSQL.

                    let key = (client.welcome.pid, client.welcome.cancel_secret.clone());
                    let stop = std::sync::atomic::AtomicBool::new(false);
                    std::thread::scope(|inner| {
                        inner.spawn(|| {
                            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                                wire::cancel(&door, key.0, &key.1);
                                std::thread::sleep(std::time::Duration::from_millis(50));
                            }
                        });
                        let seen = end(&mut client);
                        stop.store(true, std::sync::atomic::Ordering::Relaxed);
                        assert!(canceled(&seen), "{seen:?}");
                    });
                }
            });
        }
    });
}
