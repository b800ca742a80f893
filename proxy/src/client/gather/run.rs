//! What becomes of one statement: its shards are found, and it goes to one of them, or to several by its plan.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use routing_rules::{Effects, Pieces, Plan, Reading, ShardReason, Shards, TextKind, Values, access, read};

use super::block::complete;
use super::cursors::{is_with_hold, query_of};
use super::rows::Kept;
use super::source::Source;
use super::statement::{self, Bound, Statement, Told};
use super::texts::is_sessions_own;
use super::{Gather, Halt, Portal};
use crate::catalog::Found;
use crate::client::route::meeting::{self, Meets};
use crate::fault::Fault;
use crate::protocol::frame::HEADER;
use crate::protocol::merge::rows::Description;
use crate::protocol::reply;
use crate::protocol::session::probe;
use crate::protocol::sqlstate::{self, SqlState};

/// EXPLAIN and its options are no more words than this.
const EXPLAIN_WORDS: usize = 24;

/// How long a statement waits for the tables to be looked up.
const TABLES_WITHIN: Duration = Duration::from_secs(5);

/// One execution, as it is handed on.
#[derive(Clone, Copy)]
pub(super) struct Job<'a> {
    /// Its statement.
    pub statement: &'a Statement,
    /// Its values.
    pub bound: &'a Bound,
    /// It is a simple query: its rows are described.
    pub is_simple: bool,
    /// It may write.
    pub writes: bool,
    /// It is not proven to only read: a function in it may write.
    pub is_unproven: bool,
}

impl Gather {
    /// Runs a statement. Gives the CommandComplete that ends its answer; what comes before is on its way.
    pub(super) async fn run(
        &mut self,
        statement: &Rc<Statement>,
        bound: &Rc<Bound>,
        is_simple: bool,
    ) -> Result<Vec<u8>, Halt> {
        self.keeps_position = true;
        self.begin_statement();
        let done = self.place(statement, bound, is_simple).await;
        self.deadline = None;
        if self.block.is_none() && !self.is_implicit {
            self.let_go_of_canceled();
        }
        done
    }

    fn begin_statement(&mut self) {
        self.notice.clear();
        let timeout = self.terms.shard_timeout;
        self.deadline = (!timeout.is_zero()).then(|| Instant::now() + timeout);
    }

