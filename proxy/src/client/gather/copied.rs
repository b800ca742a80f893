//! COPY over several shards.

use routing_rules::{CopyError, CopyOptions, CopySplitter, Goes, Pieces, Reading};

use super::rows::sum_of;
use super::run::Job;
use super::{Gather, Halt};
use crate::fault::Fault;
use crate::protocol::merge::copies::{Form, TRAILER, kept};
use crate::protocol::message::cstr;
use crate::protocol::reply;
use crate::protocol::sqlstate::{self, SqlState};

impl Gather {
    /// COPY TO: every shard's rows, one header, one trailer.
    pub(super) async fn copy_out(
        &mut self,
        on: &[usize],
        job: Job<'_>,
        pieces: &Pieces<'_>,
    ) -> Result<Vec<u8>, Halt> {
        let has_header = (0..pieces.all.len()).any(|place| pieces.text(place).eq_ignore_ascii_case("header"));
        let mut form = Form::Lines { has_header };
        let mut tags = Vec::new();
        for (turn, &at) in on.iter().enumerate() {
            let mut query = Vec::new();
            reply::query(&mut query, &job.statement.text);
            self.send(at, &query, 1).await?;
            let mut among = vec![at];
            let mut is_first = true;
            while let Some((at, header)) = self.next(&mut among).await? {
                match header.kind {
                    b'H' => {
                        let format = self.parts[at]
                            .as_ref()
                            .and_then(|part| part.body(header).first().copied());
                        if format == Some(1) {
                            form = Form::Binary;
                        }
                        if turn == 0 {
                            self.pass(at, header);
                        }
                    }
                    b'd' => {
                        if let Some(part) = &self.parts[at] {
                            let data = kept(form, part.body(header), is_first, turn == 0);
                            if !data.is_empty() {
                                reply::frame(&mut self.line.out, b'd', |out| out.extend_from_slice(data));
                            }
                        }
                        is_first = false;
                    }
                    b'C' => {
                        let tag = self.parts[at]
                            .as_ref()
                            .map_or_else(Vec::new, |part| part.body(header).to_vec());
                        tags.push(tag);
                    }
                    _ => {}
                }
                self.consume(at, header);
                self.line.press().await?;
            }
        }
        if form == Form::Binary {
            reply::frame(&mut self.line.out, b'd', |out| out.extend_from_slice(&TRAILER));
        }
        reply::frame(&mut self.line.out, b'c', |_| ());
        sum_of(tags.iter().map(Vec::as_slice))
    }

    /// COPY FROM: each shard gets its own rows, as they come.
    pub(super) async fn copy_from(
        &mut self,
        on: &[usize],
        job: Job<'_>,
        reading: &Reading,
        pieces: &Pieces<'_>,
    ) -> Result<Vec<u8>, Halt> {
        let options = match CopyOptions::of(reading, pieces) {
            Some(Ok(options)) => options,
            Some(Err(reason)) => return self.refuse(job.statement, reason).await,
            None => return Err(Halt::refused("COPY of rows of several shards in this form")),
        };
        let listed = options.columns;
        let encoding =
            String::from_utf8_lossy(self.reported.value(b"client_encoding").unwrap_or_default()).into_owned();
        let version = self.reported.value(b"server_version").unwrap_or_default();
        let csv_ends = version.get(..2).is_none_or(|major| major < &b"18"[..]);
        let splitter = CopySplitter::new(options, &encoding, csv_ends, self.terms.merge_memory);
        let splitter = match splitter {
            Ok(splitter) => splitter,
            Err(reason) => return self.refuse(job.statement, reason).await,
        };
        self.keeps_position = true;
        self.query_each(on, &job.statement.text).await?;
        self.copy_begins(on, listed, reading).await?;
        self.split(on, splitter).await?;
        let mut among = on.to_vec();
        let mut tags = Vec::new();
        while let Some((at, header)) = self.next(&mut among).await? {
            if header.kind == b'C' {
                tags.push(
                    self.parts[at]
                        .as_ref()
                        .map_or_else(Vec::new, |part| part.body(header).to_vec()),
                );
            }
            self.consume(at, header);
        }
        sum_of(tags.iter().map(Vec::as_slice))
    }

