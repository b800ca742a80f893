//! Statements that nobody has written: four shards answer them as one PostgreSQL with all the rows does, byte for
//! byte, or not at all, by both protocols, in text and binary. In parts, each of which has tables of its own.

use pgshunt_tests::differential::chance::seed;
use pgshunt_tests::parity::{self, PARTS, Tally, WRITTEN, statement};
use pgshunt_tests::twins::Twins;
use pgshunt_tests::ways::{Way, frames, is_close, messages, refusal, seen};

/// How many statements are made up in all, beside the ones written down. `PGSHUNT_PARITY=100000` makes more, `PGSHUNT_SEED` others.
const STATEMENTS: usize = 20_000;

/// Statements of one part. The first has those that are written down, too.
fn four_shards_answer_as_one_server_or_not_at_all(part: usize) {
    let twins = Twins::new();
    let (mut direct, mut through) = twins.wires();
    let count = parity::statements(STATEMENTS) / PARTS;
    let written = if part == 0 { &WRITTEN[..] } else { &[] };
    let mut seed = seed(2026) + 1_000_003 * part as u64;
    let made_up = std::iter::repeat_with(|| statement(&mut seed)).take(count);
    let mut tally = Tally::default();
    for (turn, text) in written
        .iter()
        .map(|text| (*text).to_owned())
        .chain(made_up)
        .enumerate()
    {
        let way = Way::ALL[turn % 3];
        let messages = messages(way, &text);
        let got = frames(&mut through, &messages);
        if let Some(reason) = refusal(&got) {
            tally.refuse(reason);
            continue;
        }
        let expected = frames(&mut direct, &messages);
        let is_sorted = parity::is_sorted(&text);
        let is_same = seen(&got, is_sorted) == seen(&expected, is_sorted);
        tally.answer(
            is_same || rounds(&text) && is_close(&got, &expected, is_sorted),
            || format!("{way:?} {text}\n  expected {expected:?}\n  got      {got:?}"),
        );
    }
    tally.judge(count);
}

/// Does a statement add up numbers of floating point?
fn rounds(text: &str) -> bool {
    let adds = ["stddev", "variance", "sum", "avg"];
    adds.iter()
        .any(|function| text.contains(&format!("{function}(o.ratio")))
}

pgshunt_tests::eight_parts!(four_shards_answer_as_one_server_or_not_at_all);
