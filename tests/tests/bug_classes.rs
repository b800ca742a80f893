//! Bugs that other poolers had and no other file here has a test for; the README lists where the rest is.

use std::time::Duration;

use pgshunt_tests::{Config, Messages, PATIENCE, Proxy, Wire, cluster, programs, same, until};

/// pg_doorman 3.1: room was made by a message whose answer nobody waited for, while the client only flushed.
#[test]
fn more_statements_than_a_server_keeps_and_never_a_sync() {
    let database = cluster::database();
    let config = Config::new(&database).threads(1).pool("size = 1");
    let proxy = config.pool("max_prepared_statements = 2").start();
    same(&database.door(), &proxy.door(&database), |wire| {
        let mut heard = Vec::new();
        for n in 0..6 {
            let name = format!("s{n}");
            let flushed = Messages::new()
                .parse(&name, &format!("SELECT {n}"))
                .bind("", &name, &[])
                .execute("", 0)
                .flush();
            wire.send(&flushed);
            heard.extend(wire.until(b'C').iter().map(ToString::to_string));
        }
        heard.extend(wire.exchange(&Messages::new().run("s0", &[]).sync()));
        heard.extend(wire.exchange(&Messages::new().run("s5", &[]).sync()));
        heard
    });
}

/// pg_doorman#233: the frame's boundary was lost with the client, and the pool's place with it.
#[test]
fn a_client_that_dies_in_the_middle_of_a_large_row_leaves_no_place_taken() {
    let database = cluster::database();
    let proxy = Proxy::sized(&database, 1);
    let door = proxy.door(&database);
    for _ in 0..3 {
        let mut dying = door.wire();
        dying.send(&Messages::new().query("SELECT repeat('x', 50000000), generate_series(1, 100)"));
        database.runs("repeat(");
        dying.hang_up();
        let mut next = door.wire();
        next.set_patience(PATIENCE);
        assert_eq!(next.value("SELECT 'next'"), "next");
    }
    assert!(programs::resident_bytes(proxy.pid()) < 64 << 20);
}

/// pgbouncer#1415: a failed transaction was the next client's.
#[test]
fn a_client_that_leaves_in_a_failed_transaction_takes_it_along() {
    let database = cluster::database();
    let proxy = Proxy::sized(&database, 1);
    let door = proxy.door(&database);
    let says_goodbye = |mut wire: Wire| wire.send(&Messages::new().terminate());
    for leave in [Wire::hang_up as fn(Wire), says_goodbye] {
        let mut client = door.wire();
        client.query("BEGIN");
        assert_eq!(client.sqlstate("SELECT 1/0"), "22012");
        leave(client);
        assert_eq!(door.wire().value("SELECT 'next'"), "next");
    }
}

/// pgbouncer#478: clients that give up must not cost connections, or a slow server gets slower.
#[test]
fn a_client_that_gives_up_costs_no_connection() {
    let database = cluster::database();
    // One worker: several take a pool's only place from each other.
    let proxy = Config::new(&database).threads(1).pool("size = 1").start();
    let door = proxy.door(&database);
    let connected = format!(
        "SELECT min(backend_start) FROM pg_stat_activity WHERE usename = '{}'",
        database.name
    );
    door.wire().run("SELECT 1");
    let before = database.superuser().psql(&connected);
    for _ in 0..5 {
        let mut client = door.wire();
        client.send(&Messages::new().query("SELECT pg_sleep(60)"));
        database.runs("pg_sleep(60)");
        client.hang_up();
        door.wire().run("SELECT 1");
        assert_eq!(database.superuser().psql(&connected), before, "another server");
    }
}

/// A client that says goodbye behind a statement and hangs up gets it done, as at a PostgreSQL. (One that still waits for
/// a server gives up with that: else a queue that has become too long would never end.)
#[test]
fn what_was_sent_before_a_goodbye_is_done() {
    let database = cluster::database();
    // One worker: nobody waits for a server that another has.
    let proxy = Config::new(&database).threads(1).pool("size = 1").start();
    let door = proxy.door(&database);
    let mut looks = database.superuser().wire();
    looks.run("CREATE TABLE done (n int); GRANT ALL ON done TO PUBLIC");
    door.wire().run("SELECT 1");
    for n in 1..=3 {
        let mut client = door.wire();
        let insert = format!("INSERT INTO done SELECT {n} FROM pg_sleep(0.2)");
        let messages = Messages::new().query(&insert);
        if n == 2 {
            // The goodbye comes while the statement runs.
            client.send(&messages);
            database.runs("INSERT INTO done");
            client.send(&Messages::new().terminate());
        } else {
            client.send(&messages.terminate());
        }
        client.hang_up();
        until(&format!("row {n} to be there"), || {
            looks.value(&format!("SELECT count(*) FROM done WHERE n = {n}")) == "1"
        });
    }
}

/// pg_doorman#262: without a free file descriptor the accept loop took a whole core.
#[test]
fn no_file_descriptors_left_is_waited_out() {
    let database = cluster::database();
    let proxy = Proxy::sized(&database, 1);
    let door = proxy.door(&database);
    let mut client = door.wire();
    client.run("SELECT 1");
    let limit = |count: usize| {
        let (pid, files) = (proxy.pid().to_string(), format!("--nofile={count}:4096"));
        let done = std::process::Command::new("prlimit")
            .args(["--pid", &pid, &files])
            .status();
        assert!(done.expect("prlimit").success());
    };
    let folder = format!("/proc/{}/fd", proxy.pid());
    limit(std::fs::read_dir(folder).expect("its files").count() + 2);
    let guests: Vec<_> = (0..10).filter_map(|_| Wire::connect(&door).ok()).collect();
    let spent = programs::cpu_seconds(proxy.pid());
    // What is looked at is how much it works while nothing can be done.
    std::thread::sleep(Duration::from_secs(1));
    assert!(
        programs::cpu_seconds(proxy.pid()) - spent < 0.3,
        "it takes more than a third of a core"
    );
    assert_eq!(client.value("SELECT 'still here'"), "still here");
    drop(guests);
    limit(1024);
    until("a new client to be let in", || door.try_wire(&[]).is_ok());
}