    /// Waits until every shard reads rows, and tells the client.
    async fn copy_begins(
        &mut self,
        on: &[usize],
        listed: Option<usize>,
        reading: &Reading,
    ) -> Result<(), Halt> {
        for (turn, &at) in on.iter().enumerate() {
            let mut among = vec![at];
            while let Some((at, header)) = self.next(&mut among).await? {
                let is_ready = header.kind == b'G';
                if let Some(part) = &mut self.parts[at]
                    && is_ready
                {
                    part.is_copying = true;
                    let count = part
                        .body(header)
                        .get(1..3)
                        .map_or(0, |count| u16::from_be_bytes([count[0], count[1]]));
                    // The key was found by its place among all columns: they must be all that come.
                    if listed.is_none() && Some(usize::from(count)) != self.columns_of(reading) {
                        return Err(Halt::refused(
                            "COPY into a table whose columns are others than pgshunt has seen needs a list of columns",
                        ));
                    }
                }
                if is_ready && turn == 0 {
                    self.pass(at, header);
                }
                self.consume(at, header);
                if is_ready {
                    break;
                }
            }
        }
        Ok(())
    }

    /// How many columns of the one table of a reading are known to be copied.
    fn columns_of(&self, reading: &Reading) -> Option<usize> {
        let found = self.terms.catalogued.tables()?;
        let name = &reading.bounds.first()?.table;
        let tables = found.tables.as_ref()?.named(name);
        let columns = &tables.first()?.columns;
        Some(columns.iter().filter(|column| !column.is_generated).count())
    }

    /// Passes on what the client sends until it ends.
    async fn split(&mut self, on: &[usize], mut splitter: CopySplitter) -> Result<(), Halt> {
        let sharding = self.terms.sharding.clone();
        let mut waiting: Vec<Vec<u8>> = vec![Vec::new(); self.parts.len()];
        loop {
            let Some(said) = self.line.frame().await else {
                return Err(Halt::Gone);
            };
            let shards = &self.terms.shards;
            let mut sink = |goes: Goes<'_>, data: &[u8]| {
                for &at in on {
                    let is_its = match goes {
                        Goes::Every => true,
                        Goes::One(name) => *shards[at].name == *name,
                    };
                    if is_its {
                        reply::frame(&mut waiting[at], b'd', |out| out.extend_from_slice(data));
                    }
                }
            };
            let (fed, is_end) = match said.kind {
                b'd' => (splitter.feed(&sharding, &said.body, &mut sink), false),
                b'c' => (splitter.finish(&sharding, &mut sink), true),
                b'H' | b'S' => continue,
                _ => {
                    let why = cstr(&said.body).map_or(&b"unexpected message during COPY"[..], |(why, _)| why);
                    return self
                        .copy_fails(
                            on,
                            if said.kind == b'f' {
                                why
                            } else {
                                b"unexpected message"
                            },
                        )
                        .await;
                }
            };
            fed.map_err(|error| misplaced(&error))?;
            for &at in on {
                if is_end {
                    reply::frame(&mut waiting[at], b'c', |_| ());
                }
                if is_end || waiting[at].len() >= TOGETHER {
                    let rows = std::mem::take(&mut waiting[at]);
                    self.send(at, &rows, 0).await?;
                }
                if is_end && let Some(part) = &mut self.parts[at] {
                    part.is_copying = false;
                }
            }
            if is_end {
                return Ok(());
            }
        }
    }

    async fn copy_fails(&mut self, on: &[usize], why: &[u8]) -> Result<(), Halt> {
        let mut fail = Vec::new();
        reply::frame(&mut fail, b'f', |out| reply::cstr(out, why));
        for &at in on {
            self.send(at, &fail, 0).await?;
            if let Some(part) = &mut self.parts[at] {
                part.is_copying = false;
            }
        }
        Ok(())
    }

    /// COPY FROM for one shard: what the client sends is passed on until it ends.
    pub(super) async fn copy_in(&mut self, at: usize) -> Result<(), Halt> {
        loop {
            let Some(said) = self.line.frame().await else {
                return Err(Halt::Gone);
            };
            if matches!(said.kind, b'H' | b'S') {
                // Neither means anything while data is copied.
                continue;
            }
            let mut frame = Vec::with_capacity(said.body.len() + 5);
            reply::frame(&mut frame, said.kind, |out| out.extend_from_slice(&said.body));
            match said.kind {
                b'd' => self.send(at, &frame, 0).await?,
                b'c' | b'f' => return self.send(at, &frame, 0).await,
                _ => {
                    frame.clear();
                    reply::frame(&mut frame, b'f', |out| {
                        reply::cstr(out, b"unexpected message during COPY")
                    });
                    return self.send(at, &frame, 0).await;
                }
            }
        }
    }
}

/// Rows that are sent to a shard together, in bytes.
const TOGETHER: usize = 32 * 1024;

/// Data that can't be split.
fn misplaced(error: &CopyError) -> Halt {
    let code = error
        .sqlstate()
        .as_bytes()
        .try_into()
        .map_or(sqlstate::INTERNAL, SqlState);
    Halt::of(&Fault::error(code, error.to_string()).detail(error.context.clone()))
}
