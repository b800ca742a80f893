//! Certificates of both sides, good and bad: what pgshunt makes of each, what PostgreSQL and libpq make of it, and what was
//! expected.

use std::fs;
use std::process::Output;

use pgshunt_tests::certificates::{Certificates, IS_ENCRYPTED, MODES};
use pgshunt_tests::cluster::PASSWORD;
use pgshunt_tests::{Config, Door, cluster, until};

fn psql(door: &Door, environment: &[(&str, &str)]) -> Output {
    let mut psql = door.program("psql");
    psql.args(["-XqAt", "-c", "SELECT current_user"]);
    psql.envs(environment.iter().copied());
    psql.output().expect("psql")
}

fn psql_with_certificate(door: &Door, files: &Certificates, certificate: Option<&str>) -> bool {
    let name = certificate.unwrap_or("none");
    let (crt, key) = (
        files.path(&format!("{name}.crt")),
        files.path(&format!("{name}.key")),
    );
    let environment = [("PGSSLMODE", "require"), ("PGSSLCERT", &crt), ("PGSSLKEY", &key)];
    psql(door, &environment).status.success()
}

/// The second line of each case is PostgreSQL's way to say the same in `pg_hba.conf`.
#[test]
fn certificates_of_clients() {
    let files = Certificates::new(&["ann", "bob"]);
    let (node, database) = files.server("server");
    let superuser = database.superuser();
    superuser.psql(&format!("CREATE ROLE ann LOGIN PASSWORD '{PASSWORD}'"));
    let mut rules = String::new();
    for (name, rule) in [
        ("prefer", "scram-sha-256"),
        ("verify_ca", "scram-sha-256 clientcert=verify-ca"),
        ("verify_full", "scram-sha-256 clientcert=verify-full"),
        ("cert", "cert"),
    ] {
        superuser.psql(&format!("CREATE DATABASE {name}"));
        rules += &format!("hostssl {name} ann 127.0.0.1/32 {rule}\n");
    }
    let hba = node.data().join("pg_hba.conf");
    rules += &fs::read_to_string(&hba).expect("rules");
    fs::write(&hba, rules).expect("written");
    superuser.psql("SELECT pg_reload_conf()");
    let direct = |name: &str| Door {
        database: name.into(),
        ..database.door().as_user("ann")
    };
    until("the rules", || {
        !psql_with_certificate(&direct("cert"), &files, None)
    });
    fs::write(files.file("password.key"), PASSWORD).expect("written");
    private(&files.path("password.key"));
    let by_certificate = format!(
        "[[auth.user]]\nname = \"ann\"\ncert = \"ann\"\npassword_file = \"{}\"",
        files.path("password.key")
    );
    // none, good, another role's, expired, of another CA
    let certificates = [
        None,
        Some("ann"),
        Some("bob"),
        Some("ann-expired"),
        Some("ann-foreign"),
    ];
    for (mode, name, more, expected) in [
        ("prefer", "prefer", "", [true, true, true, false, false]),
        ("verify-ca", "verify_ca", "", [false, true, true, false, false]),
        (
            "verify-full",
            "verify_full",
            "",
            [false, true, false, false, false],
        ),
        (
            "verify-full",
            "cert",
            &by_certificate[..],
            [false, true, false, false, false],
        ),
    ] {
        let proxy = Config::new(&database)
            .shard("sslmode = \"disable\"")
            .section(&files.towards_clients(mode))
            .section(more)
            .start();
        let through = Door {
            // Whoever needs no password has none.
            password: if more.is_empty() { PASSWORD } else { "" }.into(),
            ..proxy.door(&database).as_user("ann")
        };
        for (certificate, expected) in certificates.iter().zip(expected) {
            let label = format!("{mode} {name} {certificate:?}");
            let direct = Door {
                password: through.password.clone(),
                ..direct(name)
            };
            assert_eq!(
                psql_with_certificate(&direct, &files, *certificate),
                expected,
                "PostgreSQL: {label}"
            );
            assert_eq!(
                psql_with_certificate(&through, &files, *certificate),
                expected,
                "pgshunt: {label}"
            );
        }
    }
}

