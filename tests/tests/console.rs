//! The console: who gets in, what it understands, and that its numbers are true.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use pgshunt::admin::show::Show;
use pgshunt::cli::demo::cluster::{Plan, SUPERUSER, Scratch, Stop};
use pgshunt_tests::cluster::PASSWORD;
use pgshunt_tests::{Cluster, Config, Database, Door, Messages, Proxy, Wire, cluster, until};

type Row = BTreeMap<String, String>;

/// The rows of a query, each value by its column's name.
#[track_caller]
fn table(wire: &mut Wire, sql: &str) -> Vec<Row> {
    wire.send(&Messages::new().query(sql));
    let frames = wire.until_ready();
    let head = frames.iter().find(|frame| frame.kind == b'T');
    let head = head.unwrap_or_else(|| panic!("{sql}: {frames:?}")).to_string();
    let names: Vec<&str> = head
        .trim_start_matches("T ")
        .split(' ')
        .filter_map(|column| column.split(':').next())
        .collect();
    let rows = frames.iter().filter(|frame| frame.kind == b'D');
    rows.map(|row| {
        let row = row.row();
        let values = row.split('|').map(str::to_owned);
        names.iter().map(|name| name.to_string()).zip(values).collect()
    })
    .collect()
}

/// The one row in which this column has this value.
#[track_caller]
fn row(wire: &mut Wire, sql: &str, (column, value): (&str, &str)) -> Row {
    let rows = table(wire, sql);
    let mut found = rows.iter().filter(|row| row[column] == value);
    match (found.next(), found.next()) {
        (Some(row), None) => row.clone(),
        (_, _) => panic!("{sql}: not one row where {column} is {value}: {rows:?}"),
    }
}

fn console_as(proxy: &Proxy, user: &str) -> Door {
    proxy.console().as_user(user)
}

/// With a watcher and with a role that may not use the console.
fn watched(database: &Database) -> (Proxy, String, String) {
    let (watcher, stranger) = (database.role("watcher"), database.role("stranger"));
    let config = Config::new(database).console(&format!("watchers = [\"{watcher}\"]"));
    (config.start(), watcher, stranger)
}

#[test]
fn every_show_by_both_protocols() {
    let database = cluster::database();
    let proxy = Proxy::sized(&database, 2);
    proxy.door(&database).wire().run("SELECT 1");
    let mut console = proxy.console().wire();
    for show in Show::ALL {
        let sql = format!("SHOW {}", show.word());
        let simple = console.query(&sql);
        assert!(simple[0].starts_with("T "), "{simple:?}");
        assert_eq!(simple[simple.len() - 2..], ["C SHOW", "Z I"], "{simple:?}");
        let extended = console.extended(&sql, &[]);
        assert_eq!(extended[..2], ["1", "2"], "{extended:?}");
        assert_eq!(extended[2], simple[0]);
        assert_eq!(extended[extended.len() - 2..], ["C SHOW", "Z I"], "{extended:?}");
    }
}

#[test]
fn psql_and_both_names_of_the_database() {
    let database = cluster::database();
    let proxy = Proxy::sized(&database, 2);
    for name in ["pgshunt", "pgbouncer"] {
        let door = Door {
            database: name.into(),
            ..proxy.console()
        };
        assert_eq!(
            door.psql("show version"),
            concat!("pgshunt ", env!("CARGO_PKG_VERSION"))
        );
        assert!(door.psql("SHOW LISTS; SHOW STATE").contains("stopping|no"));
    }
}

