//! Nobody reads older data than they wrote or saw, or than they said they would put up with; and a checker that can tell.
//!
//! Each register is written by one session, in steps of one, and read by all. The writer knows what it has written, every
//! reader what it has seen, and the clock of this process when each value was acknowledged.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use pgshunt::cli::demo::cluster::Node;
use pgshunt_tests::load::Done;
use pgshunt_tests::shard::Shard;
use pgshunt_tests::{Door, Wire, until};

/// A sequence of choices that is the same each time.
struct Choices(u64);

impl Choices {
    fn seeded(seed: u64) -> Self {
        Choices(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) as usize % bound
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }
}

/// What a run has seen.
#[derive(Debug, Default)]
struct Seen {
    reads: AtomicUsize,
    on_replicas: AtomicUsize,
    /// A session has read less than it wrote itself.
    lost_own: AtomicUsize,
    /// A session has read less than it had read before.
    went_back: AtomicUsize,
    /// A read missed what was acknowledged longer ago than the bound.
    stale: AtomicUsize,
}

const REGISTERS: usize = 4;
const SESSIONS: usize = 12;

struct Run<'a> {
    door: &'a Door,
    consistency: &'static str,
    bound: Option<Duration>,
    primary: String,
    done: AtomicBool,
    /// When each value of each register was acknowledged.
    acknowledged: [Mutex<Vec<Instant>>; REGISTERS],
    seen: Seen,
}

impl Run<'_> {
    /// One session: reads registers and list lengths; the first ones write as well.
    fn session(&self, number: usize) {
        let mut choices = Choices::seeded(number as u64 + 1);
        let option = format!("-c pgshunt.consistency={}", self.consistency);
        let mut wire = Wire::log_in(self.door, &[("options", &option)]).expect("a session");
        let mut written = 0;
        let mut highest = [0; REGISTERS];
        while !self.done.load(Ordering::Relaxed) {
            if number < REGISTERS && choices.one_in(4) {
                written += 1;
                self.write(&mut wire, number, written, choices.one_in(2));
                highest[number] = written;
            }
            for _ in 0..choices.below(4) {
                let register = choices.below(REGISTERS);
                let own = if register == number { written } else { 0 };
                self.read(&mut wire, register, own, &mut highest[register]);
            }
            if choices.one_in(3) {
                std::thread::sleep(Duration::from_millis(choices.below(15) as u64));
            }
        }
    }

    fn write(&self, wire: &mut Wire, register: usize, value: usize, in_transaction: bool) {
        let set = format!("UPDATE registers SET x = {value} WHERE id = {register}");
        let append = format!("INSERT INTO lists VALUES ({register}, {value})");
        if in_transaction {
            wire.run("BEGIN");
            wire.run(&append);
            wire.run(&set);
            wire.run("COMMIT");
        } else {
            wire.run(&format!("{append}; {set}"));
        }
        self.acknowledged[register]
            .lock()
            .expect("a lock")
            .push(Instant::now());
    }

    fn read(&self, wire: &mut Wire, register: usize, own: usize, highest: &mut usize) {
        let sent = Instant::now();
        // The list must be as long as the register is high: one snapshot.
        let row = wire.value(&format!(
            "SELECT x, (SELECT count(*) FROM lists WHERE id = {register}), current_setting('port') \
             FROM registers WHERE id = {register}"
        ));
        let mut fields = row.split('|');
        let mut next = || fields.next().expect("a field");
        let value: usize = next().parse().expect("a number");
        assert_eq!(next(), value.to_string(), "a register and its list are one");
        let seen = &self.seen;
        seen.reads.fetch_add(1, Ordering::Relaxed);
        seen.on_replicas
            .fetch_add(usize::from(next() != self.primary), Ordering::Relaxed);
        seen.lost_own
            .fetch_add(usize::from(value < own), Ordering::Relaxed);
        seen.went_back
            .fetch_add(usize::from(value < *highest), Ordering::Relaxed);
        if let Some(bound) = self.bound
            && let Some(next) = self.acknowledged[register].lock().expect("a lock").get(value)
            && sent.saturating_duration_since(*next) > bound
        {
            seen.stale.fetch_add(1, Ordering::Relaxed);
        }
        *highest = value.max(*highest);
    }
}

