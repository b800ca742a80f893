//! Real drivers, each through the behaviours of its program in `drivers/behaviours`: what they print is the same at
//! PostgreSQL and through pgshunt (SCRAM, TLS, a pool of five).
//!
//! They need `tests/drivers/setup.sh`, as `tests/run.sh` does it; the ignored ones `tests/drivers/setup.sh --all`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use pgshunt::cli::demo::cluster::Plan;
use pgshunt_tests::certificates::Certificates;
use pgshunt_tests::{Config, Door, cluster};

#[test]
fn psql() {
    same("psql", || command("bash", &[here("psql.sh")]), 40);
}

#[test]
fn psycopg_3() {
    same("psycopg 3", || python(&["psycopg_3.py"]), 50);
}

#[test]
fn psycopg_2() {
    same("psycopg2", || python(&["psycopg_2.py"]), 39);
}

#[test]
fn asyncpg() {
    same("asyncpg", || python(&["asyncpg_.py"]), 39);
}

#[test]
fn sqlalchemy() {
    for driver in ["psycopg", "psycopg2"] {
        let name = format!("SQLAlchemy over {driver}");
        same(&name, || python(&["sqlalchemy_.py", driver]), 23);
    }
}

#[test]
fn node_postgres() {
    same("node-postgres", || node("pg_.mjs"), 42);
}

#[test]
fn postgres_js() {
    same("postgres.js", || node("postgres_.mjs"), 40);
}

#[test]
#[ignore = "needs a JDK: tests/drivers/setup.sh --all"]
fn pgjdbc() {
    same("pgjdbc", jdbc, 35);
}

#[test]
#[ignore = "needs Go: tests/drivers/setup.sh --all"]
fn lib_pq() {
    same("lib/pq", || Command::new(driver("behaviours-pq")), 30);
}

#[test]
#[ignore = "needs Go: tests/drivers/setup.sh --all"]
fn pgx() {
    same("pgx", || Command::new(driver("behaviours-pgx")), 30);
}

#[test]
#[ignore = "builds for minutes: tests/drivers/setup.sh --all"]
fn tokio_postgres() {
    same(
        "tokio-postgres",
        || Command::new(driver("behaviours-rust/debug/tokio-postgres")),
        30,
    );
}

#[test]
#[ignore = "builds for minutes: tests/drivers/setup.sh --all"]
fn sqlx() {
    same("sqlx", || Command::new(driver("behaviours-rust/debug/sqlx")), 30);
}

/// Reads may be a replica's, which may be three seconds behind: what a program sees is what one server shows it.
#[test]
fn with_replicas() {
    compared("psql", || command("bash", &[here("psql.sh")]), 40, &DELAYS);
    compared("psycopg 3", || python(&["psycopg_3.py"]), 50, &DELAYS);
}

#[test]
fn with_replicas_asyncpg_and_node_postgres() {
    compared("asyncpg", || python(&["asyncpg_.py"]), 39, &DELAYS);
    compared("node-postgres", || node("pg_.mjs"), 42, &DELAYS);
}

#[test]
fn with_replicas_psycopg_2_and_sqlalchemy() {
    compared("psycopg2", || python(&["psycopg_2.py"]), 39, &DELAYS);
    for driver in ["psycopg", "psycopg2"] {
        let name = format!("SQLAlchemy over {driver}");
        compared(&name, || python(&["sqlalchemy_.py", driver]), 23, &DELAYS);
    }
}

#[test]
fn with_replicas_postgres_js() {
    compared("postgres.js", || node("postgres_.mjs"), 40, &DELAYS);
}

#[test]
#[ignore = "needs a JDK: tests/drivers/setup.sh --all"]
fn with_replicas_pgjdbc() {
    compared("pgjdbc", jdbc, 35, &DELAYS);
}

#[test]
#[ignore = "needs Go: tests/drivers/setup.sh --all"]
fn with_replicas_go() {
    for name in ["pq", "pgx"] {
        let program = || Command::new(driver(&format!("behaviours-{name}")));
        compared(name, program, 30, &DELAYS);
    }
}

#[test]
#[ignore = "builds for minutes: tests/drivers/setup.sh --all"]
fn with_replicas_rust() {
    for name in ["tokio-postgres", "sqlx"] {
        let program = || Command::new(driver(&format!("behaviours-rust/debug/{name}")));
        compared(name, program, 30, &DELAYS);
    }
}