#[test]
fn who_gets_in_and_what_they_may_do() {
    let database = cluster::database();
    let (proxy, watcher, stranger) = watched(&database);
    let mut wire = console_as(&proxy, &watcher).wire();
    assert_eq!(table(&mut wire, "SHOW VERSION").len(), 1);
    for sql in [
        "SHUTDOWN",
        "KILL_CLIENT 1",
        "PAUSE",
        "RELOAD",
        "SET default_pool_size = 1",
    ] {
        assert_eq!(wire.sqlstate(sql), "42501", "{sql}");
    }
    assert_eq!(
        console_as(&proxy, &stranger).refusal(),
        format!("E FATAL 42501 role \"{stranger}\" may not use the console")
    );
    for user in [&watcher[..], &stranger, SUPERUSER, "nobody_has_this_name"] {
        let door = Door {
            password: "wrong".into(),
            ..console_as(&proxy, user)
        };
        let expected = format!("E FATAL 28P01 password authentication failed for user \"{user}\"");
        assert_eq!(door.refusal(), expected);
    }
    let elsewhere = Door {
        database: database.name.clone(),
        ..proxy.console()
    };
    assert!(elsewhere.refusal().contains(" 3D000 "));
}

#[test]
fn any_startup_parameters_and_what_drivers_say() {
    let database = cluster::database();
    let proxy = Proxy::sized(&database, 2);
    let parameters = [
        ("extra_float_digits", "2"),
        ("client_encoding", "LATIN1"),
        ("application_name", "exporter"),
        ("options", "-c geqo=off --no-such-thing"),
        ("no_such_setting", "at all"),
    ];
    let mut wire = proxy.console().wire_with(&parameters);
    assert_eq!(wire.parameter("application_name").as_deref(), Some("exporter"));
    assert_eq!(wire.parameter("in_hot_standby").as_deref(), Some("off"));
    for (sql, tag) in [
        ("BEGIN", "C BEGIN"),
        ("SET client_encoding TO 'UTF8'", "C SET"),
        ("COMMIT", "C COMMIT"),
        ("DISCARD ALL", "C DISCARD ALL"),
    ] {
        assert_eq!(wire.query(sql), [tag, "Z I"], "{sql}");
        assert_eq!(wire.extended(sql, &[]), ["1", "2", "n", tag, "Z I"], "{sql}");
    }
    assert_eq!(wire.value("SELECT 1"), "1");
    assert_eq!(wire.value("SHOW TRANSACTION ISOLATION LEVEL"), "read committed");
    assert_eq!(
        wire.value("select current_user, current_database()"),
        format!("{SUPERUSER}|pgshunt")
    );
}

#[test]
fn texts_of_every_shape() {
    let database = cluster::database();
    let proxy = Proxy::sized(&database, 2);
    let mut wire = proxy.console().wire();
    assert_eq!(wire.query(""), ["I", "Z I"]);
    assert_eq!(wire.query(" ; -- nothing\n /* at /* all */ */ ;"), ["I", "Z I"]);
    assert_eq!(wire.extended("", &[]), ["1", "2", "n", "I", "Z I"]);
    let two = wire.query("show version; SHOW State ;");
    assert_eq!(two.iter().filter(|line| *line == "C SHOW").count(), 2, "{two:?}");
    assert_eq!(wire.sqlstate("FROB"), "42601");
    // A text with a mistake anywhere does nothing, as at a PostgreSQL.
    assert_eq!(
        wire.query("show version; frob"),
        [
            "E ERROR 42601 unknown command or wrong arguments: \"frob\"",
            "Z I"
        ]
    );
    // What comes behind a failed command is not done.
    assert_eq!(wire.query("KILL_CLIENT 99999; SHOW VERSION").len(), 2);
    assert_eq!(
        wire.value("SHOW VERSION"),
        concat!("pgshunt ", env!("CARGO_PKG_VERSION"))
    );
    let hostile = b"SHOW \xff\xfe\0";
    wire.send(&Messages::new().raw(b'Q', hostile));
    assert_eq!(wire.until_ready()[0].sqlstate(), "22021");
}

