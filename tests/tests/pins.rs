//! What lives in one server keeps that server for its client, no longer than it lives.

use pgshunt_tests::{Config, Database, Door, Messages, Proxy, Wire, cluster, until};

fn proxy(database: &Database, size: usize) -> Proxy {
    let config = Config::new(database).threads(1);
    config
        .pool(&format!("size = {size}"))
        .pool("query_wait_timeout = \"300ms\"")
        .start()
}

/// With one server, somebody else is served if and only if nobody keeps it.
fn is_kept(door: &Door) -> bool {
    let answer = door.wire().query("SELECT 'free'");
    !answer.contains(&"D free".to_owned())
}

/// Through a pool of one: what takes the server, how its state is seen, and what gives the server back.
#[track_caller]
fn kept_until(take: &str, see: (&str, &str), give: &str) {
    let database = cluster::database();
    let proxy = proxy(&database, 1);
    let door = proxy.door(&database);
    let _known = door.wire();
    let mut client = door.wire();
    client.run(take);
    assert!(is_kept(&door), "{take} does not keep the server");
    assert_eq!(client.value(see.0), see.1);
    client.run(give);
    assert!(!is_kept(&door), "{give} does not give the server back");
    client.run(take);
    drop(client);
    let mut next = door.wire();
    assert_ne!(
        next.query(see.0).first(),
        Some(&format!("D {}", see.1)),
        "{take} was left to the next client"
    );
}

#[test]
fn temporary_tables() {
    kept_until(
        "CREATE TEMP TABLE mine AS SELECT 7 AS a",
        ("SELECT a FROM mine", "7"),
        "DROP TABLE mine",
    );
    kept_until(
        "SELECT 7 AS a INTO TEMP mine",
        ("SELECT a FROM mine", "7"),
        "DISCARD TEMP",
    );
}

#[test]
fn temporary_tables_made_out_of_sight() {
    kept_until(
        "DO $$BEGIN CREATE TEMP TABLE mine AS SELECT 7 AS a; END$$",
        ("SELECT a FROM mine", "7"),
        "DO $$BEGIN DROP TABLE mine; END$$",
    );
}

#[test]
fn advisory_locks() {
    let count = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()";
    let database = cluster::database();
    let proxy = proxy(&database, 1);
    let door = proxy.door(&database);
    let mut client = door.wire();
    client.run("SELECT pg_advisory_lock(1), pg_advisory_lock(1)");
    assert!(is_kept(&door));
    client.run("SELECT pg_advisory_unlock(1)");
    assert!(is_kept(&door));
    client.run("SELECT pg_advisory_unlock(1)");
    assert!(!is_kept(&door));
    client.run("BEGIN; SELECT pg_advisory_xact_lock(2); COMMIT");
    assert!(!is_kept(&door));
    client.run("SELECT pg_try_advisory_lock(3)");
    assert!(is_kept(&door));
    drop(client);
    assert_eq!(door.wire().value(count), "0");
}

#[test]
fn sql_prepare() {
    kept_until(
        "PREPARE mine AS SELECT 7",
        ("EXECUTE mine", "7"),
        "DEALLOCATE mine",
    );
    kept_until(
        "PREPARE mine AS SELECT 7",
        ("EXECUTE mine", "7"),
        "DEALLOCATE ALL",
    );
}

#[test]
fn held_cursors() {
    kept_until(
        "BEGIN; DECLARE mine CURSOR WITH HOLD FOR SELECT 7; COMMIT",
        ("FETCH FORWARD 1 FROM mine", "7"),
        "CLOSE mine",
    );
}

#[test]
fn listening_and_being_told() {
    let channel = cluster::unique("ch");
    let database = cluster::database();
    let proxy = proxy(&database, 2);
    let door = proxy.door(&database);
    let mut listener = door.wire();
    listener.run(&format!("LISTEN {channel}"));
    let mut teller = door.wire();
    teller.run(&format!("NOTIFY {channel}, 'hello'"));
    assert_eq!(
        listener.until(b'A').last().expect("one").to_string(),
        format!("A {channel} hello")
    );
    // Told while a transaction runs: heard at its end, between two answers.
    listener.run("BEGIN; SELECT 1");
    teller.run(&format!("SELECT pg_notify('{channel}', 'again')"));
    listener.send(&Messages::new().query("COMMIT"));
    let mut heard = listener.until(b'Z');
    if !heard.iter().any(|frame| frame.kind == b'A') {
        heard.extend(listener.until(b'A'));
    }
    assert!(
        heard
            .iter()
            .any(|frame| frame.to_string() == format!("A {channel} again")),
        "{heard:?}"
    );
    listener.run(&format!("UNLISTEN {channel}"));
    teller.run(&format!("NOTIFY {channel}, 'lost'"));
    assert_eq!(
        listener.query("SELECT 1"),
        ["T ?column?:23/0", "D 1", "C SELECT 1", "Z I"]
    );
}

