//! What operators do to databases from the console: pause, resume, reconnect, kill, disable, set; and who may.

use pgshunt::cli::demo::cluster::{Plan, Stop};
use pgshunt_tests::load::under_load;
use pgshunt_tests::{Cluster, Config, Database, Proxy, Wire, cluster, until};

#[track_caller]
fn tell(proxy: &Proxy, command: &str) {
    let tag = command.split(' ').next().unwrap_or_default();
    let heard = proxy.console().wire().query(command);
    assert_eq!(heard, [&format!("C {tag}"), "Z I"], "{command}");
}

/// `paused` and `disabled` of a database.
#[track_caller]
fn switches(console: &mut Wire, database: &str) -> (String, String) {
    let rows = console.rows("SHOW DATABASES");
    let row = rows
        .iter()
        .find(|row| row.starts_with(&format!("{database}|")))
        .expect("a row");
    let mut values = row.rsplit('|').map(str::to_owned);
    let disabled = values.next().expect("a value");
    (values.next().expect("a value"), disabled)
}

fn waiting(console: &mut Wire) -> usize {
    let rows = console.rows("SHOW POOLS");
    let waiting = rows.iter().filter_map(|row| row.split('|').nth(3));
    waiting
        .map(|count| count.parse::<usize>().expect("a number"))
        .sum()
}

/// A transaction that holds a server.
fn busy(proxy: &Proxy, database: &Database) -> Wire {
    let mut wire = proxy.door(database).wire();
    wire.run("BEGIN");
    wire.run("SELECT 1");
    wire
}

#[test]
fn pause_waits_for_transactions_and_resume_goes_on() {
    let database = cluster::database();
    let proxy = Proxy::sized(&database, 3);
    let mut busy = busy(&proxy, &database);
    let mut idle = proxy.door(&database).wire();
    idle.run("SELECT 1");
    let mut console = proxy.console().wire();
    let pause = format!("PAUSE {}", database.name);
    std::thread::scope(|scope| {
        let paused = scope.spawn(|| tell(&proxy, &pause));
        until("the database to be paused", || {
            switches(&mut console, &database.name).0 == "1"
        });
        let late = scope.spawn(|| {
            let value = idle.value("SELECT 'late'");
            assert_eq!(value, "late");
        });
        until("the client to wait", || waiting(&mut console) == 1);
        assert!(!paused.is_finished(), "a transaction goes on");
        assert_eq!(busy.value("SELECT 'goes on'"), "goes on");
        busy.run("COMMIT");
        paused.join().expect("no panic");
        assert_eq!(database.servers(), 0);
        assert!(console.rows("SHOW STATE").contains(&"paused|yes".to_owned()));
        assert!(!late.is_finished());
        tell(&proxy, &format!("RESUME {}", database.name));
        late.join().expect("no panic");
    });
    assert_eq!(switches(&mut console, &database.name).0, "0");
    let resume = format!("RESUME {}", database.name);
    for (command, code) in [
        (&resume[..], "55000"),
        ("RESUME", "55000"),
        ("PAUSE nowhere", "3D000"),
        ("RECONNECT nowhere", "3D000"),
        ("KILL nowhere", "3D000"),
        ("DISABLE nowhere", "3D000"),
    ] {
        assert_eq!(console.sqlstate(command), code, "{command}");
    }
}

#[test]
fn a_server_restarts_behind_a_pause_and_nobody_notices() {
    let mut node = cluster::private(&Plan::default());
    let database = Cluster::of(&node).database();
    database.door().pgbench("-i -q -s 1");
    let proxy = Proxy::sized(&database, 3);
    // Long runs: a login has to ask the server, which is not there for a while.
    let arguments = [
        "-n -S -M prepared -c 4 -T 6",
        "-n -b simple-update -M simple -c 4 -T 6",
    ];
    under_load(&proxy.door(&database), &arguments, |load| {
        let mut console = proxy.console().wire();
        until("the load to begin", || database.servers() == 3);
        assert_eq!(console.query("PAUSE"), ["C PAUSE", "Z I"]);
        node.stop(Stop::Fast).expect("stopped");
        node.start().expect("started");
        assert!(load.goes_on());
        assert_eq!(console.sqlstate("PAUSE"), "55000");
        assert_eq!(console.query("RESUME"), ["C RESUME", "Z I"]);
        until("the load to go on", || database.servers() == 3);
    });
}

