//! COPY in both directions and both protocols, in order and out of it, as on PostgreSQL itself.

use std::io::Write;

use pgshunt_tests::{Database, Messages, Proxy, Wire, cluster, programs, wire};

fn m() -> Messages {
    Messages::new()
}

/// Runs a script on a fresh table directly and through a pool of one, then once more, to see what was left behind.
#[track_caller]
fn same_copy(script: impl Fn(&mut Wire) -> Vec<String>) {
    let (database, twin) = (cluster::database(), cluster::database());
    for database in [&database, &twin] {
        database.door().psql("CREATE TABLE t (a int, b text)");
    }
    let proxy = Proxy::sized(&database, 1);
    let (mut direct, mut through) = (twin.door().wire(), proxy.door(&database).wire());
    for _ in 0..2 {
        assert_eq!(
            script(&mut direct),
            script(&mut through),
            "left: PostgreSQL itself, right: pgshunt"
        );
        let rows = "SELECT * FROM t ORDER BY a, b";
        assert_eq!(direct.query(rows), through.query(rows));
    }
    drop(through);
    assert_eq!(proxy.door(&database).wire().value("SELECT 1"), "1");
}

/// Up to the answer that opens a COPY, or the error instead.
fn opened(wire: &mut Wire) -> Vec<String> {
    let mut frames = Vec::new();
    loop {
        frames.push(wire.read());
        if frames.last().is_some_and(|frame| b"GHE".contains(&frame.kind)) {
            return wire::transcript(&frames);
        }
    }
}

fn ready(wire: &mut Wire) -> Vec<String> {
    wire::transcript(&wire.until_ready())
}

#[test]
fn in_and_out_by_simple_query() {
    same_copy(|wire| {
        wire.send(&m().query("COPY t FROM STDIN"));
        let mut seen = opened(wire);
        wire.send(&m().copy_data(b"1\tone\n2\tt").copy_data(b"wo\n").copy_done());
        seen.extend(ready(wire));
        seen.extend(wire.query("COPY t TO STDOUT"));
        seen.extend(wire.query("COPY (SELECT a FROM t) TO STDOUT (FORMAT csv, HEADER)"));
        seen
    });
}

#[test]
fn in_and_out_by_extended_query() {
    same_copy(|wire| {
        wire.send(&m().once("COPY t FROM STDIN", &[]).flush());
        let mut seen = opened(wire);
        wire.send(&m().copy_data(b"3\tthree\n").copy_done().sync());
        seen.extend(ready(wire));
        seen.extend(
            wire.exchange(
                &m().parse("out", "COPY t TO STDOUT")
                    .run("out", &[])
                    .run("out", &[])
                    .close(b'S', "out")
                    .sync(),
            ),
        );
        seen
    });
}

/// libpq sends Sync right behind Execute, before it knows of the COPY; the server passes over it.
#[test]
fn a_sync_before_the_data() {
    same_copy(|wire| {
        wire.send(&m().once("COPY t FROM STDIN", &[]).sync());
        let mut seen = opened(wire);
        wire.send(&m().copy_data(b"4\tfour\n").copy_done().sync());
        seen.extend(ready(wire));
        seen.extend(wire.query("SELECT 'next'"));
        seen
    });
}

#[test]
fn the_client_gives_up() {
    same_copy(|wire| {
        wire.send(&m().query("COPY t FROM STDIN"));
        let mut seen = opened(wire);
        wire.send(&m().copy_data(b"5\tfive\n").copy_fail("changed my mind"));
        seen.extend(ready(wire));
        wire.send(&m().once("COPY t FROM STDIN", &[]).flush());
        seen.extend(opened(wire));
        wire.send(&m().copy_fail("again").sync());
        seen.extend(ready(wire));
        seen
    });
}

