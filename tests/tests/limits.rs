//! Limits at the door, before and after login: each by its name, in PostgreSQL's words where it has them.

use std::io::Read;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use pgshunt_tests::{Config, Door, Messages, PATIENCE, cluster, until};

fn closed(door: &Door) -> String {
    door.refusal()
}

#[test]
fn max_client_conn() {
    let database = cluster::database();
    let proxy = Config::new(&database).limit("max_client_conn = 2").start();
    let door = proxy.door(&database);
    let held = [door.wire(), door.wire()];
    assert_eq!(
        closed(&door),
        "E FATAL 53300 no more connections allowed (max_client_conn)"
    );
    // A cancel request is heard at the limit.
    held[0].cancel();
    drop(held);
    until("a place", || door.try_wire(&[]).is_ok());
}

#[test]
fn max_client_conn_per_address() {
    let database = cluster::database();
    let config = Config::new(&database).limit("max_client_conn_per_address = 2");
    let v6 = pgshunt::cli::demo::cluster::free_port();
    let proxy = config.listen(&format!("[::1]:{v6}")).start();
    let door = proxy.door(&database);
    let mut first = door.wire();
    let second = door.wire();
    let refusal = "E FATAL 53300 too many connections from this address (max_client_conn_per_address)";
    assert_eq!(closed(&door), refusal);
    let elsewhere = Door {
        port: v6,
        ..door.at("::1")
    };
    elsewhere.wire();
    // Who is at the limit can still cancel.
    first.send(&Messages::new().query("SELECT pg_sleep(60)"));
    let mut watcher = database.superuser().wire();
    let running = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = '{}' AND query LIKE 'SELECT pg_sleep%' AND state = 'active'",
        database.name
    );
    until("the query to run", || watcher.value(&running) == "1");
    first.cancel();
    assert!(first.until_ready().iter().any(|frame| frame.kind == b'E'));
    drop(second);
    until("a place", || door.try_wire(&[]).is_ok());
}

#[test]
fn max_user_client_connections_and_of_a_user() {
    let database = cluster::database();
    let vip = database.role("vip");
    let own = format!("[[database.user]]\nname = \"{vip}\"\nmax_client_conn = 2");
    let proxy = Config::new(&database)
        .limit("max_user_client_connections = 1")
        .section(&own)
        .start();
    let door = proxy.door(&database);
    let _held = door.wire();
    let expected = |name: &str| format!("E FATAL 53300 too many connections for role \"{name}\"");
    assert_eq!(closed(&door), expected(&database.name));
    let _held = [door.as_user(&vip).wire(), door.as_user(&vip).wire()];
    assert_eq!(closed(&door.as_user(&vip)), expected(&vip));
    // Only whoever has proved to be that role hears of it.
    let stranger = Door {
        password: "wrong".into(),
        ..door.as_user(&vip)
    };
    assert!(closed(&stranger).contains(" 28P01 "));
    // As PostgreSQL itself says it.
    let limited = database.role("limited");
    database
        .superuser()
        .psql(&format!("ALTER ROLE {limited} CONNECTION LIMIT 0"));
    assert_eq!(closed(&database.door().as_user(&limited)), expected(&limited));
}

/// As PgBouncer means it: over all databases.
#[test]
fn max_user_client_connections_counts_over_all_databases() {
    let (database, other) = (cluster::database(), cluster::database());
    let second = format!(
        "[[database.user]]\nname = \"{0}\"\nmax_user_client_connections = 2\n\
         [[database]]\nname = \"{1}\"\ncontrol = \"postgres://postgres@/postgres\"\n\
         [[database.shard]]\nservers = [\"127.0.0.1:{2}\"]",
        database.name, other.name, other.cluster.port
    );
    let proxy = Config::new(&database).section(&second).start();
    let door = proxy.door(&database);
    let elsewhere = Door {
        database: other.name.clone(),
        ..door.clone()
    };
    let here = door.wire();
    let there = elsewhere.wire();
    let refusal = format!(
        "E FATAL 53300 too many connections for role \"{}\"",
        database.name
    );
    assert_eq!(closed(&door), refusal);
    assert_eq!(closed(&elsewhere), refusal);
    // Others have no such limit.
    let _others = [(); 3].map(|()| elsewhere.as_user(&other.name).wire());
    drop(there);
    until("a place", || door.try_wire(&[]).is_ok());
    drop(here);
}

