//! Servers that are to be connected anew: `server_fast_close` takes them from sessions that keep theirs, and a host's name
//! that stands for another address (`dns_max_ttl`) takes its servers along.

use std::fs;
use std::process::{Command, Stdio};

use pgshunt::cli::demo::cluster::{Scratch, free_port};
use pgshunt_tests::cluster::PASSWORD;
use pgshunt_tests::{Config, Door, cluster, programs, proxy, until};

#[test]
fn server_fast_close() {
    let database = cluster::database();
    let proxy = Config::new(&database)
        .pool("mode = \"session\"")
        .pool("server_fast_close = 1")
        .start();
    let door = proxy.door(&database);
    let (mut idle, mut busy) = (door.wire(), door.wire());
    idle.run("SELECT 1");
    busy.run("BEGIN");
    busy.run("SELECT 1");
    proxy.console().wire().run("RECONNECT");
    let refusal = "E FATAL 57P01 terminating connection because its server is to be connected anew";
    let told = idle.until_end();
    assert_eq!(told.last().expect("a word").to_string(), refusal);
    // A transaction is not interrupted; the session ends behind it.
    assert_eq!(busy.value("SELECT 2"), "2");
    busy.run("COMMIT");
    let told = busy.until_end();
    assert_eq!(told.last().expect("a word").to_string(), refusal);
    assert_eq!(door.wire().value("SELECT 3"), "3");
    proxy.console().wire().run("WAIT_CLOSE");
}

#[test]
fn without_server_fast_close_a_session_keeps_its_server() {
    let database = cluster::database();
    let proxy = Config::new(&database).pool("size = 1").start();
    let door = proxy.door(&database);
    let mut keeps = door.wire();
    keeps.run("CREATE TEMP TABLE x AS SELECT 1 AS a");
    let pid = keeps.server_pid();
    proxy.console().wire().run("RECONNECT");
    assert_eq!(keeps.value("SELECT a FROM x"), "1");
    assert_eq!(keeps.server_pid(), pid);
    // And with it, one that keeps none notices nothing.
    keeps.run("DROP TABLE x");
    proxy.console().wire().run("SET server_fast_close = 1");
    proxy.console().wire().run("RECONNECT");
    assert_eq!(keeps.value("SELECT 1"), "1");
    assert_ne!(keeps.server_pid(), pid);
}

/// A name that stands for 127.0.0.1, then for ::1: in a mount namespace with a hosts file of its own, where that is allowed.
#[test]
fn dns_max_ttl() {
    let is_allowed = Command::new("unshare")
        .args(["-m", "true"])
        .stderr(Stdio::null())
        .status();
    if !is_allowed.is_ok_and(|status| status.success()) {
        eprintln!("no mount namespace may be made here: nothing is tested");
        return;
    }
    let database = cluster::database();
    let folder = Scratch::new("names").expect("a folder");
    let hosts = folder.path().join("hosts");
    let stands_for = |address: &str| {
        fs::write(&hosts, format!("127.0.0.1 localhost\n{address} moving.invalid\n")).expect("written");
    };
    stands_for("127.0.0.1");
    let port = free_port();
    let file = folder.path().join("pgshunt.toml");
    let text = format!(
        "[listen]\nclients = [\"127.0.0.1:{port}\"]\n[limits]\ndns_max_ttl = \"1s\"\n\
         [[database]]\nname = \"{}\"\ncontrol = \"postgres://postgres@/postgres\"\n\
         [[database.shard]]\nservers = [\"moving.invalid:{}\"]\n",
        database.name, database.cluster.port
    );
    fs::write(&file, text).expect("written");
    let pgshunt = proxy::pgshunt();
    let mut serve = Command::new("unshare");
    serve.args(["-m", "sh", "-c", "mount --bind \"$0\" /etc/hosts && exec \"$@\""]);
    serve
        .arg(&hosts)
        .arg(pgshunt.get_program())
        .args(pgshunt.get_args());
    serve
        .arg("serve")
        .arg("-c")
        .arg(&file)
        .env("PGSHUNT_CONTROL_PASSWORD", PASSWORD);
    let mut child = serve.stderr(Stdio::null()).spawn().expect("pgshunt");
    let door = Door {
        port,
        ..database.door()
    };
    until("pgshunt to listen", || {
        std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
    });
    let mut client = door.wire();
    let address = "SELECT host(inet_server_addr())";
    assert_eq!(client.value(address), "127.0.0.1");
    stands_for("::1");
    until("its servers to follow the name", || {
        client.value(address) == "::1"
    });
    programs::signal(child.id(), "TERM");
    assert!(child.wait().expect("an end").success());
}
