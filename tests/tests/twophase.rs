//! A transaction that wrote on three shards is on all of them or on none, whoever dies whenever; and nothing stays prepared.
//!
//! The coordinator is pgshunt's own, on connections of its own. It is killed as a process is: its connections break.

use std::time::Duration;

use pgshunt::cli::demo::cluster::Stop;
use pgshunt::net::buffer::Buffers;
use pgshunt::server::held::Server;
use pgshunt::twophase::known::State;
use pgshunt::twophase::recover::sweep;
use pgshunt::twophase::{Commit, Outcome, Report};
use pgshunt_tests::differential::chance::{Chance, seed};
use pgshunt_tests::span::{NAMES, World, block_on, participants};

/// How many crashes. `PGSHUNT_ROUNDS=200` makes more.
fn rounds() -> usize {
    let wanted = std::env::var("PGSHUNT_ROUNDS").ok();
    wanted.and_then(|count| count.parse().ok()).unwrap_or(15)
}

fn chance() -> Chance {
    Chance::new(seed(1))
}

async fn commit(world: &World, servers: &mut [Server]) -> Report {
    let commit = Commit::new(participants(servers)).expect("transactions");
    commit.run(&world.doors(), &world.buffers).await
}

#[test]
fn what_is_committed_is_on_all_shards_and_leaves_nothing_behind() {
    let world = World::new("20");
    block_on(async {
        for n in 0..3 {
            let mut servers = world.written(n).await;
            let report = commit(&world, &mut servers).await;
            assert_eq!(report.outcome, Outcome::Committed { pending: vec![] });
            assert!(report.fault.is_none() && report.lost.is_empty());
            assert_eq!(world.places(n), [0, 1, 2]);
            for server in &mut servers {
                world.run(server, "SELECT 1").await;
                assert_eq!(server.backend.status, b'I');
            }
        }
        assert_eq!(world.count("SELECT count(*) FROM pgshunt.decision"), 3);
        world.recover().await;
        assert_eq!(world.count("SELECT count(*) FROM pgshunt.decision"), 0);
    });
}

#[test]
fn what_one_shard_refuses_none_has_and_the_client_hears_why() {
    let world = World::new("20");
    block_on(async {
        // By a constraint that is looked at in the end, on each shard in turn; the last is the anchor.
        for (at, name) in NAMES.iter().enumerate() {
            world.shards[at]
                .superuser()
                .psql(&format!("INSERT INTO t VALUES ({}, {at})", 100 + at));
            let mut servers = world.written(at).await;
            let report = commit(&world, &mut servers).await;
            let fault = report.fault.expect("a fault");
            assert_eq!(fault.code.as_str(), "23505", "{fault}");
            assert!(
                fault
                    .detail
                    .expect("a detail")
                    .contains(&format!("shard {name} could not"))
            );
            assert_eq!(world.places(at), [] as [usize; 0]);
            for server in &mut servers {
                world.run(server, "SELECT 1").await;
                assert_eq!(server.backend.status, b'I');
            }
        }
        // What PostgreSQL does not prepare.
        for (sql, words) in [
            ("CREATE TEMP TABLE x (a int)", "temporary objects"),
            ("LISTEN x", "LISTEN, UNLISTEN, or NOTIFY"),
            ("DECLARE c CURSOR WITH HOLD FOR SELECT 1", "WITH HOLD"),
            (
                "SELECT pg_advisory_lock(1), pg_advisory_xact_lock(1)",
                "session-level and transaction-level locks",
            ),
        ] {
            let mut servers = world.written(50).await;
            world.run(&mut servers[1], sql).await;
            let fault = commit(&world, &mut servers).await.fault.expect("a fault");
            assert_eq!(fault.code.as_str(), "0A000", "{sql}: {fault}");
            assert!(fault.message.contains(words), "{sql}: {fault}");
            assert!(fault.hint.expect("a hint").contains("one shard only"), "{sql}");
            assert_eq!(world.places(50), [] as [usize; 0], "{sql}");
        }
        world.recover().await;
    });
}