#[test]
fn a_paused_client_hears_of_query_wait_timeout_and_stays() {
    let database = cluster::database();
    let config = Config::new(&database).pool("query_wait_timeout = \"200ms\"");
    let proxy = config.start();
    let mut client = proxy.door(&database).wire();
    client.run("SELECT 1");
    tell(&proxy, "PAUSE");
    assert_eq!(client.sqlstate("SELECT 1"), "53300");
    tell(&proxy, "RESUME");
    assert_eq!(client.value("SELECT 'here'"), "here");
}

#[test]
fn reconnect_changes_servers_and_wait_close_waits_for_the_old_ones() {
    let database = cluster::database();
    let proxy = Proxy::sized(&database, 3);
    let mut busy = busy(&proxy, &database);
    let mut idle = proxy.door(&database).wire();
    let (busy_pid, idle_pid) = (busy.server_pid(), idle.server_pid());
    tell(&proxy, &format!("WAIT_CLOSE {}", database.name));
    tell(&proxy, &format!("RECONNECT {}", database.name));
    assert_ne!(idle.server_pid(), idle_pid);
    assert_eq!(busy.server_pid(), busy_pid);
    std::thread::scope(|scope| {
        let closed = scope.spawn(|| tell(&proxy, "WAIT_CLOSE"));
        let mut console = proxy.console().wire();
        until("the free one to go", || {
            let servers = console.rows("SHOW SERVERS");
            servers.len() == 2 && !closed.is_finished()
        });
        busy.run("COMMIT");
        closed.join().expect("no panic");
    });
    assert_ne!(busy.server_pid(), busy_pid);
}

#[test]
fn kill_ends_everybody_and_leaves_a_pause() {
    let database = cluster::database();
    let other = cluster::database();
    let more = format!(
        "[[database]]\nname = \"{}\"\ncontrol = \"postgres://postgres@/postgres\"\n[[database.shard]]\n\
         servers = [\"127.0.0.1:{}\"]",
        other.name, other.cluster.port
    );
    let proxy = Config::new(&database).section(&more).start();
    let mut idle = proxy.door(&database).wire();
    idle.run("SELECT 1");
    let door = pgshunt_tests::Door {
        user: other.name.clone(),
        database: other.name.clone(),
        ..proxy.door(&database)
    };
    let mut bystander = door.wire();
    for each in [&database, &other] {
        let rights = format!("ALTER ROLE {} REPLICATION", each.name);
        each.superuser().psql(&rights);
    }
    let replication = [("replication", "database")];
    let mut follower = proxy.door(&database).wire_with(&replication);
    let mut other_follower = door.wire_with(&replication);
    let bystander_pid = bystander.server_pid();
    let sleeper = std::thread::spawn({
        let door = proxy.door(&database);
        move || {
            let mut wire = door.wire();
            wire.send(&pgshunt_tests::Messages::new().query("SELECT pg_sleep(1000)"));
            wire.until_end()
        }
    });
    database.runs("pg_sleep(1000)");
    tell(&proxy, &format!("KILL {}", database.name));
    let gone = "E FATAL 57P01 terminating connection due to administrator command";
    assert_eq!(idle.until_end().last().expect("a last word").to_string(), gone);
    let last = sleeper.join().expect("no panic");
    assert!(
        last.last().is_some_and(|frame| frame.to_string() == gone),
        "{last:?}"
    );
    until("its servers to go", || database.servers() == 0);
    assert_eq!(bystander.server_pid(), bystander_pid);
    assert_eq!(follower.until_end(), [], "it is cut off wherever it is");
    assert_eq!(other_follower.value("SELECT 'stays'"), "stays");
    let refused = proxy
        .door(&database)
        .try_wire(&replication)
        .err()
        .expect("a refusal");
    assert_eq!(refused.sqlstate(), "57P03", "{refused}");
    let mut console = proxy.console().wire();
    assert_eq!(switches(&mut console, &database.name).0, "1");
    tell(&proxy, "RESUME");
    assert_eq!(proxy.door(&database).wire().value("SELECT 1"), "1");
}

