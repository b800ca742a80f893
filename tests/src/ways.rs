//! A statement sent by either protocol, with results in either format, and what of its answer there is to compare.

use pgshunt::protocol::merge::order::FLOAT8;
use pgshunt::protocol::merge::rows::Description;
use pgshunt::protocol::message::row_values;

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
    messages_with(way, sql, &[])
}

/// The same of a statement with parameters, whose values are texts; as a simple query it has none.
pub fn messages_with(way: Way, sql: &str, values: &[&str]) -> Messages {
    let format = match way {
        Way::Simple => return Messages::new().query(sql),
        Way::Text => 0_u16,
        Way::Binary => 1,
    };
    let mut bind = b"\0\0\0\0".to_vec();
    bind.extend_from_slice(&(values.len() as u16).to_be_bytes());
    for value in values {
        bind.extend_from_slice(&(value.len() as u32).to_be_bytes());
        bind.extend_from_slice(value.as_bytes());
    }
    bind.extend_from_slice(&[0, 1]);
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

/// Is there the same to compare, `float8` within rounding? Its last digits depend on the order PostgreSQL adds up in.
pub fn is_close(got: &[Frame], expected: &[Frame], is_sorted: bool) -> bool {
    let others = |frames: &[Frame]| seen(frames, is_sorted).1;
    let rows = |frames: &[Frame]| -> Vec<Vec<Option<Vec<u8>>>> {
        let rows = frames.iter().filter(|frame| frame.kind == b'D');
        rows.map(|frame| {
            row_values(&frame.body)
                .map(|value| value.map(<[u8]>::to_vec))
                .collect()
        })
        .collect()
    };
    let described = expected.iter().find(|frame| frame.kind == b'T');
    let types: Vec<u32> = described
        .and_then(|frame| Description::read(&frame.body))
        .map_or_else(Vec::new, |rows| {
            rows.columns.iter().map(|column| column.type_oid).collect()
        });
    let (mut left, expected_rows) = (rows(got), rows(expected));
    if others(got) != others(expected) || left.len() != expected_rows.len() {
        return false;
    }
    expected_rows.iter().all(|row| {
        let place = left.iter().position(|one| is_close_row(one, row, &types));
        match place {
            Some(0) => drop(left.remove(0)),
            Some(place) if !is_sorted => drop(left.swap_remove(place)),
            Some(_) | None => return false,
        }
        true
    })
}

fn is_close_row(one: &[Option<Vec<u8>>], other: &[Option<Vec<u8>>], types: &[u32]) -> bool {
    let value = |bytes: &[u8]| -> Option<f64> {
        match <[u8; 8]>::try_from(bytes) {
            // A text of eight bytes begins with a digit or a sign, and as bytes would be a number like no other.
            Ok(binary) if !bytes.iter().all(u8::is_ascii_graphic) => Some(f64::from_be_bytes(binary)),
            Ok(_) | Err(_) => std::str::from_utf8(bytes).ok()?.parse().ok(),
        }
    };
    let is_close = |place: usize| {
        if one[place] == other[place] {
            return true;
        }
        let (Some(one), Some(other), Some(&FLOAT8)) = (&one[place], &other[place], types.get(place)) else {
            return false;
        };
        match (value(one), value(other)) {
            (Some(one), Some(other)) => (one - other).abs() <= 1e-9 * one.abs().max(other.abs()),
            (_, _) => false,
        }
    };
    one.len() == other.len() && (0..one.len()).all(is_close)
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
