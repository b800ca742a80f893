//! Answers fetched in advance: whose they are, and what is not fetched.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use pgshunt::cli::demo::cluster::{Node, Plan, Scratch};
use pgshunt_tests::cached::column::{MISSES, UNWARMED, WARMED};
use pgshunt_tests::cached::{said, shown};
use pgshunt_tests::cluster::{self, PASSWORD};
use pgshunt_tests::sharing::number;
use pgshunt_tests::{Config, Database, Proxy, Wire, until};

const READ: &str = "SELECT v, at FROM t WHERE id = 3";
const TOKYO: &str = "v3|2026-01-01 09:00:00+09";
const COUNT: &str = "SELECT count(*) FROM t";

struct Warm {
    database: Database,
    _node: Node,
    scratch: Scratch,
}

impl Warm {
    #[track_caller]
    fn new() -> Warm {
        // A server of its own: roles that come and go elsewhere on it make all answers old.
        let node = cluster::private(&Plan::default());
        let database = cluster::Cluster::of(&node).database();
        let mut direct = database.door().wire();
        direct.run(
            "CREATE TABLE t (id int PRIMARY KEY, v text, at timestamptz DEFAULT '2026-01-01 00:00:00+00')",
        );
        direct.run("INSERT INTO t SELECT n, 'v' || n FROM generate_series(1, 10) AS n");
        let warm = Warm {
            database,
            _node: node,
            scratch: Scratch::new("warm").expect("a folder"),
        };
        warm.password("password", PASSWORD);
        warm
    }

    fn password(&self, name: &str, text: &str) {
        let path = self.scratch.path().join(name);
        fs::write(&path, text).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("a mode");
    }

    /// Rules with these statements, and one to fetch their answers for with these lines more.
    fn rules(&self, statements: &[&str], more: &str) -> String {
        let role = self.database.door().user;
        format!(
            "[cache]\nelsewhere = \"ttl\"\n\
             [[cache.class]]\nname = \"all\"\ntables = [\"*\"]\nttl = \"10min\"\nstatements = {statements:?}\n\
             [[cache.warm]]\nrole = \"{role}\"\n{more}\n"
        )
    }

    fn password_line(&self, name: &str) -> String {
        format!(
            "password_file = \"{}\"\n",
            self.scratch.path().join(name).display()
        )
    }

    #[track_caller]
    fn start(&self, rules: &str) -> Proxy {
        Config::new(&self.database).rules(rules).start()
    }
}

/// Waits until so many answers were fetched, and so many were not.
#[track_caller]
fn warmed(proxy: &Proxy, kept: &str, failed: &str) {
    until("answers to be fetched", || {
        shown(proxy, WARMED) == kept && shown(proxy, UNWARMED) == failed
    });
}

/// Other rules have the database's tables looked up anew: the cache steps aside for as long.
fn would_hit(wire: &mut Wire) {
    until("the tables to be looked up", || {
        let told = wire.rows(&format!("EXPLAIN (ROUTE) {READ}"));
        told.join(" ").contains("|hit|")
    });
}

#[test]
fn the_first_client_is_answered_without_a_server() {
    let warm = Warm::new();
    let proxy = warm.start(&warm.rules(&[READ, COUNT], &warm.password_line("password")));
    warmed(&proxy, "2", "0");
    let misses = number(&proxy, MISSES);
    let mut direct = warm.database.door().wire();
    for sql in [READ, COUNT] {
        let mut wire = proxy.door(&warm.database).wire();
        assert_eq!(wire.extended(sql, &[]), direct.extended(sql, &[]), "{sql}");
        assert_eq!(said(&mut wire), "hit", "{sql}");
    }
    assert_eq!(number(&proxy, MISSES), misses);
    let log = proxy.log();
    assert!(
        log.contains("answers were fetched in advance") && !log.contains(PASSWORD),
        "{log}"
    );
    // A write makes them old as any other.
    let mut wire = proxy.door(&warm.database).wire();
    wire.run("INSERT INTO t VALUES (11, 'v11')");
    assert_eq!((wire.value(COUNT), said(&mut wire)), ("11".into(), "miss".into()));
}