    async fn place(
        &mut self,
        statement: &Statement,
        bound: &Bound,
        is_simple: bool,
    ) -> Result<Vec<u8>, Halt> {
        let text = &statement.text[..];
        let job = Job {
            statement,
            bound,
            is_simple,
            writes: false,
            is_unproven: false,
        };
        if is_simple && text.starts_with(probe::QUESTION) {
            // Locks that outlive the transaction are where it has locked.
            let met = self.met.filter(|&at| self.parts[at].is_some());
            let home = met.unwrap_or_else(|| self.home());
            let tag = self.relay(home, job).await?;
            if self.has_kept_cursors() {
                probe::has_cursors(&mut self.line.out);
            }
            return Ok(tag);
        }
        if is_simple && is_sessions_own(text) {
            return self.set(text).await;
        }
        if let Some(fault) = self.terms.course.refusal.take() {
            return Err(Halt::of(&fault));
        }
        let script = read(text, self.terms.lex);
        if script.statements == 0 {
            let mut out = Vec::new();
            reply::empty_query(&mut out);
            return Ok(out);
        }
        self.check_status(text)?;
        if let Some(done) = self.cursor(statement, bound, is_simple).await? {
            return Ok(done);
        }
        if script.statements == 1
            && let Some(done) = self.control(text, &script).await?
        {
            return Ok(done);
        }
        let (found, readings) = self.view().await?;
        let sharding = self.terms.sharding.clone();
        let read = match readings.read(text, &sharding, &found, &[]) {
            Ok(read) => read,
            Err(unread) => return self.refuse(statement, ShardReason::Unread(unread)).await,
        };
        let (reading, pieces) = (&*read.reading, &read.pieces);
        let types = statement.types_known();
        let parameters = bound.parameters(&types);
        let values = Values {
            pieces,
            parameters: &parameters,
            only_keys: &reading.only_keys,
        };
        let tenant = self.terms.course.tenant.borrow().clone();
        let spread = match reading.kind {
            TextKind::Explain => reading.shards(&sharding, &values, tenant.as_ref()),
            _ => reading.spread(&sharding, &values, tenant.as_ref()),
        };
        let shards = match (self.terms.course.target.get(), spread) {
            (Some(target), _) => Shards::One(self.terms.shards[target].name.clone()),
            (None, Ok(shards)) => shards,
            (None, Err(reason)) => return self.refuse(statement, reason).await,
        };
        let job = Job {
            is_unproven: reading.kind != TextKind::Session
                && !access(query_of(pieces).as_bytes(), self.terms.lex, Some(&found.names)).is_read(),
            writes: match reading.kind {
                TextKind::Write | TextKind::Everywhere | TextKind::CopyIn => true,
                // EXPLAIN ANALYZE runs what it explains.
                TextKind::Explain => super::block::names(text)
                    .iter()
                    .take(EXPLAIN_WORDS)
                    .any(|word| word.starts_with("analy")),
                TextKind::Session | TextKind::Read | TextKind::CopyOut => false,
            },
            ..job
        };
        let on = match shards {
            Shards::Any | Shards::Home if script.effects.contains(Effects::PROBE) && sets(text) => {
                let tag = self.set(text).await?;
                return Ok(tag);
            }
            Shards::Any | Shards::Home if Meets::of(text).are_any() => vec![self.meeting(text)?],
            Shards::Any | Shards::Home => vec![self.home_of(text)],
            Shards::One(name) => vec![self.shard(&name)?],
            Shards::Some(names) => {
                let places: Result<Vec<usize>, Halt> = names.iter().map(|name| self.shard(name)).collect();
                let mut places = places?;
                places.sort_unstable();
                places
            }
            Shards::All => (0..self.terms.shards.len()).collect(),
        };
        self.go(&on, job, reading, pieces, &values).await
    }

    async fn go(
        &mut self,
        on: &[usize],
        job: Job<'_>,
        reading: &Reading,
        pieces: &Pieces<'_>,
        values: &Values<'_>,
    ) -> Result<Vec<u8>, Halt> {
        let words = super::block::names(&job.statement.text);
        let is_cursor = words.first().is_some_and(|first| first == "declare");
        // What outlives the transaction is kept here, whatever shards it is of.
        let is_kept = is_cursor && is_with_hold(pieces);
        if let (&[at], false) = (on, is_kept) {
            self.note_cursor(&job.statement.text, at);
            return self.relay(at, job).await;
        }
        let is_alone = job.writes && runs_alone(&job.statement.text);
        let begins = (job.writes || job.is_unproven) && !is_alone;
        if is_alone && (self.block.is_some() || self.is_implicit) {
            let text = "this statement can't run in a transaction block";
            return Err(Halt::of(&Fault::error(sqlstate::ACTIVE_TRANSACTION, text)));
        }
        if is_alone {
            return self.one_by_one(on, &job.statement.text).await;
        }
        self.join(on, begins).await?;
        for &at in on {
            self.note_job(at, job);
        }
        if is_cursor {
            return self.declare(on, job, reading, pieces).await;
        }
        if let Some(source) = self.stream(on, job, reading, pieces).await? {
            if let Some(kept) = &mut self.kept {
                kept.source = Some(source);
            }
            return Ok(complete(b"SELECT 0"));
        }
        match (reading.kind, &reading.plan) {
            (TextKind::Everywhere, _) => {
                let done = self.first_of(on, &job.statement.text).await;
                if let Some(block) = &mut self.block {
                    block.changed.change();
                }
                done
            }
            (TextKind::Explain, _) => self.explain(on, job).await,
            (TextKind::CopyOut, _) => self.copy_out(on, job, pieces).await,
            (TextKind::CopyIn, _) => self.copy_from(on, job, reading, pieces).await,
            (_, Some(Ok(Plan::Merge(merge)))) => self.merged(on, job, merge, pieces).await,
            (_, Some(Ok(Plan::Finish(finish)))) => self.finished(on, job, finish, pieces).await,
            (TextKind::Write, _) if reading.rows.is_some() => self.insert(on, job, reading, values).await,
            (TextKind::Write, _) if reading.writes_reference => {
                let messages = job.bound.messages(
                    &job.statement.text,
                    &job.statement.types_for_shards(),
                    &job.bound.results,
                );
                self.concatenate(on, job, &messages, true).await
            }
            (TextKind::Session | TextKind::Read | TextKind::Write, _) => {
                let messages = job.bound.messages(
                    &job.statement.text,
                    &job.statement.types_for_shards(),
                    &job.bound.results,
                );
                self.concatenate(on, job, &messages, false).await
            }
        }
    }

