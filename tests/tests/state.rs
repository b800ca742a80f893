//! Session state with more clients than servers: each sees its own, none sees another's, exactly as on PostgreSQL itself.

use pgshunt_tests::{Config, Database, Door, Messages, Proxy, Wire, cluster, until};

/// One worker, so that every client meets every server.
fn proxy(database: &Database, size: usize) -> Proxy {
    let config = Config::new(database).threads(1);
    config.pool(&format!("size = {size}")).start()
}

/// Somebody who leaves traces of all kinds on the server the client under test has just used.
struct Disturber(Wire);

impl Disturber {
    fn new(door: &Door) -> Disturber {
        let mut wire = door.wire();
        wire.run("CREATE SCHEMA IF NOT EXISTS noise");
        Disturber(wire)
    }

    fn disturb(&mut self) {
        let noise = "SET work_mem = '11MB'; SET app.x = 'noise'; SET search_path = noise; SET TimeZone = 'Asia/Tokyo'; \
                     SET statement_timeout = '77s'; SET default_transaction_isolation = 'serializable'; \
                     SET DateStyle = 'German'; SET application_name = 'noise'";
        self.0.run(noise);
        self.0
            .run("BEGIN; SET LOCAL lock_timeout = '7s'; SET enable_sort = off; ROLLBACK");
        assert_eq!(self.0.value("SHOW app.x"), "noise");
    }
}

/// Runs statements one by one directly and through a crowded pgshunt, in both protocols; all answers must be the same.
#[track_caller]
fn undisturbed(statements: &[&str]) {
    let (database, twin) = (prepared(), prepared());
    let proxy = proxy(&database, 2);
    let mut disturber = Disturber::new(&proxy.door(&database));
    for is_simple in [true, false] {
        let (mut direct, mut through) = (twin.door().wire(), proxy.door(&database).wire());
        for sql in statements {
            let ask = |wire: &mut Wire| match is_simple {
                true => wire.query(sql),
                false => wire.extended(sql, &[]),
            };
            disturber.disturb();
            let (expected, seen) = (ask(&mut direct), ask(&mut through));
            let how = if is_simple { "simple" } else { "extended" };
            assert_eq!(
                expected, seen,
                "left: PostgreSQL itself, right: pgshunt; {how}; {sql}"
            );
        }
    }
}

fn prepared() -> Database {
    let database = cluster::database();
    for schema in ["a", "b"] {
        let sql = format!("CREATE SCHEMA {schema}; CREATE TABLE {schema}.t AS SELECT '{schema}' AS x");
        database.door().psql(&sql);
    }
    database
}

#[test]
fn set_reset_and_show() {
    undisturbed(&[
        "SHOW work_mem",
        "SET work_mem = '5MB'",
        "SHOW work_mem",
        "SELECT set_config('statement_timeout', '9s', false)",
        "SHOW statement_timeout",
        "SET TIME ZONE 'Etc/GMT+3'",
        "SELECT '2024-01-01 00:00:00+00'::timestamptz",
        "SET DateStyle = 'SQL, DMY'",
        "SELECT '2024-01-31'::date",
        "RESET work_mem",
        "SHOW work_mem",
        "SHOW lock_timeout",
        "SET SESSION enable_sort TO off",
        "SHOW enable_sort",
        "RESET ALL",
        "SHOW statement_timeout",
        "SHOW TimeZone",
        "SET work_mem = 'nonsense'",
        "SET no_such_setting = 1",
        "SHOW no_such_setting",
        "SET work_mem TO DEFAULT",
        "SHOW work_mem",
    ]);
}

#[test]
fn search_path_decides_whose_table() {
    undisturbed(&[
        "SELECT x FROM t",
        "SET search_path = a",
        "SELECT x FROM t",
        "SET search_path = b, public",
        "SELECT x FROM t",
        "SHOW search_path",
        "SET search_path = \"$user\", public",
        "SELECT current_schemas(false)",
        "SELECT set_config('search_path', 'a', false)",
        "SELECT x FROM t",
    ]);
}