/// A role that has a certificate may come without it where it has a password too.
#[test]
fn a_certificate_or_a_password() {
    let database = cluster::database();
    let files = Certificates::new(&[&database.name, "bob"]);
    fs::write(files.file("password.key"), PASSWORD).expect("written");
    private(&files.path("password.key"));
    let user = format!(
        "[[auth.user]]\nname = \"{0}\"\ncert = \"{0}\"\npassword_file = \"{1}\"",
        database.name,
        files.path("password.key")
    );
    let proxy = Config::new(&database)
        .section(&files.towards_clients("prefer"))
        .section(&user)
        .start();
    let door = proxy.door(&database);
    let without = Door {
        password: "wrong".into(),
        ..door.clone()
    };
    assert!(psql_with_certificate(&without, &files, Some(&database.name)));
    assert!(!psql_with_certificate(&without, &files, Some("bob")));
    assert!(
        psql_with_certificate(&door, &files, Some("bob")),
        "its password is good"
    );
    assert!(psql_with_certificate(&door, &files, None));
    assert_eq!(door.wire().value("SELECT 1"), "1");
}

fn private(file: &str) {
    let chmod = std::process::Command::new("chmod").args(["600", file]).status();
    assert!(chmod.expect("chmod").success());
}

/// What became of a connection to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    Tls,
    Plain,
    Refused,
}

fn line_of(answer: Result<String, String>) -> Line {
    match answer.as_deref() {
        Ok("t") => Line::Tls,
        Ok(_) => Line::Plain,
        Err(_) => Line::Refused,
    }
}

fn by_libpq(door: &Door, mode: &str, ca: &str) -> Line {
    let mut psql = door.program("psql");
    psql.args(["-XqAt", "-c", IS_ENCRYPTED]);
    psql.envs([
        ("PGSSLMODE", mode),
        ("PGSSLROOTCERT", ca),
        ("PGGSSENCMODE", "disable"),
    ]);
    let output = psql.output().expect("psql");
    let answer = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    line_of(if output.status.success() {
        Ok(answer)
    } else {
        Err(answer)
    })
}

#[test]
fn certificates_of_servers() {
    use Line::{Plain, Refused, Tls};
    let files = Certificates::new(&["pgshunt"]);
    let (node, database) = files.server("server");
    let ca = files.path("ca.crt");
    for (certificate, expected) in [
        ("server", [Plain, Plain, Tls, Tls, Tls, Tls]),
        ("elsewhere", [Plain, Plain, Tls, Tls, Tls, Refused]),
        ("expired", [Plain, Plain, Refused, Refused, Refused, Refused]),
        ("foreign", [Plain, Plain, Refused, Refused, Refused, Refused]),
    ] {
        files.install(&node, certificate);
        database.superuser().psql("SELECT pg_reload_conf()");
        let is_good = certificate == "server";
        until("the certificate", || {
            (by_libpq(&database.door(), "verify-full", &ca) == Tls) == is_good
        });
        for (mode, expected) in MODES.into_iter().zip(expected) {
            let label = format!("{certificate} {mode}");
            // libpq goes on in the clear when "prefer" meets a certificate it can't trust. pgshunt was given a CA for a
            // reason: it does not.
            let libpq = match (mode, expected) {
                ("prefer", Refused) => Plain,
                _ => expected,
            };
            assert_eq!(by_libpq(&database.door(), mode, &ca), libpq, "libpq: {label}");
            let proxy = Config::new(&database)
                .shard(&format!("sslmode = \"{mode}\"\nsslrootcert = \"{ca}\""))
                .start();
            let through = proxy.door(&database).try_wire(&[]);
            let through = through.map(|mut wire| wire.value(IS_ENCRYPTED));
            let through = line_of(through.map_err(|refusal| refusal.to_string()));
            assert_eq!(through, expected, "pgshunt: {label}");
        }
    }
}

