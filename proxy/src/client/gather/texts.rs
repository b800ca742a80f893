//! A simple query's text: one statement, or several, which are run one after the other in one transaction, as PostgreSQL does it
//! ("Multiple Statements in a Simple Query" of the protocol's chapter). The first error ends the rest.

use std::future::poll_fn;
use std::ops::Range;
use std::rc::Rc;

use routing_rules::{ShardReason, cut, read};

use super::block::Block;
use super::run::not_here;
use super::statement::{Statement, write_parse};
use super::wait::{PATIENCE, named};
use super::{Gather, Halt};
use crate::protocol::message::error_field;
use crate::protocol::reply;
use crate::protocol::session::probe;

impl Gather {
    /// Where the statements of a text stand in it; none are named for a text that is to be run as it is.
    pub(super) fn statements_of(&self, text: &[u8]) -> Result<Vec<Range<usize>>, Halt> {
        if !text.contains(&b';') || text.starts_with(probe::QUESTION) {
            return Ok(Vec::new());
        }
        let count = read(text, self.terms.lex).statements;
        if count < 2 {
            return Ok(Vec::new());
        }
        // What can't be cut is refused where it is read.
        let Ok(pieces) = cut(text, self.terms.lex) else {
            return Ok(Vec::new());
        };
        let ranges: Vec<Range<usize>> = pieces
            .statements()
            .into_iter()
            .map(|range| pieces.bytes(range))
            .collect();
        if ranges.iter().all(|range| is_sessions_own(&text[range.clone()])) {
            return Ok(Vec::new());
        }
        match ranges.len() == count {
            true => Ok(ranges),
            false => Err(Halt::refused(
                "several statements in one text, one of which defines a routine by BEGIN ATOMIC",
            )),
        }
    }

    /// Runs a text of one statement.
    pub(super) async fn run_text(&mut self, text: &[u8]) -> Result<Vec<u8>, Halt> {
        let done = self.run(&statement(text), &Rc::default(), true).await;
        match done {
            Ok(tag) if self.block.is_none() => self.end_implicit().await.map(|()| tag),
            done => done,
        }
    }

    /// Runs the statements of a text.
    pub(super) async fn run_each(
        &mut self,
        text: &[u8],
        statements: &[Range<usize>],
    ) -> Result<Vec<u8>, Halt> {
        self.check_syntax(text).await?;
        self.check_readable(text, statements).await?;
        let (mut before, mut at) = (0, 0);
        let mut last = Vec::new();
        for range in statements {
            self.line.out.append(&mut last);
            self.line.press().await?;
            before += characters(&text[at..range.start]);
            at = range.start;
            self.before = before;
            if self.block.is_none() {
                self.block = Some(Block::implicit());
            }
            last = self
                .run(&statement(&text[range.clone()]), &Rc::default(), true)
                .await?;
        }
        if self.block.as_ref().is_some_and(|block| block.is_implicit) {
            self.end_block().await?;
        }
        self.let_go_of_canceled();
        Ok(last)
    }

    /// PostgreSQL reads the whole of a text before it runs any of it. So does a shard here: it may not be prepared as one
    /// statement, but that is said after it was read.
    pub(super) async fn check_syntax(&mut self, text: &[u8]) -> Result<(), Halt> {
        let home = self.home();
        let is_failed = self.status == b'E';
        if !is_failed {
            self.join(&[home], false).await?;
        }
        let is_in_block = self.parts[home].as_ref().is_some_and(|part| part.in_block);
        let mut question = Vec::new();
        let mut syncs = 1;
        let mut add = |question: &mut Vec<u8>, text: &[u8]| {
            if is_in_block && !is_failed {
                reply::query(question, text);
                syncs += 1;
            }
        };
        add(&mut question, b"SAVEPOINT pgshunt_text");
        write_parse(&mut question, text, &[]);
        reply::frame(&mut question, b'S', |_| ());
        add(&mut question, b"ROLLBACK TO pgshunt_text");
        add(&mut question, b"RELEASE pgshunt_text");
        if self.parts[home].is_none() {
            return Ok(());
        }
        self.send(home, &question, syncs).await?;
        let error = self.first_error(home).await?;
        let is_read = |error: &[u8]| error_field(error, b'R') == Some(b"exec_parse_message");
        match error {
            Some(error) if !is_read(&error) => {
                let shard = &self.terms.shards[home].name;
                Err(Halt::Failed(named(&error, shard, Some(0))))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// What pgshunt can't read is refused before any of the text is run.
    async fn check_readable(&mut self, text: &[u8], statements: &[Range<usize>]) -> Result<(), Halt> {
        let (found, readings) = self.view().await?;
        let sharding = self.terms.sharding.clone();
        for range in statements {
            match readings.read(&text[range.clone()], &sharding, &found, &[]) {
                Ok(read) => {
                    if let Some(reason @ ShardReason::Unread(_)) = &read.reading.refused {
                        return Err(not_here(reason));
                    }
                }
                Err(unread) => return Err(not_here(&unread.into())),
            }
        }
        Ok(())
    }

    /// Hears a shard out, and gives the first error it has told of.
    async fn first_error(&mut self, at: usize) -> Result<Option<Vec<u8>>, Halt> {
        let until = tokio::time::Instant::now() + PATIENCE;
        let buffers = self.terms.worker.buffers.clone();
        let mut error = None;
        while let Some(part) = self.parts[at].as_mut().filter(|part| part.owes > 0) {
            let frame = poll_fn(|cx| part.poll_frame(cx, &buffers, usize::MAX));
            let Ok(Ok(header)) = tokio::time::timeout_at(until, frame).await else {
                return Err(self.lost(at));
            };
            match header.kind {
                b'Z' => {
                    part.owes -= 1;
                    part.lease.backend.status = part.body(header).first().copied().unwrap_or(b'E');
                }
                b'E' if error.is_none() => error = Some(part.body(header).to_vec()),
                _ => {}
            }
            part.consume(header, &buffers);
        }
        Ok(error)
    }
}

fn statement(text: &[u8]) -> Rc<Statement> {
    Rc::new(Statement {
        text: text.into(),
        ..Statement::default()
    })
}

/// What the session itself says of its settings: see `protocol::session::settings::change`.
pub(super) fn is_sessions_own(text: &[u8]) -> bool {
    text.starts_with(b"RESET ") || text.starts_with(b"SELECT pg_catalog.set_config(E'")
}

/// How many characters these bytes are, in UTF-8.
fn characters(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte & 0xc0 != 0x80).count()
}