    /// The rows of a portal that is to give a few at a time, if they can come so: in a transaction, without a statement that finishes
    /// them.
    async fn stream(
        &mut self,
        on: &[usize],
        job: Job<'_>,
        reading: &Reading,
        pieces: &Pieces<'_>,
    ) -> Result<Option<Source>, Halt> {
        let may = self.kept.as_ref().is_some_and(|kept| kept.may_stream);
        if !may || !self.has_begun() || reading.kind != TextKind::Read {
            return Ok(None);
        }
        let text = pieces.statements().into_iter().next();
        let text = text.map_or("", |range| &pieces.text[pieces.bytes(range)]);
        let merge = match &reading.plan {
            Some(Ok(Plan::Finish(_))) => return Ok(None),
            Some(Ok(Plan::Merge(merge))) => Some((merge, pieces)),
            Some(Ok(Plan::Concatenate) | Err(_)) | None => None,
        };
        self.open_source(on, job, merge, text, false).await
    }

    /// What a shard's transaction may have done.
    pub(super) fn note_job(&mut self, at: usize, job: Job<'_>) {
        if let Some(part) = self.parts[at].as_mut().filter(|part| part.in_block) {
            part.writes |= job.writes;
            part.is_unproven |= job.is_unproven;
        }
    }

    /// The database's tables; waits until they have been looked up again.
    pub(super) async fn found(&self) -> Result<Arc<Found>, Halt> {
        let catalogued = &self.terms.catalogued;
        let until = tokio::time::Instant::now() + TABLES_WITHIN;
        loop {
            let learned = catalogued.learned.notified();
            tokio::pin!(learned);
            learned.as_mut().enable();
            if let Some(found) = catalogued.tables() {
                return Ok(found);
            }
            catalogued.wanted.notify_one();
            if tokio::time::timeout_at(until, learned).await.is_err() {
                let text = "the database's tables could not be looked up yet";
                return Err(Halt::of(&Fault::error(sqlstate::NOT_IN_STATE, text)));
            }
        }
    }

    /// What PostgreSQL runs in no transaction: on one shard after the other.
    async fn one_by_one(&mut self, on: &[usize], text: &[u8]) -> Result<Vec<u8>, Halt> {
        let mut tag = Vec::new();
        for (turn, &at) in on.iter().enumerate() {
            self.join(&[at], false).await?;
            let before = self.line.out.len();
            let done = self.first_of(&[at], text).await;
            match done {
                Ok(own) if turn == 0 => tag = own,
                // What another shard says is the same.
                Ok(_) => self.line.out.truncate(before),
                Err(Halt::Failed(error)) if turn > 0 => {
                    let done: Vec<&str> = on[..turn]
                        .iter()
                        .map(|&at| &*self.terms.shards[at].name)
                        .collect();
                    let text = format!("it is done on {}, and on no shard behind", done.join(", "));
                    self.note(&text);
                    return Err(Halt::Failed(error));
                }
                Err(halt) => return Err(halt),
            }
        }
        Ok(tag)
    }

