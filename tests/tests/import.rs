//! Three PgBouncer configurations as people have them: each is imported, passes `check`, and serves; every option is carried
//! over or named.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use pgshunt::cli::demo::cluster::{Scratch, free_port};
use pgshunt_tests::certificates::Certificates;
use pgshunt_tests::cluster::PASSWORD;
use pgshunt_tests::{Database, Door, cluster, proxy, until};

/// A pgshunt that runs an imported configuration.
struct Imported {
    toml: String,
    said: String,
    port: u16,
    process: Child,
    _folder: Scratch,
}

impl Drop for Imported {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Imported {
    fn new(name: &str, database: &Database, users: &str, tls: &str) -> Imported {
        let folder = Scratch::new("import").expect("a folder");
        let place = |name: &str| folder.path().join(name);
        let port = free_port();
        let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/pgbouncer");
        let ini = std::fs::read_to_string(data.join(format!("{name}.ini"))).expect("a file");
        let ini = ini
            .replace("@PORT@", &database.cluster.port.to_string())
            .replace("@DB@", &database.name)
            .replace("@LISTEN@", &port.to_string())
            .replace("@TLS@", tls);
        std::fs::write(place("pgbouncer.ini"), &ini).expect("written");
        std::fs::write(place("userlist.txt"), users).expect("written");
        let output = proxy::pgshunt()
            .arg("import")
            .arg(place("pgbouncer.ini"))
            .arg("--users")
            .arg(place("userlist.txt"))
            .arg("--secrets")
            .arg(place("secrets"))
            .output()
            .expect("pgshunt");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        // The console's port is everybody's here.
        let toml = String::from_utf8_lossy(&output.stdout).replace(":6433\"", &format!(":{}\"", free_port()));
        let file = place("pgshunt.toml");
        std::fs::write(&file, &toml).expect("written");
        checked(&file);
        every_option_is_accounted_for(&ini, &toml, &said);
        let process = serve(&file);
        let imported = Imported {
            toml,
            said,
            port,
            process,
            _folder: folder,
        };
        until("pgshunt to listen", || {
            std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        imported
    }

    fn door(&self, database: &Database) -> Door {
        Door {
            port: self.port,
            ..database.door()
        }
    }
}

fn checked(file: &PathBuf) {
    let check = proxy::pgshunt()
        .arg("check")
        .arg("-c")
        .arg(file)
        .output()
        .expect("pgshunt");
    let wrong = String::from_utf8_lossy(&check.stderr).into_owned();
    assert!(
        check.status.success(),
        "{wrong}{}",
        String::from_utf8_lossy(&check.stdout)
    );
}

fn serve(file: &PathBuf) -> Child {
    let mut serve: Command = proxy::pgshunt();
    serve
        .arg("serve")
        .arg("-c")
        .arg(file)
        .env("PGSHUNT_CONTROL_PASSWORD", PASSWORD);
    serve
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("pgshunt")
}

/// Each `key = value` of `[pgbouncer]` either has its value in our file or is named in a comment and on stderr.
fn every_option_is_accounted_for(ini: &str, toml: &str, said: &str) {
    let (_, options) = ini.split_once("[pgbouncer]").expect("there");
    for line in options.lines().filter(|line| line.contains('=')) {
        let (key, value) = line.split_once('=').expect("an option");
        let (key, value) = (key.trim(), value.trim());
        let is_named = toml.contains(&format!("#   {key}: ")) && said.contains(&format!("{key}: "));
        let first = value.split([',', ' ']).next().unwrap_or_default();
        let is_there = !first.is_empty() && toml.contains(first);
        let is_nothing = matches!(value, "" | "''");
        let is_split = matches!(key, "auth_type" | "auth_file" | "max_packet_size");
        assert!(
            is_named || is_there || is_nothing || is_split,
            "{key} = {value}:\n{toml}"
        );
    }
}

fn carries(imported: &Imported, lines: &[&str]) {
    for line in lines {
        let is_there = imported.toml.lines().any(|each| each == *line);
        assert!(is_there, "{line}:\n{}", imported.toml);
    }
}

fn ask(door: &Door, database: &str) -> String {
    let door = Door {
        database: database.into(),
        ..door.clone()
    };
    door.wire()
        .value("SELECT current_database() || ' ' || current_user")
}

#[test]
fn one_web_application() {
    let database = cluster::database();
    let name = &database.name;
    let imported = Imported::new("web", &database, &format!("\"{name}\" \"{PASSWORD}\"\n"), "");
    let door = imported.door(&database);
    assert_eq!(ask(&door, "app"), format!("{name} {name}"));
    assert_eq!(ask(&door, "app_legacy"), format!("{name} {name}"));
    assert!(
        door.as_user("postgres").refusal().contains(" 28P01 "),
        "not in the users file"
    );
    assert!(!imported.toml.contains(PASSWORD) && !imported.said.contains(PASSWORD));
    carries(
        &imported,
        &[
            "reserve_pool_size = 5",
            "reserve_pool_timeout = 3",
            "query_wait_notify = 7",
            "tcp_keepidle = 120",
            "tcp_user_timeout = \"30000ms\"",
        ],
    );
    assert!(
        imported.said.contains("server_reset_query: not needed"),
        "{}",
        imported.said
    );
}

#[test]
fn many_databases_and_a_lookup() {
    let (database, other) = (cluster::database(), cluster::database());
    let (name, second) = (&database.name, &other.name);
    let users = format!("\"postgres\" \"{PASSWORD}\"\n");
    let imported = Imported::new("many", &database, &users, "");
    let door = imported.door(&database);
    assert_eq!(ask(&door, name), format!("{name} {name}"));
    assert_eq!(ask(&door, "reports"), format!("{name} {name}"));
    assert_eq!(ask(&door, "with space"), format!("{name} {name}"));
    assert_eq!(ask(&door.as_user(second), second), format!("{second} {second}"));
    for line in [
        "connect_query of database with space",
        "timezone of database reports",
    ] {
        assert!(imported.said.contains(line), "{line}: {}", imported.said);
    }
    carries(&imported, &["max_user_connections = 50"]);
}

#[test]
fn users_with_settings_of_their_own() {
    let database = cluster::database();
    let name = &database.name;
    let files = Certificates::new(&[]);
    let tls = files.path("ca.crt").trim_end_matches("/ca.crt").to_owned();
    let users = format!("\"{name}\" \"{PASSWORD}\"\n\"batch\" \"md50123456789abcdef0123456789abcdef\"\n");
    let imported = Imported::new("users", &database, &users, &tls);
    assert_eq!(ask(&imported.door(&database), name), format!("{name} {name}"));
    let mut psql = imported.door(&database).program("psql");
    psql.args(["-XqAt", "-c", "SELECT 1"]);
    psql.env("PGSSLMODE", "verify-full")
        .env("PGSSLROOTCERT", files.file("ca.crt"));
    assert!(psql.status().expect("psql").success());
    for line in [
        "user of database",
        "password of database",
        "[peers]",
        "colour",
        "auth_hba_file",
        "pool_mode: session",
    ] {
        assert!(imported.said.contains(line), "{line}: {}", imported.said);
    }
    carries(&imported, &["max_user_connections = 2", "reserve_pool_size = 1"]);
    assert!(!imported.toml.contains("it's secret") && !imported.said.contains("it's secret"));
}