#[test]
fn without_prepared_transactions_it_is_refused_with_what_to_do() {
    let world = World::new("0");
    block_on(async {
        let mut servers = world.written(1).await;
        let fault = commit(&world, &mut servers).await.fault.expect("a fault");
        assert_eq!(fault.code.as_str(), "55000");
        assert!(fault.hint.expect("a hint").contains("max_prepared_transactions"));
        assert_eq!(world.places(1), [] as [usize; 0]);
        let seen = sweep(&world.doors(), Duration::ZERO).await;
        assert_eq!(seen.off, NAMES);
    });
}

#[test]
fn a_coordinator_that_is_slow_can_not_commit_what_was_taken_for_abandoned() {
    let world = World::new("20");
    block_on(async {
        let doors = world.doors();
        let mut servers = world.written(1).await;
        let mut slow = Commit::new(participants(&mut servers)).expect("transactions");
        assert!(slow.round(&doors, &world.buffers).await, "prepared");
        let patient = sweep(&doors, Duration::from_secs(3600)).await;
        let [transaction] = &patient.transactions[..] else {
            panic!("{patient:?}");
        };
        assert_eq!(transaction.state, State::Prepared);
        assert_eq!(transaction.shards, ["s0", "s1"]);
        assert_eq!(transaction.role, "app");
        // Its anchor is eu_west: its decision would be there.
        let hasty = sweep(&doors, Duration::ZERO).await;
        assert_eq!(hasty.transactions, []);
        let report = slow.run(&doors, &world.buffers).await;
        let fault = report.fault.expect("a fault");
        assert_eq!(fault.code.as_str(), "40001", "{fault}");
        assert_eq!(world.places(1), [] as [usize; 0]);
        // The "abort" stays as long as that transaction might have been open.
        assert_eq!(
            world.count("SELECT count(*) FROM pgshunt.decision WHERE outcome = 'abort'"),
            1
        );
        world.shards[2]
            .superuser()
            .psql("UPDATE pgshunt.decision SET decided_at = decided_at - interval '1 hour'");
        let mut open = world.server(2, &[]).await;
        world.run(&mut open, "BEGIN; SELECT pg_sleep(0)").await;
        sweep(&doors, Duration::ZERO).await;
        assert_eq!(world.count("SELECT count(*) FROM pgshunt.decision"), 0);
    });
}

#[test]
fn nobody_decides_for_another_and_a_decision_is_never_lost() {
    let world = World::new("20");
    block_on(async {
        let mut server = world.server(0, &[("synchronous_commit", "off")]).await;
        let sql = "BEGIN; SELECT pgshunt.decide('x', '{}'); SELECT 1 / (current_setting('synchronous_commit') = 'on')::int; COMMIT";
        world.run(&mut server, sql).await;
        for sql in [
            "SELECT * FROM pgshunt.decision",
            "INSERT INTO pgshunt.decision VALUES ('0123456789abcdef0123456789abcdef', 'commit', '{}')",
            "DELETE FROM pgshunt.decision",
        ] {
            let refused = server
                .run(sql.as_bytes(), &world.buffers)
                .await
                .expect("an answer");
            let error = refused.expect_err(sql);
            assert!(String::from_utf8_lossy(&error).contains("42501"), "{sql}");
        }
    });
    // pgshunt's own role may end what others prepared, and sees no row of theirs.
    let door = world.shards[0].superuser().as_user("pgshunt");
    assert_eq!(door.wire().sqlstate("SELECT * FROM t"), "42501");
}

/// What is killed in a round.
#[derive(Clone, Copy, Debug)]
enum Victim {
    /// The coordinator, between two rounds.
    Between(usize),
    /// The coordinator, within a round.
    Within(usize),
    /// A server, between two rounds; the coordinator lives.
    Server(usize, usize),
}

