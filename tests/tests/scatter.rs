//! Several shards answer as one PostgreSQL with all the rows does, byte for byte, or not at all: through the real proxy, by both
//! protocols, in text and binary.

use std::collections::HashMap;

use pgshunt_tests::parity::{FILL, RULES, WRITTEN, keep, statement};
use pgshunt_tests::sharded::Sharded;
use pgshunt_tests::{Database, Frame, Messages, Proxy, Wire, cluster};

/// How many statements are made up, beside the ones written down. `PGSHUNT_PARITY=20000` makes more.
const STATEMENTS: usize = 300;

/// Four shards behind pgshunt, and one database with all their rows.
struct Twins {
    whole: Database,
    sharded: Sharded,
    proxy: Proxy,
}

impl Twins {
    fn new() -> Twins {
        Twins::with("", "")
    }

    /// With a line of `[pool]`, and more to be run on the whole and on the shards.
    fn with(pool: &str, more: &str) -> Twins {
        let (whole, sharded) = (cluster::database(), Sharded::databases(4));
        whole.door().psql(FILL);
        whole.door().psql(more);
        for number in 0..4 {
            let shard = sharded.shard(number);
            shard.psql(FILL);
            shard.psql(&keep(number));
            shard.psql(more);
        }
        let proxy = sharded.config(RULES).pool(pool).start();
        Twins { whole, sharded, proxy }
    }

    fn wires(&self) -> (Wire, Wire) {
        (self.whole.door().wire(), self.proxy.door(&self.sharded.first).wire())
    }
}

/// How a statement is sent.
#[derive(Clone, Copy, Debug)]
enum Way {
    Simple,
    Text,
    Binary,
}

fn messages(way: Way, sql: &str) -> Messages {
    let format = match way {
        Way::Simple => return Messages::new().query(sql),
        Way::Text => 0_u16,
        Way::Binary => 1,
    };
    let mut bind = b"\0\0\0\0\0\0\0\x01".to_vec();
    bind.extend_from_slice(&format.to_be_bytes());
    Messages::new()
        .parse("", sql)
        .raw(b'B', &bind)
        .describe(b'P', "")
        .execute("", 0)
        .sync()
}

fn frames(wire: &mut Wire, messages: &Messages) -> Vec<Frame> {
    wire.send(messages);
    let mut frames = Vec::new();
    for _ in 0..messages.syncs {
        frames.extend(wire.until_ready());
    }
    frames.retain(|frame| frame.kind != b'S');
    frames
}

/// What there is to compare: rows as bytes, in order or not; what else was said as lines; an error by its code and message.
fn seen(frames: &[Frame], is_sorted: bool) -> (Vec<Vec<u8>>, Vec<String>) {
    let rows = frames.iter().filter(|frame| frame.kind == b'D');
    let mut rows: Vec<Vec<u8>> = rows.map(|frame| frame.body.clone()).collect();
    if !is_sorted {
        rows.sort();
    }
    let others = frames.iter().filter(|frame| frame.kind != b'D');
    (rows, others.map(ToString::to_string).collect())
}

fn refusal(frames: &[Frame]) -> Option<String> {
    let error = frames.iter().find(|frame| frame.kind == b'E')?;
    (error.sqlstate() == "0A000").then(|| error.field(b'M'))
}

#[test]
fn four_shards_answer_as_one_server_or_not_at_all() {
    let twins = Twins::new();
    let (mut direct, mut through) = twins.wires();
    let count = std::env::var("PGSHUNT_PARITY").ok().and_then(|count| count.parse().ok());
    let count = count.unwrap_or(STATEMENTS);
    let mut seed = 20_26;
    let made_up = std::iter::repeat_with(|| statement(&mut seed)).take(count);
    let (mut same, mut refused, mut wrong) = (0, HashMap::<String, usize>::new(), Vec::new());
    for (turn, text) in WRITTEN.iter().map(|text| (*text).to_owned()).chain(made_up).enumerate() {
        let way = [Way::Simple, Way::Text, Way::Binary][turn % 3];
        let messages = messages(way, &text);
        let began = std::time::Instant::now();
        let got = frames(&mut through, &messages);
        eprintln!("{turn} {way:?} {:?} {text}", began.elapsed());
        if let Some(reason) = refusal(&got) {
            *refused.entry(reason).or_default() += 1;
            continue;
        }
        let expected = frames(&mut direct, &messages);
        let is_sorted = text.contains(" order by ") && !text.contains("array_agg");
        match seen(&got, is_sorted) == seen(&expected, is_sorted) {
            true => same += 1,
            false => wrong.push(format!("{way:?} {text}\n  expected {expected:?}\n  got      {got:?}")),
        }
    }
    println!("{same} the same; refused: {refused:#?}");
    assert!(
        wrong.is_empty(),
        "{} wrong, the first ones:\n{}",
        wrong.len(),
        wrong[..wrong.len().min(6)].join("\n")
    );
    assert!(same > count / 3, "only {same} were answered");
}