#[test]
fn a_disabled_database_takes_no_new_clients() {
    let database = cluster::database();
    let proxy = Proxy::sized(&database, 2);
    let mut client = proxy.door(&database).wire();
    tell(&proxy, &format!("DISABLE {}", database.name));
    let expected = format!("E FATAL 08004 database \"{}\" is disabled", database.name);
    assert_eq!(proxy.door(&database).refusal(), expected);
    assert_eq!(client.value("SELECT 'stays'"), "stays");
    let mut console = proxy.console().wire();
    assert_eq!(switches(&mut console, &database.name), ("0".into(), "1".into()));
    assert_eq!(console.query("RELOAD"), ["C RELOAD", "Z I"]);
    assert_eq!(
        switches(&mut console, &database.name).1,
        "1",
        "RELOAD enables nothing"
    );
    tell(&proxy, &format!("ENABLE {}", database.name));
    assert_eq!(proxy.door(&database).wire().value("SELECT 1"), "1");
}

#[test]
fn set_lasts_until_the_next_reload() {
    let database = cluster::database();
    let proxy = Config::new(&database).pool("size = 1").start();
    let mut busy = busy(&proxy, &database);
    let held = busy.server_pid();
    let mut console = proxy.console().wire();
    let mut size = || {
        let rows = console.rows("SHOW CONFIG");
        let key = format!("database.{}.pool.size|", database.name);
        let row = rows.into_iter().find(|row| row.starts_with(&key)).expect("a row");
        row[key.len()..].to_owned()
    };
    assert_eq!(size(), "1|20|yes");
    tell(&proxy, "SET default_pool_size = 2");
    assert_eq!(size(), "2|20|yes");
    assert_eq!(proxy.door(&database).wire().value("SELECT 'second'"), "second");
    tell(&proxy, "RELOAD");
    assert_eq!(size(), "1|20|yes");
    until("the second server to go", || database.servers() == 1);
    tell(&proxy, "SET query_wait_timeout TO '200ms'");
    assert_eq!(proxy.door(&database).wire().sqlstate("SELECT 1"), "53300");
    tell(
        &proxy,
        &format!("SET database.{}.pool.queue_size = 3", database.name),
    );
    tell(&proxy, "SET max_client_conn = 9");
    busy.run("COMMIT");
    assert_eq!(busy.server_pid(), held, "SET closes no server");
    let mut console = proxy.console().wire();
    for (sql, code) in [
        ("SET size = 0", "22023"),
        ("SET size = many", "22023"),
        ("SET siez = 1", "22023"),
        ("SET listen_port = 1", "22023"),
        ("SET size = 1 2", "42601"),
    ] {
        assert_eq!(console.sqlstate(sql), code, "{sql}");
    }
    let hint = console.query("SET siez = 1").join("\n");
    assert!(hint.contains("siez is not a key of [pool] or [limits]"), "{hint}");
    assert_eq!(console.query("SET application_name = x"), ["C SET", "Z I"]);
}

#[test]
fn a_guest_who_leaves_does_not_keep_a_command_waiting() {
    let database = cluster::database();
    let proxy = Proxy::sized(&database, 1);
    let mut busy = busy(&proxy, &database);
    let mut guest = proxy.console().wire();
    guest.send(&pgshunt_tests::Messages::new().query("PAUSE"));
    let mut console = proxy.console().wire();
    until("the pause", || switches(&mut console, &database.name).0 == "1");
    guest.hang_up();
    tell(&proxy, "RESUME");
    assert_eq!(busy.value("SELECT 'goes on'"), "goes on");
}

