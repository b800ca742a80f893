//! What has broken poolers before, one test for each advisory: it does not break this one.
//!
//! Enumeration of roles and databases is `strangers`' subject, certificates are `certificates`'. tests/README.md lists all.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use pgshunt_tests::certificates::Certificates;
use pgshunt_tests::cluster::PASSWORD;
use pgshunt_tests::{Config, Database, Door, Messages, PATIENCE, Proxy, Wire, cluster, until};

/// Sends bytes on a connection of its own and hears what comes until its end.
fn send(proxy: &Proxy, bytes: &[u8]) -> Vec<u8> {
    let mut line = TcpStream::connect(("127.0.0.1", proxy.port())).expect("a connection");
    line.set_read_timeout(Some(PATIENCE)).expect("a time");
    line.write_all(bytes).expect("sent");
    let _ = line.shutdown(std::net::Shutdown::Write);
    let mut heard = Vec::new();
    let _ = line.read_to_end(&mut heard);
    heard
}

fn startup(pairs: &[(&str, &str)]) -> Vec<u8> {
    let mut body = vec![0, 3, 0, 0];
    for (name, value) in pairs {
        body.extend([name.as_bytes(), b"\0", value.as_bytes(), b"\0"].concat());
    }
    body.push(0);
    let length = (body.len() as u32 + 4).to_be_bytes();
    [&length[..], &body].concat()
}

#[track_caller]
fn still_serves(proxy: &Proxy, database: &Database) {
    assert_eq!(proxy.door(database).wire().value("SELECT 1"), "1");
}

/// A server that answers whoever connects with these bytes, after each of as many reads.
fn hostile(answers: Vec<Vec<u8>>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    std::thread::spawn(move || {
        for line in listener.incoming() {
            let Ok(mut line) = line else { return };
            let answers = answers.clone();
            std::thread::spawn(move || {
                let mut heard = [0; 65536];
                for answer in answers {
                    match line.read(&mut heard) {
                        Ok(0) | Err(_) => return,
                        Ok(_) => {}
                    }
                    if line.write_all(&answer).is_err() {
                        return;
                    }
                }
                // Whatever else is said is heard.
                let _ = line.set_read_timeout(Some(Duration::from_secs(5)));
                while matches!(line.read(&mut heard), Ok(n) if n > 0) {}
            });
        }
    });
    port
}

fn in_front_of(port: u16, database: &Database, more: &str) -> Proxy {
    let users = format!(
        "[auth]\nmode = \"trust\"\n[[auth.user]]\nname = \"{}\"\nverifier = \"md50123456789abcdef0123456789abcdef\"",
        database.name
    );
    let more = if more.is_empty() { &users } else { more };
    Config::new(database)
        .server(&format!("127.0.0.1:{port}"))
        .shard("sslmode = \"disable\"")
        .pool("query_wait_timeout = \"5s\"")
        .section(more)
        .start()
}

/// PgBouncer: a name too long, before any login, ended the process.
#[test]
fn cve_2012_4575_long_names() {
    let database = cluster::database();
    let proxy = Proxy::to(&format!(
        "postgres://postgres@127.0.0.1:{}/postgres",
        database.cluster.port
    ));
    for length in [63, 64, 65, 1000, 9000] {
        let name = "x".repeat(length);
        let heard = send(&proxy, &startup(&[("user", &database.name), ("database", &name)]));
        assert!(heard.starts_with(b"R") || heard.starts_with(b"E"), "{length}");
        send(&proxy, &startup(&[("user", &name)]));
        send(&proxy, &startup(&[("user", "u"), ("application_name", &name)]));
    }
    still_serves(&proxy, &database);
}

