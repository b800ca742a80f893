//! Cursors over several shards: DECLARE opens a cursor on each, and FETCH and MOVE take as many rows from them as they ask for. What only
//! PostgreSQL can sort or finish is run by DECLARE, and its rows are held, within `merge_memory`. A cursor over one shard's rows is
//! that shard's own.
//!
//! Rows that were come to are kept where they may be gone back to: of a SCROLL cursor always; without a word, as long as they fit;
//! with NO SCROLL never.

use std::ops::Range;

use routing_rules::{Pieces, Plan, Reading, TextKind};

use super::block::{complete, names};
use super::held::Rows;
use super::moves::{ALL, Ask, Stand, Step};
use super::rows::Kept;
use super::run::Job;
use super::source::{PREFIX, Source, no_room};
use super::statement::{Bound, Statement};
use super::{Gather, Halt, no_portal};
use crate::fault::Fault;
use crate::protocol::merge::rows::{Description, Formats};
use crate::protocol::{reply, sqlstate};

/// A cursor.
#[derive(Debug)]
pub(super) struct Cursor {
    /// Its number: no other of the gathering server has it.
    id: u64,
    description: Description,
    /// It was declared BINARY.
    is_binary: bool,
    /// What its rows are written in. That is settled by the first FETCH, if they come as they are fetched.
    formats: Formats,
    scroll: Scroll,
    stand: Stand,
    rows: Rows,
    /// Where more rows come from; `None`: all that are left are here.
    source: Option<Source>,
    /// It was declared WITH HOLD; and the transaction that did it has committed.
    is_held: bool,
    is_committed: bool,
    /// Something has failed on it.
    is_broken: bool,
    /// Its columns must be described before the next row.
    is_undescribed: bool,
}

/// May a cursor go back?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scroll {
    /// It was declared with NO SCROLL.
    Never,
    /// It was declared without a word, and its rows take no more than may be held.
    WhileHeld,
    /// It was, and they have taken more.
    NoMore,
    /// It was declared with SCROLL.
    Always,
}

impl Cursor {
    fn goes_back(&self) -> bool {
        matches!(self.scroll, Scroll::WhileHeld | Scroll::Always)
    }

    /// Bytes it holds.
    fn held(&self) -> usize {
        self.rows.held() + self.source.as_ref().map_or(0, Source::held)
    }

    /// Rows it has come to are held no longer, if it may do without them.
    fn forget(&mut self) {
        if self.scroll == Scroll::WhileHeld {
            self.scroll = Scroll::NoMore;
        }
        if !self.goes_back() {
            self.rows.forget(self.stand.at);
        }
    }

    /// Adds the next row to those it holds, if one is here.
    fn hold(&mut self) -> Result<bool, Halt> {
        match &mut self.source {
            Some(source) => self.rows.add(|rows| source.take(rows)),
            None => Ok(false),
        }
    }

    fn only_forward(&self) -> Halt {
        let fault = Fault::error(sqlstate::NOT_IN_STATE, "cursor can only scan forward");
        let fault = match self.scroll {
            Scroll::NoMore => {
                fault.detail("The rows behind it take more than merge_memory, and are not held.")
            }
            Scroll::Never | Scroll::WhileHeld | Scroll::Always => fault,
        };
        Halt::of(&fault.hint("Declare it with SCROLL option to enable backward scan."))
    }
}

