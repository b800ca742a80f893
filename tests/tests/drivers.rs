//! Real drivers at the door, at PostgreSQL itself and at pgshunt: psycopg (libpq 18), node-postgres, pgjdbc; by sslmode,
//! method and protocol version, with what was expected.
//!
//! They need `tests/drivers/doors/setup.sh`, so these tests are ignored unless asked for.

use std::path::{Path, PathBuf};
use std::process::Command;

use pgshunt_tests::certificates::Certificates;
use pgshunt_tests::cluster::PASSWORD;
use pgshunt_tests::{Config, Door, until};

fn drivers() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let folder = std::env::var_os("PGSHUNT_TEST_DRIVERS").map_or(root.join("target/drivers"), PathBuf::from);
    assert!(folder.join("python").exists(), "run tests/drivers/doors/setup.sh");
    folder
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("drivers/doors")
        .join(name)
}

/// The first line it says, and the rest of them.
fn run(command: &mut Command) -> (String, Vec<String>) {
    let output = command.current_dir(drivers()).output().expect("a driver");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut lines = said.lines().map(str::to_owned);
    let first = lines.next().unwrap_or_else(|| {
        panic!(
            "{command:?} said nothing: {}",
            String::from_utf8_lossy(&output.stderr)
        )
    });
    (first, lines.collect())
}

fn encoded(text: &str) -> String {
    text.bytes().map(|b| format!("%{b:02X}")).collect()
}

fn psycopg(door: &Door, parameters: &str, more: &[&str]) -> (String, Vec<String>) {
    let dsn = format!(
        "host={} port={} user={} password='{}' dbname={} {parameters}",
        door.host, door.port, door.user, door.password, door.database
    );
    let mut python = Command::new(drivers().join("python/bin/python"));
    run(python.arg(script("door.py")).arg(dsn).args(more))
}

fn node(door: &Door, parameters: &str) -> String {
    let url = format!(
        "postgres://{}:{}@{}:{}/{}?uselibpqcompat=true&{parameters}",
        door.user,
        encoded(&door.password),
        door.host,
        door.port,
        door.database
    );
    run(Command::new("node").arg(script("door.mjs")).arg(url)).0
}

fn jdbc(door: &Door, parameters: &str) -> String {
    let url = format!(
        "jdbc:postgresql://{}:{}/{}?{parameters}",
        door.host, door.port, door.database
    );
    let mut java = Command::new("java");
    java.args([
        "-cp",
        "postgresql.jar:.",
        "Door",
        &url,
        &door.user,
        &door.password,
    ]);
    run(&mut java).0
}

#[test]
#[ignore = "needs tests/drivers/doors/setup.sh"]
fn drivers_by_sslmode_and_certificate() {
    let files = Certificates::new(&[]);
    let (node_of, database) = files.server("server");
    let (ca, other) = (files.path("ca.crt"), files.path("other.crt"));
    let user = database.name.clone();
    let granted = format!("in {user}");
    for certificate in ["server", "elsewhere", "expired"] {
        files.install(&node_of, certificate);
        database.superuser().psql("SELECT pg_reload_conf()");
        let full = || {
            psycopg(
                &database.door(),
                &format!("sslmode=verify-full sslrootcert={ca}"),
                &[],
            )
            .0
        };
        until("the certificate", || {
            (full() == granted) == (certificate == "server")
        });
        let tls = files
            .towards_clients("prefer")
            .replace("server.crt", &format!("{certificate}.crt"))
            .replace("server.key", &format!("{certificate}.key"));
        let proxy = Config::new(&database)
            .shard("sslmode = \"disable\"")
            .section(&tls)
            .start();
        let (good, named) = (certificate != "expired", certificate == "server");
        for (mode, root, expected) in [
            ("disable", None, true),
            ("require", None, true),
            ("verify-ca", Some(&ca), good),
            ("verify-full", Some(&ca), named),
            ("verify-full", Some(&other), false),
        ] {
            let file = root.map_or(String::new(), |root| format!("sslrootcert={root}"));
            for (place, door) in [
                ("PostgreSQL", database.door()),
                ("pgshunt", proxy.door(&database)),
            ] {
                let label = format!("{place}: {certificate} {mode} {file}");
                let seen = psycopg(&door, &format!("sslmode={mode} {file}"), &[]).0;
                assert_eq!(seen == granted, expected, "psycopg, {label}: {seen}");
                let seen = node(&door, &format!("sslmode={mode}&{file}"));
                assert_eq!(seen == granted, expected, "node, {label}: {seen}");
                let seen = jdbc(&door, &format!("sslmode={mode}&{file}"));
                assert_eq!(seen == granted, expected, "pgjdbc, {label}: {seen}");
            }
        }
    }
}

