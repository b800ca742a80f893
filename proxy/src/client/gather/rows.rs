//! Rows of several shards in any order, a statement for one shard, and one that is the same on all.

use super::block::complete;
use super::part::NoFrame;
use super::run::Job;
use super::source::Source;
use super::{Gather, Halt};
use crate::client::route::meeting::Meets;
use crate::fault::Fault;
use crate::protocol::frame::{self, Header};
use crate::protocol::merge::rows::Description;
use crate::protocol::merge::tags;
use crate::protocol::{reply, sqlstate};

/// Rows that wait to be asked for, by a portal whose rows are taken a few at a time.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// DataRow messages.
    pub bytes: Vec<u8>,
    pub at: usize,
    /// The CommandComplete.
    pub tag: Vec<u8>,
    /// They may come as they are asked for.
    pub may_stream: bool,
    /// They do, from here.
    pub source: Option<Source>,
}

impl Kept {
    /// Where they are added.
    pub(super) fn out(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    pub(super) fn has_rows(&self) -> bool {
        !self.bytes.is_empty()
    }

    /// Gives out so many rows, and what ends them.
    pub(super) fn deliver(&mut self, out: &mut Vec<u8>, rows_max: usize) {
        let mut count = 0;
        while count < rows_max
            && let Ok(Some(header)) = frame::header(&self.bytes[self.at..])
        {
            out.extend_from_slice(&self.bytes[self.at..self.at + header.total]);
            self.at += header.total;
            count += 1;
        }
        match count == rows_max {
            // As a PostgreSQL, it does not look whether there are more.
            true => reply::frame(out, b's', |_| ()),
            false => out.extend_from_slice(&with_count(&self.tag, count)),
        }
        if self.at == self.bytes.len() {
            (self.bytes, self.at) = (Vec::new(), 0);
        }
    }
}

/// A CommandComplete with this number of rows, if it has one: that of the rows that were fetched last.
fn with_count(tag: &[u8], count: usize) -> Vec<u8> {
    let body = tag.get(frame::HEADER..).and_then(|body| body.strip_suffix(b"\0"));
    let words = body.and_then(|body| std::str::from_utf8(body).ok()?.rsplit_once(' '));
    match words {
        Some((words, number)) if number.bytes().all(|digit| digit.is_ascii_digit()) => {
            complete(format!("{words} {count}").as_bytes())
        }
        Some(_) | None => tag.to_vec(),
    }
}

impl Gather {
    /// Where rows go.
    pub(super) fn rows_out(&mut self) -> &mut Vec<u8> {
        match &mut self.kept {
            Some(kept) => &mut kept.bytes,
            None => &mut self.line.out,
        }
    }

    /// Lets rows go on, or says that no more can be kept.
    pub(super) async fn press(&mut self) -> Result<(), Halt> {
        match &self.kept {
            Some(kept) if kept.bytes.len() > self.terms.merge_memory => Err(too_much(
                "rows that are fetched a few at a time take more than merge_memory",
                "Fetch them without a limit, or raise merge_memory.",
            )),
            Some(_) => Ok(()),
            None => self.line.press().await,
        }
    }

    /// Sends messages to a shard.
    pub(super) async fn send(&mut self, at: usize, messages: &[u8], syncs: u32) -> Result<(), Halt> {
        let sent = match &mut self.parts[at] {
            Some(part) => part.send(messages, syncs).await,
            None => Err(NoFrame::Lost),
        };
        sent.map_err(|_| self.lost(at))
    }

    /// The line to a shard is broken.
    pub(super) fn lost(&mut self, at: usize) -> Halt {
        self.lose(at);
        self.cancel_all();
        let shard = &self.terms.shards[at].name;
        let text = format!("the connection to shard \"{shard}\" was lost");
        Halt::of(&Fault::error(sqlstate::CONNECTION_FAILURE, text))
    }

    /// The frame that is here is dealt with.
    pub(super) fn consume(&mut self, at: usize, header: Header) {
        let buffers = &self.terms.worker.buffers;
        if let Some(part) = &mut self.parts[at] {
            part.consume(header, buffers);
        }
    }

    /// Sends each shard the same messages and puts their rows together as they come. `is_one`: all say the same, and the first
    /// shard's answer is the answer.
    pub(super) async fn concatenate(
        &mut self,
        on: &[usize],
        job: Job<'_>,
        messages: &[u8],
        is_one: bool,
    ) -> Result<Vec<u8>, Halt> {
        for &at in on {
            self.send(at, messages, 1).await?;
        }
        self.gathered(on, job, is_one).await
    }

