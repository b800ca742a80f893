//! A driver that goes through doors: one process for each, which is told of one way in after the other.

use std::cell::RefCell;
use std::io::{BufRead, BufReader, Lines, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use pgshunt_tests::Door;

use super::rust;

/// A way in, in libpq's words. Each driver has its own for it, or none.
#[derive(Clone, Debug)]
pub struct Way {
    /// Where to, as whom.
    pub door: Door,
    /// `disable` to `verify-full`.
    pub sslmode: &'static str,
    /// The file of the CA the server's certificate is held against.
    pub root: Option<String>,
    /// The client's certificate, a file without its ending: `.crt`, `.key` and `.pk8` are there.
    pub certificate: Option<String>,
    /// `sslnegotiation=direct`, `channel_binding=require` …
    pub more: &'static str,
}

/// Not offered by this driver.
pub const NOT_OFFERED: &str = "-";

/// What is run for each of them.
enum Kind {
    Psql,
    Psycopg(Visitor),
    Node(Visitor),
    Pgjdbc(Visitor),
    TokioPostgres(tokio::runtime::Runtime),
}

/// A driver.
pub struct Driver {
    kind: Kind,
    /// Its name in the tables.
    pub name: &'static str,
}

impl Driver {
    /// All of them. Fails the test if they are not installed: a matrix with holes says nothing.
    pub fn all() -> [Driver; 5] {
        let driver = |name, kind| Driver { name, kind };
        [
            driver("psql", Kind::Psql),
            Driver::psycopg(),
            driver(
                "node",
                Kind::Node(Visitor::new(Command::new("node").arg(script("door.mjs")))),
            ),
            driver("pgjdbc", Kind::Pgjdbc(Visitor::new(&mut java()))),
            driver("tokio-postgres", Kind::TokioPostgres(rust::runtime())),
        ]
    }

    /// psycopg alone.
    pub fn psycopg() -> Driver {
        let mut python = Command::new(installed().join("python/bin/python"));
        Driver {
            name: "psycopg",
            kind: Kind::Psycopg(Visitor::new(python.arg(script("door.py")))),
        }
    }

    /// Goes in and out again: "tls NAME", "plain NAME", "no SQLSTATE" (where the driver tells it) or [`NOT_OFFERED`].
    pub fn visit(&self, way: &Way) -> String {
        self.visit_and(way, "")
    }

    /// And asks for more: what, is psycopg's script's to say.
    pub fn visit_and(&self, way: &Way, more: &str) -> String {
        match &self.kind {
            Kind::Psql => by_psql(way),
            Kind::Psycopg(python) => python.ask(&format!("{}\t{more}", conninfo(way))),
            // It would verify the server in full.
            Kind::Node(_) if way.sslmode == "allow" => NOT_OFFERED.into(),
            Kind::Node(node) => node.ask(&node_url(way)),
            Kind::Pgjdbc(_) if !way.more.is_empty() => NOT_OFFERED.into(),
            Kind::Pgjdbc(java) => java.ask(&format!(
                "{}\t{}\t{}",
                jdbc_url(way),
                way.door.user,
                way.door.password
            )),
            Kind::TokioPostgres(runtime) => rust::visit(runtime, way),
        }
    }
}

fn installed() -> PathBuf {
    let folder = std::env::var_os("PGSHUNT_TEST_DRIVERS").map(PathBuf::from);
    let folder = folder.unwrap_or(Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/drivers"));
    let is_there = |file: &&str| folder.join(file).exists();
    let missing = [
        "python/bin/python",
        "node_modules/pg",
        "postgresql.jar",
        "Door.class",
    ];
    let missing: Vec<_> = missing.iter().filter(|file| !is_there(file)).collect();
    assert!(
        missing.is_empty(),
        "real drivers are needed and not installed ({missing:?} are missing in {}): run tests/drivers/doors/setup.sh",
        folder.display()
    );
    folder
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("drivers/doors")
        .join(name)
}

fn java() -> Command {
    let mut java = Command::new("java");
    // Short-lived and with little to do.
    java.args(["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto"]);
    // Whose home has no certificate of its own.
    java.args(["-Duser.home=/nonexistent", "-cp", "postgresql.jar:.", "Door"]);
    java
}

/// A process that answers each line with a line.
struct Visitor {
    process: Child,
    lines: RefCell<(ChildStdin, Lines<BufReader<ChildStdout>>)>,
}

impl Visitor {
    fn new(command: &mut Command) -> Visitor {
        command.current_dir(installed());
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        // Of each refusal they say much.
        command.stderr(Stdio::null());
        let mut process = command
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}; run tests/drivers/doors/setup.sh"));
        let stdin = process.stdin.take().expect("piped");
        let stdout = BufReader::new(process.stdout.take().expect("piped"));
        Visitor {
            process,
            lines: RefCell::new((stdin, stdout.lines())),
        }
    }

    fn ask(&self, line: &str) -> String {
        let (stdin, stdout) = &mut *self.lines.borrow_mut();
        writeln!(stdin, "{line}").expect("a driver that listens");
        let answer = stdout.next().unwrap_or_else(|| panic!("no answer to {line}"));
        answer.expect("a text").trim_end().to_owned()
    }
}

impl Drop for Visitor {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn by_psql(way: &Way) -> String {
    // libpq 15 knows neither.
    if way.more.contains("protocol") || way.more.contains("sslnegotiation") {
        return NOT_OFFERED.into();
    }
    let mut psql = way.door.program("psql");
    psql.args([
        "-Xqt",
        "-c",
        "SELECT current_user",
        "-c",
        "\\conninfo",
        "-d",
        &conninfo(way),
    ]);
    let output = psql.output().expect("psql");
    let said = String::from_utf8_lossy(&output.stdout);
    match said.lines().next() {
        Some(name) if output.status.success() => {
            let line = if said.contains("SSL connection") {
                "tls"
            } else {
                "plain"
            };
            format!("{line} {}", name.trim())
        }
        _ => "no".into(),
    }
}

fn conninfo(way: &Way) -> String {
    let Door {
        host,
        port,
        user,
        password,
        database,
    } = &way.door;
    // Files that are not there count as none; the defaults would be the user's own.
    let certificate = way.certificate.as_deref().unwrap_or("/nonexistent/none");
    let root = way.root.as_deref().unwrap_or("/nonexistent/none");
    format!(
        "host={host} port={port} user={user} password='{password}' dbname={database} sslmode={} sslrootcert={root} \
         sslcert={certificate}.crt sslkey={certificate}.key gssencmode=disable {}",
        way.sslmode, way.more
    )
}

fn node_url(way: &Way) -> String {
    let door = &way.door;
    let mut url = format!(
        "postgres://{}:{}@{}:{}/{}?uselibpqcompat=true&sslmode={}",
        door.user,
        encoded(&door.password),
        door.host,
        door.port,
        door.database,
        way.sslmode
    );
    url.extend(way.root.iter().map(|file| format!("&sslrootcert={file}")));
    let certificate = way.certificate.iter();
    url.extend(certificate.map(|file| format!("&sslcert={file}.crt&sslkey={file}.key")));
    url + "&" + way.more
}

fn jdbc_url(way: &Way) -> String {
    let door = &way.door;
    let mut url = format!(
        "jdbc:postgresql://{}:{}/{}?sslmode={}&gssEncMode=disable",
        door.host, door.port, door.database, way.sslmode
    );
    url.extend(way.root.iter().map(|file| format!("&sslrootcert={file}")));
    let certificate = way.certificate.iter();
    url.extend(certificate.map(|file| format!("&sslcert={file}.crt&sslkey={file}.pk8")));
    url
}

fn encoded(text: &str) -> String {
    text.bytes().map(|b| format!("%{b:02X}")).collect()
}
