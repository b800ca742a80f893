//! Rows of several shards in order: a merge where the order of the sort keys is known, else PostgreSQL is asked for it.

use std::cmp::Ordering;
use std::ops::Range;

use routing_rules::{Count, Merge, Pieces, SortColumn, SortKey, TextOrder};

use super::block::complete;
use super::rows::{changed, too_much};
use super::run::Job;
use super::{Gather, Halt};
use crate::fault::Fault;
use crate::protocol::frame::Header;
use crate::protocol::merge::order::{self, Key, Misread, Order};
use crate::protocol::merge::rows::{Description, Formats, columns, write_first};
use crate::protocol::merge::sorted::{Asked, Held};
use crate::protocol::merge::ways::Ways;
use crate::protocol::sqlstate;

/// A shard's first row that is not passed yet.
#[derive(Default)]
struct Head {
    /// Where its columns are in its body.
    places: Vec<Option<Range<usize>>>,
    header: Option<Header>,
}

/// How the rows are to be sorted.
pub(super) enum Sort {
    /// Compared here.
    Exact(Vec<Key>),
    /// By a PostgreSQL.
    Asked(Vec<Asked>),
}

/// A merge under way.
struct Merging<'a> {
    job: Job<'a>,
    merge: &'a Merge,
    formats: Formats,
    limit: u64,
    offset: u64,
    /// The shard that names types, and may be asked for an order.
    leader: usize,
    first: Option<Description>,
}

impl Gather {
    /// Each shard sorts and cuts; the rows are merged, cut again, and lose their hidden columns.
    pub(super) async fn merged(
        &mut self,
        on: &[usize],
        job: Job<'_>,
        merge: &Merge,
        pieces: &Pieces<'_>,
    ) -> Result<Vec<u8>, Halt> {
        let limit = number(merge.limit, job, pieces, "LIMIT")?;
        let offset = number(merge.offset, job, pieces, "OFFSET")?.unwrap_or(0);
        let outputs = {
            let told = job.statement.told.borrow();
            let rows = told.as_ref().and_then(|told| told.rows.as_ref());
            rows.map(|rows| rows.columns.len())
        };
        let formats = match (outputs, &job.bound.results.0[..]) {
            (Some(outputs), _) => job.bound.results.with_hidden(outputs, merge.hidden),
            // A simple query: how many columns it has is not known yet. Hidden ones come as texts too.
            (None, _) => job.bound.results.clone(),
        };
        self.keeps_position = false;
        self.learn_ways(on, &merge.keys, job.told().as_ref()).await?;
        let text = merge.shard.render(pieces);
        let messages = job
            .bound
            .messages(text.as_bytes(), &job.statement.types_for_shards(), &formats);
        for &at in on {
            self.send(at, &messages, 1).await?;
        }
        let mut merging = Merging {
            job,
            merge,
            formats,
            limit: limit.unwrap_or(u64::MAX),
            offset,
            leader: on[0],
            first: None,
        };
        let count = self.merge_rows(on, &mut merging).await?;
        Ok(complete(format!("SELECT {count}").as_bytes()))
    }

    async fn merge_rows(&mut self, on: &[usize], merging: &mut Merging<'_>) -> Result<u64, Halt> {
        let mut heads: Vec<Head> = std::iter::repeat_with(Head::default)
            .take(self.parts.len())
            .collect();
        let mut with_rows = Vec::new();
        // All at once: one that fails is heard while another one still sorts.
        let mut among = on.to_vec();
        while let Some((at, header)) = self.next(&mut among).await? {
            if self.is_head(at, header, &mut heads[at], merging)? {
                with_rows.push(at);
                among.retain(|&own| own != at);
            }
        }
        let Some(first) = merging.first.take() else {
            return Err(self.unlike(on[0]));
        };
        let visible = first.columns.len().saturating_sub(merging.merge.hidden);
        let is_c = self.terms.is_c.get().unwrap_or(false);
        match self.sort_of(&merging.merge.keys, visible, &merging.formats, &first, is_c)? {
            Sort::Exact(keys) => {
                self.merge_exactly(with_rows, heads, merging, (&keys, visible))
                    .await
            }
            Sort::Asked(asked) => {
                self.sort_elsewhere(on, with_rows, heads, merging, (asked, visible))
                    .await
            }
        }
    }