/// PgBouncer: a password message before the startup packet.
#[test]
fn cve_2015_4054_password_before_startup() {
    let database = cluster::database();
    let proxy = Config::new(&database).start();
    for first in [
        &b"p\0\0\0\x08abc\0"[..],
        b"Q\0\0\0\x0dSELECT 1\0",
        b"X\0\0\0\x04",
        b"\0\0\0\x04",
        b"\0",
    ] {
        let heard = send(&proxy, first);
        assert!(!heard.starts_with(b"R"), "{heard:?}");
    }
    still_serves(&proxy, &database);
}

/// PgBouncer: a role that does not exist was logged in as auth_user.
#[test]
fn cve_2015_6817_unknown_roles_are_nobody() {
    let database = cluster::database();
    let proxy = Config::new(&database).start();
    for password in [PASSWORD, "", "wrong"] {
        let door = Door {
            password: password.into(),
            ..proxy.door(&database).as_user("nobody_at_all")
        };
        assert_eq!(
            door.refusal(),
            "E FATAL 28P01 password authentication failed for user \"nobody_at_all\""
        );
    }
}

/// PgBouncer, Odyssey, PostgreSQL (CVE-2021-23214): bytes behind SSLRequest counted as if they came inside TLS.
#[test]
fn cve_2021_3935_bytes_behind_sslrequest() {
    let database = cluster::database();
    let files = Certificates::new(&[]);
    let proxy = Config::new(&database)
        .section(&files.towards_clients("prefer"))
        .start();
    let request = [0, 0, 0, 8, 4, 210, 22, 47];
    let gss = [0, 0, 0, 8, 4, 210, 22, 48];
    for request in [request, gss] {
        let injected = [&request[..], &startup(&[("user", &database.name)])].concat();
        let heard = send(&proxy, &injected);
        assert_eq!(heard.first(), Some(&b'E'), "{heard:?}");
        assert!(String::from_utf8_lossy(&heard).contains("received unencrypted data after"));
    }
    still_serves(&proxy, &database);
}

/// The other side of it (CVE-2021-23222): a server that says more than `S` in the clear.
#[test]
fn cve_2021_23222_bytes_behind_the_answer() {
    let database = cluster::database();
    let injected = b"SR\0\0\0\x08\0\0\0\0Z\0\0\0\x05I".to_vec();
    let port = hostile(vec![injected]);
    let proxy = Config::new(&database)
        .server(&format!("127.0.0.1:{port}"))
        .shard("sslmode = \"require\"")
        .section("[auth]\nmode = \"trust\"")
        .start();
    let refusal = proxy.door(&database).refusal();
    assert!(refusal.contains(" 08001 "), "{refusal}");
}

/// PostgreSQL's libpq: an error before TLS was shown as if the server had said it.
#[test]
fn cve_2024_10977_an_error_before_tls_is_nobodys() {
    let database = cluster::database();
    let port = hostile(vec![b"E\0\0\0\x1cMsend your password here\0".to_vec()]);
    let proxy = Config::new(&database)
        .server(&format!("127.0.0.1:{port}"))
        .shard("sslmode = \"prefer\"")
        .section("[auth]\nmode = \"trust\"")
        .start();
    let refusal = proxy.door(&database).try_wire(&[]).err().expect("a refusal");
    assert!(!refusal.to_string().contains("send your password"), "{refusal}");
    assert!(!proxy.log().contains("send your password"));
}

/// PgBouncer: auth_query overlooked VALID UNTIL.
#[test]
fn cve_2025_2291_expired_passwords() {
    let database = cluster::database();
    let proxy = Config::new(&database).start();
    let expired = database.role("expired");
    database
        .superuser()
        .psql(&format!("ALTER ROLE {expired} VALID UNTIL '2001-01-01'"));
    let door = proxy.door(&database).as_user(&expired);
    assert_eq!(door.refusal(), database.door().as_user(&expired).refusal());
}

