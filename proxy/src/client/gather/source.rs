//! Rows of several shards that come as they are asked for: each shard has a cursor of its own, which is fetched from a few rows at a
//! time, and their rows are merged. What it is that reads them, a cursor or a portal, is not for this file.
//!
//! A shard's cursor reads by the snapshot of its DECLARE, and other statements may run between two fetches.

use std::cmp::Ordering;
use std::ops::Range;

use routing_rules::{Merge, Pieces, SortKey};

use super::merged::{Sort, misread, number};
use super::rows::{changed, too_much};
use super::run::Job;
use super::statement::Bound;
use super::{Gather, Halt};
use crate::fault::Fault;
use crate::protocol::frame::{self, HEADER};
use crate::protocol::merge::order::{Key, Misread, Order, Ways};
use crate::protocol::merge::rows::{Description, Formats, columns, write_first};
use crate::protocol::{reply, sqlstate};

/// The rows.
#[derive(Debug)]
pub(super) struct Source {
    /// Its number: no other of the gathering server has it.
    pub id: u64,
    feeds: Vec<Feed>,
    /// A shard's rows, hidden columns included.
    description: Description,
    hidden: usize,
    sort: Vec<SortKey>,
    /// What the rows are written in, how they compare, and what that depends on; settled when the first rows are asked for.
    formats: Formats,
    keys: Option<(Vec<Key>, Ways)>,
    /// Rows to leave out, and then to give.
    offset: u64,
    limit: u64,
    /// Rows a shard may be asked for at a time.
    batch: usize,
}

/// One shard's rows that are here and not given yet.
#[derive(Debug, Default)]
struct Feed {
    /// The shard's place.
    at: usize,
    /// DataRow messages, how far they are used, and how many are left.
    bytes: Vec<u8>,
    used: usize,
    rows: usize,
    /// The first one's length, and where its columns are in its body.
    first: usize,
    places: Vec<Option<Range<usize>>>,
    has_more: bool,
}

/// What the names of the shards' cursors begin with.
pub(super) const PREFIX: &str = "pgshunt cursor ";

/// The first rows a shard is asked for: how long they are is not known yet.
const BATCH_FIRST: usize = 4;

/// The most that a shard is asked for at a time, in rows and, as far as those before tell, in bytes.
const BATCH_ROWS: usize = 10_000;
const BATCH_BYTES: usize = 256 * 1024;

impl Feed {
    fn body(&self) -> &[u8] {
        &self.bytes[self.used + HEADER..self.used + self.first]
    }

    fn value(&self, column: usize) -> Option<&[u8]> {
        self.body().get(self.places.get(column)?.clone()?)
    }

    /// Finds the first row among what is here.
    fn look(&mut self) -> Result<(), Halt> {
        if self.rows == 0 {
            (self.used, self.first) = (0, 0);
            self.bytes.clear();
            if self.bytes.capacity() > 4 * BATCH_BYTES {
                self.bytes = Vec::new();
            }
            return Ok(());
        }
        let Ok(Some(header)) = frame::header(&self.bytes[self.used..]) else {
            return Err(misread());
        };
        self.first = header.total;
        let body = &self.bytes[self.used + HEADER..self.used + self.first];
        match columns(body, &mut self.places) {
            true => Ok(()),
            false => Err(misread()),
        }
    }

    fn advance(&mut self) -> Result<(), Halt> {
        self.used += self.first;
        self.rows -= 1;
        self.look()
    }
}

impl Source {
    /// The name of the shards' cursors.
    fn name(&self) -> String {
        format!("\"{PREFIX}{}\"", self.id)
    }

    /// Bytes that are here.
    pub(super) fn held(&self) -> usize {
        self.feeds.iter().map(|feed| feed.bytes.len()).sum()
    }

    /// Does it read from this shard?
    pub(super) fn reads(&self, at: usize) -> bool {
        self.feeds.iter().any(|feed| feed.at == at)
    }