/// Pauses and resumes the replicas' replay by turns.
fn disturb(replicas: &[Node], done: &AtomicBool) {
    let mut choices = Choices::seeded(99);
    let mut wires: Vec<Wire> = replicas
        .iter()
        .map(|replica| pgshunt_tests::Cluster::of(replica).superuser().wire())
        .collect();
    while !done.load(Ordering::Relaxed) {
        let at = choices.below(wires.len());
        wires[at].run("SELECT pg_wal_replay_pause()");
        std::thread::sleep(Duration::from_millis(20 + choices.below(400) as u64));
        wires[at].run("SELECT pg_wal_replay_resume()");
        std::thread::sleep(Duration::from_millis(choices.below(200) as u64));
    }
}

fn run(shard: &Shard, door: &Door, consistency: &'static str, bound: Option<Duration>, reads: usize) -> Seen {
    let mut setup = shard.database.door().wire();
    setup.run("UPDATE registers SET x = 0; DELETE FROM lists");
    let run = Run {
        door,
        consistency,
        bound,
        primary: shard.primary.port().to_string(),
        done: AtomicBool::new(false),
        acknowledged: Default::default(),
        seen: Seen::default(),
    };
    // All servers begin alike, so that what is lower is older.
    until("the replicas to have the beginning", || {
        shard.replicas.iter().all(|replica| {
            let beginning = "SELECT max(x) FROM registers";
            replica
                .psql(&shard.database.name, beginning)
                .is_ok_and(|max| max == "0")
        })
    });
    std::thread::scope(|scope| {
        let _done = Done(&run.done);
        for number in 0..SESSIONS {
            let run = &run;
            scope.spawn(move || run.session(number));
        }
        scope.spawn(|| disturb(&shard.replicas, &run.done));
        let begun = Instant::now();
        until("enough reads", || {
            begun.elapsed() > Duration::from_secs(25) || run.seen.reads.load(Ordering::Relaxed) >= reads
        });
    });
    println!("{consistency}: {:?}", run.seen);
    run.seen
}

#[test]
fn every_consistency_keeps_its_word_and_the_checker_can_see() {
    let shard = Shard::with(&[&[], &[("recovery_min_apply_delay", "150ms")]]);
    let mut wire = shard.database.door().wire();
    wire.run("CREATE TABLE registers AS SELECT id, 0 AS x FROM generate_series(0, 3) AS id");
    wire.run("CREATE TABLE lists (id int, x int)");
    let proxy = shard.config().rules("[split]\ncatchup_wait = \"5ms\"\n").start();
    let door = proxy.door(&shard.database);
    let count = |count: &AtomicUsize| count.load(Ordering::Relaxed);
    let reads = std::env::var("PGSHUNT_CHECKED_READS").map_or(4000, |reads| reads.parse().expect("a number"));
    let session = run(&shard, &door, "session", None, reads);
    assert_eq!(
        (count(&session.lost_own), count(&session.went_back)),
        (0, 0),
        "{session:?}"
    );
    assert!(
        count(&session.on_replicas) > count(&session.reads) / 100,
        "{session:?}"
    );
    let bound = Duration::from_millis(300);
    let bounded = run(&shard, &door, "bounded:300ms", Some(bound), reads);
    assert_eq!(count(&bounded.stale), 0, "{bounded:?}");
    assert!(count(&bounded.on_replicas) > 0, "{bounded:?}");
    let strong = run(&shard, &door, "strong", Some(Duration::ZERO), reads / 4);
    assert_eq!(
        (count(&strong.stale), count(&strong.on_replicas)),
        (0, 0),
        "{strong:?}"
    );
    let eventual = run(&shard, &door, "eventual", Some(bound), reads);
    assert!(
        count(&eventual.lost_own) > 0 && count(&eventual.stale) > 0,
        "the checker is blind: {eventual:?}"
    );
    assert!(
        count(&eventual.went_back) > 0,
        "the checker is blind: {eventual:?}"
    );
}
