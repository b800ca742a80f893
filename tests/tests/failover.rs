//! The primary dies or is moved: a pause, no wrong answer, nothing to restart.

use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use pgshunt::cli::demo::cluster::Stop;
use pgshunt_tests::cluster::{self, PASSWORD};
use pgshunt_tests::load::Done;
use pgshunt_tests::proxy::pgshunt;
use pgshunt_tests::shard::{CATCHES_UP, Shard};
use pgshunt_tests::{Door, Proxy, Wire, until};

/// A shard whose commits are acknowledged once a replica has them.
fn synchronous() -> Shard {
    let shard = Shard::with(&[&[], &[]]);
    // Any one of the standbys, by the names the replicas stream under.
    shard
        .primary
        .psql(
            "postgres",
            "ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 (*)'",
        )
        .expect("set");
    shard
        .primary
        .psql("postgres", "SELECT pg_reload_conf()")
        .expect("reloaded");
    shard
}

/// The replica that has received most.
fn furthest(shard: &Shard) -> usize {
    let received = |at: &usize| {
        let received = "SELECT pg_wal_lsn_diff(pg_last_wal_receive_lsn(), '0/0')::bigint";
        let told = shard.replicas[*at]
            .psql("postgres", received)
            .expect("a position");
        told.parse::<u64>().expect("a number")
    };
    (0..shard.replicas.len()).max_by_key(received).expect("a replica")
}

/// Promotes it, and has the other one follow.
fn promote(shard: &mut Shard, at: usize) -> Instant {
    let new = &shard.replicas[at];
    new.psql("postgres", "ALTER SYSTEM SET synchronous_standby_names = ''")
        .expect("set");
    new.promote().expect("promoted");
    let promoted = Instant::now();
    let host = format!(
        "host=127.0.0.1 port={} user=postgres password={}",
        new.port(),
        new.password().replace(' ', "\\ ")
    );
    let other = &shard.replicas[1 - at];
    other
        .psql(
            "postgres",
            &format!(
                "ALTER SYSTEM SET primary_conninfo = '{}'",
                host.replace('\'', "''")
            ),
        )
        .expect("set");
    other
        .psql("postgres", "SELECT pg_reload_conf()")
        .expect("reloaded");
    promoted
}

/// Reconnects until it is let in.
fn patiently(door: &Door) -> Wire {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        match Wire::log_in(door, &[]) {
            Ok(wire) => return wire,
            Err(refusal) => assert!(Instant::now() < deadline, "{refusal}"),
        }
    }
}

#[test]
fn a_dead_primary_costs_a_pause_and_no_acknowledged_write() {
    let mut shard = synchronous();
    let proxy = shard.config().rules(CATCHES_UP).pool("size = 8").start();
    let door = proxy.door(&shard.database);
    door.wire().run("CREATE TABLE t (x bigint PRIMARY KEY)");
    let mut idle = door.wire();
    idle.run("SET work_mem = '5MB'");
    assert_eq!(idle.value("SHOW work_mem"), "5MB");
    let (done, next) = (AtomicBool::new(false), AtomicUsize::new(1));
    let acknowledged = Mutex::new(HashSet::new());
    let last_success = Mutex::new(Instant::now());
    let recovered = std::thread::scope(|scope| {
        let _done = Done(&done);
        for _ in 0..8 {
            scope.spawn(|| {
                let mut wire = patiently(&door);
                while !done.load(Ordering::Relaxed) {
                    let x = next.fetch_add(1, Ordering::Relaxed);
                    let answer = wire.try_run(&format!("INSERT INTO t VALUES ({x})"));
                    match answer {
                        Some(lines) if lines.iter().any(|line| line.starts_with("C INSERT")) => {
                            acknowledged.lock().expect("a lock").insert(x);
                            *last_success.lock().expect("a lock") = Instant::now();
                        }
                        Some(lines) => {
                            let told = lines
                                .iter()
                                .find(|line| line.starts_with("E "))
                                .expect("an error");
                            let code = told.split(' ').nth(2).expect("a code");
                            assert!(
                                ["08006", "57P01", "57P02", "57P03", "53300"].contains(&code),
                                "{told}"
                            );
                            wire = patiently(&door);
                        }
                        None => wire = patiently(&door),
                    }
                    // Own writes are read, wherever that may be.
                    if let Some(lines) = wire.try_run("SELECT count(*) FROM t WHERE x = 0")
                        && lines.iter().any(|line| line.starts_with("E FATAL"))
                    {
                        wire = patiently(&door);
                    }
                }
            });
        }
        let count = || acknowledged.lock().expect("a lock").len();
        until("writes", || count() > 300);
        shard.primary.stop(Stop::Kill).expect("killed");
        let at = furthest(&shard);
        let promoted = promote(&mut shard, at);
        let before = count();
        until("a write after the failover", || count() > before);
        let first = *last_success.lock().expect("a lock");
        until("more writes", || count() > before + 300);
        done.store(true, Ordering::Relaxed);
        first.saturating_duration_since(promoted)
    });
    println!("first write {recovered:?} after the promotion");
    assert!(recovered < Duration::from_secs(1), "{recovered:?}");
    let mut wire = door.wire();
    // A replica may miss what others have written.
    wire.run("SET pgshunt.target = 'primary'");
    let kept: HashSet<usize> = wire
        .rows("SELECT x FROM t")
        .iter()
        .map(|x| x.parse().expect("a number"))
        .collect();
    let acknowledged = acknowledged.into_inner().expect("a lock");
    let lost: Vec<_> = acknowledged.difference(&kept).collect();
    assert!(
        lost.is_empty(),
        "of {} acknowledged writes lost: {lost:?}",
        acknowledged.len()
    );
    assert_eq!(
        idle.value("SHOW work_mem"),
        "5MB",
        "an idle client notices nothing"
    );
    // The old primary comes back as one, and nobody writes to it.
    shard.primary.start().expect("started");
    let label = format!("|127.0.0.1:{}|fenced|fenced|", shard.primary.port());
    let mut console = proxy.console().wire();
    until("the old primary to be fenced", || {
        console
            .rows("SHOW REPLICAS")
            .iter()
            .any(|row| row.contains(&label))
    });
    for _ in 0..50 {
        let mut wire = door.wire();
        wire.run("INSERT INTO t SELECT max(x) + 1 FROM t");
        assert_ne!(
            wire.value("SELECT current_setting('port')"),
            shard.primary.port().to_string()
        );
    }
    // It waits for standbys it has no more, and would so for ever.
    shard.primary.stop(Stop::Kill).expect("killed");
}

