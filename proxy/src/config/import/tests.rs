//! What comes out of an import is right by our own check, and says all that it left out.

use std::path::Path;
use std::time::Duration;

use super::super::tests_read;
use super::*;
use crate::pool::settings::Mode;

const INI: &str = "\
[databases]
app = host=10.0.0.1 port=5433 dbname=app_prod pool_size=7 pool_mode=transaction user=shared password='se''cret'
* = host=10.0.0.1,10.0.0.2 auth_user=lookup
[users]
bob = pool_mode=session max_user_connections=3 max_user_client_connections=4 query_timeout=1.5
[pgbouncer]
listen_addr = 127.0.0.1,::1
listen_port = 7000
unix_socket_dir =
auth_type = scram-sha-256
auth_user = asker
default_pool_size = 025
max_packet_size = 2147483647
server_reset_query = DISCARD ALL
ignore_startup_parameters = extra_float_digits
logfile = /var/log/pgbouncer.log
admin_users = ops, root
stats_users = root,monitor
colour = red
";

const USERS: &str = "\"asker\" \"plain\"\n\"ann\" \"md50123456789abcdef0123456789abcdef\"\n\"b/o\" \"pw\"\n";

fn snapshot(imported: &Imported) -> crate::snapshot::Snapshot {
    let text = imported
        .passwords
        .iter()
        .fold(imported.toml.clone(), |text, (path, _)| {
            // The files are the command's to write: here, any private file will do.
            text.replace(&format!("password_file = \"{path}\""), "cert = \"x\"")
                .replace("control_cert = \"x\"\n", "")
        });
    let text = text + "\n[tls]\nmode = \"disable\"\nclient_ca = \"Cargo.toml\"\n";
    tests_read(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/x.toml")), &text)
}

#[test]
fn what_is_carried_over() {
    let imported = import(INI, Some(USERS), "secrets");
    let snapshot = snapshot(&imported);
    let listen: Vec<String> = snapshot.listen.clients.iter().map(ToString::to_string).collect();
    assert_eq!(listen, ["127.0.0.1:7000", "[::1]:7000"]);
    assert_eq!(snapshot.console.admins, ["ops", "root"]);
    assert_eq!(snapshot.console.watchers, ["monitor"]);
    let app = snapshot.database("app").expect("there");
    assert_eq!((app.pool.mode, app.pool.size), (Mode::Transaction, 7));
    assert_eq!(app.shards[0].dbname.as_deref(), Some("app_prod"));
    assert_eq!(app.control.as_ref().expect("there").user, "asker");
    let any = snapshot.database("other").expect("there");
    assert_eq!((any.pool.mode, any.pool.size), (Mode::Session, 25));
    assert_eq!(any.shards[0].servers.len(), 2);
    assert_eq!(any.control.as_ref().expect("there").user, "lookup");
    let bob = any.users.iter().find(|user| user.name == "bob").expect("there");
    assert_eq!(bob.pool.query_timeout.as_secs_f64(), 1.5);
    assert_eq!(
        (bob.max_client_conn, bob.max_user_client_connections),
        (None, Some(4))
    );
    assert_eq!(bob.max_user_connections, Some(3));
    assert_eq!(snapshot.auth.users.len(), 3);
    let paths: Vec<_> = imported.passwords.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(paths, ["secrets/asker.password", "secrets/b_o.password"]);
}

#[test]
fn limits_and_timeouts_keep_their_meaning() {
    let ini = "[databases]\na = host=h pool_size=3 server_lifetime=0 query_wait_timeout=-1\nb = host=h\n\
               [users]\nu = pool_size=2 query_wait_timeout=9\n\
               [pgbouncer]\nauth_type = any\ndefault_pool_size = 8\nmin_pool_size = 10\nserver_check_delay = 0.0\n\
               cancel_wait_timeout = 0\nserver_fast_close = 1\nautodb_idle_timeout = 60\npool_idle_timeout = 70\n\
               dns_max_ttl = 5\ndns_nxdomain_ttl = 6\nlisten_backlog = 64\nmax_db_client_connections = 30\n\
               suspend_timeout = 10\ndns_zone_check_period = 1\nquery_wait_timeout = 33\n";
    let imported = import(ini, None, "secrets");
    let snapshot = tests_read(Path::new("x.toml"), &imported.toml);
    let [a, b] = ["a", "b"].map(|name| snapshot.database(name).expect("there"));
    let millis = Duration::from_millis;
    assert_eq!(
        (a.pool.size, a.pool.min_size, b.pool.size, b.pool.min_size),
        (3, 3, 8, 8)
    );
    assert_eq!(
        (a.pool.server_lifetime, b.pool.server_lifetime),
        (millis(1), millis(3_600_000))
    );
    assert_eq!(
        (a.pool.query_wait_timeout, a.users[0].pool.query_wait_timeout),
        (millis(33_000), millis(9000))
    );
    assert_eq!((a.users[0].pool.size, a.users[0].pool.min_size), (2, 2));
    assert_eq!(
        (a.pool.server_check_delay, a.pool.cancel_wait_timeout),
        (millis(1), millis(3_600_000))
    );
    assert!(a.pool.server_fast_close);
    let limits = &snapshot.limits;
    assert_eq!(
        (limits.autodb_idle_timeout, limits.pool_idle_timeout),
        (millis(60_000), millis(70_000))
    );
    assert_eq!(
        (limits.tcp.dns_max_ttl, limits.tcp.dns_nxdomain_ttl),
        (millis(5000), millis(6000))
    );
    assert_eq!((limits.listen_backlog, a.max_client_conn), (64, 30));
    for what in ["suspend_timeout", "dns_zone_check_period"] {
        assert!(
            imported
                .notes
                .iter()
                .any(|note| note.what == what && note.why.starts_with("not needed: "))
        );
    }
}

#[test]
fn what_is_not_carried_over_is_named() {
    let imported = import(INI, Some(USERS), "secrets");
    for what in [
        "user of database app",
        "password of database app",
        "server_reset_query",
        "ignore_startup_parameters",
        "logfile",
        "colour",
        "lookup",
    ] {
        let noted = imported.notes.iter().filter(|note| note.what == what).count();
        assert_eq!(noted, 1, "{what}");
        assert!(imported.toml.contains(&format!("#   {what}: ")), "{what}");
    }
    for secret in ["plain", "se'cret", "\"pw\""] {
        assert!(!imported.toml.contains(secret), "{secret}");
        assert!(!format!("{imported:?}").contains(secret), "{secret}");
    }
}

#[test]
fn numbers_are_tomls() {
    for (written, expected) in [
        ("0", Some("0")),
        ("007", Some("7")),
        ("0.5", Some("0.5")),
        ("1.50", Some("1.50")),
        ("-1", None),
        ("", None),
        ("1.", None),
        ("x", None),
    ] {
        assert_eq!(number(written).as_deref(), expected, "{written}");
    }
}

proptest::proptest! {
    #[test]
    fn any_text_becomes_toml(ini in "(\\[(databases|users|pgbouncer)\\]\n|[a-z*_\"]{1,9} ?= ?[ -~]{0,30}\n){0,12}", users in "(\"[ -~]{0,9}\" \"[ -~]{0,9}\"\n){0,4}") {
        let imported = import(&ini, Some(&users), "s");
        toml::de::DeTable::parse(&imported.toml).expect("TOML");
    }
}
