//! Schemas, rows and statements that nobody has written, over keys and columns of every common type: four shards answer as one
//! PostgreSQL with all the rows does, byte for byte, or not at all, by both protocols, in text and binary; what they write is the
//! same, too.

use pgshunt_tests::differential::chance::{Chance, seed};
use pgshunt_tests::made_up::{Schema, asked};
use pgshunt_tests::parity::{PARTS, Tally, statements};
use pgshunt_tests::twins::Twins;
use pgshunt_tests::ways::{Way, frames, is_close, messages_with, refusal, seen};
use pgshunt_tests::{Messages, Wire};

/// How many statements are made up in all. `PGSHUNT_PARITY=100000` makes more, `PGSHUNT_SEED` others.
const STATEMENTS: usize = 6_000;

/// How many of them are about the same schema.
const OF_A_SCHEMA: usize = 250;

fn made_up_schemas(part: usize) {
    let count = statements(STATEMENTS) / PARTS;
    let schemas = count.div_ceil(OF_A_SCHEMA);
    let (mut tally, mut failed) = (Tally::default(), 0);
    for place in 0..schemas {
        let mut chance = Chance::new(seed(1) + (place * PARTS + part) as u64);
        let schema = Schema::made_up(&mut chance);
        failed += ask(&schema, &mut chance, &mut tally, OF_A_SCHEMA.min(count));
    }
    println!("{failed} of {count} have a mistake");
    assert!(failed < count / 4, "{failed} of {count} have a mistake");
    tally.judge(0);
}

/// Asks both; gives how many PostgreSQL itself finds a mistake in.
fn ask(schema: &Schema, chance: &mut Chance, tally: &mut Tally, count: usize) -> usize {
    let mut failed = 0;
    let twins = Twins::of(&schema.fill(), |number| schema.keep(number), &schema.rules(), "");
    let (mut direct, mut through) = twins.wires();
    for turn in 0..count {
        let way = Way::ALL[turn % 3];
        let asked = asked(schema, chance, way != Way::Simple);
        let values: Vec<&str> = asked.values.iter().map(String::as_str).collect();
        let messages = messages_with(way, &asked.text, &values);
        let mut both = [&mut through, &mut direct];
        if asked.writes {
            both.iter_mut().for_each(|wire| wire.run("BEGIN"));
        }
        let [got, expected] = both.map(|wire| frames(wire, &messages));
        let is_refused = refusal(&got).is_some_and(|reason| refusal(&expected) != Some(reason));
        let mut is_same = seen(&got, asked.is_sorted) == seen(&expected, asked.is_sorted)
            || is_close(&got, &expected, asked.is_sorted);
        failed += usize::from(expected.iter().any(|frame| frame.kind == b'E'));
        if asked.writes {
            let states = [&mut through, &mut direct].map(|wire| state(wire, schema));
            is_same &= states[0] == states[1];
        }
        match refusal(&got).filter(|_| is_refused) {
            Some(reason) => tally.refuse(reason),
            None => tally.answer(is_same, || {
                format!(
                    "{way:?} {} {values:?}\n  {schema:?}\n  expected {expected:?}\n  got      {got:?}",
                    asked.text
                )
            }),
        }
    }
    failed
}

/// What a transaction sees at its end; then it is given up.
fn state(wire: &mut Wire, schema: &Schema) -> Vec<String> {
    let mut seen = Vec::new();
    for table in &schema.tables[..2] {
        let text = format!("SELECT x.* FROM {} x", table.name);
        let frames = frames(wire, &Messages::new().query(&text));
        let mut rows: Vec<String> = frames
            .iter()
            .filter(|frame| frame.kind == b'D')
            .map(ToString::to_string)
            .collect();
        rows.sort();
        seen.append(&mut rows);
    }
    wire.run("ROLLBACK");
    seen
}

pgshunt_tests::eight_parts!(made_up_schemas);
