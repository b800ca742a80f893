//! What goes wrong ends as with PostgreSQL itself: refusals, servers that die and come back, clients that die, too much of anything.

use std::io::Write;
use std::time::{Duration, Instant};

use pgshunt::cli::demo::cluster::{Plan, Stop};
use pgshunt_tests::{
    Cluster, Config, Database, Door, Messages, PATIENCE, Proxy, Wire, cluster, programs, until, wire,
};

fn m() -> Messages {
    Messages::new()
}

fn proxy(database: &Database, size: usize) -> Proxy {
    let config = Config::new(database).threads(1);
    config.pool(&format!("size = {size}")).start()
}

#[test]
fn refused_as_at_postgresql() {
    let database = cluster::database();
    let no_login = database.role("no_login");
    database
        .superuser()
        .psql(&format!("ALTER ROLE {no_login} NOLOGIN"));
    let expired = database.role("expired");
    database
        .superuser()
        .psql(&format!("ALTER ROLE {expired} VALID UNTIL '2001-01-01'"));
    let proxy = Proxy::to(&format!(
        "postgres://postgres@127.0.0.1:{}/postgres",
        database.cluster.port
    ));
    let through = proxy.door(&database);
    let wrong = |door: &Door| Door {
        password: "wrong".into(),
        ..door.clone()
    };
    let nowhere = |door: &Door| Door {
        database: "nowhere".into(),
        ..door.clone()
    };
    for change in [
        &wrong as &dyn Fn(&Door) -> Door,
        &nowhere,
        &|door: &Door| door.as_user("nobody_at_all"),
        &|door: &Door| door.as_user(&expired),
        &|door: &Door| Door {
            password: String::new(),
            ..door.clone()
        },
    ] {
        let (direct, through) = (change(&database.door()), change(&through));
        assert_eq!(direct.refusal(), through.refusal(), "{direct:?}");
    }
    // PostgreSQL says that the role may not log in; whether such a role exists is nobody's business.
    assert!(through.as_user(&no_login).refusal().starts_with("E FATAL 28"));
    assert_eq!(through.wire().value("SELECT 1"), "1");
}

#[test]
fn a_name_that_is_no_database_of_ours() {
    let database = cluster::database();
    let proxy = proxy(&database, 1);
    let door = Door {
        database: "other".into(),
        ..proxy.door(&database)
    };
    assert!(door.refusal().contains(" 3D000 "), "{}", door.refusal());
}

#[test]
fn a_password_that_changes() {
    let database = cluster::database();
    let proxy = proxy(&database, 2);
    let door = proxy.door(&database);
    assert_eq!(door.wire().value("SELECT 1"), "1");
    database
        .superuser()
        .psql(&format!("ALTER ROLE {} PASSWORD 'new'", database.name));
    let new = Door {
        password: "new".into(),
        ..door.clone()
    };
    until("the new password to be known", || new.try_wire(&[]).is_ok());
    assert!(door.refusal().contains(" 28P01 "));
    assert_eq!(new.wire().value("SELECT 1"), "1");
}

#[test]
fn a_server_that_is_down_and_comes_back() {
    let mut node = cluster::private(&Plan::default());
    let database = Cluster::of(&node).database();
    node.stop(Stop::Fast).expect("stopped");
    let proxy = proxy(&database, 2);
    let door = proxy.door(&database);
    let began = Instant::now();
    let refusal = door.refusal();
    assert!(
        ["08", "57"]
            .iter()
            .any(|class| refusal.contains(&format!("E FATAL {class}"))),
        "{refusal}"
    );
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    node.start().expect("started");
    until("clients to be let in", || door.try_wire(&[]).is_ok());
    let mut client = door.wire();
    assert_eq!(client.value("SELECT 1"), "1");
    for how in [Stop::Fast, Stop::Immediate, Stop::Kill] {
        node.stop(how).expect("stopped");
        let code = client.sqlstate("SELECT 1");
        assert!(code.starts_with("08") || code.starts_with("57P"), "{code}");
        node.start().expect("started");
        until("the same session to work again", || {
            client.query("SELECT 'back'").contains(&"D back".to_owned())
        });
    }
}

#[test]
fn a_server_that_dies_in_the_middle_of_a_query() {
    let database = cluster::database();
    let proxy = proxy(&database, 1);
    let door = proxy.door(&database);
    let mut client = door.wire();
    client.run("CREATE TABLE t (a int)");
    client.run("BEGIN");
    client.run("INSERT INTO t VALUES (1)");
    client.send(&m().query("SELECT pg_sleep(60)"));
    let terminate = format!(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
         WHERE usename = '{}' AND state = 'active' AND query LIKE '%pg_sleep%'",
        database.name
    );
    until("the server to be killed", || {
        database.superuser().psql(&terminate) == "1"
    });
    let heard = client.until_end();
    assert!(
        heard
            .iter()
            .any(|frame| frame.kind == b'E' && frame.sqlstate() == "57P01"),
        "{heard:?}"
    );
    let mut next = door.wire();
    assert_eq!(next.value("SELECT count(*) FROM t"), "0");
}