#[test]
fn the_server_gives_up_in_the_middle() {
    same_copy(|wire| {
        wire.send(&m().query("COPY t FROM STDIN"));
        let mut seen = opened(wire);
        let mut data = m().copy_data(b"not a number\tx\n");
        for n in 0..1000 {
            data = data.copy_data(format!("{n}\tx\n").as_bytes());
        }
        wire.send(&data.copy_done());
        seen.extend(ready(wire));
        wire.send(&m().once("COPY t FROM STDIN", &[]).flush());
        seen.extend(opened(wire));
        wire.send(&m().copy_data(b"x\tx\n").copy_data(b"1\tx\n").copy_done().sync());
        seen.extend(ready(wire));
        seen.extend(wire.query("SELECT 'next'"));
        seen
    });
}

#[test]
fn a_copy_that_does_not_begin() {
    same_copy(|wire| {
        let mut seen = wire.query("COPY nothing FROM STDIN");
        seen.extend(wire.exchange(&m().once("COPY t (c) FROM STDIN", &[]).sync()));
        // Data nobody asked for is passed over.
        wire.send(&m().copy_data(b"1\tx\n").copy_done());
        seen.extend(wire.query("SELECT 'next'"));
        seen
    });
}

#[test]
fn two_copies_and_more_in_one_query() {
    same_copy(|wire| {
        wire.send(
            &m().query("COPY t FROM STDIN; COPY t FROM STDIN; SELECT count(*) > 0 FROM t; COPY t TO STDOUT"),
        );
        let mut seen = opened(wire);
        wire.send(&m().copy_data(b"6\tsix\n").copy_done());
        seen.extend(opened(wire));
        wire.send(&m().copy_data(b"7\tseven\n").copy_done());
        seen.extend(ready(wire));
        seen
    });
}

#[test]
fn in_a_transaction_that_is_rolled_back() {
    same_copy(|wire| {
        let mut seen = wire.query("BEGIN");
        wire.send(&m().query("COPY t FROM STDIN"));
        seen.extend(opened(wire));
        wire.send(&m().copy_data(b"8\teight\n").copy_done());
        seen.extend(ready(wire));
        seen.extend(wire.query("SELECT count(*) FROM t WHERE a = 8"));
        seen.extend(wire.query("ROLLBACK"));
        seen
    });
}

#[test]
fn psql_copies_a_hundred_megabytes_both_ways_in_little_memory() {
    let database = cluster::database();
    let proxy = Proxy::sized(&database, 2);
    let door = proxy.door(&database);
    door.psql("CREATE UNLOGGED TABLE big (line text)");
    let mut copy = door.program("psql");
    copy.args(["-Xqc", "COPY big FROM STDIN"])
        .stdin(std::process::Stdio::piped());
    let mut running = copy.spawn().expect("psql");
    let line = format!("{}\n", "x".repeat(9_999));
    let mut input = running.stdin.take().expect("a pipe");
    for _ in 0..10_000 {
        input.write_all(line.as_bytes()).expect("written");
    }
    drop(input);
    assert!(running.wait().expect("psql").success());
    assert_eq!(
        door.psql("SELECT count(*), sum(length(line)) FROM big"),
        "10000|99990000"
    );
    let out = door.psql("COPY big TO STDOUT");
    assert_eq!(out.len() + 1, 100_000_000);
    let most = programs::resident_bytes_max(proxy.pid());
    assert!(most < 64 << 20, "pgshunt held {most} bytes");
}

/// A client that dies in the middle leaves neither rows nor a broken server.
#[test]
fn the_client_dies_in_the_middle() {
    let database: Database = cluster::database();
    database.door().psql("CREATE TABLE t (a int, b text)");
    let proxy = Proxy::sized(&database, 1);
    let door = proxy.door(&database);
    let mut dying = door.wire();
    dying.send(&m().query("COPY t FROM STDIN"));
    opened(&mut dying);
    dying.send(&m().copy_data(b"1\tone\n"));
    dying.hang_up();
    assert_eq!(door.wire().value("SELECT count(*) FROM t"), "0");
    let mut dying = door.wire();
    dying.send(&m().query("COPY (SELECT repeat('x', 10000) FROM generate_series(1, 100000)) TO STDOUT"));
    opened(&mut dying);
    dying.hang_up();
    assert_eq!(door.wire().value("SELECT count(*) FROM t"), "0");
}
