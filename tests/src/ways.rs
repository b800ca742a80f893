//! A statement sent by either protocol, with results in either format, and what of its answer there is to compare.

use crate::frame::Frame;
use crate::messages::Messages;
use crate::wire::Wire;

/// How a statement is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// As a simple query.
    Simple,
    /// By the extended protocol, results as text.
    Text,
    /// By the extended protocol, results in binary.
    Binary,
}

impl Way {
    /// All of them.
    pub const ALL: [Way; 3] = [Way::Simple, Way::Text, Way::Binary];
}

/// The messages that send a statement that way.
pub fn messages(way: Way, sql: &str) -> Messages {
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

/// What comes back, settings left out.
pub fn frames(wire: &mut Wire, messages: &Messages) -> Vec<Frame> {
    wire.send(messages);
    let mut frames = Vec::new();
    for _ in 0..messages.syncs {
        frames.extend(wire.until_ready());
    }
    frames.retain(|frame| frame.kind != b'S');
    frames
}

/// What there is to compare: rows as bytes, in order or not; what else was said as lines; an error by its code and message.
pub fn seen(frames: &[Frame], is_sorted: bool) -> (Vec<Vec<u8>>, Vec<String>) {
    // How many rows come before an error is nobody's promise.
    let has_failed = frames.iter().any(|frame| frame.kind == b'E');
    let rows = frames.iter().filter(|frame| frame.kind == b'D' && !has_failed);
    let mut rows: Vec<Vec<u8>> = rows.map(|frame| frame.body.clone()).collect();
    if !is_sorted {
        rows.sort();
    }
    // Nor is whether columns are described before it.
    let is_left_out = |frame: &&Frame| frame.kind == b'D' || has_failed && frame.kind == b'T';
    let others = frames.iter().filter(|frame| !is_left_out(frame));
    (
        rows,
        others
            .map(|frame| without_own_types(&frame.to_string()))
            .collect(),
    )
}

/// Types that users made have other numbers in other databases.
fn without_own_types(line: &str) -> String {
    let is_own = |oid: &str| oid.parse::<u32>().is_ok_and(|oid| oid >= 16384);
    let words = line.split(' ').map(|word| match word.rsplit_once(':') {
        Some((name, kind)) if kind.split('/').next().is_some_and(is_own) => format!("{name}:own"),
        Some(_) | None => word.to_owned(),
    });
    words.collect::<Vec<_>>().join(" ")
}

/// The message of a refusal of what several shards can't do.
pub fn refusal(frames: &[Frame]) -> Option<String> {
    let error = frames.iter().find(|frame| frame.kind == b'E')?;
    (error.sqlstate() == "0A000").then(|| error.field(b'M'))
}