/// A replica for each: how far it stays behind.
const DELAYS: [&str; 2] = ["0", "3s"];

/// Runs a program both ways and compares; it has at least this many behaviours.
#[track_caller]
fn same(name: &str, program: impl Fn() -> Command, least: usize) {
    compared(name, program, least, &[]);
}

/// The same, with a replica for each of these `recovery_min_apply_delay`s.
#[track_caller]
fn compared(name: &str, program: impl Fn() -> Command, least: usize, delays: &[&str]) {
    let files = Certificates::new(&[]);
    let (node, database) = files.server("server");
    // The program makes tables and leaves some: the second run has a database of its own, with the same owner.
    let second = format!("{}_2", database.name);
    database
        .superuser()
        .psql(&format!("CREATE DATABASE {second} OWNER {}", database.name));
    let replica = |(at, delay): (usize, &&str)| {
        let plan = Plan {
            name: &format!("replica{at}"),
            settings: &[("recovery_min_apply_delay", delay)],
            ..Plan::default()
        };
        cluster::replica(&node, &plan)
    };
    let replicas: Vec<_> = delays.iter().enumerate().map(replica).collect();
    let proxy = Config::new(&database)
        .replicas(&replicas)
        .pool("size = 5")
        .shard(&format!("dbname = \"{second}\""))
        .section(&files.towards_clients("prefer"))
        .start();
    let directly = lines(name, &program, &database.door(), &database.name);
    let through = lines(name, &program, &proxy.door(&database), &database.name);
    assert!(directly.len() >= least, "{name} ended early: {directly:#?}");
    let pairs = directly.iter().zip(&through);
    let differ: Vec<_> = pairs.filter(|(direct, through)| direct != through).collect();
    assert!(
        differ.is_empty(),
        "{name}, PostgreSQL itself and through pgshunt: {differ:#?}"
    );
    assert_eq!(directly.len(), through.len(), "{name}: a line is missing");
    println!("{name}: {} behaviours, all the same", directly.len());
    if !delays.is_empty() {
        let routes = proxy.console().wire().rows("SHOW ROUTES").join("\n");
        println!("{name} with replicas: {routes}");
    }
    drop((proxy, replicas, node));
}

/// What it prints. Fails the test unless it ends well.
#[track_caller]
fn lines(name: &str, program: &impl Fn() -> Command, door: &Door, database: &str) -> Vec<String> {
    let mut program = program();
    program
        .env("PGHOST", "127.0.0.1")
        .env("PGPORT", door.port.to_string())
        .env("PGUSER", &door.user)
        .env("PGPASSWORD", &door.password)
        .env("PGDATABASE", database)
        .env("PGSSLMODE", "require")
        .env("TZ", "UTC")
        .stdin(Stdio::null());
    let output = program.output().unwrap_or_else(|error| panic!("{name}: {error}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{name}: {}\n{said}\n{errors}",
        output.status
    );
    said.lines()
        .map(|line| line.replace(database, "DATABASE"))
        .collect()
}

fn jdbc() -> Command {
    let folder = driver("behaviours-java");
    let path = format!("{0}/postgresql.jar:{0}", folder.display());
    let mut java = Command::new("java");
    java.args(["-cp", &path, "Jdbc"]);
    java
}

fn python(arguments: &[&str]) -> Command {
    let mut python = Command::new(driver("behaviours-python/bin/python"));
    python.arg("-B").arg(here(arguments[0])).args(&arguments[1..]);
    python
}

fn node(program: &str) -> Command {
    let mut node = command("node", &[here(program)]);
    node.current_dir(driver("behaviours-node"));
    node
}

fn command(program: &str, arguments: &[PathBuf]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

fn here(program: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("drivers/behaviours")
        .join(program)
}

/// Something `tests/drivers/setup.sh` has made.
#[track_caller]
fn driver(name: &str) -> PathBuf {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/drivers");
    let folder = std::env::var_os("PGSHUNT_TEST_DRIVERS").map_or_else(default, PathBuf::from);
    let path = folder.join(name);
    assert!(
        path.exists(),
        "{} is missing: run tests/drivers/setup.sh",
        path.display()
    );
    path
}
