//! Every way in and out: TCP, IPv6, Unix sockets, TLS; SCRAM, md5, trust, and roles that only pgshunt knows.

use std::path::Path;
use std::process::Command;

use pgshunt::cli::demo::cluster::{Node, Plan};
use pgshunt_tests::cluster::PASSWORD;
use pgshunt_tests::{Cluster, Config, Database, Door, Proxy, cluster};

/// `server.crt` and `server.key` for localhost, signed by `ca.crt`, owned by whoever runs the test.
fn certificates(folder: &Path) {
    let script = "new='openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes'
        $new -x509 -keyout ca.key -out ca.crt -subj /CN=ca
        printf 'subjectAltName=DNS:localhost,IP:127.0.0.1\\nbasicConstraints=CA:FALSE\\n' > extensions
        $new -keyout server.key -out server.csr -subj /CN=localhost
        openssl x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -extfile extensions -out server.crt
        chmod 600 *.key; chmod 644 *.crt";
    let made = Command::new("sh")
        .args(["-ec", script])
        .current_dir(folder)
        .output();
    let made = made.expect("openssl");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

struct Folder(pgshunt::cli::demo::cluster::Scratch);

impl Folder {
    fn new() -> Folder {
        Folder(pgshunt::cli::demo::cluster::Scratch::new("doors").expect("a folder"))
    }

    fn file(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }
}

#[test]
fn tcp_ipv6_and_unix_in() {
    let database = cluster::database();
    let folder = Folder::new();
    let socket = pgshunt::cli::demo::cluster::free_port();
    let v6 = pgshunt::cli::demo::cluster::free_port();
    let config = Config::new(&database).listen(&format!("unix:{}:{socket}", folder.file("")));
    let proxy = config.listen(&format!("[::1]:{v6}")).start();
    let tcp = proxy.door(&database);
    let unix = Door {
        port: socket,
        ..tcp.at(folder.file("").trim_end_matches('/'))
    };
    let v6 = Door {
        port: v6,
        ..tcp.at("::1")
    };
    for door in [&tcp, &unix, &v6] {
        assert_eq!(door.wire().value("SELECT 1"), "1", "{door:?}");
        assert_eq!(door.psql("SELECT current_user"), database.name, "{door:?}");
    }
    drop(proxy);
    assert!(
        !Path::new(&folder.file(&format!(".s.PGSQL.{socket}"))).exists(),
        "the socket stays behind"
    );
}

#[test]
fn ipv6_and_unix_out() {
    let database = cluster::database();
    let Cluster { port, socket_folder } = &database.cluster;
    for server in [
        format!("[::1]:{port}"),
        format!("unix:{}:{port}", socket_folder.display()),
        format!("localhost:{port}"),
    ] {
        let proxy = Config::new(&database).server(&server).start();
        assert_eq!(proxy.door(&database).wire().value("SELECT 1"), "1", "{server}");
    }
}

/// psql with a sslmode of its own.
fn psql_with(door: &Door, sslmode: &str, ca: &str, sql: &str) -> Result<String, String> {
    let mut psql = door.program("psql");
    psql.args(["-XqAt", "-c", sql]).env("PGSSLMODE", sslmode);
    psql.env("PGSSLROOTCERT", ca);
    let output = psql.output().expect("psql");
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

fn tls_section(folder: &Folder, mode: &str) -> String {
    let (certificate, key) = (folder.file("server.crt"), folder.file("server.key"));
    format!("[tls]\nmode = \"{mode}\"\ncertificate = \"{certificate}\"\nkey = \"{key}\"")
}

#[test]
fn tls_from_clients() {
    let database = cluster::database();
    let folder = Folder::new();
    certificates(folder.0.path());
    let ca = folder.file("ca.crt");
    for (ours, theirs, is_let_in) in [
        ("prefer", "disable", true),
        ("prefer", "require", true),
        ("prefer", "verify-full", true),
        ("require", "disable", false),
        ("require", "prefer", true),
        ("disable", "require", false),
        ("disable", "prefer", true),
    ] {
        let proxy = Config::new(&database)
            .section(&tls_section(&folder, ours))
            .start();
        let seen = psql_with(&proxy.door(&database), theirs, &ca, "SELECT 'in'");
        assert_eq!(seen.is_ok(), is_let_in, "{ours} {theirs}: {seen:?}");
    }
}

#[test]
fn pgbench_over_tls() {
    let database = cluster::database();
    database.door().pgbench("-i -q -s 1");
    let folder = Folder::new();
    certificates(folder.0.path());
    let proxy = Config::new(&database)
        .section(&tls_section(&folder, "require"))
        .start();
    for protocol in ["simple", "prepared"] {
        proxy
            .door(&database)
            .pgbench(&format!("-n -S -M {protocol} -c 8 -t 50"));
    }
}

/// A private server with settings of its own, and a database on it.
fn server(settings: &[(&str, &str)], hba: &[&str]) -> (Node, Database) {
    let name = "pg";
    let node = cluster::private(&Plan { name, settings, hba });
    let database = Cluster::of(&node).database();
    (node, database)
}

#[test]
fn tls_to_servers() {
    let folder = Folder::new();
    certificates(folder.0.path());
    let (node, database) = server(&[], &[]);
    for file in ["server.crt", "server.key"] {
        std::fs::copy(folder.file(file), node.data().join(file)).expect("copied");
        node.installation().own(&node.data().join(file)).expect("owned");
    }
    let ca = format!("sslrootcert = \"{}\"", folder.file("ca.crt"));
    let is_encrypted = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    let through = |mode: &str| {
        Config::new(&database)
            .shard(&format!("sslmode = \"{mode}\""))
            .shard(&ca)
            .start()
    };
    for (mode, expected) in [("disable", "f"), ("prefer", "f")] {
        assert_eq!(
            through(mode).door(&database).wire().value(is_encrypted),
            expected,
            "{mode}"
        );
    }
    assert!(
        through("require")
            .door(&database)
            .refusal()
            .starts_with("E FATAL 08")
    );
    database.superuser().psql("ALTER SYSTEM SET ssl = on");
    database.superuser().psql("SELECT pg_reload_conf()");
    pgshunt_tests::until("TLS", || {
        psql_with(&database.door(), "require", "", "SELECT 1").is_ok()
    });
    for (mode, expected) in [
        ("disable", "f"),
        ("prefer", "t"),
        ("require", "t"),
        ("verify-full", "t"),
    ] {
        assert_eq!(
            through(mode).door(&database).wire().value(is_encrypted),
            expected,
            "{mode}"
        );
    }
    // The server asks for TLS, and for the password bound to the channel.
    let proxy = through("verify-full");
    proxy.door(&database).psql("SELECT count(*) FROM pg_class");
}

#[test]
fn roles_with_md5_passwords() {
    let (_node, database) = server(
        &[("password_encryption", "md5")],
        &["host all all 127.0.0.1/32 md5"],
    );
    let proxy = Config::new(&database).start();
    let door = proxy.door(&database);
    assert_eq!(door.wire().value("SELECT 1"), "1");
    assert_eq!(door.psql("SELECT current_user"), database.name);
    let wrong = |door: Door| Door {
        password: "wrong".into(),
        ..door
    };
    assert_eq!(wrong(database.door()).refusal(), wrong(door).refusal());
}

#[test]
fn servers_that_trust_pgshunt_and_clients_it_does_not() {
    let (_node, database) = server(&[], &["host all all 127.0.0.1/32 trust"]);
    let proxy = Config::new(&database).start();
    let door = proxy.door(&database);
    assert_eq!(door.wire().value("SELECT 1"), "1");
    let wrong = Door {
        password: "wrong".into(),
        ..door
    };
    assert!(wrong.refusal().contains(" 28P01 "));
}

#[test]
fn trust_means_trust() {
    let (_node, database) = server(&[], &["host all all 127.0.0.1/32 trust"]);
    let proxy = Config::new(&database).section("[auth]\nmode = \"trust\"").start();
    let door = Door {
        password: String::new(),
        ..proxy.door(&database)
    };
    assert_eq!(door.wire().value("SELECT current_user"), database.name);
}

/// The role's password stands in pgshunt's file; the verifier does for another.
#[test]
fn users_of_the_configuration() {
    let database = cluster::database();
    let folder = Folder::new();
    let verified = database.role("verified");
    let stranger = database.role("stranger");
    let verifier = database.superuser().psql(&format!(
        "SELECT rolpassword FROM pg_authid WHERE rolname = '{verified}'"
    ));
    std::fs::write(folder.file("password"), PASSWORD).expect("written");
    Command::new("chmod")
        .args(["600", &folder.file("password")])
        .status()
        .expect("chmod");
    let config = Config::new(&database).section(&format!(
        "[auth]\nmode = \"users\"\n\
         [[auth.user]]\nname = \"{}\"\npassword_file = \"{}\"\n\
         [[auth.user]]\nname = \"{verified}\"\nverifier = \"{verifier}\"",
        database.name,
        folder.file("password")
    ));
    let proxy = config.start();
    let door = proxy.door(&database);
    assert_eq!(door.wire().value("SELECT current_user"), database.name);
    assert_eq!(
        door.as_user(&verified).wire().value("SELECT current_user"),
        verified
    );
    let wrong = Door {
        password: "wrong".into(),
        ..door.clone()
    };
    assert!(wrong.refusal().contains(" 28P01 "));
    assert!(door.as_user(&stranger).refusal().contains(" 28P01 "));
}

#[test]
fn one_line_and_every_database_is_served() {
    let (first, second) = (cluster::database(), cluster::database());
    let proxy = Proxy::to(&format!(
        "postgres://postgres@127.0.0.1:{}/postgres",
        first.cluster.port
    ));
    for database in [&first, &second] {
        let who = proxy
            .door(database)
            .psql("SELECT current_database() || current_user");
        assert_eq!(who, format!("{0}{0}", database.name));
    }
}
