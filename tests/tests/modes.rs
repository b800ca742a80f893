//! Pool modes as PgBouncer means them, for a database and for a role; several databases, `"*"`, and settings of roles.

use pgshunt_tests::{Config, Messages, Proxy, cluster, until};

fn proxy(database: &pgshunt_tests::Database, mode: &str) -> Proxy {
    Config::new(database)
        .threads(1)
        .pool(&format!("mode = \"{mode}\""))
        .pool("size = 1")
        .start()
}

#[test]
fn session_mode_keeps_the_server_until_the_client_leaves() {
    let database = cluster::database();
    let proxy = proxy(&database, "session");
    let mut first = proxy.door(&database).wire();
    let pid = first.value("SELECT pg_backend_pid()");
    first.run("CREATE TEMP TABLE mine (x int)");
    let mut second = proxy.door(&database).wire();
    second.send(&Messages::new().query("SELECT pg_backend_pid()"));
    assert_eq!(first.value("SELECT pg_backend_pid()"), pid);
    drop(first);
    let answer = pgshunt_tests::wire::transcript(&second.until_ready());
    assert!(
        answer.contains(&format!("D {pid}")),
        "{answer:?}: the same server, once it is free"
    );
    assert_eq!(second.sqlstate("SELECT * FROM mine"), "42P01", "it was cleaned");
}

/// PgBouncer gives the server back whatever was left in it. pgshunt does the same when asked to.
#[test]
fn transaction_mode_leaves_in_the_server_what_is_left() {
    let database = cluster::database();
    let proxy = proxy(&database, "transaction");
    let mut first = proxy.door(&database).wire();
    let mut second = proxy.door(&database).wire();
    first.run("SET work_mem = '77MB'");
    first.run("CREATE TEMP TABLE left_behind (x int)");
    assert_eq!(second.value("SHOW work_mem"), "77MB", "as in PgBouncer");
    assert_eq!(second.value("SELECT count(*) FROM left_behind"), "0");
    // A transaction is still a transaction.
    first.run("BEGIN");
    first.run("CREATE TABLE t (x int)");
    second.send(&Messages::new().query("SELECT count(*) FROM t"));
    first.run("INSERT INTO t VALUES (1)");
    first.run("COMMIT");
    let seen = pgshunt_tests::wire::transcript(&second.until_ready());
    assert!(seen.contains(&"D 1".to_owned()), "{seen:?}");
}

/// What servers report follows the client, as in PgBouncer; prepared statements too.
#[test]
fn transaction_mode_keeps_what_servers_report() {
    let database = cluster::database();
    let proxy = proxy(&database, "transaction");
    let mut first = proxy.door(&database).wire_with(&[("TimeZone", "Asia/Tokyo")]);
    let mut second = proxy.door(&database).wire();
    let server = second.value("SHOW TimeZone");
    first.run("SET DateStyle = 'German, DMY'");
    assert_eq!(second.value("SHOW DateStyle"), "ISO, MDY");
    assert_eq!(second.value("SHOW TimeZone"), server);
    assert_eq!(first.value("SHOW DateStyle"), "German, DMY");
    assert_eq!(first.value("SHOW TimeZone"), "Asia/Tokyo");
    first.exchange(&Messages::new().parse("s", "SELECT 1").sync());
    second.exchange(&Messages::new().parse("s", "SELECT 2").sync());
    let run = || Messages::new().bind("", "s", &[]).execute("", 0).sync();
    assert!(first.exchange(&run()).contains(&"D 1".to_owned()));
    assert!(second.exchange(&run()).contains(&"D 2".to_owned()));
    first.run("DISCARD ALL");
    assert_eq!(first.value("SHOW DateStyle"), "ISO, MDY");
    assert_eq!(first.value("SHOW TimeZone"), "Asia/Tokyo", "its startup's");
}

/// Settings of pgshunt's own are a client's in every mode, and mean what settings mean.
#[test]
fn our_settings_follow_the_client_in_every_mode() {
    let database = cluster::database();
    for mode in ["transaction", "statement"] {
        let proxy = proxy(&database, mode);
        let mut first = proxy
            .door(&database)
            .wire_with(&[("options", "-c pgshunt.consistency=strong")]);
        let mut second = proxy.door(&database).wire();
        let told = |wire: &mut pgshunt_tests::Wire, name: &str| wire.value(&format!("SHOW pgshunt.{name}"));
        first.run("SET pgshunt.target = 'replica'");
        second.exchange(
            &Messages::new()
                .once("SELECT set_config('pgshunt.trace', 'notice', false)", &[])
                .sync(),
        );
        assert_eq!(told(&mut second, "target"), "auto", "{mode}: another's");
        assert_eq!(
            told(&mut first, "target"),
            "replica",
            "{mode}: its own, on a server that another had"
        );
        assert!(first.query("SELECT 1").iter().all(|line| !line.starts_with('N')));
        let traced = second.query("SELECT 1");
        assert!(traced[0].starts_with("N NOTICE"), "{mode}: {traced:?}");
        // Two statements in one text are one transaction: what fails was never set.
        assert_eq!(
            first.sqlstate("SET pgshunt.target = 'primary'; SELECT 1/0"),
            "22012"
        );
        assert_eq!(told(&mut first, "target"), "replica", "{mode}: rolled back");
        assert_eq!(told(&mut second, "consistency"), "", "{mode}: another's");
        first.run("SET pgshunt.consistency = 'eventual'");
        assert_eq!(told(&mut first, "consistency"), "eventual");
        first.run("RESET pgshunt.consistency");
        assert_eq!(told(&mut second, "consistency"), "", "{mode}: another's");
        assert_eq!(told(&mut first, "consistency"), "strong", "{mode}: its startup's");
        first.run("RESET ALL");
        assert_eq!(told(&mut first, "target"), "auto", "{mode}: reset");
        first.run("SET pgshunt.target = 'primary'");
        first.run("DISCARD ALL");
        assert_eq!(told(&mut first, "target"), "auto", "{mode}: discarded");
        assert_eq!(told(&mut first, "consistency"), "strong", "{mode}: its startup's");
    }
    let proxy = proxy(&database, "transaction");
    let mut wire = proxy.door(&database).wire();
    for (end, target) in [("ROLLBACK", "auto"), ("COMMIT", "primary")] {
        wire.run("BEGIN");
        wire.run("SET pgshunt.target = 'primary'");
        wire.run("SET LOCAL pgshunt.consistency = 'strong'");
        wire.run(end);
        assert_eq!(wire.value("SHOW pgshunt.target"), target, "{end}");
        assert_eq!(wire.value("SHOW pgshunt.consistency"), "", "{end}");
    }
}

