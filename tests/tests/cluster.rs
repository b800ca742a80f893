//! The clusters the other tests stand on: start, stop, kill, replica, promotion.

use std::sync::Arc;

use pgshunt::cli::demo::cluster::{Installation, Node, Plan, Scratch, Stop, Template};

fn primary(settings: &[(&str, &str)]) -> Node {
    let scratch = Arc::new(Scratch::new("cluster").expect("a folder"));
    let installation = Installation::find().expect("PostgreSQL");
    let template = Template::at(&installation, &scratch.path().join("template"), "secret").expect("initdb");
    let name = "primary";
    let hba = &["host all nobody 127.0.0.1/32 trust"];
    Node::primary(&scratch, &template, &Plan { name, settings, hba }).expect("a primary")
}

#[test]
fn a_primary_starts_stops_and_comes_back_on_its_port() {
    let mut node = primary(&[("work_mem", "3MB"), ("search_path", "it's, public")]);
    let port = node.port();
    for how in [Stop::Fast, Stop::Immediate, Stop::Kill] {
        assert_eq!(node.psql("postgres", "SHOW work_mem").expect("rows"), "3MB");
        node.stop(how).expect("stopped");
        assert!(node.psql("postgres", "SELECT 1").is_err(), "{how:?}");
        node.start().expect("started");
        assert_eq!(node.port(), port);
    }
    assert!(node.log().contains("database system is ready"));
}

#[test]
fn a_replica_streams_and_can_be_promoted() {
    let mut first = primary(&[]);
    first
        .psql("postgres", "CREATE TABLE t AS SELECT 7 AS a")
        .expect("a table");
    let plan = Plan {
        name: "replica",
        ..Plan::default()
    };
    let second = first.replica(&plan).expect("a replica");
    assert_eq!(second.psql("postgres", "SELECT a FROM t").expect("rows"), "7");
    assert!(second.psql("postgres", "INSERT INTO t VALUES (8)").is_err());
    first.stop(Stop::Fast).expect("stopped");
    second.promote().expect("promoted");
    second
        .psql("postgres", "INSERT INTO t VALUES (8)")
        .expect("writable");
}

#[test]
fn nothing_stays_behind() {
    let node = primary(&[]);
    let (folder, pid) = (node.data(), node.pid().expect("running"));
    drop(node);
    assert!(!folder.exists());
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
}

#[test]
fn a_server_dies_with_the_thread_that_started_it() {
    let started = std::thread::spawn(|| {
        let node = primary(&[]);
        let (pid, folder) = (node.pid().expect("running"), node.data());
        std::mem::forget(node);
        (pid, folder)
    });
    let (pid, folder) = started.join().expect("started");
    let gone = || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.is_empty() || stat.contains(") Z ")
    };
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while !gone() {
        assert!(std::time::Instant::now() < deadline, "process {pid} stays");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let scratch = folder.ancestors().nth(2).expect("scratch/primary/data");
    std::fs::remove_dir_all(scratch).expect("removed");
}