    /// Hears these shards out, each of them having been sent one statement.
    pub(super) async fn gathered(
        &mut self,
        on: &[usize],
        job: Job<'_>,
        is_one: bool,
    ) -> Result<Vec<u8>, Halt> {
        let mut among = on.to_vec();
        let mut first: Option<Description> = None;
        let mut tags: Vec<(usize, Vec<u8>)> = Vec::new();
        while let Some((at, header)) = self.next(&mut among).await? {
            match header.kind {
                b'T' => self.describes(at, header, job, &mut first)?,
                b'D' => {
                    let passes = !is_one || at == on[0];
                    self.pass_rows(at, passes).await?;
                    continue;
                }
                b'C' => {
                    let tag = self.parts[at]
                        .as_ref()
                        .map_or_else(Vec::new, |part| part.body(header).to_vec());
                    tags.push((at, tag));
                }
                _ => {}
            }
            self.consume(at, header);
        }
        let tags = tags.iter().filter(|(at, _)| !is_one || *at == on[0]);
        sum_of(tags.map(|(_, tag)| &tag[..]))
    }

    /// Passes the rows that are here.
    async fn pass_rows(&mut self, at: usize, passes: bool) -> Result<(), Halt> {
        loop {
            let Some(part) = &self.parts[at] else {
                return Ok(());
            };
            let Some(header) = part.peek().filter(|header| header.kind == b'D') else {
                return Ok(());
            };
            if passes {
                let row = part.whole(header);
                match &mut self.kept {
                    Some(kept) => kept.bytes.extend_from_slice(row),
                    None => self.line.out.extend_from_slice(row),
                }
            }
            self.consume(at, header);
            self.press().await?;
        }
    }

    /// A RowDescription that is here.
    pub(super) fn description(&self, at: usize, header: Header) -> Result<Description, Halt> {
        let body = self.parts[at].as_ref().map_or(&b""[..], |part| part.body(header));
        Description::read(body).ok_or_else(|| self.unlike(at))
    }

    /// A shard's answer does not go with the others'.
    pub(super) fn unlike(&self, at: usize) -> Halt {
        let shard = &self.terms.shards[at].name;
        let fault = Fault::error(sqlstate::NOT_IN_STATE, "the shards' rows are of different types")
            .detail(format!("Shard \"{shard}\" gives others."))
            .hint("Make the tables the same on every shard.");
        Halt::of(&fault)
    }

    /// Runs a text on these shards, that all answer the same: a Query, so that it may be several statements. The first one's
    /// answer is passed.
    pub(super) async fn first_of(&mut self, on: &[usize], text: &[u8]) -> Result<Vec<u8>, Halt> {
        self.keeps_position = true;
        self.query_each(on, text).await?;
        let mut among = on.to_vec();
        let mut tag = Vec::new();
        while let Some((at, header)) = self.next(&mut among).await? {
            if at == on[0]
                && let Some(part) = &self.parts[at]
            {
                let whole = part.whole(header).to_vec();
                match header.kind {
                    b'C' => {
                        self.line.out.extend_from_slice(&tag);
                        tag = whole;
                    }
                    _ => self.rows_out().extend_from_slice(&whole),
                }
            }
            self.consume(at, header);
        }
        Ok(tag)
    }

    /// Sends a text to each of these shards, as a Query.
    pub(super) async fn query_each(&mut self, on: &[usize], text: &[u8]) -> Result<(), Halt> {
        let mut query = Vec::new();
        reply::query(&mut query, text);
        for &at in on {
            self.send(at, &query, 1).await?;
        }
        Ok(())
    }

    /// Asks these shards something of pgshunt's own that has few rows: their bodies, and which shard each is of.
    pub(super) async fn ask(&mut self, on: &[usize], text: &[u8]) -> Result<Vec<(usize, Vec<u8>)>, Halt> {
        self.query_each(on, text).await?;
        let mut among = on.to_vec();
        let mut rows = Vec::new();
        while let Some((at, header)) = self.next(&mut among).await? {
            if header.kind == b'D'
                && let Some(part) = &self.parts[at]
            {
                rows.push((at, part.body(header).to_vec()));
            }
            self.consume(at, header);
        }
        Ok(rows)
    }