#[test]
fn listening_ends() {
    kept_until("LISTEN a", ("SELECT pg_listening_channels()", "a"), "UNLISTEN a");
    kept_until("LISTEN a", ("SELECT pg_listening_channels()", "a"), "UNLISTEN *");
}

#[test]
fn what_is_rolled_back_keeps_nothing() {
    let database = cluster::database();
    let proxy = proxy(&database, 1);
    let door = proxy.door(&database);
    let mut client = door.wire();
    for sql in [
        "BEGIN; CREATE TEMP TABLE mine (a int); ROLLBACK",
        "BEGIN; LISTEN a; ROLLBACK",
        "BEGIN; DECLARE mine CURSOR WITH HOLD FOR SELECT 1; ROLLBACK",
        "CREATE TEMP TABLE mine (a int); SELECT 1/0",
    ] {
        client.query(sql);
        assert!(!is_kept(&door), "{sql}");
    }
}

/// Rows of temporary tables emptied or dropped at commit live no longer than the transaction; the tables may.
#[test]
fn temporary_tables_that_end_with_the_transaction() {
    let database = cluster::database();
    let proxy = proxy(&database, 1);
    let door = proxy.door(&database);
    let mut client = door.wire();
    client.run("BEGIN; CREATE TEMP TABLE mine ON COMMIT DROP AS SELECT 7 AS a; COMMIT");
    assert!(!is_kept(&door));
    assert_eq!(client.sqlstate("SELECT a FROM mine"), "42P01");
}

#[test]
fn the_backend_pid_is_the_sessions() {
    let database = cluster::database();
    let proxy = proxy(&database, 3);
    let door = proxy.door(&database);
    let mut clients: Vec<Wire> = (0..2).map(|_| door.wire()).collect();
    let pids: Vec<String> = clients
        .iter_mut()
        .map(|client| client.value("SELECT pg_backend_pid()"))
        .collect();
    assert_ne!(pids[0], pids[1]);
    for (client, pid) in clients.iter_mut().zip(&pids) {
        assert_eq!(&client.value("SELECT pg_backend_pid()"), pid);
    }
}

#[test]
fn a_sequence_value_is_the_sessions_or_nobodys() {
    let database = cluster::database();
    database.door().psql("CREATE SEQUENCE s");
    let proxy = proxy(&database, 1);
    let door = proxy.door(&database);
    let (mut a, mut b) = (door.wire(), door.wire());
    let mine = a.value("SELECT nextval('s')");
    assert_eq!(a.value("SELECT currval('s')"), mine);
    let seen = b.query("SELECT currval('s')");
    assert!(seen.iter().any(|line| line.contains(" 55000 ")), "{seen:?}");
    b.run("SELECT nextval('s')");
    // Either its own, or an error: never b's.
    let seen = a.query("SELECT currval('s')");
    assert!(
        seen.contains(&format!("D {mine}")) || seen.iter().any(|line| line.contains(" 55000 ")),
        "{seen:?}"
    );
    // In one transaction, or with nobody in between, it is there.
    b.run("BEGIN; SELECT nextval('s')");
    assert_eq!(b.value("SELECT lastval()"), "3");
    b.run("COMMIT");
    assert_eq!(b.value("SELECT currval('s')"), "3");
}

#[test]
fn the_console_names_the_reasons() {
    let database = cluster::database();
    let proxy = proxy(&database, 2);
    let mut client = proxy.door(&database).wire();
    let pins = || proxy.console().psql("SHOW PINS");
    for (take, reason, give) in [
        (
            "CREATE TEMP TABLE mine (a int)",
            "temporary tables",
            "DROP TABLE mine",
        ),
        ("LISTEN a", "LISTEN", "UNLISTEN a"),
        (
            "SELECT pg_advisory_lock(1)",
            "advisory locks",
            "SELECT pg_advisory_unlock_all()",
        ),
        ("PREPARE p AS SELECT 1", "SQL PREPARE", "DEALLOCATE p"),
    ] {
        client.run(take);
        // The client has its answer before pgshunt has asked the server what is left.
        until(reason, || pins().contains(reason));
        client.run(give);
        until("the pin to end", || !pins().contains(reason));
    }
}

#[test]
fn a_session_s_own_notification_names_the_process_it_was_told_of() {
    let database = cluster::database();
    let proxy = proxy(&database, 2);
    for door in [database.door(), proxy.door(&database)] {
        let mut wire = door.wire();
        wire.run("LISTEN own");
        wire.send(&Messages::new().query("NOTIFY own, 'it is me'"));
        let frames = wire.until_ready();
        let told = frames
            .iter()
            .find(|frame| frame.kind == b'A')
            .expect("a notification");
        assert_eq!(told.body[..4], wire.welcome.pid.to_be_bytes());
        assert_eq!(told.body[4..], *b"own\0it is me\0");
    }
}