    /// In a failed transaction only its end is heard.
    fn check_status(&self, text: &[u8]) -> Result<(), Halt> {
        let first = super::block::names(text).into_iter().next().unwrap_or_default();
        if self.status != b'E' || matches!(&*first, "rollback" | "abort" | "commit" | "end") {
            return Ok(());
        }
        let text = "current transaction is aborted, commands ignored until end of transaction block";
        Err(Halt::of(&Fault::error(sqlstate::IN_FAILED_TRANSACTION, text)))
    }

    /// What PostgreSQL itself would not do is refused in its words, all else in ours.
    pub(super) async fn refuse(
        &mut self,
        statement: &Statement,
        reason: ShardReason,
    ) -> Result<Vec<u8>, Halt> {
        match read(&statement.text, self.terms.lex).statements {
            1 => self.tell(statement).await?,
            _ => self.check_syntax(&statement.text).await?,
        }
        Err(not_here(&reason))
    }

    /// Has a shard say what the statement's parameters and rows are.
    pub(super) async fn tell(&mut self, statement: &Statement) -> Result<(), Halt> {
        if statement.told.borrow().is_some() {
            return Ok(());
        }
        let words = super::block::names(&statement.text);
        let first = words.first().map_or("", String::as_str);
        let is_empty = first.is_empty() && read(&statement.text, self.terms.lex).statements == 0;
        if is_empty
            || matches!(
                first,
                "begin" | "start" | "commit" | "end" | "rollback" | "abort" | "savepoint" | "release"
            )
        {
            *statement.told.borrow_mut() = Some(Told::default());
            return Ok(());
        }
        if let Some(rows) = self.fetched(&words) {
            let (types, rows) = (Vec::new(), Some(rows));
            *statement.told.borrow_mut() = Some(Told { types, rows });
            return Ok(());
        }
        self.check_status(&statement.text)?;
        let home = self.home();
        self.join(&[home], false).await?;
        self.keeps_position = true;
        let question = statement::describe(&statement.text, &statement.types);
        self.send(home, &question, 1).await?;
        let mut told = Told::default();
        let mut among = vec![home];
        while let Some((at, header)) = self.next(&mut among).await? {
            let Some(part) = &self.parts[at] else { continue };
            told.note(header.kind, part.body(header));
            self.consume(at, header);
        }
        *statement.told.borrow_mut() = Some(told);
        Ok(())
    }

    /// Runs a portal, all of it or so many rows.
    pub(super) async fn execute_portal(&mut self, portal: &mut Portal, rows_max: usize) -> Result<(), Halt> {
        self.check_status(&portal.statement.text)?;
        if portal.kept.is_none() && !portal.is_done {
            let (statement, bound) = (portal.statement.clone(), portal.bound.clone());
            self.kept = (rows_max > 0).then(|| Kept {
                may_stream: true,
                ..Kept::default()
            });
            let tag = self.run(&statement, &bound, false).await?;
            portal.is_done = true;
            match self.kept.take() {
                Some(kept)
                    if kept.source.is_some()
                        || kept.has_rows()
                        || tag.get(HEADER..).is_some_and(|tag| tag.starts_with(b"SELECT")) =>
                {
                    portal.kept = Some(Kept { tag, ..kept });
                }
                Some(_) | None => {
                    self.line.out.extend_from_slice(&tag);
                    return Ok(());
                }
            }
        }
        match &mut portal.kept {
            Some(kept) => {
                let limit = if rows_max == 0 { usize::MAX } else { rows_max };
                self.begin_statement();
                let done = self.deliver(kept, limit).await;
                self.deadline = None;
                portal.is_broken = done.is_err();
                return done;
            }
            None => self.line.out.extend_from_slice(&complete(b"SELECT 0")),
        }
        Ok(())
    }

