//! Small things a program could notice, one test for each that was once different.

use std::io::{Read, Write};
use std::net::TcpStream;

use pgshunt_tests::{Config, Database, Messages, Proxy, Wire, cluster, same};

fn one(database: &Database) -> Proxy {
    Config::new(database).threads(1).pool("size = 1").start()
}

fn m() -> Messages {
    Messages::new()
}

/// Does the same directly and through pgshunt, with startup settings of the session's own.
#[track_caller]
fn same_with(parameters: &[(&str, &str)], script: impl Fn(&mut Wire) -> Vec<String>) {
    let database = cluster::database();
    let proxy = one(&database);
    let expected = script(&mut database.door().wire_with(parameters));
    let seen = script(&mut proxy.door(&database).wire_with(parameters));
    assert_eq!(expected, seen, "left: PostgreSQL itself, right: through pgshunt");
}

#[test]
fn reset_returns_to_what_startup_asked_for_in_a_transaction_too() {
    let startup = [("options", "-c work_mem=7MB"), ("TimeZone", "Asia/Tokyo")];
    same_with(&startup, |wire| {
        let mut heard = Vec::new();
        for reset in [
            "RESET work_mem",
            "RESET ALL",
            "SET work_mem TO DEFAULT",
            "set local work_mem = default",
            "SET TIME ZONE LOCAL",
            "RESET TimeZone;",
        ] {
            for end in ["COMMIT", "ROLLBACK"] {
                wire.query("BEGIN");
                wire.query("SET work_mem = '3MB'; SET TIME ZONE 'UTC'");
                heard.extend(wire.query(reset));
                heard.extend(wire.query("SHOW work_mem"));
                heard.extend(wire.query("SHOW TimeZone"));
                heard.extend(wire.query(end));
                heard.extend(wire.query("SHOW work_mem"));
                wire.query("BEGIN");
                heard.extend(wire.extended(reset, &[]));
                heard.extend(wire.extended("SHOW work_mem", &[]));
                heard.extend(wire.query("SELECT 1/0"));
                heard.extend(wire.query(reset));
                heard.extend(wire.query(end));
            }
        }
        heard
    });
}

#[test]
fn an_error_of_two_megabytes_ends_nothing() {
    same_with(&[], |wire| {
        let raise = "DO $$ BEGIN RAISE EXCEPTION '%', repeat('long ', 400000); END $$";
        let mut heard: Vec<String> = Vec::new();
        for frames in [wire.query(raise), wire.extended(raise, &[])] {
            heard.extend(frames.iter().map(|line| format!("{} {}", &line[..1], line.len())));
        }
        heard.extend(wire.query("SELECT 1"));
        heard
    });
}

/// What another session's `nextval` gave is nobody else's, wherever in a pipeline or a transaction the question stands.
#[test]
fn a_strangers_sequence_value_is_never_told() {
    let database = cluster::database();
    let proxy = one(&database);
    let door = proxy.door(&database);
    let mut stranger = door.wire();
    stranger.run("CREATE SEQUENCE s");
    let is_unknown = |heard: &[String]| {
        assert!(
            heard.iter().any(|line| line.starts_with("E ERROR 55000")),
            "{heard:?}"
        );
    };
    let pipeline = m().once("SELECT 1", &[]).once("SELECT lastval()", &[]).sync();
    stranger.run("SELECT nextval('s')");
    is_unknown(&door.wire().exchange(&pipeline));
    stranger.run("SELECT nextval('s')");
    is_unknown(&door.wire().query("SELECT lastval()"));
    stranger.run("SELECT nextval('s')");
    let mut client = door.wire();
    client.run("BEGIN");
    client.run("SELECT 1");
    is_unknown(&client.query("SELECT lastval()"));
    client.run("ROLLBACK");
    // One's own is told, in one transaction and in one pipeline, and again after a stranger's turn.
    for _ in 0..3 {
        stranger.run("SELECT nextval('s')");
        let own = m()
            .once("SELECT nextval('s')", &[])
            .once("SELECT lastval() = currval('s')", &[])
            .sync();
        assert!(client.exchange(&own).contains(&"D t".to_owned()));
        stranger.run("SELECT nextval('s')");
        client.run("BEGIN");
        let mine = client.value("SELECT nextval('s')");
        assert_eq!(client.value("SELECT lastval()"), mine);
        client.run("COMMIT");
    }
}

#[test]
fn a_cancel_request_of_the_wrong_length_has_no_answer() {
    let database = cluster::database();
    let proxy = one(&database);
    for door in [database.door(), proxy.door(&database)] {
        for length in [12_u32, 14] {
            let mut line = TcpStream::connect((door.host.as_str(), door.port)).expect("a connection");
            let mut request = length.to_be_bytes().to_vec();
            request.extend_from_slice(&80_877_102_u32.to_be_bytes());
            request.resize(length as usize, 1);
            line.write_all(&request).expect("sent");
            let mut heard = Vec::new();
            let _ = line.read_to_end(&mut heard);
            assert_eq!(heard, b"", "{length} bytes at port {}", door.port);
        }
    }
}

/// The question pgshunt asks makes no temporary schema, though the search path names one.
#[test]
fn a_search_path_with_pg_temp_and_two_phase_commit() {
    let database = cluster::database();
    let proxy = one(&database);
    let name = &database.name;
    same(&database.door(), &proxy.door(&database), |wire| {
        let mut heard = wire.query("SET search_path = pg_temp, public");
        heard.extend(wire.query("BEGIN"));
        heard.extend(wire.query("SELECT 1"));
        heard.extend(wire.query(&format!("PREPARE TRANSACTION '{name}'")));
        heard.extend(wire.query(&format!("ROLLBACK PREPARED '{name}'")));
        heard
    });
    assert_eq!(
        database
            .superuser()
            .psql("SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'pg_temp%'"),
        "0"
    );
}

/// The same of a session that has written before it asks for the first time, in this transaction or in one before.
#[test]
fn a_strangers_sequence_value_is_not_told_after_a_write() {
    let database = cluster::database();
    database.door().psql(
        "CREATE SEQUENCE s START 1000; CREATE TABLE t (id serial, a int); INSERT INTO t (a) VALUES (1)",
    );
    let unknown = "E ERROR 55000 lastval is not yet defined in this session";
    for (writes, expected) in [
        (&["UPDATE t SET a = 2"][..], unknown),
        (&["BEGIN", "DELETE FROM t WHERE a = 7"], unknown),
        (&["INSERT INTO t (a) VALUES (2)"], "D 2"),
        (&["BEGIN", "INSERT INTO t (a) VALUES (3)"], "D 3"),
        (
            &["BEGIN", "UPDATE t SET a = 4", "INSERT INTO t (a) VALUES (4)"],
            "D 4",
        ),
    ] {
        // Nobody has ever asked of this pgshunt.
        let proxy = one(&database);
        let door = proxy.door(&database);
        door.wire().run("SELECT nextval('s')");
        let mut client = door.wire();
        writes.iter().for_each(|sql| client.run(sql));
        let heard = client.query("SELECT lastval()");
        assert!(heard.iter().any(|line| line == expected), "{writes:?}: {heard:?}");
    }
}