    /// Finds a shard's next row. False: it has no more.
    async fn advance(&mut self, at: usize, head: &mut Head, merging: &mut Merging<'_>) -> Result<bool, Halt> {
        if let Some(header) = head.header.take() {
            self.consume(at, header);
        }
        let mut among = vec![at];
        loop {
            let here = self.parts[at]
                .as_ref()
                .and_then(|part| part.peek())
                .filter(|header| header.kind == b'D');
            let header = match here {
                Some(header) => header,
                None => match self.next(&mut among).await? {
                    Some((_, header)) => header,
                    None => return Ok(false),
                },
            };
            if self.is_head(at, header, head, merging)? {
                return Ok(true);
            }
        }
    }

    /// Takes in a frame of an answer. True if it is a row: then it stays here.
    fn is_head(
        &mut self,
        at: usize,
        header: Header,
        head: &mut Head,
        merging: &mut Merging<'_>,
    ) -> Result<bool, Halt> {
        match header.kind {
            b'D' => {
                let body = self.parts[at].as_ref().map_or(&b""[..], |part| part.body(header));
                if !columns(body, &mut head.places) {
                    return Err(misread());
                }
                head.header = Some(header);
                return Ok(true);
            }
            b'T' => {
                let description = self.description(at, header)?;
                match &merging.first {
                    Some(first) if !first.fits(&description) => return Err(self.unlike(at)),
                    // Types that users made have numbers of their own on each shard.
                    Some(_) if at == merging.leader => merging.first = Some(description),
                    Some(_) => {}
                    None => {
                        let visible = description.columns.len().saturating_sub(merging.merge.hidden);
                        let columns = description.columns[..visible].to_vec();
                        let own = Description { columns };
                        if merging.job.told().is_some_and(|told| !told.fits(&own)) {
                            return Err(changed());
                        }
                        if merging.job.is_simple {
                            own.write(self.rows_out(), &Formats::default());
                        }
                        merging.first = Some(description);
                    }
                }
            }
            _ => {}
        }
        self.consume(at, header);
        Ok(false)
    }

    /// How the sort keys of such rows compare, the first `outputs` columns being the client's.
    pub(super) fn sort_of(
        &self,
        keys: &[SortKey],
        outputs: usize,
        formats: &Formats,
        rows: &Description,
        database_is_c: bool,
    ) -> Result<Sort, Halt> {
        let (mut exact, mut asked) = (Vec::new(), Vec::new());
        for key in keys {
            let column = match key.column {
                SortColumn::Output(place) => place,
                SortColumn::Hidden(place) => outputs + place,
            };
            let Some(described) = rows.columns.get(column) else {
                return Err(misread());
            };
            let is_text = matches!(described.type_oid, order::TEXT | order::VARCHAR | order::BPCHAR);
            if is_text && key.text == TextOrder::Unknown {
                return Err(Halt::refused(
                    "ORDER BY under a collation that may not be the database's, over several shards",
                ));
            }
            let is_c = key.text == TextOrder::C;
            let ways = self.ways(is_c || database_is_c);
            let format = formats.of(column);
            if format == 0 && !ways.floats_are_exact && !order::is_written_whole(described.type_oid) {
                return Err(rounded());
            }
            exact.extend(Order::of(described.type_oid, format, ways).map(|order| Key {
                column,
                order,
                descending: key.descending,
                nulls_first: key.nulls_first,
            }));
            asked.push(Asked {
                column,
                type_oid: described.type_oid,
                type_name: String::new(),
                is_binary: format == 1,
                is_c: is_c && is_text,
                descending: key.descending,
                nulls_first: key.nulls_first,
            });
        }
        match exact.len() == keys.len() {
            true => Ok(Sort::Exact(exact)),
            false => Ok(Sort::Asked(asked)),
        }
    }