    /// Must more rows come before it is known which is next?
    pub(super) fn lacks(&self) -> bool {
        let is_empty = |feed: &Feed| feed.rows == 0;
        let may_come = |feed: &Feed| feed.rows == 0 && feed.has_more;
        match self.sort.is_empty() {
            true => self.feeds.iter().all(is_empty) && self.feeds.iter().any(may_come),
            false => self.feeds.iter().any(may_come),
        }
    }

    /// The feed with the next row.
    fn next(&self) -> Result<Option<usize>, Halt> {
        let keys = self.keys.as_ref().map_or(&[][..], |(keys, _)| keys);
        let with_rows = (0..self.feeds.len()).filter(|&place| self.feeds[place].rows > 0);
        let mut least = None;
        for place in with_rows {
            let Some(so_far) = least else {
                least = Some(place);
                continue;
            };
            match compare(keys, &self.feeds[place], &self.feeds[so_far]) {
                // Of equal rows, those of the earlier shard come first.
                Ok(Ordering::Equal | Ordering::Greater) => {}
                Ok(Ordering::Less) => least = Some(place),
                Err(Misread) => return Err(misread()),
            }
        }
        Ok(least)
    }

    /// Takes the next row, if it is here, and adds it to `out` without its hidden columns.
    pub(super) fn take(&mut self, out: &mut Vec<u8>) -> Result<bool, Halt> {
        let Some(place) = self.next()?.filter(|_| self.limit > 0) else {
            return Ok(false);
        };
        let feed = &mut self.feeds[place];
        match self.hidden {
            0 => out.extend_from_slice(&feed.bytes[feed.used..feed.used + feed.first]),
            hidden => write_first(
                out,
                feed.body(),
                &feed.places,
                feed.places.len().saturating_sub(hidden),
            ),
        }
        feed.advance()?;
        self.limit -= 1;
        Ok(true)
    }

    /// So many rows of a shard are asked for.
    fn ask(&self, count: usize) -> Vec<u8> {
        let text = format!("FETCH FORWARD {count} FROM {}", self.name());
        Bound::default().messages(text.as_bytes(), &[], &self.formats)
    }
}

fn compare(keys: &[Key], one: &Feed, other: &Feed) -> Result<Ordering, Misread> {
    for key in keys {
        let order = key.compare(one.value(key.column), other.value(key.column))?;
        if order != Ordering::Equal {
            return Ok(order);
        }
    }
    Ok(Ordering::Equal)
}

/// More rows are here than may be.
pub(super) fn no_room() -> Halt {
    too_much(
        "the rows of cursors over several shards take more than merge_memory",
        "Declare them NO SCROLL, close some, use LIMIT, or raise merge_memory.",
    )
}