#[test]
fn the_extended_protocol_step_by_step() {
    let database = cluster::database();
    let proxy = Proxy::sized(&database, 2);
    let mut wire = proxy.console().wire();
    let list = Messages::new()
        .parse("s", "SHOW LISTS")
        .describe(b'S', "s")
        .sync();
    assert_eq!(
        wire.exchange(&list),
        ["1", "t [0, 0]", "T list:25/0 items:23/0", "Z I"]
    );
    let steps = Messages::new()
        .bind("p", "s", &[])
        .execute("p", 5)
        .execute("p", 0)
        .sync();
    let steps = wire.exchange(&steps);
    assert_eq!(steps.iter().position(|line| line == "s"), Some(6), "{steps:?}");
    assert_eq!(steps.iter().filter(|line| line.starts_with("D ")).count(), 14);
    // After an error everything up to Sync is skipped, then all goes on.
    for (messages, code) in [
        (Messages::new().parse("s", "SHOW POOLS"), "42P05"),
        (Messages::new().parse("", "SHOW POOLS; SHOW LISTS"), "42601"),
        (Messages::new().parse("", "SHOW FISH"), "42601"),
        (Messages::new().bind("", "none", &[]), "26000"),
        (Messages::new().bind("", "s", &["x"]), "08P01"),
        (Messages::new().execute("none", 0), "34000"),
        (Messages::new().describe(b'P', "none"), "34000"),
    ] {
        let seen = wire.exchange(&messages.once("SHOW VERSION", &[]).sync());
        assert_eq!(seen.len(), 2, "{seen:?}");
        assert!(seen[0].contains(code) && seen[1] == "Z I", "{seen:?}");
    }
    // An error leaves at once: some drivers send their Sync only then.
    wire.send(&Messages::new().parse("", "SHOW FISH").flush());
    assert_eq!(wire.read().sqlstate(), "42601");
    assert_eq!(wire.exchange(&Messages::new().sync()), ["Z I"]);
    assert_eq!(
        wire.exchange(&Messages::new().close(b'S', "s").sync()),
        ["3", "Z I"]
    );
    assert_eq!(wire.extended("SHOW VERSION", &[]).len(), 6);
}

#[test]
fn binary_results() {
    let database = cluster::database();
    let proxy = Proxy::sized(&database, 2);
    let mut wire = proxy.console().wire();
    // Portal, statement, no parameters, one result format for all columns: binary.
    let bind = b"\0\0\0\0\0\0\0\x01\0\x01";
    let messages = Messages::new()
        .parse("", "SHOW LISTS")
        .raw(b'B', bind)
        .describe(b'P', "")
        .execute("", 1)
        .sync();
    wire.send(&messages);
    let frames = wire.until_ready();
    assert_eq!(frames[2].to_string(), "T list:25/1 items:23/1");
    assert_eq!(frames[3].body, b"\0\x02\0\0\0\x09databases\0\0\0\x04\0\0\0\x01");
}

#[test]
fn limits_on_messages() {
    let database = cluster::database();
    let proxy = Proxy::sized(&database, 2);
    for (kind, body) in [(b'Q', vec![b' '; 70_000]), (b'?', Vec::new()), (b'p', Vec::new())] {
        let mut wire = proxy.console().wire();
        wire.send(&Messages::new().raw(kind, &body));
        let frames = wire.until_end();
        assert_eq!(
            frames[0].to_string().get(..13),
            Some("E FATAL 08P01"),
            "{frames:?}"
        );
    }
    assert_eq!(proxy.console().wire().query("SHOW VERSION").len(), 4);
}

#[test]
fn numbers_of_several_workers_are_one_row() {
    let database = cluster::database();
    let proxy = Config::new(&database).threads(2).pool("size = 4").start();
    let door = proxy.door(&database);
    let mut clients: Vec<Wire> = (0..6).map(|_| door.wire()).collect();
    for client in &mut clients[..3] {
        client.run("BEGIN");
        client.run("SELECT 1");
    }
    let mut console = proxy.console().wire();
    let own = ("database", &database.name[..]);
    let pool = row(&mut console, "SHOW POOLS", own);
    assert_eq!(pool["cl_active"], "6", "{pool:?}");
    assert_eq!(pool["sv_active"], "3", "{pool:?}");
    assert_eq!((&pool["user"], &pool["pool_mode"][..]), (&database.name, "auto"));
    let totals = row(&mut console, "SHOW STATS_TOTALS", own);
    assert_eq!(
        (&totals["query_count"][..], &totals["client_login_count"][..]),
        ("6", "6"),
        "{totals:?}"
    );
    let shown = row(&mut console, "SHOW DATABASES", ("name", &database.name));
    assert_eq!(shown["current_client_connections"], "6", "{shown:?}");
    assert_eq!((&shown["pool_size"][..], &shown["reserve_pool"][..]), ("4", "0"));
    let lists: Row = table(&mut console, "SHOW LISTS")
        .into_iter()
        .map(|row| (row["list"].clone(), row["items"].clone()))
        .collect();
    assert_eq!(
        (&lists["used_clients"][..], &lists["pools"][..]),
        ("6", "1"),
        "{lists:?}"
    );
    clients.truncate(2);
    until("four clients to be gone", || {
        row(&mut console, "SHOW POOLS", own)["cl_active"] == "2"
    });
}

