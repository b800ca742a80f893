//! A checker of what the result cache promises: who has written reads no less, and nobody reads what was overwritten more than
//! two seconds ago. And that it can tell.

use std::time::{Duration, Instant};

use pgshunt_tests::cached::{EVERYTHING, FOLLOWED, LOGICAL, said};
use pgshunt_tests::shard::Shard;
use pgshunt_tests::{Wire, until};

const READ: &str = "SELECT n FROM n WHERE id = 1";

const WITHIN: Duration = Duration::from_secs(2);

const LASTS: Duration = Duration::from_secs(15);

/// What a run has seen.
#[derive(Debug, Default)]
struct Seen {
    reads: usize,
    /// Of them, from the cache.
    hits: usize,
    /// Less than the session had written itself.
    unwritten: usize,
    /// What had been overwritten for longer than may be.
    late: usize,
}

/// One row, raised by two pgshunts' sessions and one of the server's own, and read by the two. Before some of the writes
/// something happens to the primary.
fn check(shard: &Shard, rules: &str, every: Duration, mut happens: impl FnMut(&mut Wire)) -> Seen {
    let mut direct = shard.database.door().wire();
    direct.run("CREATE TABLE n (id int PRIMARY KEY, n int); INSERT INTO n VALUES (1, 0)");
    let proxies = [0, 1].map(|_| shard.config().rules(rules).start());
    let mut wires = [0, 1].map(|one: usize| proxies[one].door(&shard.database).wire());
    for wire in &mut wires {
        until("the cache to answer", || {
            wire.rows(READ);
            said(wire) == "hit"
        });
    }
    let mut superuser = shard.database.superuser().wire();
    // When each number was acknowledged; the last that each wrote.
    let (mut written, mut own) = (vec![Instant::now()], [0; 3]);
    let mut seen = Seen::default();
    let began = Instant::now();
    let mut round = 0;
    while began.elapsed() < LASTS {
        round += 1;
        if written.last().is_some_and(|last| last.elapsed() > every) {
            let number = written.len();
            let writer = number % 3;
            if number.is_multiple_of(5) {
                happens(&mut superuser);
            }
            let sql = format!("UPDATE n SET n = {number} WHERE id = 1");
            match wires.get_mut(writer) {
                Some(wire) => wire.run(&sql),
                None => direct.run(&sql),
            }
            written.push(Instant::now());
            own[writer] = number;
        }
        for (one, wire) in wires.iter_mut().enumerate() {
            let asked = Instant::now();
            let told: usize = wire.value(READ).parse().expect("a number");
            seen.reads += 1;
            seen.hits += usize::from(round % 10 == 0 && said(wire) == "hit");
            seen.unwritten += usize::from(told < own[one]);
            let overwritten = written.get(told + 1);
            let late = overwritten.is_some_and(|at| asked.saturating_duration_since(*at) > WITHIN);
            seen.late += usize::from(late);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    seen
}

fn kept(seen: &Seen) {
    println!("{seen:?}");
    assert_eq!((seen.unwritten, seen.late), (0, 0), "{seen:?}");
    assert!(seen.hits > 10, "{seen:?}");
}

#[test]
fn nobody_reads_what_was_before_a_write_though_the_stream_is_cut() {
    let shard = Shard::made(LOGICAL, &[]);
    let cut = "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots \
        WHERE slot_name LIKE 'pgshunt_cache%' AND active_pid IS NOT NULL";
    // Also just before a write from elsewhere.
    kept(&check(
        &shard,
        FOLLOWED,
        Duration::from_millis(200),
        |superuser| {
            superuser.run(cut);
        },
    ));
}

#[test]
fn nor_what_a_replica_that_is_behind_still_has() {
    let delayed: &[(&str, &str)] = &[("recovery_min_apply_delay", "400ms")];
    let shard = Shard::made(LOGICAL, &[delayed]);
    kept(&check(&shard, FOLLOWED, Duration::from_millis(200), |_| {}));
}

/// Where nobody listens to the stream, the checker must see what is old.
#[test]
fn the_checker_sees_what_is_old() {
    let shard = Shard::made(LOGICAL, &[]);
    let seen = check(&shard, EVERYTHING, Duration::from_millis(1500), |_| {});
    println!("{seen:?}");
    assert!(seen.late > 0, "{seen:?}");
    assert_eq!(seen.unwritten, 0, "its own writes each of them knows: {seen:?}");
}