impl Gather {
    /// Opens a cursor on each of these shards, who are in the transaction if there is one. `query` is what they read if there is
    /// no merge. `None`: only PostgreSQL can sort these rows, so they can't come a few at a time.
    pub(super) async fn open_source(
        &mut self,
        on: &[usize],
        job: Job<'_>,
        merge: Option<(&Merge, &Pieces<'_>)>,
        query: &str,
        is_held: bool,
    ) -> Result<Option<Source>, Halt> {
        let mut source = Source {
            id: self.next_source(),
            feeds: Vec::new(),
            description: Description::default(),
            hidden: 0,
            sort: Vec::new(),
            formats: job.bound.results.clone(),
            keys: None,
            offset: 0,
            limit: u64::MAX,
            batch: BATCH_FIRST,
        };
        let mut text = query.to_owned();
        if let Some((merge, pieces)) = merge {
            source.limit = number(merge.limit, job, pieces, "LIMIT")?.unwrap_or(u64::MAX);
            source.offset = number(merge.offset, job, pieces, "OFFSET")?.unwrap_or(0);
            source.sort = merge.keys.clone();
            source.hidden = merge.hidden;
            self.learn_ways(on, &merge.keys, None).await?;
            text = merge.shard.render(pieces);
        }
        self.keeps_position = false;
        let hold = if is_held { " WITH HOLD" } else { "" };
        let text = format!("DECLARE {} NO SCROLL CURSOR{hold} FOR {text}", source.name());
        let types = job.statement.types_for_shards();
        let mut messages = job.bound.messages(text.as_bytes(), &types, &Formats::default());
        reply::frame(&mut messages, b'D', |out| {
            out.push(b'P');
            reply::cstr(out, source.name().trim_matches('"').as_bytes());
        });
        reply::frame(&mut messages, b'S', |_| ());
        for &at in on {
            if let Some(part) = &mut self.parts[at] {
                part.is_dirty |= is_held;
            }
            self.send(at, &messages, 2).await?;
            source.feeds.push(Feed {
                at,
                has_more: true,
                ..Feed::default()
            });
        }
        if let Some(block) = &mut self.block {
            block.declare(source.id)?;
        }
        source.description = self.described(on).await?;
        let outputs = source.description.columns.len().saturating_sub(source.hidden);
        let own = Description {
            columns: source.description.columns[..outputs].to_vec(),
        };
        if job.told().is_some_and(|told| !told.fits(&own)) {
            return Err(changed());
        }
        match self.settle_order(&mut source, &job.bound.results)? {
            true => Ok(Some(source)),
            false => {
                self.end_source(&source).await?;
                Ok(None)
            }
        }
    }

    /// What these shards say of a cursor's rows.
    async fn described(&mut self, on: &[usize]) -> Result<Description, Halt> {
        let mut first: Option<(usize, Description)> = None;
        let mut among = on.to_vec();
        while let Some((at, header)) = self.next(&mut among).await? {
            if header.kind == b'T' {
                let description = self.description(at, header)?;
                match &first {
                    Some((_, first)) if !first.fits(&description) => return Err(self.unlike(at)),
                    // Types that users made have numbers of their own on each shard: the first one's count.
                    Some((place, _)) if *place < at => {}
                    Some(_) | None => first = Some((at, description)),
                }
            }
            self.consume(at, header);
        }
        first
            .map(|(_, description)| description)
            .ok_or_else(|| self.unlike(on[0]))
    }

    /// Settles what the rows are written in, `formats` being that of the client's columns. False: so written, only PostgreSQL can
    /// sort them.
    fn settle_order(&self, source: &mut Source, formats: &Formats) -> Result<bool, Halt> {
        let outputs = source.description.columns.len().saturating_sub(source.hidden);
        source.formats = formats.with_hidden(outputs, source.hidden);
        if source.sort.is_empty() {
            return Ok(true);
        }
        let is_c = self.terms.is_c.get().unwrap_or(false);
        let sort = self.sort_of(&source.sort, outputs, &source.formats, &source.description, is_c)?;
        let Sort::Exact(keys) = sort else {
            return Ok(false);
        };
        source.keys = Some((keys, self.ways(is_c)));
        Ok(true)
    }

    /// Does the source give the client's columns in these formats? Before its first row has come it may still be asked to.
    pub(super) fn gives_in(&self, source: &mut Source, formats: &Formats) -> Result<bool, Halt> {
        let outputs = source.description.columns.len().saturating_sub(source.hidden);
        let is_same = (0..outputs).all(|column| source.formats.of(column) == formats.of(column));
        let is_untouched = source.feeds.iter().all(|feed| feed.has_more && feed.rows == 0);
        if is_same || !is_untouched {
            return Ok(is_same);
        }
        let before = source.formats.clone();
        let is_settled = self.settle_order(source, formats)?;
        if !is_settled {
            source.formats = before;
        }
        Ok(is_settled)
    }

    /// Sees to it that the next row is here, if there is one; so many are wanted in all, and `room` is there for their bytes.
    pub(super) async fn come_to(
        &mut self,
        source: &mut Source,
        wanted: u64,
        room: usize,
    ) -> Result<(), Halt> {
        while source.limit > 0 {
            if source.lacks() {
                self.fill(source, wanted, room).await?;
                continue;
            }
            if source.offset == 0 {
                break;
            }
            let Some(place) = source.next()? else { break };
            source.feeds[place].advance()?;
            source.offset -= 1;
        }
        Ok(())
    }

    /// Fetches from the shards whose rows are given, and from those that will soon come to that.
    async fn fill(&mut self, source: &mut Source, wanted: u64, room: usize) -> Result<(), Halt> {
        self.check_ways(source).await?;
        let wanted = wanted.min(source.limit).saturating_add(source.offset);
        let count = source
            .batch
            .min(usize::try_from(wanted).unwrap_or(usize::MAX))
            .max(1);
        let messages = source.ask(count);
        self.keeps_position = false;
        let mut asked = Vec::new();
        for place in 0..source.feeds.len() {
            let feed = &source.feeds[place];
            if feed.has_more && feed.rows <= count / 2 {
                self.send(feed.at, &messages, 1).await?;
                asked.push(place);
            }
        }
        let mut among: Vec<usize> = asked.iter().map(|&place| source.feeds[place].at).collect();
        let before: Vec<usize> = asked.iter().map(|&place| source.feeds[place].rows).collect();
        let (mut rows, mut bytes) = (0, 0);
        for &place in &asked {
            let feed = &mut source.feeds[place];
            feed.bytes.drain(..feed.used);
            feed.used = 0;
        }
        while let Some((at, header)) = self.next(&mut among).await? {
            let feed = source.feeds.iter_mut().find(|feed| feed.at == at);
            if header.kind == b'D'
                && let (Some(feed), Some(part)) = (feed, &self.parts[at])
            {
                feed.bytes.extend_from_slice(part.whole(header));
                feed.rows += 1;
                rows += 1;
                bytes += header.total;
            }
            self.consume(at, header);
            if source.held() > room {
                return Err(no_room());
            }
        }
        for (&place, before) in asked.iter().zip(before) {
            let feed = &mut source.feeds[place];
            feed.has_more = feed.rows - before == count;
            feed.look()?;
        }
        let budget = room / (4 * source.feeds.len());
        let fitting = budget.min(BATCH_BYTES) / (bytes / rows.max(1)).max(1);
        source.batch = fitting.min(source.batch * 8).clamp(1, BATCH_ROWS);
        Ok(())
    }

    /// Rows that are here compare with those to come only while values are written as they were.
    async fn check_ways(&mut self, source: &Source) -> Result<(), Halt> {
        let Some((keys, then)) = &source.keys else {
            return Ok(());
        };
        let by_floats = keys.iter().any(|key| key.order == Order::FloatText);
        if by_floats {
            let on: Vec<usize> = source.feeds.iter().map(|feed| feed.at).collect();
            self.learn_floats(&on).await?;
        }
        let mut now = self.ways(self.terms.is_c.get().unwrap_or(false));
        if !by_floats {
            now.floats_are_exact = then.floats_are_exact;
        }
        if now == *then {
            return Ok(());
        }
        let text = "the rows of a cursor over several shards are sorted, and a setting that changes how values are written \
            was changed since it was declared";
        let fault = Fault::error(sqlstate::FEATURE_NOT_SUPPORTED, text);
        Err(Halt::of(&fault.hint(
            "Set DateStyle, client_encoding and extra_float_digits before.",
        )))
    }

    /// The number of a source or a cursor that comes now.
    pub(super) fn next_source(&mut self) -> u64 {
        self.sources += 1;
        self.sources
    }

    /// The transaction needs to know of it no more.
    pub(super) fn forget_source(&mut self, id: u64) {
        if let Some(block) = &mut self.block {
            block.forget(id);
        }
    }

    /// Closes the shards' cursors.
    pub(super) async fn end_source(&mut self, source: &Source) -> Result<(), Halt> {
        self.forget_source(source.id);
        if self.status == b'E' {
            // The shards hear of nothing but the transaction's end.
            return Ok(());
        }
        let mut close = Vec::new();
        reply::query(&mut close, format!("CLOSE {}", source.name()).as_bytes());
        let mut among: Vec<usize> = source.feeds.iter().map(|feed| feed.at).collect();
        among.retain(|&at| self.parts[at].is_some());
        for &at in &among {
            self.send(at, &close, 1).await?;
        }
        while let Some((at, header)) = self.next(&mut among).await? {
            self.consume(at, header);
        }
        Ok(())
    }
}
