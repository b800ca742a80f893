//! The command line: mistakes are all reported, each with its place and a hint; exit codes; a stop that is graceful.

use std::process::{Command, Output};
use std::time::Duration;

use pgshunt::cli::demo::cluster::Scratch;
use pgshunt_tests::proxy::pgshunt;
use pgshunt_tests::{Config, Messages, Proxy, cluster, programs, until};

fn written(text: &str) -> (Scratch, String) {
    let folder = Scratch::new("cli").expect("a folder");
    let file = folder.path().join("pgshunt.toml");
    std::fs::write(&file, text).expect("written");
    let file = file.display().to_string();
    (folder, file)
}

fn run(arguments: &[&str]) -> Output {
    let mut command: Command = pgshunt();
    command.args(arguments).output().expect("pgshunt")
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

const WRONG: &str = r#"
[listen]
clients = ["127.0.0.1:99999"]

[pool]
size = "ten"
suspend_timeout = 10
moed = "auto"

[[database]]
name = "app"
  [[database.shard]]
  servers = []
"#;

#[test]
fn check_reports_every_mistake_with_its_line_and_a_hint() {
    let (_folder, file) = written(WRONG);
    let output = run(&["check", "-c", &file]);
    assert_eq!(output.status.code(), Some(2));
    let errors = errors(&output);
    for (line, hint) in [
        (3, "65535"),
        (6, "whole number"),
        (7, "PgBouncer"),
        (8, "did you mean \"mode\"?"),
        (12, "servers"),
    ] {
        let place = format!("{file}:{line}");
        let found = errors
            .split("\n/")
            .any(|mistake| mistake.contains(&place[1..]) && mistake.contains(hint));
        assert!(found, "no mistake at line {line} with {hint:?} in:\n{errors}");
    }
}

#[test]
fn serve_does_not_start_with_mistakes() {
    let (_folder, file) = written(WRONG);
    let output = run(&["serve", "-c", &file]);
    assert_eq!(output.status.code(), Some(2));
    assert!(errors(&output).contains("did you mean \"mode\"?"));
    let output = run(&["serve", "-c", "/no/such/file.toml"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(errors(&output).contains("/no/such/file.toml"));
    let output = run(&["serve"]);
    assert_eq!(output.status.code(), Some(2));
    let output = run(&["serve", "--to", "mysql://root@localhost/x"]);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn check_says_which_servers_it_reached() {
    let database = cluster::database();
    let port = database.cluster.port;
    let text = |port: u16| {
        format!(
            "[[database]]\nname = \"app\"\n[[database.shard]]\nservers = [\"127.0.0.1:{port}\"]\n[auth]\nmode = \"trust\""
        )
    };
    let (_folder, file) = written(&text(port));
    let output = run(&["check", "-c", &file]);
    let report = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{report}{}", errors(&output));
    assert!(report.contains("reachable"), "{report}");
    let (_folder, file) = written(&text(pgshunt::cli::demo::cluster::free_port()));
    assert_eq!(run(&["check", "-c", &file]).status.code(), Some(1));
    assert_eq!(run(&["check", "--offline", "-c", &file]).status.code(), Some(0));
}

#[test]
fn a_port_that_is_taken_is_said_to_be() {
    let database = cluster::database();
    let taken = database.cluster.port;
    let output = run(&[
        "serve",
        "--to",
        "postgres://a@127.0.0.1:1/a",
        "--listen",
        &format!("127.0.0.1:{taken}"),
    ]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        errors(&output).contains(&format!("127.0.0.1:{taken}")),
        "{}",
        errors(&output)
    );
}

#[test]
fn version_and_help() {
    let output = run(&["--version"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("pgshunt "));
    assert_eq!(run(&["--help"]).status.code(), Some(0));
    assert_eq!(run(&["no-such-verb"]).status.code(), Some(2));
}

/// Idle clients are told at once, a running transaction may end, then everything is gone.
#[test]
fn a_stop_lets_running_transactions_end() {
    let database = cluster::database();
    let mut proxy = Proxy::sized(&database, 4);
    let door = proxy.door(&database);
    let (mut idle, mut busy) = (door.wire(), door.wire());
    idle.run("SELECT 1");
    busy.run("CREATE TABLE t (a int)");
    busy.run("BEGIN");
    busy.run("INSERT INTO t VALUES (1)");
    programs::signal(proxy.pid(), "TERM");
    let heard = idle.until_end();
    assert!(
        heard
            .iter()
            .all(|frame| frame.kind == b'E' && frame.sqlstate() == "57P01"),
        "{heard:?}"
    );
    until("the port to be closed", || {
        std::net::TcpStream::connect(("127.0.0.1", proxy.port())).is_err()
    });
    busy.run("INSERT INTO t VALUES (2)");
    assert_eq!(busy.query("COMMIT"), ["C COMMIT", "Z I"]);
    let heard = busy.until_end();
    assert!(
        heard
            .iter()
            .all(|frame| frame.kind == b'E' && frame.sqlstate() == "57P01"),
        "{heard:?}"
    );
    assert!(proxy.ended().success());
    assert_eq!(database.door().psql("SELECT sum(a) FROM t"), "3");
    until("the servers to be gone", || database.servers() == 0);
}

/// Sessions that keep a server, and transactions that have not reached one, are no reason to stay.
#[test]
fn a_stop_ends_idle_sessions_of_every_kind() {
    let database = cluster::database();
    let mut proxy = Proxy::sized(&database, 4);
    let door = proxy.door(&database);
    let (mut pinned, mut begun) = (door.wire(), door.wire());
    pinned.run("CREATE TEMP TABLE mine (a int)");
    begun.run("BEGIN");
    programs::signal(proxy.pid(), "TERM");
    pinned.until_end();
    until("the stop to begin", || proxy.log().contains("stopping"));
    assert_eq!(begun.query("COMMIT"), ["C COMMIT", "Z I"]);
    begun.until_end();
    assert!(proxy.ended().success());
}

#[test]
fn a_stop_does_not_wait_for_ever() {
    let database = cluster::database();
    let mut proxy = Config::new(&database)
        .limit("shutdown_timeout = \"500ms\"")
        .start();
    let mut busy = proxy.door(&database).wire();
    busy.send(&Messages::new().query("SELECT pg_sleep(600)"));
    database.runs("pg_sleep(600)");
    programs::signal(proxy.pid(), "TERM");
    let began = std::time::Instant::now();
    assert!(proxy.ended().success());
    assert!(began.elapsed() < Duration::from_secs(10));
    // Nobody is left who would want the answer.
    until("the query to be stopped", || database.servers() == 0);
}

#[test]
fn a_second_signal_does_not_wait_at_all() {
    let database = cluster::database();
    let mut proxy = Proxy::sized(&database, 1);
    let mut busy = proxy.door(&database).wire();
    busy.run("BEGIN");
    busy.run("SELECT txid_current()");
    programs::signal(proxy.pid(), "TERM");
    until("the stop to begin", || proxy.log().contains("stopping"));
    programs::signal(proxy.pid(), "TERM");
    assert!(proxy.ended().success());
}