    /// A statement for one shard.
    pub(super) async fn relay(&mut self, at: usize, job: Job<'_>) -> Result<Vec<u8>, Halt> {
        let begins = (job.writes || job.is_unproven) && !job.is_simple;
        self.join(&[at], begins).await?;
        self.note_job(at, job);
        let text = &job.statement.text[..];
        let meets = Meets::of(text);
        if let Some(part) = &mut self.parts[at] {
            // Who knows what it leaves.
            part.is_dirty |= job.writes || meets.are_any();
            part.notifies |= part.in_block && meets.notifies;
            part.locks |= part.in_block && meets.locks;
        }
        if meets.locks {
            self.met = Some(at);
        }
        let messages = match job.is_simple {
            true => {
                let mut query = Vec::new();
                reply::query(&mut query, text);
                query
            }
            false => job
                .bound
                .messages(text, &job.statement.types_known(), &job.bound.results),
        };
        self.keeps_position = true;
        self.send(at, &messages, 1).await?;
        let mut among = vec![at];
        let mut tag = Vec::new();
        while let Some((at, header)) = self.next(&mut among).await? {
            match header.kind {
                b'D' => {
                    self.pass_rows(at, true).await?;
                    continue;
                }
                b'C' | b'I' => {
                    self.line.out.extend_from_slice(&tag);
                    tag = self.parts[at]
                        .as_ref()
                        .map_or_else(Vec::new, |part| part.whole(header).to_vec());
                }
                b'1' | b'2' | b'n' => {}
                b'T' if !job.is_simple => {}
                b'G' => {
                    self.pass(at, header);
                    self.consume(at, header);
                    self.copy_in(at).await?;
                    continue;
                }
                _ => self.pass(at, header),
            }
            self.consume(at, header);
            self.line.press().await?;
        }
        Ok(tag)
    }

    /// Passes a frame as it is.
    pub(super) fn pass(&mut self, at: usize, header: Header) {
        if let Some(part) = &self.parts[at] {
            let whole = part.whole(header);
            self.line.out.extend_from_slice(whole);
        }
    }

    /// EXPLAIN: each shard's plan, under its name.
    pub(super) async fn explain(&mut self, on: &[usize], job: Job<'_>) -> Result<Vec<u8>, Halt> {
        let mut first: Option<Description> = None;
        for &at in on {
            let types = job.statement.types_for_shards();
            let messages = job
                .bound
                .messages(&job.statement.text, &types, &job.bound.results);
            self.send(at, &messages, 1).await?;
            let mut among = vec![at];
            while let Some((at, header)) = self.next(&mut among).await? {
                match header.kind {
                    b'T' => {
                        let description = self.description(at, header)?;
                        let is_lines = description.columns.len() == 1
                            && description.columns[0].type_oid == crate::protocol::merge::order::TEXT;
                        if !is_lines {
                            return Err(Halt::refused(
                                "EXPLAIN over several shards in a format that is not text",
                            ));
                        }
                        if first.is_none() && job.is_simple {
                            description.write(self.rows_out(), &Default::default());
                        }
                        first = Some(description);
                        let title = format!("Shard {}:", self.terms.shards[at].name);
                        reply::data_row(self.rows_out(), [Some(title.as_bytes())].into_iter());
                    }
                    b'D' => {
                        self.pass_rows(at, true).await?;
                        continue;
                    }
                    _ => {}
                }
                self.consume(at, header);
            }
        }
        Ok(complete(b"EXPLAIN"))
    }
}

impl Job<'_> {
    /// The rows that the client was told to expect, if it was.
    pub(super) fn told(&self) -> Option<Description> {
        match self.is_simple {
            true => None,
            false => self.statement.told.borrow().as_ref()?.rows.clone(),
        }
    }
}

/// The CommandComplete of what several shards have done, of theirs.
pub(super) fn sum_of<'t>(tags: impl Iterator<Item = &'t [u8]>) -> Result<Vec<u8>, Halt> {
    match tags::sum(tags.map(|tag| tag.strip_suffix(b"\0").unwrap_or(tag))) {
        Some(tag) => Ok(complete(&tag)),
        None => Err(Halt::of(&Fault::error(
            sqlstate::INTERNAL,
            "the shards have done different things",
        ))),
    }
}

/// The rows are not what the client was told; in PostgreSQL's words.
pub(super) fn changed() -> Halt {
    Halt::refused("cached plan must not change result type")
}

/// More was to be held than may be.
pub(super) fn too_much(what: &str, hint: &str) -> Halt {
    Halt::of(&Fault::error(sqlstate::OUT_OF_MEMORY, what).hint(hint))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_given_out_a_few_at_a_time() {
        let mut kept = Kept::default();
        for _ in 0..3 {
            reply::data_row(&mut kept.bytes, [None].into_iter());
        }
        kept.tag = complete(b"SELECT 3");
        let mut kinds = Vec::new();
        for _ in 0..2 {
            let mut out = Vec::new();
            kept.deliver(&mut out, 2);
            while let Ok(Some(header)) = frame::header(&out) {
                kinds.push(header.kind);
                out.drain(..header.total);
            }
        }
        assert_eq!(kinds, *b"DDsDC");
    }
}
