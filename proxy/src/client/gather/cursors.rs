//! Cursors over several shards: DECLARE runs the query, and its rows are held, within `merge_memory`, for FETCH and MOVE to take.
//! So nothing that is written afterwards is seen. A cursor over one shard's rows is that shard's own.

use std::ops::Range;

use routing_rules::{Pieces, Plan, Reading, TextKind};

use super::block::{complete, names};
use super::rows::{Kept, too_much};
use super::run::Job;
use super::statement::{Bound, Statement};
use super::{Gather, Halt, no_portal};
use crate::fault::Fault;
use crate::protocol::frame;
use crate::protocol::merge::rows::{Description, Formats};
use crate::protocol::{reply, sqlstate};

/// A cursor.
#[derive(Debug, Default)]
pub(super) struct Cursor {
    description: Description,
    /// What its rows are written in.
    is_binary: bool,
    /// It was declared with NO SCROLL.
    is_forward_only: bool,
    /// DataRow messages, and where each ends.
    rows: Vec<u8>,
    ends: Vec<usize>,
    /// The row it stands on, from 1; 0: before the first. One more than there are: behind the last.
    at: usize,
}

/// What FETCH or MOVE asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ask {
    Forward(usize),
    Backward(usize),
    Absolute(i64),
    Relative(i64),
}

impl Ask {
    /// Reads what stands between the verb and the cursor's name.
    fn read(words: &[String]) -> Option<Ask> {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let words = match &words[..] {
            [own @ .., "from" | "in"] => own,
            own => own,
        };
        let (verb, number) = match words {
            [verb, "-", number] => (Some(*verb), Some(format!("-{number}"))),
            ["-", number] => (None, Some(format!("-{number}"))),
            [verb, "+", number] => (Some(*verb), Some((*number).to_owned())),
            [number] if number.starts_with(|first: char| first.is_ascii_digit()) => {
                (None, Some((*number).to_owned()))
            }
            [verb, number] => (Some(*verb), Some((*number).to_owned())),
            [verb] => (Some(*verb), None),
            [] => (None, None),
            _ => return None,
        };
        let is_all = number.as_deref() == Some("all");
        let count = match &number {
            Some(_) if is_all => None,
            Some(number) => Some(number.parse::<i64>().ok()?),
            None => None,
        };
        let forward = |count: i64| match usize::try_from(count) {
            Ok(count) => Ask::Forward(count),
            Err(_) => Ask::Backward(usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX)),
        };
        let turned = |ask: Ask| match ask {
            Ask::Forward(0) => ask,
            Ask::Forward(count) => Ask::Backward(count),
            Ask::Backward(count) => Ask::Forward(count),
            ask => ask,
        };
        Some(match (verb, count) {
            (None, Some(count)) => forward(count),
            (None, None) | (Some("next" | "forward"), None) if !is_all => Ask::Forward(1),
            (Some("all"), None) | (Some("forward"), None) => Ask::Forward(usize::MAX),
            (Some("prior"), None) => Ask::Backward(1),
            (Some("backward"), None) if !is_all => Ask::Backward(1),
            (Some("backward"), None) => Ask::Backward(usize::MAX),
            (Some("first"), None) => Ask::Absolute(1),
            (Some("last"), None) => Ask::Absolute(-1),
            (Some("forward"), Some(count)) => forward(count),
            (Some("backward"), Some(count)) => turned(forward(count)),
            (Some("absolute"), Some(count)) => Ask::Absolute(count),
            (Some("relative"), Some(count)) => Ask::Relative(count),
            _ => return None,
        })
    }
}

impl Cursor {
    fn len(&self) -> usize {
        self.ends.len()
    }

    /// The row of a number from 1.
    fn row(&self, number: usize) -> &[u8] {
        let from = match number.checked_sub(2) {
            Some(before) => self.ends[before],
            None => 0,
        };
        &self.rows[from..self.ends[number - 1]]
    }