    /// Gives out so many rows of a portal, and what ends them.
    async fn deliver(&mut self, kept: &mut Kept, rows_max: usize) -> Result<(), Halt> {
        let room = self.terms.merge_memory;
        let Some(source) = &mut kept.source else {
            kept.deliver(&mut self.line.out, rows_max);
            return Ok(());
        };
        let mut count = 0;
        while count < rows_max {
            if source.lacks() {
                self.come_to(source, (rows_max - count) as u64, room).await?;
            }
            if !source.take(&mut self.line.out)? {
                break;
            }
            count += 1;
            self.line.press().await?;
        }
        match count == rows_max {
            true => reply::frame(&mut self.line.out, b's', |_| ()),
            false => self
                .line
                .out
                .extend_from_slice(&complete(format!("SELECT {count}").as_bytes())),
        }
        Ok(())
    }

    /// The place of a shard the rules name.
    fn shard(&self, name: &str) -> Result<usize, Halt> {
        self.terms.place(name).ok_or_else(|| {
            let text = format!("the rules name a shard \"{name}\" that is not configured");
            Halt::of(&Fault::error(sqlstate::CONFIG_FILE_ERROR, text))
        })
    }

    /// The shard for what is the same on all: one in hand, best one in the transaction.
    pub(super) fn home(&self) -> usize {
        let find = |is_it: fn(&super::Part) -> bool| {
            self.parts
                .iter()
                .position(|part| part.as_ref().is_some_and(is_it))
        };
        find(|part| part.in_block).or_else(|| find(|_| true)).unwrap_or(0)
    }

    /// The home, or the shard of the cursor that a text speaks of.
    fn home_of(&self, text: &[u8]) -> usize {
        if self.cursors.is_empty() {
            return self.home();
        }
        let words = super::block::names(text);
        let cursor = words.iter().find_map(|word| self.cursors.get(word));
        cursor.copied().unwrap_or_else(|| self.home())
    }

    /// The shard where sessions meet.
    fn meeting(&self, text: &[u8]) -> Result<usize, Halt> {
        if super::block::names(text)
            .first()
            .is_some_and(|word| word == "listen")
        {
            let text = "LISTEN in a transaction over several shards";
            let fault = Fault::error(sqlstate::FEATURE_NOT_SUPPORTED, text);
            return Err(Halt::of(
                &fault.hint("Run it before the transaction, or after it."),
            ));
        }
        let tenant = self.terms.course.tenant.borrow();
        let shard = meeting::of_tenant(&self.terms.sharding, tenant.as_ref());
        shard.map_or(Ok(0), |shard| self.shard(shard))
    }

    /// Remembers where a cursor is.
    pub(super) fn note_cursor(&mut self, text: &[u8], at: usize) {
        if let [declare, name, ..] = &super::block::names(text)[..]
            && declare == "declare"
        {
            self.cursors.insert(name.clone(), at);
        }
    }
}

impl Told {
    /// Takes in a message of an answer to Describe.
    pub(super) fn note(&mut self, kind: u8, body: &[u8]) {
        match kind {
            b't' => self.types = statement::parameter_types(body),
            b'T' => self.rows = Description::read(body),
            _ => {}
        }
    }
}

/// Why a statement can't be run.
pub(super) fn not_here(reason: &ShardReason) -> Halt {
    let code = reason.sqlstate().as_bytes().try_into();
    let code = code.map_or(sqlstate::FEATURE_NOT_SUPPORTED, SqlState);
    let fault = Fault::error(
        code,
        format!("this statement can't be run on several shards: {reason}"),
    );
    Halt::of(&match reason.hint() {
        Some(hint) => fault.hint(hint),
        None => fault,
    })
}

/// Does a text call what sets a setting?
fn sets(text: &[u8]) -> bool {
    text.to_ascii_lowercase()
        .windows(SET_CONFIG.len())
        .any(|window| window == SET_CONFIG)
}

const SET_CONFIG: &[u8] = b"set_config";

/// Is it one of the statements PostgreSQL runs in no transaction block?
fn runs_alone(text: &[u8]) -> bool {
    let words = super::block::names(text);
    match words.first().map_or("", String::as_str) {
        "vacuum" | "cluster" => true,
        "create" | "drop" | "reindex" | "alter" | "refresh" => {
            words.iter().take(8).any(|word| word == "concurrently")
        }
        _ => false,
    }
}