/// A server that wants pgshunt's certificate, and lets it in as anybody by a map.
#[test]
fn a_server_that_asks_pgshunt_for_its_certificate() {
    let files = Certificates::new(&["pgshunt", "ann"]);
    let (node, database) = files.server("server");
    let rules = "hostssl all all 127.0.0.1/32 cert map=proxy\n";
    fs::write(
        node.data().join("pg_hba.conf"),
        format!("local all all trust\n{rules}"),
    )
    .expect("written");
    fs::write(
        node.data().join("pg_ident.conf"),
        "proxy pgshunt /^(.*)$ \\1\nproxy pgshunt all\n",
    )
    .expect("written");
    // Any role may be taken on by the certificate "pgshunt".
    let map = format!("proxy pgshunt {}\nproxy pgshunt postgres\n", database.name);
    fs::write(node.data().join("pg_ident.conf"), map).expect("written");
    node.psql("postgres", "SELECT pg_reload_conf()")
        .expect("reloaded");
    let config = |more: &str| {
        Config::new(&database)
            .shard(&format!(
                "sslmode = \"verify-full\"\nsslrootcert = \"{}\"",
                files.path("ca.crt")
            ))
            .shard(more)
    };
    let with = format!(
        "sslcert = \"{}\"\nsslkey = \"{}\"",
        files.path("pgshunt.crt"),
        files.path("pgshunt.key")
    );
    until("the rules", || {
        config("").start().door(&database).try_wire(&[]).is_err()
    });
    let proxy = config(&with).start();
    assert_eq!(
        proxy.door(&database).wire().value("SELECT current_user"),
        database.name
    );
    let wrong = Door {
        password: "wrong".into(),
        ..proxy.door(&database)
    };
    assert!(
        wrong.refusal().contains(" 28P01 "),
        "the server's trust in pgshunt is nobody else's"
    );
}

/// `password` in pg_hba.conf: pgshunt sends one over TLS, and over nothing else.
#[test]
fn a_cleartext_password_goes_over_tls_only() {
    let files = Certificates::new(&[]);
    let (node, database) = files.server("server");
    fs::write(
        node.data().join("pg_hba.conf"),
        format!("local all all trust\nhost all {} 127.0.0.1/32 password\nhost all all 127.0.0.1/32 scram-sha-256\n", database.name),
    )
    .expect("written");
    node.psql("postgres", "SELECT pg_reload_conf()")
        .expect("reloaded");
    fs::write(files.file("password.key"), PASSWORD).expect("written");
    private(&files.path("password.key"));
    let through = |sslmode: &str| {
        let user = format!(
            "[auth]\nmode = \"users\"\n[[auth.user]]\nname = \"{}\"\npassword_file = \"{}\"",
            database.name,
            files.path("password.key")
        );
        Config::new(&database)
            .shard(&format!("sslmode = \"{sslmode}\""))
            .section(&user)
            .start()
    };
    until("the rules", || {
        through("disable").door(&database).try_wire(&[]).is_err()
    });
    let proxy = through("disable");
    let refusal = proxy.door(&database).try_wire(&[]).err().expect("a refusal");
    assert_eq!(refusal.sqlstate(), "08001", "{refusal}");
    until("the log", || proxy.log().contains("cleartext"));
    assert_eq!(through("require").door(&database).wire().value("SELECT 1"), "1");
}

/// SCRAM-SHA-256-PLUS on both lines.
#[test]
fn channel_binding_on_both_sides() {
    let files = Certificates::new(&[]);
    let (_node, database) = files.server("server");
    let proxy = Config::new(&database)
        .shard(&format!(
            "sslmode = \"verify-full\"\nsslrootcert = \"{}\"",
            files.path("ca.crt")
        ))
        .section(&files.towards_clients("prefer"))
        .start();
    for door in [database.door(), proxy.door(&database)] {
        let bound = psql(
            &door,
            &[("PGSSLMODE", "require"), ("PGCHANNELBINDING", "require")],
        );
        assert!(
            bound.status.success(),
            "{}",
            String::from_utf8_lossy(&bound.stderr)
        );
        let unbound = psql(
            &door,
            &[("PGSSLMODE", "disable"), ("PGCHANNELBINDING", "require")],
        );
        assert!(!unbound.status.success());
        let off = psql(
            &door,
            &[("PGSSLMODE", "require"), ("PGCHANNELBINDING", "disable")],
        );
        assert!(off.status.success());
    }
}