impl Gather {
    /// Does what concerns cursors over several shards. `None`: it is nothing of the kind.
    pub(super) async fn cursor(
        &mut self,
        statement: &Statement,
        bound: &Bound,
        is_simple: bool,
    ) -> Result<Option<Vec<u8>>, Halt> {
        let streams = self.portals.values().any(|portal| portal.source().is_some());
        if self.held_cursors.is_empty() && self.cursors.is_empty() && !streams {
            return Ok(None);
        }
        let text = &statement.text[..];
        let words = names(text);
        let ([verb, between @ .., name], true) = (&words[..], words.len() > 1) else {
            return Ok(None);
        };
        if !matches!(verb.as_str(), "fetch" | "move" | "close") {
            return Ok(None);
        }
        if verb == "close" && name == "all" && !text.contains(&b'"') {
            // The shards have some.
            self.held_cursors.clear();
            self.cursors.clear();
            self.portals.clear();
            return self.everywhere(text).await.map(Some);
        }
        let Some(mut cursor) = self.held_cursors.remove(name) else {
            // Nor is there one by the name that a shard knows it by.
            return match name.starts_with(PREFIX) {
                true => Err(no_cursor(name)),
                false => Ok(None),
            };
        };
        if verb == "close" {
            self.forget_source(cursor.id);
            if let Some(source) = &cursor.source {
                self.end_source(source).await?;
            }
            return Ok(Some(complete(b"CLOSE CURSOR")));
        }
        let was_broken = std::mem::replace(&mut cursor.is_broken, true);
        let fetches = verb == "fetch";
        let done = match Ask::read(between) {
            _ if was_broken => {
                let text = format!("portal \"{name}\" cannot be run");
                Err(Halt::of(&Fault::error(sqlstate::NOT_IN_STATE, text)))
            }
            Some(ask) => self.fetch(&mut cursor, ask, fetches, (bound, is_simple)).await,
            None => self.misspelt(statement).await,
        };
        cursor.is_broken = done.is_err();
        self.held_cursors.insert(name.clone(), cursor);
        let verb = if fetches { "FETCH" } else { "MOVE" };
        done.map(|rows| Some(complete(format!("{verb} {rows}").as_bytes())))
    }

    /// A form of FETCH that is not known: a shard says what is wrong with it.
    async fn misspelt(&mut self, statement: &Statement) -> Result<u64, Halt> {
        self.tell(statement).await?;
        Err(Halt::refused(
            "this form of FETCH or MOVE, on a cursor over several shards",
        ))
    }

    async fn fetch(
        &mut self,
        cursor: &mut Cursor,
        ask: Ask,
        fetches: bool,
        (bound, is_simple): (&Bound, bool),
    ) -> Result<u64, Halt> {
        if fetches {
            let own = Formats(vec![u16::from(cursor.is_binary)]);
            let formats = if is_simple { &own } else { &bound.results };
            self.settle_formats(cursor, formats)?;
            cursor.is_undescribed = is_simple;
        }
        let mut given = 0;
        for step in ask.steps(cursor.stand, fetches) {
            match step {
                Step::Count(count) => given = count,
                Step::Rewind if cursor.stand == Stand::START => {}
                Step::Rewind if !cursor.goes_back() => return Err(cursor.only_forward()),
                Step::Rewind => cursor.stand = Stand::START,
                Step::Forward { count, gives } => {
                    let rows = self.forward(cursor, count, gives && fetches).await?;
                    given = if gives { rows } else { given };
                }
                Step::Backward { .. } if !cursor.goes_back() => return Err(cursor.only_forward()),
                Step::Backward { count, gives } => {
                    let rows = self.backward(cursor, count, gives && fetches).await?;
                    given = if gives { rows } else { given };
                }
            }
        }
        self.describe_rows(cursor);
        Ok(given)
    }

    /// Rows follow, or none. What fails before has no description, as with a PostgreSQL.
    fn describe_rows(&mut self, cursor: &mut Cursor) {
        if std::mem::take(&mut cursor.is_undescribed) {
            cursor.description.write(self.rows_out(), &cursor.formats);
        }
    }

    /// Has the cursor's rows come in these formats, or says that they do not.
    fn settle_formats(&self, cursor: &mut Cursor, formats: &Formats) -> Result<(), Halt> {
        let mut columns = 0..cursor.description.columns.len();
        let gives = match &mut cursor.source {
            Some(source) => self.gives_in(source, formats)?,
            None => columns.all(|column| formats.of(column) == cursor.formats.of(column)),
        };
        if !gives {
            let text = "a cursor over several shards gives all its rows in one format";
            let fault = Fault::error(sqlstate::FEATURE_NOT_SUPPORTED, text);
            return Err(Halt::of(&fault.hint(
                "Fetch all of them as texts, or declare it BINARY and fetch all in binary.",
            )));
        }
        cursor.formats = formats.clone();
        Ok(())
    }