#[test]
#[ignore = "needs tests/drivers/doors/setup.sh"]
fn drivers_by_method() {
    let files = Certificates::new(&["ann"]);
    let (server, database) = files.server("server");
    let superuser = database.superuser();
    superuser.psql(&format!(
        "SET password_encryption = 'md5'; CREATE ROLE hashed LOGIN PASSWORD '{PASSWORD}'"
    ));
    // The md5 method takes SCRAM verifiers as well.
    let hba = server.data().join("pg_hba.conf");
    let rules = std::fs::read_to_string(&hba).expect("rules");
    std::fs::write(&hba, format!("host all all 127.0.0.1/32 md5\n{rules}")).expect("written");
    superuser.psql("SELECT pg_reload_conf()");
    let hashed = database.door().as_user("hashed");
    until("the rules", || hashed.try_wire(&[]).is_ok());
    let proxy = Config::new(&database)
        .section(&files.towards_clients("prefer"))
        .start();
    for role in [&database.name[..], "hashed", "nobody"] {
        for password in [PASSWORD, "wrong"] {
            let is_good = role != "nobody" && password == PASSWORD;
            let expected = match is_good {
                true => format!("in {role}"),
                false => "out 28P01".into(),
            };
            for (place, door) in [
                ("PostgreSQL", database.door()),
                ("pgshunt", proxy.door(&database)),
            ] {
                let door = Door {
                    password: password.into(),
                    ..door.as_user(role)
                };
                for mode in ["disable", "require"] {
                    let label = format!("{place}: {role} {password} {mode}");
                    assert_eq!(node(&door, &format!("sslmode={mode}")), expected, "node, {label}");
                    assert_eq!(
                        jdbc(&door, &format!("sslmode={mode}")),
                        expected,
                        "pgjdbc, {label}"
                    );
                    // psycopg tells no SQLSTATE of a login.
                    let seen = psycopg(&door, &format!("sslmode={mode}"), &[]).0;
                    assert_eq!(seen == expected, is_good, "psycopg, {label}: {seen}");
                }
            }
        }
    }
}

/// What only newer libpqs can: direct TLS, protocol 3.2, channel binding required, cancel requests over TLS.
#[test]
#[ignore = "needs tests/drivers/doors/setup.sh"]
fn libpq_18() {
    let files = Certificates::new(&[]);
    let (_node, database) = files.server("server");
    let proxy = Config::new(&database)
        .section(&files.towards_clients("prefer"))
        .start();
    let door = proxy.door(&database);
    let granted = format!("in {}", database.name);
    let full = format!("sslmode=verify-full sslrootcert={}", files.path("ca.crt"));
    for parameters in [
        format!("{full} sslnegotiation=direct"),
        format!("{full} channel_binding=require"),
        format!("{full} require_auth=scram-sha-256"),
        format!("{full} min_protocol_version=3.2 max_protocol_version=3.2"),
        "sslmode=disable max_protocol_version=latest".into(),
        "sslmode=disable gssencmode=disable".into(),
    ] {
        assert_eq!(psycopg(&door, &parameters, &[]).0, granted, "{parameters}");
    }
    for (parameters, version) in [
        ("sslmode=disable max_protocol_version=3.0", "protocol 30000"),
        ("sslmode=disable max_protocol_version=3.2", "protocol 30002"),
        (
            "sslmode=require sslnegotiation=direct max_protocol_version=3.2",
            "protocol 30002",
        ),
    ] {
        let (first, rest) = psycopg(&door, parameters, &["version", "cancel"]);
        assert_eq!(first, granted, "{parameters}");
        assert_eq!(rest, [version, "cancelled"], "{parameters}");
    }
    // As PostgreSQL answers where there is no TLS.
    let plain = Config::new(&database).start();
    let refused = psycopg(
        &plain.door(&database),
        "sslmode=require sslnegotiation=direct",
        &[],
    );
    assert!(refused.0.starts_with("out"), "{refused:?}");
}