    async fn merge_exactly(
        &mut self,
        with_rows: Vec<usize>,
        mut heads: Vec<Head>,
        merging: &mut Merging<'_>,
        (keys, visible): (&[Key], usize),
    ) -> Result<u64, Halt> {
        let mut is_misread = false;
        let mut ways = Ways::new(with_rows, |one, other| {
            self.compare(&heads, keys, one, other, &mut is_misread)
        });
        let (mut skipped, mut count) = (0, 0);
        while count < merging.limit
            && let Some(at) = ways.least()
        {
            if is_misread {
                return Err(misread());
            }
            if skipped < merging.offset {
                skipped += 1;
            } else {
                count += 1;
                self.pass_row(at, &heads[at], visible, merging.merge.hidden);
                self.press().await?;
            }
            let has_more = self.advance(at, &mut heads[at], merging).await?;
            let compare = |one, other| self.compare(&heads, keys, one, other, &mut is_misread);
            match has_more {
                true => ways.advanced(compare),
                false => ways.ended(compare),
            }
        }
        self.stop_early().await?;
        Ok(count)
    }

    fn compare(
        &self,
        heads: &[Head],
        keys: &[Key],
        one: usize,
        other: usize,
        is_misread: &mut bool,
    ) -> Ordering {
        for key in keys {
            let (left, right) = (
                self.value(one, &heads[one], key.column),
                self.value(other, &heads[other], key.column),
            );
            match key.compare(left, right) {
                Ok(Ordering::Equal) => {}
                Ok(order) => return order,
                Err(Misread) => *is_misread = true,
            }
        }
        Ordering::Equal
    }

    /// A column of a shard's first row.
    fn value(&self, at: usize, head: &Head, column: usize) -> Option<&[u8]> {
        let body = self.parts[at].as_ref()?.body(head.header?);
        body.get(head.places.get(column)?.clone()?)
    }

    fn pass_row(&mut self, at: usize, head: &Head, visible: usize, hidden: usize) {
        let (Some(header), Some(part)) = (head.header, &self.parts[at]) else {
            return;
        };
        let out = match &mut self.kept {
            Some(kept) => kept.out(),
            None => &mut self.line.out,
        };
        match hidden {
            0 => out.extend_from_slice(part.whole(header)),
            _ => write_first(out, part.body(header), &head.places, visible),
        }
    }

    /// Enough rows have come: shards that have more are stopped. One in a transaction must not be, that would be its end.
    async fn stop_early(&mut self) -> Result<(), Halt> {
        let owing = |part: &Option<super::Part>| part.as_ref().is_some_and(|part| part.owes > 0);
        if !self.parts.iter().any(owing) {
            return Ok(());
        }
        if self.block.is_some() || self.is_implicit {
            let mut among: Vec<usize> = (0..self.parts.len())
                .filter(|&at| owing(&self.parts[at]))
                .collect();
            while let Some((at, header)) = self.next(&mut among).await? {
                self.consume(at, header);
            }
            return Ok(());
        }
        self.cancel_all();
        self.drain().await;
        Ok(())
    }

