//! Plays written by hand.

use super::play::{Message, Play, Turn, Values};
use super::stage::Stage;

/// Scripted turns, each with both rivals in turn and alone.
#[track_caller]
pub fn same(turns: &[&[Message]]) {
    same_on(&mut Stage::new(), turns);
}

/// The same on a stage that serves other plays too.
#[track_caller]
pub fn same_on(stage: &mut Stage, turns: &[&[Message]]) {
    for rival in [None, Some(0), Some(1)] {
        let turns = turns.iter().map(|messages| Turn {
            messages: messages.to_vec(),
            rival,
        });
        let play = Play {
            turns: turns.collect(),
        };
        if let Some(difference) = stage.perform(&play) {
            panic!("\n{play}{difference}");
        }
    }
}

/// A Query.
pub fn q(sql: &str) -> Message {
    Message::query(sql)
}

/// A Parse without types.
pub fn p(name: &str, sql: &str) -> Message {
    Message::parse(name, sql, &[])
}

/// A Bind without parameters.
pub fn b(portal: &str, name: &str) -> Message {
    Message::bind(portal, name, &Values::default())
}

/// An Execute of all rows.
pub fn e(portal: &str) -> Message {
    Message::execute(portal, 0)
}

/// A Sync.
pub fn s() -> Message {
    Message::sync()
}
