//! Clients that wait for a server, by the names of PgBouncer's limits: the reserve, the notice, a role's own limit.

use std::time::{Duration, Instant};

use pgshunt_tests::{Config, Database, Door, Messages, Wire, cluster, until};

/// How many servers of this role PostgreSQL has, in all databases.
fn servers(watcher: &mut Wire, role: &str) -> usize {
    let sql = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE usename = '{role}' AND backend_type = 'client backend'"
    );
    watcher.value(&sql).parse().expect("a number")
}

/// A column of a row of the console, by name.
fn shown(console: &mut Wire, command: &str, name: &str, column: usize) -> String {
    let rows = console.rows(command);
    let row = rows.iter().find(|row| row.starts_with(&format!("{name}|")));
    let row = row.unwrap_or_else(|| panic!("{name} in {command}: {rows:?}"));
    row.split('|').nth(column).expect("a column").to_owned()
}

fn config(database: &Database) -> Config {
    Config::new(database).threads(2).pool("size = 1")
}

/// One server more, and not before a client has waited for it; then the limit is a limit again.
#[test]
fn reserve_pool_size_and_reserve_pool_timeout() {
    let database = cluster::database();
    let proxy = config(&database)
        .pool("reserve_pool_size = 1")
        .pool("reserve_pool_timeout = \"1s\"")
        .start();
    let door = proxy.door(&database);
    let (mut first, mut second, mut third) = (door.wire(), door.wire(), door.wire());
    first.run("BEGIN");
    first.run("SELECT 1");
    let began = Instant::now();
    second.run("BEGIN");
    second.run("SELECT 1");
    assert!(
        began.elapsed() >= Duration::from_millis(900),
        "{:?}",
        began.elapsed()
    );
    let mut watcher = database.superuser().wire();
    assert_eq!(servers(&mut watcher, &database.name), 2);
    // There is no third one, however long somebody waits.
    third.send(&Messages::new().query("SELECT 3"));
    let mut console = proxy.console().wire();
    until("the third to have waited for longer", || {
        let pools = console.rows("SHOW POOLS");
        let own = pools.iter().find(|row| row.starts_with(&database.name));
        let seconds = own.and_then(|row| row.split('|').nth(MAXWAIT)?.parse::<u64>().ok());
        seconds.is_some_and(|seconds| seconds >= 2)
    });
    assert_eq!(servers(&mut watcher, &database.name), 2);
    first.run("COMMIT");
    third.until_ready();
    second.run("COMMIT");
    assert_eq!(shown(&mut console, "SHOW DATABASES", &database.name, 7), "1");
    // Without a reserve, a reload closes what is too many.
    console.run("SET reserve_pool_size = 0");
    until("the reserve to be closed", || {
        servers(&mut watcher, &database.name) <= 1
    });
}

/// 0 seconds: the reserve is not used.
#[test]
fn reserve_pool_timeout_of_zero() {
    let database = cluster::database();
    let proxy = config(&database)
        .pool("reserve_pool_size = 5")
        .pool("reserve_pool_timeout = 0")
        .pool("query_wait_timeout = \"1s\"")
        .start();
    let door = proxy.door(&database);
    let (mut first, mut second) = (door.wire(), door.wire());
    first.run("BEGIN");
    first.run("SELECT 1");
    assert_eq!(second.sqlstate("SELECT 1"), "53300");
}

/// Who waits is told so once, and gets the answer all the same.
#[test]
fn query_wait_notify() {
    let database = cluster::database();
    let proxy = config(&database).pool("query_wait_notify = \"200ms\"").start();
    let door = proxy.door(&database);
    let (mut first, mut second) = (door.wire(), door.wire());
    first.run("BEGIN");
    first.run("SELECT 1");
    second.send(&Messages::new().query("SELECT 2"));
    let notice = second.read();
    assert_eq!(notice.kind, b'N');
    assert!(notice.field(b'M').contains("query_wait_notify"), "{notice:?}");
    first.run("COMMIT");
    let kinds: Vec<u8> = second.until_ready().iter().map(|frame| frame.kind).collect();
    assert_eq!(kinds, b"TDCZ");
    // Who has not waited hears nothing.
    assert_eq!(second.query("SELECT 2").len(), 4);
}

