//! A text of several statements that one shard can't run whole: each of them finds its place, and what of a text is heard by
//! shards that come to its transaction later.

use routing_rules::{Lex, Parameter, PieceKind, cut};

use super::meeting::Meets;
use super::place::{Ground, Place};
use super::readings::Read;
use super::refusals::refusal;
use super::sets::mentions;
use crate::fault::Fault;
use crate::protocol::sqlstate;

/// What changes how the statements behind it are read.
const READ_BY: [&[u8]; 2] = [b"search_path", b"standard_conforming_strings"];

impl Ground<'_> {
    /// Places one execution of a text, statement by statement where no shard can run the whole of it.
    pub fn place_text(&self, read: &Read<'_>, parameters: &[Parameter<'_>]) -> Place {
        match self.place(read, parameters) {
            whole @ (Place::Refused(_) | Place::Beyond(_) | Place::Several(_))
                if read.reading.statements > 1 =>
            {
                self.each(read, whole)
            }
            whole @ Place::Shard(_) if read.reading.statements > 1 && self.meets(read) => {
                self.each(read, whole)
            }
            place => place,
        }
    }

    /// Does something in it meet what other sessions do?
    fn meets(&self, read: &Read<'_>) -> bool {
        !self.is_targeted && Meets::of(read.pieces.text.as_bytes()).are_any()
    }

    /// `whole` is where all of it goes, if it is one statement after all.
    fn each(&self, read: &Read<'_>, whole: Place) -> Place {
        let pieces = &read.pieces;
        let ranges = pieces.statements();
        let text = pieces.text.as_bytes();
        let count = routing_rules::read(text, self.readings.lex()).statements;
        if count < 2 {
            return whole;
        }
        if count != ranges.len() {
            return Place::Refused(refused("one of them defines a routine by BEGIN ATOMIC"));
        }
        if READ_BY.iter().any(|setting| mentions(text, setting)) {
            return Place::Refused(refused("one of them may change how the others are read"));
        }
        let mut all = Place::Anywhere;
        for range in ranges {
            let one = &text[pieces.bytes(range)];
            let read = match self.readings.read(one, self.sharding, self.found, &[]) {
                Ok(read) => read,
                Err(unread) => return Place::Refused(refusal(&unread.into())),
            };
            let place = match self.place(&read, &[]) {
                Place::Anywhere if self.meets(&read) => self.meeting(),
                place => place,
            };
            all = match (all, place) {
                (_, Place::Refused(fault)) => return Place::Refused(fault),
                // Whoever has the rows of all shards must run all of it.
                (_, Place::Beyond(reason)) | (Place::Beyond(reason), _) => return Place::Beyond(reason),
                (all, Place::Anywhere) => all,
                (Place::Anywhere, one) => one,
                (Place::Shard(one), Place::Shard(other)) if one == other => Place::Shard(one),
                (Place::Shard(one), Place::Shard(other)) => Place::Several(vec![one, other]),
                (_, Place::Several(shards)) => Place::Several(shards),
                (all, Place::Shard(_)) => all,
            };
        }
        all
    }
}

/// Names that a change of the schema may be about: what stands behind the words that introduce them, or a comma.
pub(super) fn named_by_definition(read: &Read<'_>) -> Vec<Box<str>> {
    let pieces = &read.pieces;
    let introduces = |place: usize| {
        let word = pieces.text(place).to_ascii_lowercase();
        matches!(
            word.as_str(),
            "table" | "exists" | "index" | "view" | "sequence" | "on" | "only" | "truncate" | "analyze" | ","
        )
    };
    let names = (1..pieces.all.len()).filter(|&place| introduces(place - 1));
    let names = names.filter_map(|place| {
        let text = pieces.text(place);
        match pieces.all.get(place)?.2 {
            PieceKind::Word => Some(text.to_ascii_lowercase()),
            PieceKind::Quoted => Some(text.trim_matches('"').to_owned()),
            _ => None,
        }
    });
    names.map(Into::into).collect()
}

fn refused(why: &str) -> Fault {
    Fault::error(
        sqlstate::FEATURE_NOT_SUPPORTED,
        "these statements are for several shards, and can't be sent as one text",
    )
    .detail(format!("For {why}."))
    .hint("Send them one by one.")
}

/// What shards must hear of a text, should they come to take part in its transaction later.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Heard {
    /// Another transaction has begun in it: what was said before counts no more.
    pub is_anew: bool,
    /// Savepoints, settings and cursors, in order.
    pub said: Vec<Vec<u8>>,
}

impl Heard {
    /// `statements`: so many there are in the text.
    pub fn of(text: &[u8], statements: usize, lex: Lex) -> Heard {
        let mut heard = Heard::default();
        let text = text.trim_ascii_start();
        if statements < 2 && !text.starts_with(b"/*") && !text.starts_with(b"--") {
            heard.hear(text);
        } else if let Ok(pieces) = cut(text, lex) {
            for range in pieces.statements() {
                heard.hear(&text[pieces.bytes(range)]);
            }
        }
        heard
    }

    /// What was heard in another text behind this one.
    pub fn add(&mut self, other: Heard) {
        if other.is_anew {
            (self.is_anew, self.said) = (true, other.said);
        } else {
            self.said.extend(other.said);
        }
    }

    fn hear(&mut self, text: &[u8]) {
        let begins = |word: &str| {
            text.get(..word.len())
                .is_some_and(|begin| begin.eq_ignore_ascii_case(word.as_bytes()))
        };
        if HEARD.into_iter().any(begins) || begins("rollback") && mentions(text, b" to ") {
            self.said.push(text.to_vec());
        } else if ENDS.into_iter().any(begins) {
            self.is_anew = true;
            self.said.clear();
        }
    }
}

const HEARD: [&str; 7] = [
    "savepoint",
    "release",
    "set ",
    "reset ",
    "declare",
    "select set_config",
    "select pg_catalog.set_config",
];

const ENDS: [&str; 6] = ["begin", "start", "commit", "end", "rollback", "abort"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_must_be_heard_is_found_within_a_text() {
        let heard = |text: &str| {
            let heard = Heard::of(text.as_bytes(), text.split("; ").count(), Lex::default());
            let said: Vec<String> = heard
                .said
                .iter()
                .map(|said| String::from_utf8_lossy(said).into_owned())
                .collect();
            (heard.is_anew, said.join("|"))
        };
        let found = |is_anew: bool, said: &str| (is_anew, said.to_owned());
        assert_eq!(heard(" SAVEPOINT a"), found(false, "SAVEPOINT a"));
        assert_eq!(heard("/* x */ savepoint a"), found(false, "savepoint a"));
        assert_eq!(
            heard("SAVEPOINT a; INSERT INTO t VALUES (';')"),
            found(false, "SAVEPOINT a")
        );
        assert_eq!(heard("select 1; rollback to a;"), found(false, "rollback to a"));
        assert_eq!(
            heard("set a = 1; commit; begin; set b = 2"),
            found(true, "set b = 2")
        );
        assert_eq!(heard("select 'savepoint'"), found(false, ""));
    }
}