    /// Goes on over so many rows, and gives them out if it is to.
    async fn forward(&mut self, cursor: &mut Cursor, count: u64, gives: bool) -> Result<u64, Halt> {
        if cursor.stand.is_at_end {
            return Ok(0);
        }
        let mut rows = 0;
        while rows < count {
            let number = cursor.stand.at + 1;
            let is_new = number > cursor.rows.last();
            if is_new && !self.comes_to(cursor, count - rows, gives).await? {
                cursor.stand.went_on(0, 1);
                break;
            }
            if gives {
                self.give(cursor, number);
            }
            cursor.stand.went_on(1, 1);
            rows += 1;
            self.press().await?;
        }
        Ok(rows)
    }

    fn give(&mut self, cursor: &mut Cursor, number: u64) {
        self.describe_rows(cursor);
        if let Some(row) = cursor.rows.row(number) {
            self.rows_out().extend_from_slice(row);
        }
    }

    /// The next row is held from now on, if there is one; or just given out, where it can't be gone back to.
    async fn comes_to(&mut self, cursor: &mut Cursor, wanted: u64, gives: bool) -> Result<bool, Halt> {
        self.see_to(cursor, wanted).await?;
        if cursor.goes_back() {
            return cursor.hold();
        }
        if gives {
            self.describe_rows(cursor);
        }
        let Some(source) = &mut cursor.source else {
            return Ok(false);
        };
        let mut nowhere = Vec::new();
        let out = if gives { self.rows_out() } else { &mut nowhere };
        let has_come = source.take(out)?;
        cursor.rows.forget(cursor.stand.at);
        cursor.rows.before += u64::from(has_come);
        Ok(has_come)
    }

    /// Sees to it that the next row is here, if there is one.
    async fn see_to(&mut self, cursor: &mut Cursor, wanted: u64) -> Result<(), Halt> {
        if let Some(mut source) = cursor.source.take_if(|source| source.lacks()) {
            let room = self.room_for(cursor)?;
            self.come_to(&mut source, wanted, room).await?;
            cursor.source = Some(source);
        }
        Ok(())
    }

    /// Bytes that may come for a cursor. What can be done without is forgotten first.
    fn room_for(&mut self, cursor: &mut Cursor) -> Result<usize, Halt> {
        let max = self.terms.merge_memory;
        let enough = max / 4;
        let held = |gather: &Gather, cursor: &Cursor| gather.held_rows() + cursor.rows.held();
        if held(self, cursor) + enough > max {
            cursor.forget();
            self.held_cursors.values_mut().for_each(Cursor::forget);
        }
        match max.checked_sub(held(self, cursor)) {
            Some(room) if room >= enough => Ok(room),
            Some(_) | None => Err(no_room()),
        }
    }

    fn held_rows(&self) -> usize {
        self.held_cursors.values().map(Cursor::held).sum()
    }

    /// Goes back over so many rows, and gives them out if it is to.
    async fn backward(&mut self, cursor: &mut Cursor, count: u64, gives: bool) -> Result<u64, Halt> {
        let here = cursor.stand.at + u64::from(cursor.stand.is_at_end);
        let rows = cursor.stand.behind(count);
        for number in (here - rows..here).rev() {
            if gives {
                self.give(cursor, number);
                self.press().await?;
            }
        }
        cursor.stand.went_back(rows, count);
        Ok(rows)
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
            // As texts, even if it is BINARY: PostgreSQL gives such a portal no formats.
            cursor.description.write(&mut self.line.out, &Formats::default());
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
        let is_declared = |id| block.as_ref().is_some_and(|block| block.declares(id));
        self.held_cursors
            .retain(|_, cursor| cursor.is_committed || is_declared(cursor.id));
        self.portals
            .retain(|_, portal| portal.source().is_none_or(is_declared));
    }

    /// Before a transaction commits, what is left of the cursors it has declared WITH HOLD comes here: their shards' cursors end
    /// with it.
    pub(super) async fn hold_rows(&mut self) -> Result<(), Halt> {
        let is_left = |cursor: &Cursor| cursor.is_held && !cursor.is_committed && cursor.source.is_some();
        let names = self.held_cursors.iter().filter(|(_, cursor)| is_left(cursor));
        let names: Vec<String> = names.map(|(name, _)| name.clone()).collect();
        for name in names {
            let Some(mut cursor) = self.held_cursors.remove(&name) else {
                continue;
            };
            if cursor.is_broken {
                continue;
            }
            loop {
                self.see_to(&mut cursor, ALL).await?;
                if !cursor.hold()? {
                    break;
                }
            }
            cursor.source = None;
            self.held_cursors.insert(name, cursor);
        }
        Ok(())
    }