#[test]
fn a_server_of_another_system_is_said_to_be_one_and_gets_nothing() {
    let shard = Shard::with(&[&[]]);
    let stranger = cluster::stranger();
    let servers = [&shard.primary, &shard.replicas[0], &stranger];
    let ports = servers.map(|node| node.port().to_string());
    let proxy = shard.config().replicas([&stranger]).start();
    let mut console = proxy.console().wire();
    let label = format!("|127.0.0.1:{}|fenced|fenced|", ports[2]);
    let mut shown = Vec::new();
    until("the stranger to be fenced", || {
        shown = console.rows("SHOW REPLICAS");
        shown.iter().any(|row| row.contains(&label))
    });
    let system = |at: usize| {
        let row = shown.iter().find(|row| row.contains(&format!(":{}|", ports[at])));
        let system = row.and_then(|row| row.rsplit('|').next());
        system.expect("a row for each").to_owned()
    };
    assert_eq!(system(0), system(1));
    assert_ne!(system(0), system(2));
    let log = proxy.log();
    assert!(
        log.contains("of another system") && log.contains(&system(2)),
        "{log}"
    );
    let door = proxy.door(&shard.database);
    door.wire().run("CREATE TABLE t (x int)");
    for _ in 0..20 {
        let mut wire = door.wire();
        wire.run("INSERT INTO t VALUES (1)");
        assert_ne!(wire.value("SELECT current_setting('port')"), ports[2]);
    }
    let count = shard.primary.psql(&shard.database.name, "SELECT count(*) FROM t");
    assert_eq!(count.expect("a count"), "20");
    // `check` says so before anybody serves.
    let file = proxy.folder().join("pgshunt.toml");
    let mut check = pgshunt();
    let check = check.arg("check").arg("-c").arg(&file);
    let output = check
        .env("PGSHUNT_CONTROL_PASSWORD", PASSWORD)
        .output()
        .expect("pgshunt");
    let report = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{report}");
    let line = format!("127.0.0.1:{}: primary of system {}", ports[2], system(2));
    assert!(report.contains(&line), "{report}");
}

/// Reads and writes until told to stop; how many there were. Any error fails the test.
fn work(door: &Door, done: &AtomicBool) -> usize {
    let mut wire = door.wire();
    let mut count = 0;
    while !done.load(Ordering::Relaxed) {
        wire.run("INSERT INTO t VALUES (1)");
        wire.run("SELECT count(*) FROM t");
        wire.run("BEGIN");
        wire.run("UPDATE u SET x = x + 1");
        wire.run("COMMIT");
        count += 1;
    }
    count
}

#[test]
fn a_planned_switchover_costs_not_one_error() {
    let mut shard = synchronous();
    let proxy: Proxy = shard.config().rules(CATCHES_UP).pool("size = 4").start();
    let door = proxy.door(&shard.database);
    door.wire()
        .run("CREATE TABLE t (x int); CREATE TABLE u AS SELECT 0 AS x");
    let done = AtomicBool::new(false);
    let counts: Vec<usize> = std::thread::scope(|scope| {
        let _done = Done(&done);
        let workers: Vec<_> = (0..4).map(|_| scope.spawn(|| work(&door, &done))).collect();
        let mut console = proxy.console().wire();
        let rows = || {
            door.wire()
                .value("SELECT count(*) FROM t")
                .parse::<usize>()
                .expect("a number")
        };
        until("work", || rows() > 100);
        assert_eq!(console.query("PAUSE"), ["C PAUSE", "Z I"]);
        shard.primary.stop(Stop::Fast).expect("stopped");
        let at = furthest(&shard);
        promote(&mut shard, at);
        assert_eq!(console.query("RESUME"), ["C RESUME", "Z I"]);
        let before = rows();
        until("work goes on", || rows() > before + 100);
        done.store(true, Ordering::Relaxed);
        workers
            .into_iter()
            .map(|worker| worker.join().expect("no error"))
            .collect()
    });
    let all: usize = counts.iter().sum();
    let mut wire = door.wire();
    // A replica may miss what others have written.
    wire.run("SET pgshunt.target = 'primary'");
    assert_eq!(wire.value("SELECT count(*) FROM t"), all.to_string());
    assert_eq!(wire.value("SELECT x FROM u"), all.to_string());
}