#[test]
fn max_db_client_connections() {
    let database = cluster::database();
    let other = database.role("other");
    let proxy = Config::new(&database)
        .limit("max_db_client_connections = 1")
        .start();
    let door = proxy.door(&database);
    let held = door.wire();
    let expected = format!(
        "E FATAL 53300 too many connections for database \"{}\"",
        database.name
    );
    assert_eq!(closed(&door.as_user(&other)), expected);
    drop(held);
    until("a place", || door.as_user(&other).try_wire(&[]).is_ok());
}

/// Somebody who says nothing holds a place; the next login waits for it, and has it once the time to log in is over.
#[test]
fn max_logins_and_client_login_timeout() {
    let database = cluster::database();
    let proxy = Config::new(&database)
        .limit("max_logins = 1")
        .limit("client_login_timeout = \"1s\"")
        .start();
    let door = proxy.door(&database);
    let began = Instant::now();
    let mut silent = TcpStream::connect(("127.0.0.1", proxy.port())).expect("a connection");
    silent.set_read_timeout(Some(PATIENCE)).expect("a time");
    let mut heard = Vec::new();
    silent.read_to_end(&mut heard).expect("the end");
    assert!(heard.is_empty());
    assert!(
        began.elapsed() >= Duration::from_millis(900),
        "{:?}",
        began.elapsed()
    );
    until("a login", || door.try_wire(&[]).is_ok());
    until("the log", || proxy.log().contains("client_login_timeout"));
}

#[test]
fn max_cancels_per_address() {
    let database = cluster::database();
    let proxy = Config::new(&database)
        .limit("max_cancels_per_address = 1")
        .start();
    let mut client = proxy.door(&database).wire();
    // However many come, the session goes on; those above the limit are dropped without a word.
    for _ in 0..20 {
        client.cancel();
    }
    assert_eq!(client.value("SELECT 1"), "1");
}

#[test]
fn max_packet_size() {
    let database = cluster::database();
    let proxy = Config::new(&database).limit("max_packet_size = 8192").start();
    let mut client = proxy.door(&database).wire();
    client.send(&Messages::new().query(&format!("SELECT '{}'", "x".repeat(9000))));
    let last = client.until_end();
    let error = last.iter().find(|frame| frame.kind == b'E').expect("an error");
    assert_eq!(error.sqlstate(), "54000");
    assert!(error.field(b'H').contains("max_packet_size"));
}

/// Two roles with pools of 5 each and clients for more than that, on two workers: the database has its 4 servers, and
/// everybody gets a turn, also a role that comes when all of them are taken and busy.
#[test]
fn max_db_connections() {
    let database = cluster::database();
    let other = database.role("other");
    let proxy = Config::new(&database)
        .threads(2)
        .limit("max_db_connections = 4")
        .pool("size = 5")
        .pool("query_wait_timeout = \"10s\"")
        .start();
    let doors = [proxy.door(&database), proxy.door(&database).as_user(&other)];
    let stop = AtomicBool::new(false);
    let counted = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE usename IN ('{}', '{other}') AND backend_type = 'client backend'",
        database.name
    );
    let mut most = 0;
    let busy = |door: &Door| {
        let mut client = door.wire();
        let mut turns = 0;
        while !stop.load(Ordering::Relaxed) {
            assert_eq!(client.value("SELECT 1 FROM pg_sleep(0.02)"), "1");
            turns += 1;
        }
        turns
    };
    std::thread::scope(|scope| {
        let mut watcher = database.superuser().wire();
        let mut watch = |until: Instant| {
            while Instant::now() < until {
                most = most.max(watcher.value(&counted).parse::<usize>().expect("a number"));
            }
        };
        let first: Vec<_> = (0..8).map(|_| scope.spawn(|| busy(&doors[0]))).collect();
        watch(Instant::now() + Duration::from_secs(1));
        let second: Vec<_> = (0..8).map(|_| scope.spawn(|| busy(&doors[1]))).collect();
        watch(Instant::now() + Duration::from_secs(2));
        let shown = proxy.console().wire().rows("SHOW DATABASES");
        let shown = shown
            .iter()
            .find(|row| row.starts_with(&format!("{}|", database.name)));
        let columns: Vec<&str> = shown.expect("a row").split('|').collect();
        stop.store(true, Ordering::Relaxed);
        let turns: Vec<u32> = first
            .into_iter()
            .chain(second)
            .map(|t| t.join().expect("no error"))
            .collect();
        assert!(turns.iter().all(|&turns| turns > 0), "{turns:?}");
        assert_eq!(columns[12], "4", "max_connections: {columns:?}");
        let servers: usize = columns[13].parse().expect("current_connections");
        assert!((1..=4).contains(&servers), "{columns:?}");
    });
    assert_eq!(most, 4);
}