/// PgBouncer: a client's search_path reached the connection that looks passwords up.
#[test]
fn cve_2025_12819_search_path_of_a_stranger() {
    let database = cluster::database();
    let superuser = database.superuser();
    let evil = format!(
        "CREATE SCHEMA evil; \
         CREATE TABLE evil.pg_shadow (usename text, passwd text); \
         INSERT INTO evil.pg_shadow VALUES ('{}', 'md5' || md5('stolen{0}')); \
         GRANT USAGE ON SCHEMA evil TO PUBLIC; GRANT SELECT ON evil.pg_shadow TO PUBLIC",
        database.name
    );
    superuser.psql(&evil);
    // An auth_query as people write it, without a schema.
    let query = "[auth]\nauth_query = \"SELECT usename, passwd FROM pg_shadow WHERE usename = $1\"";
    let proxy = Config::new(&database)
        .control(&format!("postgres://postgres@/{}", database.name))
        .section(query)
        .start();
    let thief = Door {
        password: "stolen".into(),
        ..proxy.door(&database)
    };
    let paths: [&[(&str, &str)]; 2] = [
        &[("search_path", "evil, pg_catalog")],
        &[("options", "-csearch_path=evil,pg_catalog")],
    ];
    for path in paths {
        let refusal = thief.try_wire(path).err().expect("a refusal");
        assert_eq!(refusal.sqlstate(), "28P01", "{refusal}");
    }
    still_serves(&proxy, &database);
}

/// PgBouncer: a length near the end of the integers in a SCRAM message.
#[test]
fn cve_2026_6664_lengths_near_the_end_of_the_integers() {
    let database = cluster::database();
    let proxy = Config::new(&database).start();
    let opening = startup(&[("user", &database.name), ("database", &database.name)]);
    for length in [0u32, 3, 4, 0x7fff_ffff, 0x8000_0000, 0xffff_fffb, 0xffff_ffff] {
        let frame = [&b"p"[..], &length.to_be_bytes(), b"SCRAM-SHA-256\0"].concat();
        send(&proxy, &[&opening[..], &frame].concat());
        let inner = [b"SCRAM-SHA-256\0", &length.to_be_bytes()[..], b"n,,n=,r=abc"].concat();
        let frame = [&b"p"[..], &(inner.len() as u32 + 4).to_be_bytes(), &inner].concat();
        send(&proxy, &[&opening[..], &frame].concat());
        send(
            &proxy,
            &[&length.to_be_bytes()[..], b"\0\x03\0\0user\0u\0\0"].concat(),
        );
    }
    still_serves(&proxy, &database);
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind][..], &(body.len() as u32 + 4).to_be_bytes(), body].concat()
}

/// PgBouncer: a server with a nonce too long for the stack.
#[test]
fn cve_2026_6665_a_server_with_a_long_nonce() {
    let database = cluster::database();
    let files = Certificates::new(&[]);
    std::fs::write(files.file("p.key"), PASSWORD).expect("written");
    let chmod = Command::new("chmod").args(["600", &files.path("p.key")]).status();
    assert!(chmod.expect("chmod").success());
    let users = format!(
        "[auth]\nmode = \"users\"\n[[auth.user]]\nname = \"{}\"\npassword_file = \"{}\"",
        database.name,
        files.path("p.key")
    );
    for (nonce, salt, iterations) in [
        ("x".repeat(60_000), "c2FsdA==".to_owned(), "4096"),
        ("short".into(), "QUFB".repeat(10_000), "4096"),
        ("short".into(), "c2FsdA==".into(), "99999999999999999999"),
        ("short".into(), "c2FsdA==".into(), "4294967295"),
    ] {
        let mechanisms = message(b'R', b"\0\0\0\x0aSCRAM-SHA-256\0\0");
        let first = format!("r={nonce},s={salt},i={iterations}");
        let first = message(b'R', &[b"\0\0\0\x0b", first.as_bytes()].concat());
        let proxy = in_front_of(hostile(vec![mechanisms, first]), &database, &users);
        let refusal = proxy.door(&database).refusal();
        assert!(refusal.contains(" 08001 "), "{refusal}");
    }
}

