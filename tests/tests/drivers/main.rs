//! Real drivers at the door, at PostgreSQL itself and at pgshunt: psql, psycopg (libpq 18), node-postgres, pgjdbc and
//! tokio-postgres; by certificate, sslmode, method and protocol version. What is expected of each stands in
//! `data/drivers`, and what PostgreSQL does is what pgshunt does.
//!
//! They need `tests/drivers/doors/setup.sh`, which `tests/run.sh` runs.

mod driver;
mod rust;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use driver::{Driver, Way};
use pgshunt_tests::certificates::Certificates;
use pgshunt_tests::cluster::PASSWORD;
use pgshunt_tests::{Config, Database, Door, until};

const MODES: [&str; 6] = [
    "disable",
    "allow",
    "prefer",
    "require",
    "verify-ca",
    "verify-full",
];

/// In the clear or in TLS, as the role of that name's own self.
fn way(door: Door, sslmode: &'static str) -> Way {
    Way {
        door,
        sslmode,
        root: None,
        certificate: None,
        more: "",
    }
}

/// One row of a table: what each driver makes of a way in. Whoever comes in must be who it said.
fn row(drivers: &[Driver], case: &str, way: &Way) -> String {
    let mut row = format!("{case:36}");
    for driver in drivers {
        let seen = driver.visit(way);
        let (what, who) = seen.split_once(' ').unwrap_or((&seen, ""));
        let cell = match what {
            // A code of class 08 is the driver's own: the connection failed.
            "no" if who.is_empty() || who.starts_with("08") => "no",
            "no" => who,
            _ => {
                assert!(
                    who.is_empty() || who == way.door.user,
                    "{case}: {} is {who}",
                    driver.name
                );
                what
            }
        };
        row += &format!(" {cell:10}");
    }
    row.trim_end().to_owned()
}