#[test]
fn an_idle_server_that_died_is_noticed() {
    let database = cluster::database();
    let proxy = proxy(&database, 1);
    let mut client = proxy.door(&database).wire();
    let terminate = format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{}'",
        database.name
    );
    for _ in 0..5 {
        assert_eq!(client.value("SELECT 1"), "1");
        database.superuser().psql(&terminate);
        until("the server to be gone", || database.servers() == 0);
    }
}

#[test]
fn nobody_waits_longer_than_allowed() {
    let database = cluster::database();
    let config = Config::new(&database).threads(1).pool("size = 1");
    let proxy = config
        .pool("query_wait_timeout = \"400ms\"")
        .pool("queue_size = 2")
        .start();
    let door = proxy.door(&database);
    let mut clients: Vec<Wire> = (0..4).map(|_| door.wire()).collect();
    clients[0].run("BEGIN; SELECT txid_current()");
    let began = Instant::now();
    for client in &mut clients[1..3] {
        client.send(&m().query("SELECT 'waits'"));
    }
    // Two wait already: the third is refused at once.
    let mut heard = Vec::new();
    until("the queue to be full", || {
        heard = clients[3].query("SELECT 'third'");
        began.elapsed() > Duration::from_millis(10)
    });
    for client in &mut clients[1..3] {
        let frames = client.until_ready();
        assert_eq!(frames[0].sqlstate(), "53300", "{frames:?}");
    }
    assert!(heard[0].contains(" 53300 "), "{heard:?}");
    assert!(
        (350..5000).contains(&began.elapsed().as_millis()),
        "{:?}",
        began.elapsed()
    );
    clients[0].run("COMMIT");
    for client in &mut clients {
        assert_eq!(client.value("SELECT 1"), "1");
    }
}

#[test]
fn a_client_that_dies_in_the_middle_of_a_query() {
    let database = cluster::database();
    let proxy = proxy(&database, 1);
    let door = proxy.door(&database);
    door.wire().run("CREATE TABLE t (a int)");
    for _ in 0..3 {
        let mut dying = door.wire();
        dying.run("BEGIN");
        dying.run("INSERT INTO t VALUES (1)");
        dying.send(&m().query("SELECT pg_sleep(600)"));
        database.runs("pg_sleep(600)");
        dying.hang_up();
        let began = Instant::now();
        assert_eq!(door.wire().value("SELECT count(*) FROM t"), "0");
        assert!(began.elapsed() < PATIENCE / 3);
    }
}

/// Parameters and rows pass through; a statement's own text must be read whole, once, to be understood.
#[test]
fn a_hundred_megabytes_in_one_value_both_ways() {
    let database = cluster::database();
    let proxy = proxy(&database, 1);
    let mut client = proxy.door(&database).wire();
    let value = "v".repeat(100 << 20);
    let length = value.len();
    let seen = client.extended("SELECT length($1::text)", &[&value]);
    assert!(seen.contains(&format!("D {length}")), "{seen:?}");
    client.send(&m().query(&format!("SELECT repeat('v', {length})")));
    let frames = client.until_ready();
    let row = frames.iter().find(|frame| frame.kind == b'D').expect("a row");
    assert_eq!(row.body.len(), 2 + 4 + length);
    let most = programs::resident_bytes_max(proxy.pid());
    assert!(most < 64 << 20, "pgshunt held {most} bytes for values");
    let seen = client.query(&format!("SELECT length('{value}')"));
    assert!(seen.contains(&format!("D {length}")), "{seen:?}");
    let most = programs::resident_bytes_max(proxy.pid());
    assert!(most < 300 << 20, "pgshunt held {most} bytes for a text");
    until("the memory to be given back", || {
        assert_eq!(client.value("SELECT 1"), "1");
        programs::resident_bytes(proxy.pid()) < 64 << 20
    });
}

#[test]
fn ten_thousand_errors_in_a_row() {
    let database = cluster::database();
    let proxy = proxy(&database, 1);
    let mut client = proxy.door(&database).wire();
    let before = programs::resident_bytes(proxy.pid());
    for turn in 0..5000 {
        assert_eq!(
            client.query("SELECT 1/0")[0],
            "E ERROR 22012 division by zero",
            "{turn}"
        );
        let seen = client.exchange(&m().parse("", "SELEC").run("", &[]).sync());
        assert_eq!(seen, ["E ERROR 42601 syntax error at or near \"SELEC\"", "Z I"]);
    }
    let after = programs::resident_bytes(proxy.pid());
    assert!(after < before + (8 << 20), "{before} bytes before, {after} after");
    assert_eq!(client.value("SELECT 1"), "1");
}