/// A role's servers, over two databases: what idles in one makes room for the other, and who waits gets a turn.
#[test]
fn max_user_connections() {
    let database = cluster::database();
    let second = format!("{}_b", database.name);
    let more = format!(
        "[[database]]\nname = \"{second}\"\ncontrol = \"postgres://postgres@/postgres\"\n\
         [[database.shard]]\nservers = [\"127.0.0.1:{}\"]\ndbname = \"{}\"",
        database.cluster.port, database.name,
    );
    let proxy = Config::new(&database)
        .threads(2)
        .limit("max_user_connections = 2")
        .pool("query_wait_timeout = \"10s\"")
        .section(&more)
        .start();
    let here = proxy.door(&database);
    let there = Door {
        database: second,
        ..here.clone()
    };
    let mut watcher = database.superuser().wire();
    let mut clients: Vec<Wire> = (0..2).map(|_| here.wire()).collect();
    for client in &mut clients {
        client.run("BEGIN");
        client.run("SELECT 1");
    }
    assert_eq!(servers(&mut watcher, &database.name), 2);
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| there.wire().value("SELECT 7"));
        clients.iter_mut().for_each(|client| client.run("COMMIT"));
        assert_eq!(waits.join().expect("an answer"), "7");
    });
    let mut most = 0;
    std::thread::scope(|scope| {
        let busy: Vec<_> = (0..8)
            .map(|at| {
                let door = if at % 2 == 0 { &here } else { &there };
                scope.spawn(|| {
                    let mut client = door.wire();
                    (0..10).for_each(|_| assert_eq!(client.value("SELECT 1 FROM pg_sleep(0.02)"), "1"));
                })
            })
            .collect();
        while busy.iter().any(|each| !each.is_finished()) {
            most = most.max(servers(&mut watcher, &database.name));
        }
        busy.into_iter().for_each(|each| each.join().expect("no error"));
    });
    assert!((1..=2).contains(&most), "{most} servers");
    assert_eq!(
        shown(&mut proxy.console().wire(), "SHOW USERS", &database.name, 4),
        "2"
    );
}

/// How TCP notices who has gone is set on both sides, as SHOW CONFIG has it.
#[test]
fn tcp_keepalive() {
    let database = cluster::database();
    let proxy = Config::new(&database)
        .limit("tcp_keepidle = \"77s\"")
        .limit("tcp_user_timeout = \"50s\"")
        .start();
    let mut client = proxy.door(&database).wire();
    assert_eq!(client.value("SELECT 1"), "1");
    let mut console = proxy.console().wire();
    assert_eq!(shown(&mut console, "SHOW CONFIG", "tcp_keepidle", 1), "77");
    assert_eq!(shown(&mut console, "SHOW CONFIG", "tcp_user_timeout", 1), "50");
    // Nobody else's connections have a keepalive timer (2) with this time left.
    let timers = |is_one: &dyn Fn(&str, &str) -> bool| {
        let all = std::fs::read_to_string("/proc/net/tcp").expect("a table of connections");
        let each = all.lines().filter(|line| {
            let columns: Vec<&str> = line.split_whitespace().collect();
            let left = columns[5].strip_prefix("02:");
            let left = left.and_then(|left| u64::from_str_radix(left, 16).ok());
            is_one(columns[1], columns[2])
                && left.is_some_and(|left| (TICKS * 60..TICKS * 78).contains(&left))
        });
        each.count()
    };
    let [own, theirs] = [proxy.port(), database.cluster.port].map(|port| format!(":{port:04X}"));
    // While something sent is not yet acknowledged, another timer runs.
    until("clients", || timers(&|local, _| local.ends_with(&own)) == 1);
    until("servers", || timers(&|_, remote| remote.ends_with(&theirs)) >= 1);
}

/// In a second, as Linux tells it to programs (`USER_HZ`).
const TICKS: u64 = 100;

/// `maxwait` in SHOW POOLS.
const MAXWAIT: usize = 13;