    /// Moves, and gives the numbers of the rows that are passed, in their order; as `DoPortalRunFetch` of `pquery.c` does. `None`: it
    /// would go back, and may not.
    fn take(&mut self, ask: Ask) -> Option<Vec<usize>> {
        let (before, end) = (self.at, self.len() + 1);
        let (at, rows) = match ask {
            Ask::Forward(0) | Ask::Relative(0) => {
                let is_on_row = (1..end).contains(&before);
                if is_on_row && self.is_forward_only {
                    return None;
                }
                (before, if is_on_row { vec![before] } else { Vec::new() })
            }
            Ask::Forward(count) => {
                let first = (before + 1).min(end);
                let last = before.saturating_add(count);
                (last.min(end), (first..end.min(last.saturating_add(1))).collect())
            }
            Ask::Backward(count) => {
                let last = before.saturating_sub(count);
                (last, (last.max(1)..before).rev().collect())
            }
            Ask::Absolute(number) => {
                let away = usize::try_from(number.unsigned_abs()).unwrap_or(usize::MAX);
                let at = match number < 0 {
                    true => end.saturating_sub(away),
                    false => away.min(end),
                };
                (at, vec![at])
            }
            Ask::Relative(number) => {
                let away = usize::try_from(number.unsigned_abs()).unwrap_or(usize::MAX);
                let at = match number < 0 {
                    true => before.saturating_sub(away),
                    false => before.saturating_add(away).min(end),
                };
                (at, vec![at])
            }
        };
        let goes_back = at < before || at == before && matches!(ask, Ask::Absolute(_)) && at > 0;
        if goes_back && self.is_forward_only {
            return None;
        }
        self.at = at;
        Some(rows.into_iter().filter(|row| (1..end).contains(row)).collect())
    }
}

impl Gather {
    /// Does what concerns cursors over several shards. `None`: it is nothing of the kind.
    pub(super) fn cursor(
        &mut self,
        text: &[u8],
        bound: &Bound,
        is_simple: bool,
    ) -> Result<Option<Vec<u8>>, Halt> {
        if self.held_cursors.is_empty() {
            return Ok(None);
        }
        let words = names(text);
        let ([verb, between @ .., name], true) = (&words[..], words.len() > 1) else {
            return Ok(None);
        };
        let is_all = verb == "close" && name == "all";
        if !matches!(verb.as_str(), "fetch" | "move" | "close")
            || !is_all && !self.held_cursors.contains_key(name)
        {
            return Ok(None);
        }
        match verb.as_str() {
            "close" if is_all => {
                self.held_cursors.clear();
                // The shards may have some.
                Ok(None)
            }
            "close" => {
                self.held_cursors.remove(name);
                Ok(Some(complete(b"CLOSE CURSOR")))
            }
            verb => self
                .take(name, verb == "fetch", Ask::read(between), bound, is_simple)
                .map(Some),
        }
    }

    fn take(
        &mut self,
        name: &str,
        fetches: bool,
        ask: Option<Ask>,
        bound: &Bound,
        is_simple: bool,
    ) -> Result<Vec<u8>, Halt> {
        let ask =
            ask.ok_or_else(|| Halt::refused("this form of FETCH or MOVE, on a cursor over several shards"))?;
        let out = match &mut self.kept {
            Some(kept) => kept.out(),
            None => &mut self.line.out,
        };
        let Some(cursor) = self.held_cursors.get_mut(name) else {
            return Ok(Vec::new());
        };
        let format = u16::from(cursor.is_binary);
        let is_other = |place: usize| bound.results.of(place) != format;
        if fetches && !is_simple && (0..cursor.description.columns.len()).any(is_other) {
            let text = "a cursor over several shards gives its rows in the format it was declared with";
            return Err(Halt::of(
                &Fault::error(sqlstate::FEATURE_NOT_SUPPORTED, text)
                    .hint("Declare it BINARY, or fetch texts."),
            ));
        }
        let Some(rows) = cursor.take(ask) else {
            let fault = Fault::error(sqlstate::NOT_IN_STATE, "cursor can only scan forward");
            return Err(Halt::of(
                &fault.hint("Declare it with SCROLL option to enable backward scan."),
            ));
        };
        if fetches {
            if is_simple {
                cursor.description.write(out, &Formats(vec![format]));
            }
            rows.iter()
                .for_each(|&row| out.extend_from_slice(cursor.row(row)));
        }
        let verb = if fetches { "FETCH" } else { "MOVE" };
        Ok(complete(format!("{verb} {}", rows.len()).as_bytes()))
    }

    /// The rows a FETCH gives, if it is one of a cursor over several shards.
    pub(super) fn fetched(&self, words: &[String]) -> Option<Description> {
        let [fetch, .., name] = words else { return None };
        let cursor = self.held_cursors.get(name).filter(|_| fetch == "fetch")?;
        Some(cursor.description.clone())
    }