/// Bytes that are no startup packet: an error or a closed door, at once, and the next client is served.
#[test]
fn garbage_instead_of_a_startup() {
    let database = cluster::database();
    let proxy = proxy(&database, 1);
    let door = proxy.door(&database);
    let openings: [&[u8]; 9] = [
        b"GET / HTTP/1.1\r\n\r\n",
        &[0, 0, 0, 0, 0, 3, 0, 0],
        &[0, 0, 0, 8, 0, 2, 0, 0],
        &[0, 0, 0, 8, 0, 9, 0, 0],
        &[0, 0, 0, 9, 0, 3, 0, 0, 0],
        &[0, 0, 0, 12, 0, 3, 0, 0, b'u', b's', b'e', b'r'],
        &[0xff; 64],
        &[0x16, 3, 1, 0, 5, 1, 0, 0, 1, 3],
        &[0, 1, 0, 0, 0, 3, 0, 0],
    ];
    for opening in openings {
        let mut stranger = Wire::connect(&door).expect("connected");
        stranger.send_bytes(opening);
        stranger.writer().flush().expect("flushed");
        let heard = stranger.until_end();
        assert!(
            heard.iter().all(|frame| frame.kind == b'E'),
            "{opening:?}: {heard:?}"
        );
    }
    assert_eq!(door.wire().value("SELECT 1"), "1");
}

/// Messages where they do not belong: what PostgreSQL answers, pgshunt answers.
#[test]
fn messages_out_of_place() {
    let database = cluster::database();
    let proxy = proxy(&database, 1);
    let through = proxy.door(&database);
    for kind in 0..=u8::MAX {
        // Q, P … are understood; what is left is unknown to the protocol or has no place here.
        if b"QPBEDCSHFXdcf".contains(&kind) {
            continue;
        }
        let (mut expected, mut seen) = (Vec::new(), Vec::new());
        for (door, heard) in [(&database.door(), &mut expected), (&through, &mut seen)] {
            let mut wire = door.wire();
            wire.send(&m().raw(kind, b"x\0"));
            *heard = wire::transcript(&wire.until_end());
        }
        assert_eq!(expected, seen, "message type {kind}");
    }
    // A length no message can have.
    for length in [0_u32, 3, 0x7fff_ffff, 0xffff_ffff] {
        let mut wire = through.wire();
        let bytes = [b"Q".as_slice(), &length.to_be_bytes(), b"SELECT 1"].concat();
        wire.send_bytes(&bytes);
        let heard = wire.until_end();
        assert!(
            heard.iter().any(|frame| frame.kind == b'E'),
            "{length}: {heard:?}"
        );
    }
    assert_eq!(through.wire().value("SELECT 1"), "1");
}

/// Bodies that are cut short: an error of the protocol, and the session goes on as PostgreSQL's does.
#[test]
fn malformed_bodies() {
    let database = cluster::database();
    let proxy = proxy(&database, 1);
    for (kind, body) in [
        (b'P', &b"no end"[..]),
        (b'P', b"s\0SELECT 1\0\0\x09"),
        (b'B', b"\0"),
        (b'B', b"\0s\0\0\0\0\x02\0\0\0\x7f"),
        (b'E', b"\0"),
        (b'D', b"Xname\0"),
        (b'D', b""),
        (b'C', b"S"),
        (b'F', b"\0"),
        (b'S', b"more"),
    ] {
        let script = |wire: &mut Wire| {
            let mut seen = wire.exchange(&m().raw(kind, body).sync());
            seen.extend(wire.query("SELECT 1"));
            seen
        };
        let (direct, through) = (
            script(&mut database.door().wire()),
            script(&mut proxy.door(&database).wire()),
        );
        assert_eq!(direct, through, "{} {body:?}", char::from(kind));
    }
}

/// A server that idled for long is asked whether it is still there before it is lent (`server_check_delay`).
#[test]
fn a_server_that_no_longer_answers_is_not_lent() {
    let database = cluster::database();
    let proxy = Config::new(&database)
        .threads(1)
        .pool("size = 2")
        .pool("server_check_delay = \"1ms\"")
        .start();
    let mut client = proxy.door(&database).wire();
    let gone = client.server_pid();
    assert_eq!(client.server_pid(), gone, "one that answers is lent again");
    // As if a firewall had forgotten the line: nothing comes back, not even an end.
    pgshunt_tests::programs::signal(gone.parse().expect("a process"), "STOP");
    assert_ne!(client.server_pid(), gone);
    assert!(
        proxy
            .log()
            .contains("a free server did not answer and was closed")
    );
    pgshunt_tests::programs::signal(gone.parse().expect("a process"), "CONT");
    until("it to end", || database.servers() == 1);
}