/// PgBouncer: an ErrorResponse without a SQLSTATE, or with nothing in it.
#[test]
fn cve_2026_6666_an_error_without_sqlstate() {
    let database = cluster::database();
    for body in [
        &b"Mjust words\0\0"[..],
        b"\0",
        b"",
        b"C\0\0",
        b"SFATAL",
        b"M\xff\xfe\0\0",
    ] {
        let proxy = in_front_of(hostile(vec![message(b'E', body)]), &database, "");
        let refusal = proxy.door(&database).try_wire(&[]).err().expect("a refusal");
        assert_eq!(refusal.sqlstate().len(), 5, "{refusal}");
    }
    // And in the middle of a session.
    let welcome = [message(b'R', &[0; 4]), message(b'Z', b"I")].concat();
    let error = [message(b'E', b"Mjust words\0\0"), message(b'Z', b"I")].concat();
    let proxy = in_front_of(hostile(vec![welcome, error.clone(), error]), &database, "");
    let mut client = proxy.door(&database).wire();
    client.send(&Messages::new().query("SELECT 1"));
    let heard = client.until_end_or_ready();
    assert!(heard.iter().any(|frame| frame.kind == b'E'), "{heard:?}");
}

/// PgBouncer: KILL_CLIENT asked for no rights.
#[test]
fn cve_2026_6667_watchers_only_watch() {
    let database = cluster::database();
    let watcher = database.role("watcher");
    // The console looks roles up as on the first database: the superuser can be told apart by name alone.
    let proxy = Config::new(&database)
        .console(&format!("watchers = [\"{watcher}\"]"))
        .start();
    let console = proxy.console().as_user(&watcher);
    let mut wire = console.wire();
    wire.run("SHOW POOLS");
    for command in [
        "PAUSE",
        "RESUME",
        "RELOAD",
        "RECONNECT",
        "KILL app",
        "KILL_CLIENT 1",
        "DISABLE app",
        "ENABLE app",
        "WAIT_CLOSE",
        "SHUTDOWN",
        "SET query_timeout = 1",
        "SUSPEND",
    ] {
        wire.send(&Messages::new().query(command));
        let heard = wire.until_ready();
        let error = heard.iter().find(|frame| frame.kind == b'E');
        let error = error.unwrap_or_else(|| panic!("{command} was done"));
        assert!(
            matches!(&error.sqlstate()[..], "42501" | "0A000" | "42601"),
            "{command}: {error}"
        );
    }
    still_serves(&proxy, &database);
}

/// Pgpool-II: in some configurations nobody was checked at all.
#[test]
fn cve_2025_46801_a_configuration_that_checks_nobody_says_so() {
    let database = cluster::database();
    let refused = |text: &str| {
        let file = std::env::temp_dir().join(format!("pgshunt-advisory-{}.toml", std::process::id()));
        let rest = "[[database]]\nname = \"a\"\n[[database.shard]]\nservers = [\"h\"]\n";
        std::fs::write(&file, format!("{text}\n{rest}")).expect("written");
        let checked = pgshunt_tests::proxy::pgshunt()
            .args(["check", "--offline", "-c", &file.display().to_string()])
            .output()
            .expect("pgshunt");
        checked.status.code() == Some(2)
    };
    assert!(refused(""), "passthrough, and no control role to look anybody up");
    assert!(refused("[auth]\nmode = \"users\""), "nobody listed");
    assert!(refused("[auth]\nmode = \"hba\""));
    assert!(
        refused("[[auth.user]]\nname = \"a\""),
        "listed with nothing to prove"
    );
    assert!(
        refused("[[auth.user]]\nname = \"a\"\ncert = \"a\""),
        "nobody checks certificates"
    );
    assert!(!refused("[auth]\nmode = \"trust\""), "said in so many words");
    // That the server would let anybody in is nothing to pgshunt.
    let superuser = database.superuser();
    assert_eq!(superuser.psql("SELECT 1"), "1");
}