    /// A portal that no Bind has made: a cursor.
    pub(super) async fn describe_cursor(&mut self, name: &[u8]) -> Result<(), Halt> {
        let own = String::from_utf8_lossy(name).into_owned();
        if let Some(cursor) = self.held_cursors.get(&own) {
            let format = Formats(vec![u16::from(cursor.is_binary)]);
            cursor.description.write(&mut self.line.out, &format);
            return Ok(());
        }
        let at = self.cursors.get(&own).copied().ok_or_else(|| no_portal(name))?;
        let mut question = Vec::new();
        reply::frame(&mut question, b'D', |out| {
            out.push(b'P');
            reply::cstr(out, name);
        });
        reply::frame(&mut question, b'S', |_| ());
        self.send(at, &question, 1).await?;
        let mut among = vec![at];
        while let Some((at, header)) = self.next(&mut among).await? {
            self.pass(at, header);
            self.consume(at, header);
        }
        Ok(())
    }

    /// Cursors that a transaction has declared end with it, or with the savepoint behind which they were declared.
    pub(super) fn end_cursors(&mut self) {
        let block = &self.block;
        self.held_cursors
            .retain(|name, _| block.as_ref().is_some_and(|block| block.declares(name)));
    }

    /// DECLARE of a query for several shards: it is run, and its rows are held.
    pub(super) async fn declare(
        &mut self,
        on: &[usize],
        job: Job<'_>,
        reading: &Reading,
        pieces: &Pieces<'_>,
    ) -> Result<Vec<u8>, Halt> {
        let head =
            Head::read(pieces).ok_or_else(|| Halt::refused("this form of DECLARE over several shards"))?;
        self.check_cursor(&head, reading)?;
        self.before += pieces.text[..head.query.start].chars().count();
        let query = Statement {
            text: pieces.text[head.query.clone()].into(),
            types: job.statement.types_known(),
            ..Statement::default()
        };
        self.tell(&query).await?;
        let told = query.told.borrow().as_ref().and_then(|told| told.rows.clone());
        let description = told.ok_or_else(|| Halt::refused("DECLARE of what gives no rows"))?;
        let bound = Bound {
            results: Formats(vec![u16::from(head.is_binary)]),
            ..job.bound.clone()
        };
        let own = Job {
            statement: &query,
            bound: &bound,
            is_simple: false,
            ..job
        };
        let outer = self.kept.replace(Kept::default());
        match &reading.plan {
            Some(Ok(Plan::Merge(merge))) => self.merged(on, own, merge, pieces).await?,
            Some(Ok(Plan::Finish(finish))) => self.finished(on, own, finish, pieces).await?,
            Some(Ok(Plan::Concatenate) | Err(_)) | None => {
                let messages = bound.messages(&query.text, &query.types_for_shards(), &bound.results);
                self.concatenate(on, own, &messages, false).await?
            }
        };
        let kept = std::mem::replace(&mut self.kept, outer).unwrap_or_default();
        let held: usize = self.held_cursors.values().map(|cursor| cursor.rows.len()).sum();
        if held + kept.bytes.len() > self.terms.merge_memory {
            return Err(too_much(
                "the rows of cursors over several shards take more than merge_memory",
                "Close some, use LIMIT, or raise merge_memory.",
            ));
        }
        if let Some(block) = &mut self.block {
            block.declare(&head.name)?;
        }
        let cursor = Cursor {
            description,
            is_binary: head.is_binary,
            is_forward_only: head.is_forward_only,
            ends: ends(&kept.bytes),
            rows: kept.bytes,
            at: 0,
        };
        self.held_cursors.insert(head.name, cursor);
        Ok(complete(b"DECLARE CURSOR"))
    }

    fn check_cursor(&self, head: &Head, reading: &Reading) -> Result<(), Halt> {
        let refused = |text: &str, hint: &str| {
            Err(Halt::of(
                &Fault::error(sqlstate::FEATURE_NOT_SUPPORTED, text).hint(hint),
            ))
        };
        if head.is_held {
            return refused(
                "a cursor WITH HOLD over several shards",
                "Declare it without, and fetch its rows within the transaction.",
            );
        }
        if self.block.is_none() {
            let text = "DECLARE CURSOR can only be used in transaction blocks";
            return Err(Halt::of(&Fault::error(sqlstate::NO_ACTIVE_TRANSACTION, text)));
        }
        if reading.kind != TextKind::Read {
            return refused(
                "a cursor FOR UPDATE or FOR SHARE over several shards",
                "Tie its query to one tenant, or lock the rows by a SELECT of its own.",
            );
        }
        if self.held_cursors.contains_key(&head.name) || self.cursors.contains_key(&head.name) {
            let text = format!("cursor \"{}\" already exists", head.name);
            return Err(Halt::of(&Fault::error(sqlstate::DUPLICATE_CURSOR, text)));
        }
        match self.held_cursors.len() < CURSORS_MAX {
            true => Ok(()),
            false => Err(Halt::of(&Fault::error(
                sqlstate::PROGRAM_LIMIT,
                "too many cursors in one transaction over several shards",
            ))),
        }
    }
}