#[test]
fn nobody_else_is_given_what_was_fetched_for_one() {
    let warm = Warm::new();
    let other = warm.database.role("other");
    let mut direct = warm.database.door().wire();
    direct.run(&format!("GRANT SELECT ON t TO {other}"));
    let more = "tenants = [\"acme\", \"zoo\"]\nsettings = [\"TimeZone=Asia/Tokyo\"]\n";
    let rules = warm.rules(&[READ], &(warm.password_line("password") + more));
    let proxy = warm.start(&rules);
    warmed(&proxy, "2", "0");
    let door = proxy.door(&warm.database);
    let (tokyo, acme) = (("TimeZone", "Asia/Tokyo"), ("pgshunt.tenant", "acme"));
    let asked = |door: &pgshunt_tests::Door, settings: &[(&str, &str)]| {
        let mut wire = door.wire_with(settings);
        (wire.rows(READ).remove(0), said(&mut wire))
    };
    assert_eq!(asked(&door, &[tokyo, acme]), (TOKYO.into(), "hit".into()));
    let zoo = ("pgshunt.tenant", "zoo");
    assert_eq!(asked(&door, &[tokyo, zoo]), (TOKYO.into(), "hit".into()));
    for (door, settings) in [
        (&door, &[acme][..]),
        (&door, &[tokyo]),
        (&door, &[tokyo, ("pgshunt.tenant", "third")]),
        (&door, &[tokyo, acme, ("search_path", "pg_catalog, public")]),
        (&door.as_user(&other), &[tokyo, acme]),
    ] {
        let (row, said) = asked(door, settings);
        assert_eq!(said, "miss", "{settings:?}");
        let is_tokyo = settings.contains(&tokyo);
        assert_eq!(row == TOKYO, is_tokyo, "{row}");
    }
    // Who has no right to the table has none to its answers.
    direct.run(&format!("REVOKE SELECT ON t FROM {other}"));
    let mut wire = door.as_user(&other).wire_with(&[tokyo, acme]);
    until("the right to be gone", || wire.query(READ)[0].starts_with("E "));
}

#[test]
fn what_would_not_be_kept_is_not_run_and_what_fails_is_told() {
    let warm = Warm::new();
    let statements = [
        COUNT,
        "DELETE FROM t",
        "SELECT now()",
        "SELECT setval('s', 5)",
        "COPY t FROM STDIN",
        "SELECT nothing FROM t",
        "SELECT count(*) FROM t; DELETE FROM t",
    ];
    let mut direct = warm.database.door().wire();
    direct.run("CREATE SEQUENCE s");
    let proxy = warm.start(&warm.rules(&statements, &warm.password_line("password")));
    warmed(&proxy, "1", "6");
    assert_eq!(direct.value(COUNT), "10");
    assert_eq!(direct.value("SELECT last_value FROM s"), "1");
    assert!(proxy.log().contains("an answer could not be fetched in advance"));
    // By a wrong password nothing is, and clients are served.
    warm.password("wrong", "something else entirely");
    let proxy = warm.start(&warm.rules(&[READ, COUNT], &warm.password_line("wrong")));
    warmed(&proxy, "0", "2");
    assert_eq!(proxy.door(&warm.database).wire().value(COUNT), "10");
    assert!(
        !proxy.log().contains("something else entirely"),
        "{}",
        proxy.log()
    );
}

#[test]
fn other_rules_are_followed_by_other_answers() {
    let warm = Warm::new();
    let line = warm.password_line("password");
    let proxy = warm.start(&warm.rules(&[COUNT], &line));
    warmed(&proxy, "1", "0");
    let mut wire = proxy.door(&warm.database).wire();
    fs::write(
        proxy.folder().join("rules.toml"),
        warm.rules(&[READ, COUNT], &line),
    )
    .expect("a file");
    proxy.console().wire().run("RELOAD");
    warmed(&proxy, "2", "0");
    would_hit(&mut wire);
    wire.rows(READ);
    assert_eq!(said(&mut wire), "hit");
    // The statements are the same, but for whom is not: what is there stays, and more comes.
    fs::write(
        proxy.folder().join("rules.toml"),
        warm.rules(&[READ, COUNT], &(line + "tenants = [\"acme\"]\n")),
    )
    .expect("a file");
    proxy.console().wire().run("RELOAD");
    warmed(&proxy, "4", "0");
    let mut tenant = proxy
        .door(&warm.database)
        .wire_with(&[("pgshunt.tenant", "acme")]);
    would_hit(&mut tenant);
    tenant.rows(READ);
    assert_eq!(said(&mut tenant), "hit");
}