#[test]
fn rolled_back_settings_come_back() {
    undisturbed(&[
        "SET work_mem = '5MB'",
        "BEGIN",
        "SET work_mem = '6MB'",
        "SHOW work_mem",
        "ROLLBACK",
        "SHOW work_mem",
        "BEGIN",
        "SET work_mem = '7MB'",
        "COMMIT",
        "SHOW work_mem",
        "BEGIN",
        "SET LOCAL work_mem = '8MB'",
        "SHOW work_mem",
        "COMMIT",
        "SHOW work_mem",
        "BEGIN",
        "SET work_mem = '9MB'",
        "SELECT 1/0",
        "COMMIT",
        "SHOW work_mem",
        "BEGIN",
        "SELECT set_config('work_mem', '10MB', false)",
        "ROLLBACK",
        "SHOW work_mem",
    ]);
}

#[test]
fn settings_of_a_savepoint() {
    undisturbed(&[
        "BEGIN",
        "SET work_mem = '5MB'",
        "SAVEPOINT s",
        "SET work_mem = '6MB'",
        "SET app.x = 'inner'",
        "ROLLBACK TO s",
        "SHOW work_mem",
        "SAVEPOINT s2",
        "SET lock_timeout = '6s'",
        "RELEASE s2",
        "COMMIT",
        "SHOW work_mem",
        "SHOW lock_timeout",
        "SELECT coalesce(current_setting('app.x', true), '')",
    ]);
}

#[test]
fn settings_made_out_of_sight() {
    undisturbed(&[
        "DO $$BEGIN PERFORM set_config('app.inside', 'do', false); SET lock_timeout = '4s'; END$$",
        "SHOW lock_timeout",
        "SELECT current_setting('app.inside')",
        "CREATE FUNCTION sets() RETURNS int LANGUAGE plpgsql AS $$BEGIN SET work_mem = '5MB'; SET app.deep = 'f'; RETURN 1; END$$",
        "SELECT sets()",
        "SHOW work_mem",
        "SELECT current_setting('app.deep')",
        "CREATE PROCEDURE proc() LANGUAGE plpgsql AS $$BEGIN SET TimeZone = 'Etc/GMT+5'; END$$",
        "CALL proc()",
        "SHOW TimeZone",
        "CREATE FUNCTION keeps() RETURNS text LANGUAGE plpgsql SET work_mem = '3MB' AS $$BEGIN RETURN current_setting('work_mem'); END$$",
        "SELECT keeps()",
        "SHOW work_mem",
        "DROP FUNCTION sets()",
        "DROP PROCEDURE proc()",
        "DROP FUNCTION keeps()",
    ]);
}

#[test]
fn custom_settings() {
    undisturbed(&[
        "SELECT coalesce(current_setting('app.x', true), '')",
        "SET app.x = 'mine'",
        "SHOW app.x",
        "SELECT set_config('app.y', 'too', false)",
        "SELECT current_setting('app.x') || current_setting('app.y')",
        "BEGIN",
        "SET app.x = 'other'",
        "ROLLBACK",
        "SHOW app.x",
        "RESET app.x",
        "SELECT coalesce(current_setting('app.x', true), '')",
    ]);
}

#[test]
fn characteristics_of_transactions() {
    undisturbed(&[
        "SHOW default_transaction_isolation",
        "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL REPEATABLE READ",
        "SHOW transaction_isolation",
        "BEGIN ISOLATION LEVEL READ COMMITTED",
        "SHOW transaction_isolation",
        "COMMIT",
        "SET default_transaction_read_only = on",
        "CREATE TABLE no (a int)",
        "BEGIN READ WRITE",
        "CREATE TABLE yes (a int)",
        "ROLLBACK",
        "BEGIN",
        "SET TRANSACTION READ WRITE",
        "CREATE TABLE yes (a int)",
        "ROLLBACK",
        "RESET default_transaction_read_only",
        "SHOW transaction_read_only",
    ]);
}

#[test]
fn discard_all_leaves_nothing() {
    undisturbed(&[
        "SET work_mem = '5MB'",
        "SET app.x = 'mine'",
        "CREATE TEMP TABLE mine (a int)",
        "PREPARE p AS SELECT 1",
        "DISCARD ALL",
        "SHOW work_mem",
        "SELECT current_setting('app.x', true)",
        "SELECT * FROM mine",
        "EXECUTE p",
        "BEGIN",
        "DISCARD ALL",
        "ROLLBACK",
    ]);
}