    /// Holds all rows and has a PostgreSQL say their order.
    async fn sort_elsewhere(
        &mut self,
        on: &[usize],
        with_rows: Vec<usize>,
        mut heads: Vec<Head>,
        merging: &mut Merging<'_>,
        (mut keys, visible): (Vec<Asked>, usize),
    ) -> Result<u64, Halt> {
        let mut held = Held::new(keys.len(), self.terms.merge_memory);
        for at in with_rows {
            loop {
                let head = &heads[at];
                let values = keys.iter().map(|key| self.value(at, head, key.column));
                let (Some(header), Some(part)) = (head.header, &self.parts[at]) else {
                    return Err(misread());
                };
                let added = held.add(values, |out| {
                    write_first(out, part.body(header), &head.places, visible)
                });
                if added.is_err() {
                    return Err(too_much(
                        "rows that only PostgreSQL can sort take more than merge_memory",
                        "Sort text with COLLATE \"C\", use LIMIT, or raise merge_memory.",
                    ));
                }
                if !self.advance(at, &mut heads[at], merging).await? {
                    break;
                }
            }
        }
        if held.is_empty() {
            return Ok(0);
        }
        self.name_types(on[0], &mut keys).await?;
        // An array of arrays is another thing.
        if keys
            .iter()
            .any(|key| key.is_binary && key.type_name.ends_with(']'))
        {
            return Err(Halt::refused(
                "ORDER BY an array in binary over several shards: ask for it in text",
            ));
        }
        self.send(on[0], &held.question(&keys), 1).await?;
        let mut among = vec![on[0]];
        let (mut skipped, mut count) = (0, 0);
        while let Some((at, header)) = self.next(&mut among).await? {
            if header.kind == b'D' {
                let place = self.parts[at]
                    .as_ref()
                    .and_then(|part| place_of(part.body(header)));
                let row = place.and_then(|place| held.row(place)).ok_or_else(misread)?;
                if skipped < merging.offset {
                    skipped += 1;
                } else if count < merging.limit {
                    count += 1;
                    self.rows_out().extend_from_slice(row);
                }
            }
            self.consume(at, header);
            self.press().await?;
        }
        Ok(count)
    }

    /// Asks a shard for the names of types, once all rows are there.
    async fn name_types(&mut self, at: usize, keys: &mut [Asked]) -> Result<(), Halt> {
        let types: Vec<u32> = keys.iter().map(|key| key.type_oid).collect();
        for (key, name) in keys.iter_mut().zip(self.type_names(at, &types).await?) {
            key.type_name = name;
        }
        Ok(())
    }
}

fn rounded() -> Halt {
    let text = "rows of several shards can't be sorted by floating point that is written rounded";
    let fault = Fault::error(sqlstate::FEATURE_NOT_SUPPORTED, text);
    Halt::of(&fault.hint("SET extra_float_digits = 1, or ask for the rows in binary."))
}

/// A row of one int4 in binary: a place from 1.
fn place_of(body: &[u8]) -> Option<usize> {
    let place: [u8; 4] = body.get(6..)?.try_into().ok()?;
    usize::try_from(i32::from_be_bytes(place)).ok()?.checked_sub(1)
}

pub(super) fn misread() -> Halt {
    Halt::of(&Fault::error(
        sqlstate::INTERNAL,
        "a shard's row could not be read",
    ))
}

/// The value of LIMIT or OFFSET.
pub(super) fn number(
    count: Option<Count>,
    job: Job<'_>,
    pieces: &Pieces<'_>,
    word: &str,
) -> Result<Option<u64>, Halt> {
    let Some(count) = count else { return Ok(None) };
    let number: Option<i64> = match count {
        Count::Literal(_) => count.literal(pieces).and_then(|number| number.try_into().ok()),
        Count::Parameter(number) => {
            let place = usize::from(number).saturating_sub(1);
            let value = job.bound.values.get(place).and_then(Option::as_deref);
            let Some(value) = value else { return Ok(None) };
            let order = match job.bound.formats.of(place) {
                1 => Order::Whole,
                _ => Order::WholeText,
            };
            order.whole(value)
        }
    };
    match number {
        Some(number) if number < 0 => {
            let code = if word == "LIMIT" { "2201W" } else { "2201X" };
            let code = code
                .as_bytes()
                .try_into()
                .map_or(sqlstate::INTERNAL, sqlstate::SqlState);
            Err(Halt::of(&Fault::error(
                code,
                format!("{word} must not be negative"),
            )))
        }
        Some(number) => Ok(number.try_into().ok()),
        None => Err(Halt::refused(format!(
            "{word} that is no whole number, over several shards"
        ))),
    }
}
