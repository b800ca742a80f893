//! Transactions and settings, the same on every shard: BEGIN is said to a shard when it comes to take part, what follows to all
//! that do.

use routing_rules::{Control, Script};

use super::schema::Changed;
use super::{Gather, Halt};
use crate::fault::Fault;
use crate::protocol::{reply, sqlstate};

/// The client's transaction.
pub(super) struct Block {
    /// The text that began it.
    pub begin: Vec<u8>,
    /// Nobody has begun it: it is that of a text of several statements, and ends with it.
    pub is_implicit: bool,
    /// Its isolation was looked at, and allows several shards.
    pub is_checked: bool,
    /// What it has made of the schema.
    pub changed: Changed,
    said: Vec<Say>,
}

/// What a shard that comes later must hear.
enum Say {
    Savepoint(String, Vec<u8>),
    Set(Vec<u8>),
    /// Nothing: the gathering server has this cursor, or a portal whose rows come as they are asked for.
    Cursor(u64),
}

impl Say {
    fn is_cursor(&self, id: u64) -> bool {
        matches!(self, Say::Cursor(own) if *own == id)
    }
}

/// The most that is kept of what a transaction has said.
const SAID_MAX: usize = 1000;

impl Block {
    fn new(begin: &[u8]) -> Block {
        Block {
            begin: begin.into(),
            is_implicit: false,
            is_checked: false,
            changed: Changed::default(),
            said: Vec::new(),
        }
    }

    /// That of a text of several statements.
    pub(super) fn implicit() -> Block {
        Block {
            is_implicit: true,
            ..Block::new(b"BEGIN")
        }
    }

    /// One that has begun elsewhere, where this was said. How it began is asked for when another shard comes.
    pub(super) fn begun(said: Vec<Vec<u8>>) -> Block {
        let mut block = Block::new(b"");
        for text in said {
            let words = names(&text);
            let last = words.last().cloned().unwrap_or_default();
            match words.first().map_or("", String::as_str) {
                "savepoint" => block.said.push(Say::Savepoint(last, text)),
                "release" => block.release(&last),
                "rollback" => block.roll_back_to(&last),
                "declare" => {}
                _ => block.said.push(Say::Set(text)),
            }
        }
        block
    }

    fn release(&mut self, name: &str) {
        if let Some(from) = self.savepoint(name) {
            let mut place = 0;
            self.said.retain(|say| {
                place += 1;
                place <= from || !matches!(say, Say::Savepoint(..))
            });
        }
    }

    fn roll_back_to(&mut self, name: &str) {
        if let Some(at) = self.savepoint(name) {
            self.said.truncate(at + 1);
        }
        self.changed.doubt();
    }

    /// What was said, in order.
    pub(super) fn said(&self) -> impl Iterator<Item = &[u8]> {
        self.said.iter().filter_map(|say| match say {
            Say::Savepoint(_, text) | Say::Set(text) => Some(&text[..]),
            Say::Cursor(_) => None,
        })
    }

    /// Notes that a cursor was declared.
    pub(super) fn declare(&mut self, id: u64) -> Result<(), Halt> {
        self.say(Say::Cursor(id))
    }

    /// Was this cursor declared in it?
    pub(super) fn declares(&self, id: u64) -> bool {
        self.said.iter().any(|say| say.is_cursor(id))
    }

    /// This cursor is no more.
    pub(super) fn forget(&mut self, id: u64) {
        self.said.retain(|say| !say.is_cursor(id));
    }

    fn savepoint(&self, name: &str) -> Option<usize> {
        let is_it = |say: &Say| matches!(say, Say::Savepoint(own, _) if own == name);
        self.said.iter().rposition(is_it)
    }

    fn say(&mut self, say: Say) -> Result<(), Halt> {
        if self.said.len() >= SAID_MAX {
            let text = "too many savepoints, settings and cursors in one transaction over several shards";
            return Err(Halt::of(&Fault::error(sqlstate::PROGRAM_LIMIT, text)));
        }
        self.said.push(say);
        Ok(())
    }
}

impl Gather {
    /// Does what concerns the session or its transaction. `None`: it is nothing of the kind.
    pub(super) async fn control(&mut self, text: &[u8], script: &Script) -> Result<Option<Vec<u8>>, Halt> {
        let words = names(text);
        let word = |place: usize| words.get(place).map_or("", String::as_str);
        let tag = match (word(0), &script.control) {
            ("begin" | "start", Control::Begin { tag, .. }) => self.begin(text, tag, words.len())?,
            ("commit" | "end", Control::Commit) => self.commit().await?,
            ("rollback" | "abort", Control::Rollback) => {
                if !self.has_begun() {
                    self.warn("there is no transaction in progress");
                }
                self.roll_back().await;
                complete(b"ROLLBACK")
            }
            ("rollback", _) if words.iter().any(|word| word == "to") => {
                let name = words.last().cloned().unwrap_or_default();
                self.roll_back_to(text, &name).await?
            }
            ("savepoint", _) => self.savepoint(text, word(1)).await?,
            ("release", _) => {
                let name = words.last().cloned().unwrap_or_default();
                self.release(text, &name).await?
            }
            ("begin" | "start" | "commit" | "end" | "rollback" | "abort", _) => {
                return Err(Halt::refused(
                    "this form of it is not done in a transaction over several shards",
                ));
            }
            ("set" | "reset" | "load", _) => self.set(text).await?,
            ("discard", _) => {
                let tag = self.everywhere(text).await?;
                if word(1) == "all" {
                    self.held_cursors.clear();
                }
                tag
            }
            (_, _) => return Ok(None),
        };
        Ok(Some(tag))
    }