#[test]
fn startup_parameters_last_as_long_as_the_session() {
    let database = cluster::database();
    let proxy = proxy(&database, 1);
    let parameters = [
        ("application_name", "mine"),
        ("options", "-c work_mem=5MB -c app.x=started --lock-timeout=6s"),
        ("TimeZone", "Etc/GMT+4"),
        ("extra_float_digits", "2"),
    ];
    let (mut direct, mut through) = (
        database.door().wire_with(&parameters),
        proxy.door(&database).wire_with(&parameters),
    );
    let mut disturber = Disturber::new(&proxy.door(&database));
    for reported in [
        "application_name",
        "TimeZone",
        "DateStyle",
        "client_encoding",
        "is_superuser",
        "server_version",
    ] {
        assert_eq!(
            direct.parameter(reported),
            through.parameter(reported),
            "{reported}"
        );
    }
    for sql in [
        "SHOW work_mem",
        "SHOW app.x",
        "SHOW lock_timeout",
        "SHOW TimeZone",
        "SHOW application_name",
        "SHOW extra_float_digits",
        "SET work_mem = '6MB'",
        "SHOW work_mem",
        "RESET work_mem",
        "SHOW work_mem",
        "RESET ALL",
        "SHOW application_name",
        "SHOW app.x",
    ] {
        disturber.disturb();
        assert_eq!(direct.query(sql), through.query(sql), "{sql}");
    }
}

#[test]
fn roles() {
    let database = cluster::database();
    let other = database.role("other");
    database
        .superuser()
        .psql(&format!("GRANT {other} TO {}", database.name));
    let proxy = proxy(&database, 1);
    let door = proxy.door(&database);
    let (mut a, mut b) = (door.wire(), door.wire());
    a.run(&format!("SET ROLE {other}"));
    assert_eq!(b.value("SELECT current_user"), database.name);
    assert_eq!(a.value("SELECT current_user"), other);
    b.run(&format!("BEGIN; SET ROLE {other}; ROLLBACK"));
    assert_eq!(b.value("SELECT current_user"), database.name);
    b.run(&format!("BEGIN; SET LOCAL ROLE {other}; COMMIT"));
    assert_eq!(b.value("SELECT current_user"), database.name);
    b.run(&format!("SELECT set_config('role', '{other}', false)"));
    assert_eq!(a.value("SELECT current_user"), other);
    a.run("RESET ROLE");
    assert_eq!(a.value("SELECT current_user"), database.name);
    assert_eq!(b.value("SELECT current_user"), other);
    b.run("SET ROLE NONE");
    assert_eq!(b.value("SELECT current_user"), database.name);
}

#[test]
fn session_authorization() {
    let database = cluster::database();
    let other = database.role("other");
    database
        .superuser()
        .psql(&format!("ALTER ROLE {} SUPERUSER", database.name));
    let proxy = proxy(&database, 1);
    let door = proxy.door(&database);
    let (mut a, mut b) = (door.wire(), door.wire());
    a.run(&format!("SET SESSION AUTHORIZATION {other}"));
    assert_eq!(b.value("SELECT session_user"), database.name);
    assert_eq!(
        a.value("SELECT session_user || current_user"),
        format!("{other}{other}")
    );
    a.run("RESET SESSION AUTHORIZATION");
    assert_eq!(a.value("SELECT session_user"), database.name);
}

#[test]
fn six_clients_each_their_own() {
    let database = cluster::database();
    let proxy = proxy(&database, 2);
    let door = proxy.door(&database);
    let mut clients: Vec<_> = (0..6).map(|_| door.wire()).collect();
    for (n, client) in clients.iter_mut().enumerate() {
        client.run(&format!("SET work_mem = '{}MB'; SET app.me = 'c{n}'", n + 3));
        client.exchange(&Messages::new().parse("mine", &format!("SELECT 'p{n}'")).sync());
    }
    let question = "SELECT current_setting('work_mem') || ' ' || current_setting('app.me')";
    for round in 0..4 {
        // In each round somebody else sits on one of the two servers.
        clients[round].run("BEGIN");
        clients[round].run("SELECT txid_current()");
        for n in (0..6).rev() {
            assert_eq!(clients[n].value(question), format!("{}MB c{n}", n + 3));
            let seen = clients[n].exchange(&Messages::new().run("mine", &[]).sync());
            assert!(seen.contains(&format!("D p{n}")), "{seen:?}");
        }
        clients[round].run("COMMIT");
    }
    until("no server to be held", || database.servers() <= 2);
}
