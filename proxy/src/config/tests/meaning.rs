//! What a right configuration means.

use std::time::Duration;

use super::*;
use crate::pool::settings::{Mode, Settings};
use crate::server::address::SslMode;
use crate::snapshot::{AuthMode, Credential, DEFAULT_AUTH_QUERY};

fn right(text: &str) -> Snapshot {
    read(text).unwrap_or_else(|mistakes| panic!("{}", shown(&mistakes)))
}

const SMALLEST: &str = "\
[[database]]
name = \"app\"
control = \"postgres://pgshunt:pw@/\"
[[database.shard]]
servers = [\"db1\", \"[::1]:5433\", \"unix:/run/postgresql\"]
";

#[test]
fn the_smallest_configuration_has_defaults_for_the_rest() {
    let snapshot = right(SMALLEST);
    assert_eq!(snapshot.listen.clients[0].to_string(), "127.0.0.1:6432");
    assert_eq!((&snapshot.listen.admin, snapshot.listen.http), (&None, None));
    assert_eq!(snapshot.tls.mode, SslMode::Disable);
    assert_eq!(snapshot.auth.mode, AuthMode::Passthrough);
    assert_eq!(snapshot.auth.auth_query, DEFAULT_AUTH_QUERY);
    assert_eq!(snapshot.threads, 4);
    let [app] = snapshot.databases.as_slice() else {
        panic!("one database")
    };
    let [shard] = app.shards.as_slice() else {
        panic!("one shard")
    };
    assert_eq!((shard.name.as_str(), &shard.dbname), ("s0", &None));
    assert_eq!(shard.tls.mode, SslMode::Prefer);
    let servers: Vec<String> = shard.servers.iter().map(ToString::to_string).collect();
    assert_eq!(servers, ["db1:5432", "[::1]:5433", "unix:/run/postgresql:5432"]);
    let control = app.control.as_ref().expect("it is written");
    assert_eq!(
        (control.user.as_str(), control.dbname.as_str()),
        ("pgshunt", "app")
    );
    assert_eq!(control.password.as_ref().expect("it is written").expose(), "pw");
}

#[test]
fn a_pool_key_of_a_user_wins_over_the_databases_and_that_over_the_global_one() {
    let snapshot = right(&format!(
        "[pool]\nsize = 50\nmin_size = 5\nquery_timeout = \"3s\"\n{SMALLEST}\
         [[database.user]]\nname = \"a\"\ntenant = \"t\"\npool = {{ size = 7, mode = \"session\" }}\n\
         [[database.user]]\nname = \"b\"\n[database.pool]\nsize = 20\nquery_timeout = 0.5\n"
    ));
    let app = &snapshot.databases[0];
    let database = Settings {
        size: 20,
        min_size: 5,
        query_timeout: Duration::from_millis(500),
        ..Settings::default()
    };
    let a = Settings {
        size: 7,
        mode: Mode::Session,
        ..database.clone()
    };
    assert_eq!(app.pool, database);
    assert_eq!(*app.pool_of("a"), a);
    assert_eq!(*app.pool_of("b"), database);
    assert_eq!(*app.pool_of("anyone"), database);
    assert_eq!(app.users[0].tenant.as_deref(), Some("t"));
}

#[test]
fn limits_come_down_to_databases_and_users() {
    let snapshot = right(&format!(
        "[limits]\nmax_db_client_connections = 9\nmax_db_connections = 7\n{SMALLEST}\
         [[database.user]]\nname = \"a\"\n[[database.user]]\nname = \"b\"\nmax_client_conn = 1\n"
    ));
    let app = &snapshot.databases[0];
    assert_eq!((app.max_client_conn, app.max_db_connections), (9, 7));
    assert_eq!(
        (app.users[0].max_client_conn, app.users[1].max_client_conn),
        (None, Some(1))
    );
}

#[test]
fn pgbouncers_names_and_those_of_before_will_do() {
    let with = |pool: &str, limits: &str, database: &str| {
        right(
            &format!("[pool]\n{pool}\n[limits]\n{limits}\n{SMALLEST}")
                .replace("name =", &format!("{database}\nname =")),
        )
    };
    let ours = with(
        "mode = \"session\"\nsize = 3\nmin_size = 2",
        "max_user_client_connections = 4\nmax_db_client_connections = 5",
        "max_client_conn = 6",
    );
    let theirs = with(
        "pool_mode = \"session\"\ndefault_pool_size = 3\nmin_pool_size = 2",
        "max_client_conn_per_user = 4\nmax_client_conn_per_database = 5",
        "max_db_client_connections = 6",
    );
    assert_eq!(ours.pool, theirs.pool);
    assert_eq!((ours.pool.size, ours.pool.min_size), (3, 2));
    assert_eq!(ours.limits, theirs.limits);
    assert_eq!(
        (
            ours.limits.max_user_client_connections,
            ours.limits.max_db_client_connections
        ),
        (4, 5)
    );
    assert_eq!(
        (
            ours.databases[0].max_client_conn,
            theirs.databases[0].max_client_conn
        ),
        (6, 6)
    );
}

#[test]
fn a_roles_servers_are_limited_by_the_least_of_its_entries() {
    let other = SMALLEST.replace("app", "other");
    let user = |role: &str, most: usize| {
        format!("[[database.user]]\nname = \"{role}\"\nmax_user_connections = {most}\n")
    };
    let snapshot = right(&format!(
        "[limits]\nmax_user_connections = 5\n{SMALLEST}{}{}{other}{}{}",
        user("a", 9),
        user("b", 0),
        user("a", 8),
        user("c", 0),
    ));
    let of = |role| snapshot.max_user_connections(role);
    assert_eq!([of("a"), of("b"), of("c"), of("anyone")], [8, 0, 0, 5]);
}

#[test]
fn tls_of_a_shard_wins_over_the_databases() {
    let folder = Folder::new("tls");
    folder.write("ca.crt", "", 0o644);
    let rules = "[sharding]\ncolumn = \"tenant_id\"\ntype = \"uuid\"\n";
    folder.write("rules.toml", rules, 0o644);
    let smallest = SMALLEST.replace("[[database]]\n", "[[database]]\nrules = \"rules.toml\"\n");
    let file = folder.write(
        "pgshunt.toml",
        &format!(
            "{smallest}name = \"a\"\n\
             [[database.shard]]\nname = \"b\"\nservers = [\"h\"]\nsslmode = \"disable\"\n\
             [database.server_tls]\nsslmode = \"require\"\nsslrootcert = \"ca.crt\"\n"
        ),
        0o644,
    );
    let snapshot = load(&file).unwrap_or_else(|mistakes| panic!("{}", shown(&mistakes)));
    assert!(snapshot.databases[0].sharding.is_some());
    let modes = snapshot.databases[0].shards.iter().map(|shard| shard.tls.mode);
    // libpq: "require" with a root certificate is "verify-ca".
    assert_eq!(modes.collect::<Vec<_>>(), [SslMode::VerifyCa, SslMode::Disable]);
    assert_eq!(
        snapshot.databases[0].shards[0].tls.ca,
        Some(folder.0.join("ca.crt"))
    );
}

#[test]
fn the_control_password_is_the_written_one_or_the_files_or_the_environments() {
    let folder = Folder::new("control");
    folder.write("pw", "from file\r\n", 0o600);
    let without = SMALLEST.replace(":pw@", "@");
    let with_file = without.replace(
        "[[database.shard]]",
        "control_password_file = \"pw\"\n[[database.shard]]",
    );
    let file = folder.0.join("pgshunt.toml");
    let environment = Environment {
        control_password: Some(SecretText::new("from environment")),
        ..silence()
    };
    for (text, expected) in [
        (SMALLEST, "pw"),
        (&with_file, "from file"),
        (&without, "from environment"),
    ] {
        let snapshot = check::snapshot(&file, text, &environment).expect("right");
        let control = snapshot.databases[0].control.as_ref().expect("it is written");
        assert_eq!(control.password.as_ref().map(SecretText::expose), Some(expected));
    }
}

#[test]
fn users_come_with_verifiers_or_passwords() {
    let folder = Folder::new("users");
    folder.write("pw", "päss word\n", 0o600);
    let key = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let file = folder.write(
        "pgshunt.toml",
        &format!(
            "{SMALLEST}[auth]\nmode = \"users\"\n\
             [[auth.user]]\nname = \"s\"\nverifier = \"SCRAM-SHA-256$4096:c2FsdA==${key}:{key}\"\n\
             [[auth.user]]\nname = \"m\"\nverifier = \"md5{}\"\n\
             [[auth.user]]\nname = \"p\"\npassword_file = \"pw\"\n",
            "0".repeat(32)
        ),
        0o644,
    );
    let snapshot = load(&file).unwrap_or_else(|mistakes| panic!("{}", shown(&mistakes)));
    let [s, m, p] = snapshot.auth.users.as_slice() else {
        panic!("three users")
    };
    assert!(matches!(s.credential, Some(Credential::Scram(_))));
    assert!(matches!(m.credential, Some(Credential::Md5(_))));
    let Some(Credential::Password(password)) = &p.credential else {
        panic!("a password")
    };
    assert_eq!(password.expose(), "päss word");
}

#[test]
fn a_database_of_any_name_is_found_last() {
    let any = SMALLEST.replace("\"app\"", "\"*\"");
    let snapshot = right(&format!("{any}{SMALLEST}"));
    assert_eq!(
        snapshot.database("app").map(|found| found.name.as_str()),
        Some("app")
    );
    assert_eq!(
        snapshot.database("other").map(|found| found.name.as_str()),
        Some("*")
    );
    let control = snapshot.databases[0].control.as_ref().expect("it is written");
    assert_eq!(control.dbname, "postgres");
}