/// Cursors one gathering server holds.
const CURSORS_MAX: usize = 1000;

/// `DECLARE name … CURSOR … FOR`, and where its query stands in the text.
struct Head {
    name: String,
    is_binary: bool,
    is_forward_only: bool,
    is_held: bool,
    query: Range<usize>,
}

impl Head {
    fn read(pieces: &Pieces<'_>) -> Option<Head> {
        let range = pieces.statements().into_iter().next()?;
        let word = |place: usize| pieces.text(place).to_ascii_lowercase();
        let verb = range.clone().find(|&place| word(place) == "for")?;
        let words: Vec<String> = (range.start + 2..verb).map(word).collect();
        let has = |pair: [&str; 2]| words.windows(2).any(|own| own == pair);
        Some(Head {
            name: names(pieces.range(range.start, range.start + 1).as_bytes()).pop()?,
            is_binary: words.iter().any(|word| word == "binary"),
            is_forward_only: has(["no", "scroll"]),
            is_held: has(["with", "hold"]),
            query: Some(pieces.bytes(verb + 1..range.end)).filter(|query| !query.is_empty())?,
        })
    }
}

/// Where each of these messages ends.
fn ends(messages: &[u8]) -> Vec<usize> {
    let (mut ends, mut at) = (Vec::new(), 0);
    while let Ok(Some(header)) = frame::header(&messages[at..])
        && messages.len() - at >= header.total
    {
        at += header.total;
        ends.push(at);
    }
    ends
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(text: &str) -> Option<Ask> {
        let words = names(text.as_bytes());
        Ask::read(&words[1..words.len() - 1])
    }

    #[test]
    fn what_is_fetched_is_read() {
        for (text, expected) in [
            ("FETCH c", Some(Ask::Forward(1))),
            ("FETCH NEXT FROM c", Some(Ask::Forward(1))),
            ("FETCH 5 IN c", Some(Ask::Forward(5))),
            ("FETCH -5 c", Some(Ask::Backward(5))),
            ("FETCH ALL FROM c", Some(Ask::Forward(usize::MAX))),
            ("FETCH FORWARD ALL FROM c", Some(Ask::Forward(usize::MAX))),
            ("FETCH FORWARD 7 FROM c", Some(Ask::Forward(7))),
            ("FETCH FORWARD c", Some(Ask::Forward(1))),
            ("FETCH BACKWARD c", Some(Ask::Backward(1))),
            ("FETCH BACKWARD ALL c", Some(Ask::Backward(usize::MAX))),
            ("FETCH BACKWARD -2 c", Some(Ask::Forward(2))),
            ("FETCH PRIOR c", Some(Ask::Backward(1))),
            ("FETCH FIRST c", Some(Ask::Absolute(1))),
            ("FETCH LAST c", Some(Ask::Absolute(-1))),
            ("FETCH ABSOLUTE -3 c", Some(Ask::Absolute(-3))),
            ("FETCH RELATIVE 3 FROM c", Some(Ask::Relative(3))),
            ("FETCH 1 2 3 FROM c", None),
            ("FETCH SIDEWAYS c", None),
        ] {
            assert_eq!(ask(text), expected, "{text}");
        }
    }

    #[test]
    fn a_cursor_moves_as_postgresqls_does() {
        let mut cursor = Cursor {
            ends: vec![1, 2, 3, 4],
            rows: b"abcd".to_vec(),
            ..Cursor::default()
        };
        for (ask, rows, at) in [
            (Ask::Forward(2), vec![1, 2], 2),
            (Ask::Forward(0), vec![2], 2),
            (Ask::Forward(2), vec![3, 4], 4),
            (Ask::Forward(2), vec![], 5),
            (Ask::Backward(1), vec![4], 4),
            (Ask::Backward(usize::MAX), vec![3, 2, 1], 0),
            (Ask::Absolute(3), vec![3], 3),
            (Ask::Absolute(-4), vec![1], 1),
            (Ask::Relative(-1), vec![], 0),
            (Ask::Forward(usize::MAX), vec![1, 2, 3, 4], 5),
            (Ask::Absolute(0), vec![], 0),
        ] {
            assert_eq!((cursor.take(ask), cursor.at), (Some(rows), at), "{ask:?}");
        }
        cursor.is_forward_only = true;
        assert_eq!(cursor.take(Ask::Forward(3)), Some(vec![1, 2, 3]));
        assert_eq!((cursor.take(Ask::Backward(1)), cursor.at), (None, 3));
        assert_eq!(cursor.take(Ask::Absolute(4)), Some(vec![4]));
        assert_eq!(cursor.row(4), b"d");
    }
}