const VICTIMS: [Victim; 15] = [
    Victim::Between(0),
    Victim::Between(1),
    Victim::Between(2),
    Victim::Within(0),
    Victim::Within(1),
    Victim::Within(2),
    Victim::Server(0, 0),
    Victim::Server(1, 0),
    Victim::Server(2, 0),
    Victim::Server(0, 1),
    Victim::Server(1, 1),
    Victim::Server(2, 1),
    Victim::Within(0),
    Victim::Within(1),
    Victim::Within(2),
];

/// One transaction and one death; what the coordinator said, if it lived.
async fn round(world: &mut World, n: usize, victim: Victim, chance: &mut Chance) -> Option<Outcome> {
    let mut servers = world.written(n).await;
    let doors = world.doors();
    let mut commit = Commit::new(participants(&mut servers)).expect("transactions");
    let (Victim::Between(step) | Victim::Within(step) | Victim::Server(step, _)) = victim;
    for _ in 0..step {
        commit.round(&doors, &world.buffers).await;
    }
    match victim {
        Victim::Between(_) => None,
        Victim::Within(_) => {
            let moment = Duration::from_micros(chance.below(4000) as u64);
            // Begun, and left alone at any moment.
            let _ = tokio::time::timeout(moment, commit.round(&doors, &world.buffers)).await;
            None
        }
        Victim::Server(_, node) => {
            world.nodes[node].stop(Stop::Immediate).expect("stopped");
            // While a lost COMMIT is asked for, the server comes back.
            let buffers = Buffers::default();
            let running = commit.run(&doors, &buffers);
            tokio::pin!(running);
            let early = tokio::time::timeout(Duration::from_millis(100), &mut running).await;
            world.nodes[node].start().expect("started");
            let report = match early {
                Ok(report) => report,
                Err(_) => running.await,
            };
            Some(report.outcome)
        }
    }
}

#[test]
fn whoever_dies_at_whatever_step_all_shards_have_it_or_none() {
    let mut world = World::new("50");
    let mut chance = chance();
    let (mut committed, mut aborted) = (0, 0);
    for n in 0..rounds() {
        let victim = VICTIMS[n % VICTIMS.len()];
        let said = block_on(async {
            let said = round(&mut world, n, victim, &mut chance).await;
            world.recover().await;
            said
        });
        let places = world.places(n);
        assert!(
            places.is_empty() || places == [0, 1, 2],
            "{n} {victim:?}: on {places:?}"
        );
        match said {
            Some(Outcome::Committed { .. }) => assert_eq!(places, [0, 1, 2], "{n} {victim:?}"),
            Some(Outcome::Aborted { .. }) => assert_eq!(places, [] as [usize; 0], "{n} {victim:?}"),
            Some(Outcome::Unknown) | None => {}
        }
        match places.is_empty() {
            true => aborted += 1,
            false => committed += 1,
        }
    }
    println!("{committed} committed, {aborted} rolled back, none in between");
    assert!(committed > 0 && aborted > 0);
}

/// Coordinators and those who take them for dead, all at once.
#[test]
fn recoverers_that_are_too_hasty_break_nothing() {
    let world = World::new("50");
    let mut chance = chance();
    block_on(async {
        let doors = world.doors();
        let (mut committed, mut aborted) = (0, 0);
        for n in 0..rounds() {
            let mut servers = world.written(n).await;
            let wait = Duration::from_micros(chance.below(15_000) as u64);
            let hasty = async {
                tokio::time::sleep(wait).await;
                sweep(&doors, Duration::ZERO).await
            };
            let (report, _) = tokio::join!(commit(&world, &mut servers), hasty);
            drop(servers);
            world.recover().await;
            let places = world.places(n);
            match report.outcome {
                Outcome::Committed { .. } => {
                    committed += 1;
                    assert_eq!(places, [0, 1, 2], "{n}");
                }
                Outcome::Aborted { .. } => {
                    aborted += 1;
                    assert_eq!(places, [] as [usize; 0], "{n}");
                }
                Outcome::Unknown => panic!("{n}: every server was there"),
            }
        }
        println!("{committed} committed, {aborted} rolled back");
    });
}