    /// `words`: so many it is made of.
    fn begin(&mut self, text: &[u8], tag: &str, words: usize) -> Result<Vec<u8>, Halt> {
        let is_under_way = self.parts.iter().flatten().any(|part| part.in_block);
        match &mut self.block {
            Some(block) if block.is_implicit && !is_under_way && block.said.is_empty() => {
                *block = Block {
                    changed: std::mem::take(&mut block.changed),
                    ..Block::new(text)
                };
            }
            Some(block) if block.is_implicit && words > 2 => {
                return Err(Halt::refused(
                    "BEGIN with modes, behind other statements of the same text, over several shards",
                ));
            }
            Some(block) if block.is_implicit => block.is_implicit = false,
            Some(_) => {
                self.warn("there is already a transaction in progress");
                return Ok(complete(tag.as_bytes()));
            }
            None => self.block = Some(Block::new(text)),
        }
        self.status = b'T';
        Ok(complete(tag.as_bytes()))
    }

    /// Is it in a transaction that the client has begun?
    pub(super) fn has_begun(&self) -> bool {
        self.block.as_ref().is_some_and(|block| !block.is_implicit)
    }

    async fn commit(&mut self) -> Result<Vec<u8>, Halt> {
        if !self.has_begun() {
            self.warn("there is no transaction in progress");
        }
        if self.block.is_none() {
            return Ok(complete(b"COMMIT"));
        }
        if self.status == b'E' {
            self.roll_back().await;
            return Ok(complete(b"ROLLBACK"));
        }
        self.end_block().await?;
        Ok(complete(b"COMMIT"))
    }

    /// Commits, and keeps what was set.
    pub(super) async fn end_block(&mut self) -> Result<(), Halt> {
        let held = self.hold_rows().await;
        let block = self.block.take();
        self.status = b'I';
        self.cursors.clear();
        held?;
        self.commit_parts().await?;
        self.keep_cursors();
        self.end_cursors();
        let said = block.map_or_else(Vec::new, |block| block.said);
        self.sets.extend(said.into_iter().filter_map(|say| match say {
            Say::Set(text) => Some(text),
            Say::Savepoint(..) | Say::Cursor(_) => None,
        }));
        self.is_doomed = false;
        Ok(())
    }

    /// The transaction that nobody has begun ends with its unit.
    pub(super) async fn end_implicit(&mut self) -> Result<(), Halt> {
        if self.is_implicit {
            self.hold_rows().await?;
            self.is_implicit = false;
            self.commit_parts().await?;
            self.keep_cursors();
        }
        self.let_go_of_canceled();
        Ok(())
    }

    /// Rolls back what is open on every shard, whatever they say to it.
    pub(super) async fn roll_back(&mut self) {
        let mut text = Vec::new();
        reply::query(&mut text, b"ROLLBACK");
        for at in 0..self.parts.len() {
            let Some(part) = &mut self.parts[at] else { continue };
            if std::mem::take(&mut part.in_block) && part.send(&text, 1).await.is_err() {
                self.lose(at);
            }
        }
        self.drain().await;
        for part in &mut self.parts {
            if let Some(own) = part {
                own.end_block();
                if own.lease.backend.status != b'I' {
                    *part = None;
                }
            }
        }
        (self.block, self.status) = (None, b'I');
        (self.is_implicit, self.is_doomed) = (false, false);
        self.cursors.clear();
        self.end_cursors();
        self.let_go_of_canceled();
    }

    async fn savepoint(&mut self, text: &[u8], name: &str) -> Result<Vec<u8>, Halt> {
        let tag = self
            .in_transaction(text, "SAVEPOINT can only be used in transaction blocks")
            .await?;
        if let Some(block) = &mut self.block {
            block.say(Say::Savepoint(name.to_owned(), text.into()))?;
        }
        Ok(tag)
    }

    async fn release(&mut self, text: &[u8], name: &str) -> Result<Vec<u8>, Halt> {
        let tag = self
            .in_transaction(text, "RELEASE SAVEPOINT can only be used in transaction blocks")
            .await?;
        if let Some(block) = &mut self.block {
            block.release(name);
        }
        Ok(tag)
    }

