//! Generated and scripted messages get byte for byte the answers PostgreSQL gives, whoever else uses the servers.

use pgshunt_tests::differential::{Stage, author, rehearse, shrink};

/// How many plays, from which seed on: `PGSHUNT_PLAYS` and `PGSHUNT_SEED` say otherwise.
fn number(variable: &str, otherwise: u64) -> u64 {
    match std::env::var(variable) {
        Ok(number) => number
            .parse()
            .unwrap_or_else(|_| panic!("{variable} is a number")),
        Err(_) => otherwise,
    }
}

const STAGES: u64 = 3;

/// Plays on three stages at once, each with seeds of its own.
fn rehearse_all(plays: u64, first: u64) {
    let began = std::time::Instant::now();
    std::thread::scope(|scope| {
        let stages = (0..STAGES).map(|n| {
            scope.spawn(move || {
                let seeds = (0..plays)
                    .filter(|seed| seed % STAGES == n)
                    .map(|seed| first + seed);
                rehearse(&mut Stage::new(), seeds)
            })
        });
        let stages: Vec<_> = stages.collect();
        let performed: usize = stages
            .into_iter()
            .map(|stage| stage.join().expect("no difference"))
            .sum();
        println!("{performed} plays without a difference in {:?}", began.elapsed());
    });
}

#[test]
fn generated_plays() {
    rehearse_all(number("PGSHUNT_PLAYS", 2000), number("PGSHUNT_SEED", 1));
}

#[test]
#[ignore = "takes an hour"]
fn a_hundred_thousand_generated_plays() {
    rehearse_all(
        number("PGSHUNT_PLAYS", 100_000),
        number("PGSHUNT_SEED", 1_000_000),
    );
}

/// Every difference of the given seeds, and no end at the first: for whoever looks for them.
#[test]
#[ignore = "for looking into differences by hand"]
fn survey() {
    let (first, plays) = (number("PGSHUNT_SEED", 1), number("PGSHUNT_PLAYS", 200));
    std::thread::scope(|scope| {
        for n in 0..STAGES {
            scope.spawn(move || {
                let mut stage = Stage::new();
                for seed in (first..first + plays).filter(|seed| seed % STAGES == n) {
                    let play = author::play(seed);
                    if let Some(difference) = stage.perform(&play) {
                        let (smaller, difference) = shrink(&mut stage, play, difference);
                        println!("== seed {seed}:\n{smaller}\n{difference}");
                    }
                }
            });
        }
    });
}