#[test]
fn statement_mode_refuses_transactions() {
    let database = cluster::database();
    let proxy = proxy(&database, "statement");
    let mut client = proxy.door(&database).wire();
    assert_eq!(client.value("SELECT 1"), "1");
    for _ in 0..2 {
        let seen = client.query("BEGIN");
        assert_eq!(
            seen,
            [
                "E ERROR 0A000 transaction blocks are not allowed in statement mode",
                "Z I"
            ]
        );
    }
    let seen = client.extended("START TRANSACTION", &[]);
    assert!(seen[0].starts_with("E ERROR 0A000"), "{seen:?}");
    assert_eq!(client.value("SELECT 2"), "2");
    // What only turns out to be one on the server ends the session, as in PgBouncer.
    client.send(&Messages::new().query("SELECT 3; BEGIN"));
    let last = client.until_end();
    let error = last.iter().find(|frame| frame.kind == b'E').expect("an error");
    assert!(error.to_string().contains("statement mode"), "{error}");
    let mut next = proxy.door(&database).wire();
    assert_eq!(next.value("SELECT 4"), "4");
}

#[test]
fn modes_and_sizes_of_databases_and_roles() {
    let database = cluster::database();
    let role = database.role("batch");
    let own = format!(
        "[database.pool]\nmode = \"transaction\"\n\
         [[database.user]]\nname = \"{role}\"\npool = {{ mode = \"session\", size = 1, query_wait_timeout = \"200ms\" }}"
    );
    let proxy = Config::new(&database)
        .pool("mode = \"auto\"")
        .section(&own)
        .start();
    let door = proxy.door(&database);
    let rows = proxy.console().psql("SHOW POOLS");
    assert!(!rows.contains(&role), "no pool before somebody comes: {rows}");
    let mut held = door.as_user(&role).wire();
    held.run("SELECT 1");
    let mut next = door.as_user(&role).wire();
    assert_eq!(
        next.sqlstate("SELECT 1"),
        "53300",
        "size 1, session mode, and no patience"
    );
    let _wide = [door.wire(), door.wire()];
    let rows = proxy.console().psql("SHOW POOLS");
    let mode_of = |user: &str| {
        let line = rows.lines().find(|line| line.contains(&format!("|{user}|")));
        line.unwrap_or_default().to_owned()
    };
    assert!(mode_of(&role).contains("session"), "{rows}");
    assert!(mode_of(&database.name).contains("transaction"), "{rows}");
}

#[test]
fn several_databases_and_any_other() {
    let (first, second, third) = (cluster::database(), cluster::database(), cluster::database());
    let server = |name: &str| {
        format!(
            "[[database]]\nname = \"{name}\"\ncontrol = \"postgres://postgres@/postgres\"\n\
             [[database.shard]]\nservers = [\"127.0.0.1:{}\"]\n",
            first.cluster.port
        )
    };
    let alias = server("alias") + &format!("dbname = \"{}\"\n", second.name);
    let proxy = Config::new(&first).section(&alias).section(&server("*")).start();
    let ask = |database: &str, user: &str| {
        let door = pgshunt_tests::Door {
            database: database.into(),
            ..proxy.door(&first).as_user(user)
        };
        door.wire().value("SELECT current_database()")
    };
    assert_eq!(ask(&first.name, &first.name), first.name);
    assert_eq!(ask("alias", &second.name), second.name);
    assert_eq!(ask(&third.name, &third.name), third.name);
}

/// PgBouncer's time limits, by their names.
#[test]
fn time_limits() {
    let database = cluster::database();
    let proxy = Config::new(&database)
        .pool("query_timeout = \"300ms\"")
        .pool("idle_transaction_timeout = \"300ms\"")
        .start();
    let mut slow = proxy.door(&database).wire();
    slow.send(&Messages::new().query("SELECT pg_sleep(60)"));
    let ended = slow.until_end();
    assert!(ended.iter().any(|frame| frame.kind == b'E'), "{ended:?}");
    let mut idle = proxy.door(&database).wire();
    idle.run("BEGIN");
    idle.run("SELECT 1");
    let ended = idle.until_end();
    assert!(
        ended
            .iter()
            .any(|frame| frame.kind == b'E' && frame.sqlstate() == "25P03"),
        "{ended:?}"
    );
    drop(proxy);
    let proxy = Config::new(&database)
        .pool("client_idle_timeout = \"300ms\"")
        .pool("server_idle_timeout = \"200ms\"")
        .start();
    let mut client = proxy.door(&database).wire();
    client.run("SELECT 1");
    let ended = client.until_end();
    assert!(
        ended
            .iter()
            .any(|frame| frame.kind == b'E' && frame.sqlstate() == "57P05"),
        "{ended:?}"
    );
    until("the server to be closed", || database.servers() == 0);
}