#[test]
fn clients_and_servers_name_each_other() {
    let database = cluster::database();
    let scratch = Scratch::new("console").expect("a folder");
    let password = scratch.path().join("password");
    fs::write(&password, PASSWORD).expect("a file");
    fs::set_permissions(&password, fs::Permissions::from_mode(0o600)).expect("rights");
    let known = format!(
        "[[auth.user]]\nname = \"{}\"\npassword_file = \"{}\"",
        database.name,
        password.display()
    );
    let known = format!("{known}\n{}", known.replacen(&database.name, SUPERUSER, 1));
    // Nobody listens at the first address: the server is the second one.
    let real = database.cluster.port.to_string();
    let proxy = Config::new(&database)
        .server(&format!("127.0.0.1:1\", \"127.0.0.1:{real}"))
        .section(&known)
        .start();
    let mut client = proxy
        .door(&database)
        .wire_with(&[("application_name", "billing")]);
    client.run("BEGIN");
    client.run("SELECT 1");
    let of_database = format!(
        "SELECT pid FROM pg_stat_activity WHERE datname = '{}' AND state = 'idle in transaction'",
        database.name
    );
    let pid = database.cluster.superuser().psql(&of_database);
    let mut console = proxy.console().wire();
    let server = row(&mut console, "SHOW SERVERS", ("state", "active"));
    assert_eq!(
        (&server["port"], &server["remote_pid"]),
        (&real, &pid),
        "{server:?}"
    );
    assert_eq!(
        (&server["addr"][..], &server["local_addr"][..]),
        ("127.0.0.1", "127.0.0.1")
    );
    let shown = row(&mut console, "SHOW CLIENTS", ("state", "active"));
    assert_eq!((&shown["link"], &shown["ptr"]), (&server["ptr"], &server["link"]));
    assert_eq!(
        (&shown["application_name"][..], &shown["local_port"]),
        ("billing", &proxy.port().to_string())
    );
    client.run("COMMIT");
    until("the server to be free", || {
        let servers = table(&mut console, "SHOW SERVERS");
        servers
            .iter()
            .all(|server| server["state"] == "idle" && server["port"] == real)
    });
}

#[test]
fn pins_and_their_reasons() {
    let database = cluster::database();
    let proxy = Proxy::sized(&database, 2);
    let mut client = proxy.door(&database).wire();
    let mut console = proxy.console().wire();
    assert_eq!(table(&mut console, "SHOW PINS"), []);
    client.run("CREATE TEMP TABLE mine (a int)");
    let pid = client.value("SELECT pg_backend_pid()");
    let pin = row(&mut console, "SHOW PINS", ("reason", "temporary tables"));
    assert_eq!((&pin["database"], &pin["server_pid"]), (&database.name, &pid));
    // To know the server's process is a reason of its own.
    assert_eq!(table(&mut console, "SHOW PINS").len(), 2);
    let shown = row(&mut console, "SHOW CLIENTS", ("database", &database.name));
    assert_eq!(pin["client_id"], shown["id"]);
}