    async fn roll_back_to(&mut self, text: &[u8], name: &str) -> Result<Vec<u8>, Halt> {
        if self.is_doomed {
            let text = "a shard was lost in this transaction: it can only be rolled back whole";
            return Err(Halt::of(&Fault::error(sqlstate::IN_FAILED_TRANSACTION, text)));
        }
        let tag = self
            .in_transaction(
                text,
                "ROLLBACK TO SAVEPOINT can only be used in transaction blocks",
            )
            .await?;
        if let Some(block) = &mut self.block {
            block.roll_back_to(name);
            self.status = b'T';
        }
        self.end_cursors();
        Ok(tag)
    }

    /// Says something about the transaction to every shard that is in it, or to one so that it is checked.
    async fn in_transaction(&mut self, text: &[u8], outside: &str) -> Result<Vec<u8>, Halt> {
        if !self.has_begun() {
            return Err(Halt::of(&Fault::error(sqlstate::NO_ACTIVE_TRANSACTION, outside)));
        }
        self.everywhere(text).await
    }

    /// SET and its kin: for every shard that takes part, and for those that will.
    pub(super) async fn set(&mut self, text: &[u8]) -> Result<Vec<u8>, Halt> {
        let tag = self.everywhere(text).await?;
        match &mut self.block {
            Some(block) => block.say(Say::Set(text.into()))?,
            None if self.sets.len() < SAID_MAX => self.sets.push(text.into()),
            None => {
                let text = "too many settings were set over several shards";
                return Err(Halt::of(&Fault::error(sqlstate::PROGRAM_LIMIT, text)));
            }
        }
        Ok(tag)
    }

    /// Runs a text on every shard in hand, or on one if there is none; its answer is the first one's.
    pub(super) async fn everywhere(&mut self, text: &[u8]) -> Result<Vec<u8>, Halt> {
        let home = self.home();
        self.join(&[home], false).await?;
        let on: Vec<usize> = (0..self.parts.len())
            .filter(|&at| self.parts[at].is_some())
            .collect();
        self.join(&on, false).await?;
        for &at in &on {
            if let Some(part) = &mut self.parts[at] {
                part.is_dirty = true;
            }
        }
        self.first_of(&on, text).await
    }

    fn warn(&mut self, text: &str) {
        let code = match self.has_begun() {
            true => sqlstate::ACTIVE_TRANSACTION,
            false => sqlstate::NO_ACTIVE_TRANSACTION,
        };
        self.say("WARNING", code, text);
    }

    /// A warning of pgshunt's own.
    pub(super) fn note(&mut self, text: &str) {
        self.say("WARNING", sqlstate::WARNING, text);
    }

    fn say(&mut self, severity: &str, code: sqlstate::SqlState, text: &str) {
        let fields = reply::ErrorFields {
            severity,
            code,
            message: text,
            detail: None,
            hint: None,
        };
        reply::notice_response(&mut self.line.out, &fields);
    }
}

/// A CommandComplete.
pub(super) fn complete(tag: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    reply::frame(&mut out, b'C', |out| reply::cstr(out, tag));
    out
}

/// The words of a short text, in lower case but for quoted ones, without its marks.
pub(super) fn names(text: &[u8]) -> Vec<String> {
    let Ok(pieces) = routing_rules::cut(
        &text[..text.len().min(NAMES_BYTES)],
        routing_rules::Lex::default(),
    ) else {
        return Vec::new();
    };
    let words = (0..pieces.all.len()).map(|place| pieces.text(place));
    let name = |word: &str| match word.strip_prefix('"').and_then(|word| word.strip_suffix('"')) {
        Some(quoted) => quoted.replace("\"\"", "\""),
        None => word.to_ascii_lowercase(),
    };
    words.filter(|word| *word != ";").map(name).collect()
}

/// A statement about a transaction is no longer than this.
const NAMES_BYTES: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_folded_as_postgresql_folds_them() {
        assert_eq!(names(b"SAVEPOINT Sp1;"), ["savepoint", "sp1"]);
        assert_eq!(
            names(b"ROLLBACK TO SAVEPOINT \"Sp\"\"1\""),
            ["rollback", "to", "savepoint", "Sp\"1"]
        );
        assert_eq!(names(b"\xff"), [""; 0]);
    }

    #[test]
    fn what_is_said_is_found_by_its_savepoint() {
        let said = [&b"SAVEPOINT a"[..], b"SET LOCAL x = 1", b"savepoint \"A\""];
        let mut block = Block::begun(said.map(<[u8]>::to_vec).into());
        assert_eq!(
            (block.savepoint("a"), block.savepoint("A"), block.savepoint("x")),
            (Some(0), Some(2), None)
        );
        block.release("A");
        assert_eq!(block.said().count(), 2);
        block.roll_back_to("a");
        assert_eq!(block.said().collect::<Vec<_>>(), [b"SAVEPOINT a"]);
    }
}