#[test]
fn a_watcher_may_do_none_of_it() {
    let database = cluster::database();
    let watcher = database.role("watcher");
    let config = Config::new(&database).console(&format!("watchers = [\"{watcher}\"]"));
    let proxy = config.start();
    let mut wire = proxy.console().as_user(&watcher).wire();
    let name = &database.name;
    for command in ["PAUSE", "RESUME", "RECONNECT", "KILL", "WAIT_CLOSE"] {
        for sql in [command.to_owned(), format!("{command} {name}")] {
            assert_eq!(wire.sqlstate(&sql), "42501", "{sql}");
        }
    }
    for sql in [
        "RELOAD".to_owned(),
        "SET size = 1".to_owned(),
        format!("DISABLE {name}"),
        format!("ENABLE {name}"),
    ] {
        assert_eq!(wire.sqlstate(&sql), "42501", "{sql}");
    }
    assert_eq!(switches(&mut wire, name), ("0".into(), "0".into()));
}

/// Ctrl-C in psql: the command is over, the guest stays. A PAUSE is taken back, as PgBouncer takes it back.
#[test]
fn a_cancel_request_ends_a_command_that_waits() {
    let database = cluster::database();
    let proxy = Proxy::sized(&database, 2);
    let mut busy = busy(&proxy, &database);
    let mut console = proxy.console().wire();
    for (command, in_extended) in [("PAUSE", false), ("WAIT_CLOSE", false), ("WAIT_CLOSE", true)] {
        if command == "WAIT_CLOSE" {
            tell(&proxy, "RECONNECT");
        }
        let mut guest = proxy.console().wire();
        let messages = pgshunt_tests::Messages::new();
        guest.send(&match in_extended {
            false => messages.query(command),
            true => messages
                .parse("", command)
                .bind("", "", &[])
                .execute("", 0)
                .sync(),
        });
        if command == "PAUSE" {
            until("the pause", || switches(&mut console, &database.name).0 == "1");
        }
        let (pid, secret) = (guest.welcome.pid, guest.welcome.cancel_secret.clone());
        let heard = std::thread::scope(|scope| {
            let hearing = scope.spawn(|| pgshunt_tests::wire::transcript(&guest.until_ready()));
            // One that comes before the command waits is about nothing.
            until("the command to end", || {
                pgshunt_tests::wire::cancel(&proxy.console(), pid, &secret);
                hearing.is_finished()
            });
            hearing.join().expect("no panic")
        });
        let last = &heard[heard.len() - 2..];
        assert_eq!(
            last,
            ["E ERROR 57014 canceling statement due to user request", "Z I"],
            "{command}"
        );
        assert_eq!(guest.value("SELECT 'here'"), "here");
        assert_eq!(switches(&mut console, &database.name).0, "0");
    }
    assert_eq!(busy.value("SELECT 'goes on'"), "goes on");
}

#[test]
fn wait_close_waits_for_servers_that_are_still_connecting() {
    // A server that lets nobody in and sends nobody away.
    let server = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = server.local_addr().expect("bound").port();
    let database = cluster::database();
    let proxy = Config::new(&database)
        .server(&format!("127.0.0.1:{port}"))
        .shard("sslmode = \"disable\"")
        .section("[auth]\nmode = \"trust\"")
        .start();
    std::thread::scope(|scope| {
        let client = scope.spawn(|| proxy.door(&database).try_wire(&[]).is_err());
        let (old, _) = server.accept().expect("pgshunt");
        tell(&proxy, "RECONNECT");
        let closed = scope.spawn(|| tell(&proxy, "WAIT_CLOSE"));
        let mut console = proxy.console().wire();
        for _ in 0..10 {
            let pools = console.rows("SHOW POOLS");
            assert!(!closed.is_finished(), "{pools:?}");
        }
        drop(old);
        closed.join().expect("no panic");
        drop(server);
        assert!(client.join().expect("no panic"), "there is no server any more");
    });
}