#[test]
fn secrets_are_not_shown() {
    let database = cluster::database();
    let proxy = Proxy::sized(&database, 2);
    let shown = proxy.console().psql("SHOW CONFIG");
    assert!(shown.contains("control.password|********"), "{shown}");
    assert!(!shown.contains(PASSWORD), "{shown}");
    assert!(!proxy.log().contains(PASSWORD));
}

#[test]
fn one_client_is_ended() {
    let database = cluster::database();
    let proxy = Proxy::sized(&database, 2);
    let door = proxy.door(&database);
    let (mut doomed, mut other) = (door.wire_with(&[("application_name", "doomed")]), door.wire());
    let mut console = proxy.console().wire();
    let id = row(&mut console, "SHOW CLIENTS", ("application_name", "doomed"))["id"].clone();
    assert_eq!(
        console.query(&format!("KILL_CLIENT {id}")),
        ["C KILL_CLIENT", "Z I"]
    );
    let last = doomed.until_end();
    assert!(
        last.iter()
            .any(|frame| frame.kind == b'E' && frame.sqlstate() == "57P01"),
        "{last:?}"
    );
    assert_eq!(other.value("SELECT 1"), "1");
    until("the client to be forgotten", || {
        table(&mut console, "SHOW CLIENTS").len() == 1
    });
    assert_eq!(console.sqlstate(&format!("KILL_CLIENT {id}")), "42704");
}

#[test]
fn shutdown_that_waits_for_transactions() {
    let database = cluster::database();
    let mut proxy = Proxy::sized(&database, 2);
    let mut client = proxy.door(&database).wire();
    client.run("BEGIN");
    client.run("SELECT 1");
    let mut console = proxy.console().wire();
    assert_eq!(console.query("SHUTDOWN WAIT_FOR_SERVERS"), ["C SHUTDOWN", "Z I"]);
    until("pgshunt to stop", || {
        row(&mut console, "SHOW STATE", ("key", "stopping"))["value"] == "yes"
    });
    assert_eq!(client.value("SELECT 2"), "2");
    client.send(&Messages::new().query("COMMIT"));
    assert!(
        client
            .until_end()
            .iter()
            .any(|frame| frame.to_string() == "C COMMIT")
    );
    assert!(proxy.ended().success());
}

#[test]
fn shutdown_that_waits_for_clients() {
    let database = cluster::database();
    let mut proxy = Proxy::sized(&database, 2);
    let door = proxy.door(&database);
    let mut client = door.wire();
    let mut console = proxy.console().wire();
    console.run("SHUTDOWN WAIT_FOR_CLIENTS");
    until("pgshunt to take nobody more", || Wire::connect(&door).is_err());
    for _ in 0..3 {
        assert_eq!(client.value("SELECT 1"), "1");
    }
    drop(client);
    assert!(proxy.ended().success());
}

#[test]
fn shutdown_at_once() {
    let database = cluster::database();
    let mut proxy = Proxy::sized(&database, 2);
    let mut client = proxy.door(&database).wire();
    client.run("BEGIN");
    client.run("SELECT 1");
    proxy.console().wire().run("SHUTDOWN");
    assert!(client.until_end().iter().any(|frame| frame.sqlstate() == "57P01"));
    assert!(proxy.ended().success());
}

#[test]
fn the_console_is_open_while_the_server_is_down() {
    let mut node = cluster::private(&Plan::default());
    let database = Cluster::of(&node).database();
    let watcher = database.role("watcher");
    let proxy = Config::new(&database)
        .console(&format!("watchers = [\"{watcher}\"]"))
        .start();
    let door = console_as(&proxy, &watcher);
    door.wire();
    node.stop(Stop::Fast).expect("stopped");
    let wrong = Door {
        password: "wrong".into(),
        ..door.clone()
    };
    // What is known of a role is believed for some seconds anyway; after that it is remembered.
    until("the role to be looked up in vain", || {
        let mut wire = door.wire();
        assert_eq!(table(&mut wire, "SHOW VERSION").len(), 1);
        assert!(wrong.refusal().contains(" 28P01 "));
        proxy.log().contains("control connection could not be made")
    });
    assert_eq!(door.wire().query("SHOW VERSION").len(), 4);
}