    /// The transaction has committed: cursors WITH HOLD outlive it.
    pub(super) fn keep_cursors(&mut self) {
        self.held_cursors
            .values_mut()
            .filter(|cursor| cursor.is_held)
            .for_each(|cursor| cursor.is_committed = true);
    }

    /// Is there a cursor that outlives its transaction?
    pub(super) fn has_kept_cursors(&self) -> bool {
        self.held_cursors.values().any(|cursor| cursor.is_committed)
    }

    /// Does such a cursor read from this shard?
    pub(super) fn is_read(&self, at: usize) -> bool {
        let reads = |cursor: &Cursor| {
            cursor.is_committed && cursor.source.as_ref().is_some_and(|source| source.reads(at))
        };
        self.held_cursors.values().any(reads)
    }

    /// DECLARE of a query for several shards, or WITH HOLD.
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
        // Outside of a transaction the shards keep what they hold, else it comes here when that commits.
        let is_committed = head.is_held && self.block.is_none() && !self.is_implicit;
        let plan = reading.plan.as_ref().filter(|_| on.len() > 1);
        let text = &pieces.text[head.query.clone()];
        let source = match plan {
            Some(Ok(Plan::Finish(_))) => None,
            Some(Ok(Plan::Merge(merge))) => {
                self.open_source(on, own, Some((merge, pieces)), text, is_committed)
                    .await?
            }
            Some(Ok(Plan::Concatenate) | Err(_)) | None => {
                self.open_source(on, own, None, text, is_committed).await?
            }
        };
        let mut rows = Rows::default();
        if source.is_none() {
            let outer = self.kept.replace(Kept::default());
            match plan {
                Some(Ok(Plan::Merge(merge))) => self.merged(on, own, merge, pieces).await?,
                Some(Ok(Plan::Finish(finish))) => self.finished(on, own, finish, pieces).await?,
                Some(Ok(Plan::Concatenate) | Err(_)) | None => Vec::new(),
            };
            let kept = std::mem::replace(&mut self.kept, outer).unwrap_or_default();
            if self.held_rows() + kept.bytes.len() > self.terms.merge_memory {
                return Err(no_room());
            }
            rows = Rows::of(kept.bytes);
        }
        let id = match &source {
            Some(source) => source.id,
            None => self.next_source(),
        };
        if let Some(block) = self.block.as_mut().filter(|block| !block.declares(id)) {
            block.declare(id)?;
        }
        let cursor = Cursor {
            id,
            description,
            is_binary: head.is_binary,
            formats: bound.results.clone(),
            scroll: head.scroll,
            stand: Stand::START,
            rows,
            source,
            is_held: head.is_held,
            is_committed,
            is_broken: false,
            is_undescribed: false,
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
        if self.block.is_none() && !head.is_held {
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
                "too many cursors in one session over several shards",
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
    scroll: Scroll,
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
            scroll: match words.iter().any(|word| word == "scroll") {
                true if has(["no", "scroll"]) => Scroll::Never,
                true => Scroll::Always,
                false => Scroll::WhileHeld,
            },
            is_held: has(["with", "hold"]),
            query: Some(pieces.bytes(verb + 1..range.end)).filter(|query| !query.is_empty())?,
        })
    }
}

/// What a statement reads: a DECLARE's query, or all of it.
pub(super) fn query_of<'a>(pieces: &Pieces<'a>) -> &'a str {
    match Head::read(pieces) {
        Some(head) if pieces.text(0).eq_ignore_ascii_case("declare") => &pieces.text[head.query],
        Some(_) | None => pieces.text,
    }
}

/// Does this DECLARE say so?
pub(super) fn is_with_hold(pieces: &Pieces<'_>) -> bool {
    Head::read(pieces).is_some_and(|head| head.is_held)
}

fn no_cursor(name: &str) -> Halt {
    let text = format!("cursor \"{name}\" does not exist");
    Halt::of(&Fault::error(sqlstate::NO_SUCH_PORTAL, text))
}