/// Pgpool-II: a status command showed passwords. Nothing that pgshunt writes or shows holds a secret.
#[test]
fn cve_2023_22332_no_secret_in_log_console_or_debug() {
    let database = cluster::database();
    let files = Certificates::new(&[]);
    std::fs::write(files.file("p.key"), "file-secret-1").expect("written");
    let chmod = Command::new("chmod").args(["600", &files.path("p.key")]).status();
    assert!(chmod.expect("chmod").success());
    let verifier = database.superuser().psql(&format!(
        "SELECT rolpassword FROM pg_authid WHERE rolname = '{}'",
        database.name
    ));
    let users = format!(
        "[[auth.user]]\nname = \"filed\"\npassword_file = \"{}\"\n[[auth.user]]\nname = \"verified\"\nverifier = \"{verifier}\"",
        files.path("p.key")
    );
    let proxy = Config::new(&database)
        .control(&format!(
            "postgres://postgres:{}@/postgres",
            "s3cret%20pass%2Fword"
        ))
        .section("[log]\nlevel = \"trace\"")
        .section(&users)
        .start();
    let mut client = proxy.door(&database).wire();
    client.run("SELECT 1");
    for door in [
        proxy.door(&database).as_user("filed"),
        proxy.door(&database).as_user("nobody"),
        Door {
            password: "a-guess-at-it".into(),
            ..proxy.door(&database)
        },
    ] {
        assert!(door.try_wire(&[]).is_err());
    }
    wire_garbage(&proxy, &database);
    client.cancel();
    let mut shown = proxy.log();
    let mut console = proxy.console().wire();
    for what in [
        "CONFIG",
        "DATABASES",
        "POOLS",
        "CLIENTS",
        "SERVERS",
        "USERS",
        "STATS",
        "LISTS",
        "STATE",
        "VERSION",
    ] {
        console.send(&Messages::new().query(&format!("SHOW {what}")));
        for frame in console.until_ready() {
            shown += &String::from_utf8_lossy(&frame.body);
        }
    }
    shown += &proxy.log();
    let hex: String = client
        .welcome
        .cancel_secret
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    let parts = verifier.split(['$', ':']);
    let mut secrets: Vec<&str> = parts.filter(|part| part.len() > 20).collect();
    secrets.extend([PASSWORD, "s3cret%20", "file-secret-1", "a-guess-at-it", &hex]);
    for secret in secrets {
        assert!(!shown.contains(secret), "{secret}");
    }
    assert!(shown.contains("auth.user.filed"), "the configuration was shown");
    until("the log to tell of refused logins", || {
        proxy.log().contains("a login was refused")
    });
}

/// A login that ends in the middle of a proof.
fn wire_garbage(proxy: &Proxy, database: &Database) {
    let opening = startup(&[("user", &database.name), ("database", &database.name)]);
    let proof = message(b'p', b"SCRAM-SHA-256\0\0\0\0\x14n,,n=,r=a-guess-at-it");
    send(proxy, &[opening, proof].concat());
}

/// pg_doorman: a startup packet shorter than its header, or of gigabytes.
#[test]
fn startup_lengths_that_panicked_others() {
    let database = cluster::database();
    let proxy = Config::new(&database).start();
    for length in [0u32, 1, 4, 7, 8, 10_001, 0x00a0_0000, 0x7fff_ffff, u32::MAX] {
        send(&proxy, &length.to_be_bytes());
        send(&proxy, &[&length.to_be_bytes()[..], &[0; 100]].concat());
    }
    still_serves(&proxy, &database);
}

/// One role's session at PostgreSQL and the same through pgshunt.
struct Twice {
    direct: Wire,
    through: Wire,
}

impl Twice {
    fn new(database: &Database, proxy: &Proxy, role: &str) -> Twice {
        let mut twice = Twice {
            direct: database.door().as_user(role).wire(),
            through: proxy.door(database).as_user(role).wire(),
        };
        let prepared = TEXTS.iter().enumerate();
        let prepared = prepared.fold(Messages::new(), |all, (n, text)| {
            all.parse(&format!("s{n}"), text).sync()
        });
        twice.same(&prepared);
        twice
    }