/// Compares what was seen at both places with a golden table. Its lines that begin with `#` are comments; a cell `a/b` is
/// `a` at PostgreSQL and `b` at pgshunt. What was seen stands in files of that name in `target/tmp`.
#[track_caller]
fn as_written(table: &str, golden: &str, seen: [Vec<String>; 2]) {
    let golden: Vec<&str> = golden.lines().filter(|line| !line.starts_with('#')).collect();
    let mut wrong = Vec::new();
    for (at, (place, seen)) in ["PostgreSQL", "pgshunt"].into_iter().zip(seen).enumerate() {
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{table}-{place}.txt"));
        std::fs::write(&file, seen.join("\n") + "\n").expect("written");
        let cell = |cell: &str| cell.split('/').nth(at).unwrap_or(cell).to_owned();
        let words = |line: &str| line.split_whitespace().map(cell).collect::<Vec<_>>();
        let written: Vec<_> = golden.iter().map(|line| words(line)).collect();
        let differ = seen.iter().filter(|line| !written.contains(&words(line)));
        wrong.extend(differ.map(|line| format!("{place:10} {line}")));
        if seen.len() != written.len() {
            wrong.push(format!(
                "{place:10} {} rows, {} are written",
                seen.len(),
                written.len()
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "not as written in {table}.txt:\n{}",
        wrong.join("\n")
    );
}

/// The ways in: straight, and through pgshunt.
fn places(database: &Database, proxy: &pgshunt_tests::Proxy) -> [(&'static str, Door); 2] {
    [("PostgreSQL", database.door()), ("pgshunt", proxy.door(database))]
}

#[test]
fn by_certificate_of_the_server_and_sslmode() {
    let files = Certificates::new(&[]);
    let drivers = Driver::all();
    let (node, database) = files.server("server");
    let ca = files.path("ca.crt");
    let mut seen = [Vec::new(), Vec::new()];
    for certificate in ["server", "elsewhere", "expired", "foreign", "none"] {
        match certificate {
            "none" => drop(database.superuser().psql("ALTER SYSTEM SET ssl = off")),
            _ => files.install(&node, certificate),
        }
        database.superuser().psql("SELECT pg_reload_conf()");
        let full = Way {
            root: Some(ca.clone()),
            ..way(database.door(), "verify-full")
        };
        until("the certificate", || {
            drivers[0].visit(&full).starts_with("tls") == (certificate == "server")
        });
        let named = |line: String| line.replace("server.", &format!("{certificate}."));
        let tls = match certificate {
            "none" => String::new(),
            _ => named(files.towards_clients("prefer")),
        };
        let proxy = Config::new(&database)
            .shard("sslmode = \"disable\"")
            .section(&tls)
            .start();
        let roots = [None, Some(&ca)];
        for (seen, (_, door)) in seen.iter_mut().zip(places(&database, &proxy)) {
            for (mode, root) in MODES.iter().flat_map(|mode| roots.map(|root| (*mode, root))) {
                // Without a CA these have nothing to verify with.
                if mode.starts_with("verify") && root.is_none() {
                    continue;
                }
                let way = Way {
                    root: root.cloned(),
                    ..way(door.clone(), mode)
                };
                let case = format!(
                    "{certificate:10}{mode:12}{}",
                    if root.is_some() { "CA" } else { "-" }
                );
                seen.push(row(&drivers, &case, &way));
            }
        }
    }
    as_written("servers", include_str!("../data/drivers/servers.txt"), seen);
}

/// The second of each pair is PostgreSQL's way to say the same in `pg_hba.conf`.
#[test]
fn by_certificate_of_the_client() {
    let files = Certificates::new(&["ann", "bob"]);
    let drivers = Driver::all();
    let (node, database) = files.server("server");
    let superuser = database.superuser();
    superuser.psql(&format!("CREATE ROLE ann LOGIN PASSWORD '{PASSWORD}'"));
    let cases = [
        ("prefer", "scram-sha-256"),
        ("verify-ca", "scram-sha-256 clientcert=verify-ca"),
        ("verify-full", "scram-sha-256 clientcert=verify-full"),
        ("cert", "cert"),
    ];
    let mut rules = String::new();
    for (name, rule) in cases {
        superuser.psql(&format!("CREATE DATABASE \"{name}\""));
        rules += &format!("hostssl {name} ann 127.0.0.1/32 {rule}\n");
    }
    prepend(&node, &database, &rules);
    let by_certificate = user_with_certificate(&files, "ann");
    let mut seen = [Vec::new(), Vec::new()];
    for (mode, _) in cases {
        let (tls, more) = match mode {
            "cert" => ("verify-full", &by_certificate[..]),
            _ => (mode, ""),
        };
        let proxy = Config::new(&database)
            .shard("sslmode = \"disable\"")
            .section(&files.towards_clients(tls))
            .section(more)
            .start();
        for (seen, (place, door)) in seen.iter_mut().zip(places(&database, &proxy)) {
            let door = Door {
                database: if place == "PostgreSQL" {
                    mode
                } else {
                    &database.name
                }
                .into(),
                ..door.as_user("ann")
            };
            for certificate in ["none", "ann", "bob", "ann-expired", "ann-foreign"] {
                let way = Way {
                    certificate: (certificate != "none").then(|| files.path(certificate)),
                    ..way(door.clone(), "require")
                };
                seen.push(row(&drivers, &format!("{mode:14}{certificate}"), &way));
            }
        }
    }
    as_written("clients", include_str!("../data/drivers/clients.txt"), seen);
}

/// A role that its certificate lets in. pgshunt logs in to servers with the password in a file.
fn user_with_certificate(files: &Certificates, name: &str) -> String {
    let file = files.file("password");
    std::fs::write(&file, PASSWORD).expect("written");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("private");
    format!(
        "[[auth.user]]\nname = \"{name}\"\ncert = \"{name}\"\npassword_file = \"{}\"",
        file.display()
    )
}

/// Puts rules first in `pg_hba.conf`, and returns when they are followed.
fn prepend(node: &pgshunt::cli::demo::cluster::Node, database: &Database, rules: &str) {
    let hba = node.data().join("pg_hba.conf");
    let others = std::fs::read_to_string(&hba).expect("rules");
    // The last to be read shows that all are.
    let mark = "host all nobody_at_all 127.0.0.1/32 reject\n";
    std::fs::write(&hba, format!("{rules}{mark}{others}")).expect("written");
    database.superuser().psql("SELECT pg_reload_conf()");
    let marked = database.door().as_user("nobody_at_all");
    until("the rules", || marked.refusal().contains("pg_hba.conf rejects"));
}

/// A role whose method it is, and what else the way in says: how the table calls it, and libpq.
const METHODS: [(&str, &str, &str); 9] = [
    ("scram", "", ""),
    ("scram", "binding", "channel_binding=require"),
    ("scram", "direct", "sslnegotiation=direct"),
    ("scram", "3.2", "max_protocol_version=3.2"),
    ("md5", "", ""),
    ("md5", "3.2", "max_protocol_version=3.2"),
    ("cert", "", ""),
    ("trust", "", ""),
    ("nobody", "", ""),
];

#[test]
fn by_method() {
    let files = Certificates::new(&["cert"]);
    let drivers = Driver::all();
    let (node, database) = files.server("server");
    database.superuser().psql(&format!(
        "CREATE ROLE scram LOGIN PASSWORD '{PASSWORD}'; CREATE ROLE cert LOGIN PASSWORD '{PASSWORD}'; \
         CREATE ROLE trust LOGIN; SET password_encryption = 'md5'; CREATE ROLE md5 LOGIN PASSWORD '{PASSWORD}'"
    ));
    let rules = "hostssl all cert 127.0.0.1/32 cert\nhost all trust 127.0.0.1/32 trust\nhost all md5 127.0.0.1/32 md5\n";
    prepend(&node, &database, rules);
    let config = Config::new(&database)
        .shard("sslmode = \"disable\"")
        .section(&files.towards_clients("prefer"));
    let proxy = config
        .clone()
        .section(&user_with_certificate(&files, "cert"))
        .start();
    let trusting = config.section("[auth]\nmode = \"trust\"").start();
    let mut seen = [Vec::new(), Vec::new()];
    for (seen, (place, door)) in seen.iter_mut().zip(places(&database, &proxy)) {
        for (role, word, more) in METHODS {
            let door = match (place, role) {
                ("pgshunt", "trust") => trusting.door(&database),
                _ => door.clone(),
            };
            for (quality, password) in [("good", PASSWORD), ("wrong", "wrong")] {
                let door = Door {
                    password: password.into(),
                    ..door.as_user(role)
                };
                for sslmode in ["disable", "require"] {
                    let way = Way {
                        certificate: (role == "cert").then(|| files.path("cert")),
                        more,
                        ..way(door.clone(), sslmode)
                    };
                    let case = format!("{role:8}{word:9}{quality:8}{sslmode}");
                    seen.push(row(&drivers, &case, &way));
                }
            }
        }
    }
    as_written("methods", include_str!("../data/drivers/methods.txt"), seen);
}

/// What only newer libpqs can, and PostgreSQL 15 can't: direct TLS, protocol 3.2, cancel requests over TLS.
#[test]
fn libpq_18() {
    let files = Certificates::new(&[]);
    let (_node, database) = files.server("server");
    let psycopg = Driver::psycopg();
    let proxy = Config::new(&database)
        .section(&files.towards_clients("prefer"))
        .start();
    let door = proxy.door(&database);
    let name = &database.name;
    let full = Way {
        root: Some(files.path("ca.crt")),
        ..way(door.clone(), "verify-full")
    };
    for more in [
        "sslnegotiation=direct",
        "channel_binding=require",
        "require_auth=scram-sha-256",
        "min_protocol_version=3.2 max_protocol_version=3.2",
    ] {
        let way = Way { more, ..full.clone() };
        assert_eq!(psycopg.visit(&way), format!("tls {name}"), "{more}");
    }
    let latest = Way {
        more: "max_protocol_version=latest",
        ..way(door.clone(), "disable")
    };
    assert_eq!(psycopg.visit(&latest), format!("plain {name}"));
    for (sslmode, more, expected) in [
        (
            "disable",
            "max_protocol_version=3.0",
            "plain NAME 30000 cancelled",
        ),
        (
            "disable",
            "max_protocol_version=3.2",
            "plain NAME 30002 cancelled",
        ),
        ("require", "max_protocol_version=3.2", "tls NAME 30002 cancelled"),
        (
            "require",
            "sslnegotiation=direct max_protocol_version=3.2",
            "tls NAME 30002 cancelled",
        ),
    ] {
        let way = Way {
            more,
            ..way(door.clone(), sslmode)
        };
        let seen = psycopg.visit_and(&way, "version cancel");
        assert_eq!(seen, expected.replace("NAME", name), "{sslmode} {more}");
    }
    // As PostgreSQL answers where there is no TLS.
    let plain = Config::new(&database).start();
    let direct = Way {
        more: "sslnegotiation=direct",
        ..way(plain.door(&database), "require")
    };
    assert_eq!(psycopg.visit(&direct), "no");
}