    /// The answers, which are the same in both places.
    #[track_caller]
    fn same(&mut self, messages: &Messages) -> Vec<String> {
        let [direct, through] = [&mut self.direct, &mut self.through].map(|wire| wire.exchange(messages));
        assert_eq!(direct, through);
        through
    }

    /// The answers to [`TEXTS`] by each protocol.
    #[track_caller]
    fn hear(&mut self) -> Vec<String> {
        let mut heard = Vec::new();
        for (n, text) in TEXTS.iter().enumerate() {
            heard.extend(self.same(&Messages::new().query(text)));
            heard.extend(self.same(&Messages::new().once(text, &[]).sync()));
            heard.extend(self.same(&Messages::new().run(&format!("s{n}"), &[]).sync()));
        }
        heard
    }
}

/// What both roles send, to the letter.
const TEXTS: [&str; 4] = [
    "SELECT note FROM notes ORDER BY note",
    "SELECT count(*) FROM notes",
    "SELECT pay FROM wages ORDER BY pay",
    "SELECT current_user, note FROM mine",
];

/// Pgpool-II: a query cache gave one role's rows to another, and to roles whose rights had been taken away.
#[test]
fn cve_2024_45624_the_same_text_of_two_roles() {
    let database = cluster::database();
    let [ann, bob] = ["ann", "bob"].map(|name| database.role(name));
    let setup = format!(
        "CREATE TABLE notes (owner name, note text); ALTER TABLE notes ENABLE ROW LEVEL SECURITY; \
         CREATE POLICY own ON notes USING (owner = current_user); \
         INSERT INTO notes VALUES ('{ann}', 'of ann'), ('{bob}', 'of bob'), ('{bob}', 'more of bob'); \
         CREATE TABLE wages (pay int); INSERT INTO wages VALUES (1000); \
         CREATE VIEW mine WITH (security_invoker) AS SELECT note FROM notes; \
         GRANT SELECT ON notes, mine TO {ann}, {bob}; GRANT SELECT ON wages TO {ann}; GRANT {bob} TO {ann}"
    );
    database.superuser().psql(&setup);
    let proxy = Proxy::sized(&database, 2);
    let mut anns = Twice::new(&database, &proxy, &ann);
    let mut bobs = Twice::new(&database, &proxy, &bob);
    let of = |heard: &[String], words: &str| heard.iter().any(|line| line.contains(words));
    for _ in 0..2 {
        let (first, second) = (anns.hear(), bobs.hear());
        assert!(of(&first, "of ann") && of(&first, "1000"), "{first:#?}");
        assert!(!of(&first, "of bob") && !of(&second, "of ann") && !of(&second, "1000"));
        assert!(of(&second, "42501"), "{second:#?}");
    }
    // As another role, and back.
    anns.same(&Messages::new().query(&format!("SET ROLE {bob}")));
    let heard = anns.hear();
    assert!(
        of(&heard, "of bob") && !of(&heard, "of ann") && of(&heard, "42501"),
        "{heard:#?}"
    );
    bobs.hear();
    anns.same(&Messages::new().query("RESET ROLE"));
    assert!(of(&anns.hear(), "of ann"));
    // Rights, policies and schemas that change between two answers.
    for change in [
        format!("REVOKE SELECT ON wages FROM {ann}"),
        format!("GRANT SELECT ON wages TO {bob}"),
        "DROP POLICY own ON notes".into(),
        "CREATE POLICY all_of_them ON notes USING (true)".into(),
        "CREATE SCHEMA away; ALTER TABLE wages SET SCHEMA away".into(),
    ] {
        database.superuser().psql(&change);
        anns.hear();
        bobs.hear();
    }
    assert!(of(&bobs.hear(), "of ann"), "the last policy shows everything");
}
