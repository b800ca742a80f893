//! What shards can't answer together, and a coordinator can: whether it may go there, and what becomes of a session that is.

use std::rc::Rc;
use std::task::Context;
use std::time::Instant;

use routing_rules::{Access, Named, Reading, ShardReason, Why, access};

use super::super::relay::Client;
use super::elsewhere::{ENDS, KEPT, Steer};
use super::refusals::{beyond_here, no_coordinator, not_at_coordinator, not_beyond, not_looked_up, refusal};
use super::shard::{Noted, Stay, Verdict, Verdicted};
use super::{Last, Remembered};
use crate::catalog::coordinator::{Coordinator, Fit};
use crate::fault::Fault;
use crate::pool::{Pool, Reads, Role};
use crate::protocol::session::unit::Asked;
use crate::protocol::sqlstate;

/// What a stretch asks of a coordinator.
#[derive(Debug, Default)]
pub(super) struct Asks {
    /// Tables it must have.
    tables: Vec<Named>,
    /// Why it can't do it whatever it has.
    never: Option<String>,
    /// Statements that are run.
    statements: usize,
}

/// Whether something may go to the coordinator.
enum May {
    /// It may.
    Go,
    /// It is not known yet.
    Later,
    /// It may not, because of this.
    Not(String),
}

impl Asks {
    /// One more statement is run.
    pub(super) fn add(&mut self, reading: &Reading) {
        self.statements += 1;
        for table in &reading.tables {
            if !self.tables.contains(table) {
                self.tables.push(table.clone());
            }
        }
        let never = match &reading.opaque {
            Some(function) => Some(format!("function {function} may read any table")),
            None if reading.has_local => {
                Some("system catalogs and temporary tables belong to their server".into())
            }
            None if reading.names_system_column => {
                Some("system columns, as ctid and tableoid, belong to their server".into())
            }
            None => None,
        };
        self.never = self.never.take().or(never);
    }
}

impl Client {
    /// The stretch at the beginning of the inbox is nothing for shards: to the coordinator with it, if that may be.
    pub(super) fn goes_beyond(
        &mut self,
        own: &Rc<Pool>,
        reads: &Rc<Reads>,
        reason: &ShardReason,
        noted: Noted,
        at: Instant,
    ) -> Verdicted {
        let Some(coordinator) = reads.coordinator.clone() else {
            return self.nowhere(own, reads, refusal(reason));
        };
        let Some((asked, may)) = self.may_unit_go_beyond(reads, &coordinator, &noted.asks) else {
            return Verdicted::More;
        };
        let fault = match may {
            May::Go if std::mem::take(&mut self.routing.lost_beyond) => {
                let fault = Fault::error(sqlstate::CONNECTION_FAILURE, "the connection was lost");
                no_coordinator(coordinator.name(), &fault)
            }
            May::Go => match self.place(coordinator.name(), Role::Coordinator) {
                Some(pool) => {
                    self.routing.looking = None;
                    self.take_note(noted);
                    self.routing.asked = Some(asked);
                    return Verdicted::Coordinator(pool, reason.clone());
                }
                None => refusal(reason),
            },
            May::Later if self.waits_for_coordinator(reads, &coordinator, at) => return Verdicted::Later,
            May::Later => not_beyond(reason, "what it has could not be found out in time"),
            May::Not(why) => not_beyond(reason, &why),
        };
        self.nowhere(own, reads, fault)
    }

    /// Why a stretch that is nothing for shards fails in a session that has a server of one.
    pub(super) fn not_beyond_here(&mut self, reads: &Reads, reason: &ShardReason, noted: &Noted) -> Fault {
        let may = match reads.coordinator.clone() {
            Some(coordinator) => self.may_unit_go_beyond(reads, &coordinator, &noted.asks),
            None => None,
        };
        match may {
            Some((_, May::Not(why))) => not_beyond(reason, &why),
            Some((_, May::Go | May::Later)) | None => beyond_here(reason, reads, self.is_in_transaction()),
        }
    }

    /// May the unit at the beginning of the inbox go there? `None`: it must come whole first.
    fn may_unit_go_beyond(
        &mut self,
        reads: &Reads,
        coordinator: &Coordinator,
        asks: &Asks,
    ) -> Option<(Box<Asked>, May)> {
        let asked = self.ask_unit(reads, false)?;
        let may = match (&asked.access, asked.is_flushed) {
            (Access::Write(Why::NamesUnknown), _) => May::Later,
            (Access::Write(why), _) => May::Not(why.to_string()),
            (Access::Read, true) => May::Not("its batch was flushed before Sync".into()),
            (Access::Read, false) => self.may_go_beyond(reads, coordinator, asks),
        };
        Some((asked, may))
    }

    /// May what only reads go there?
    fn may_go_beyond(&self, reads: &Reads, coordinator: &Coordinator, asks: &Asks) -> May {
        if let Some(why) = &asks.never {
            return May::Not(why.clone());
        }
        if self.session.isolates() {
            let why =
                "each shard has snapshots of its own, and the transaction is REPEATABLE READ or SERIALIZABLE";
            return May::Not(why.into());
        }
        let Some(sharding) = &reads.sharding else {
            return May::Not("the database is not sharded".into());
        };
        let as_of = reads.catalogued.schema().tables();
        match coordinator.fits(as_of, sharding, &asks.tables) {
            Fit::Yes => May::Go,
            Fit::Unknown => May::Later,
            Fit::No(why) => May::Not(why),
        }
    }

    /// The same for a text that nobody sends: the coordinator's name.
    pub(super) fn would_go_beyond(
        &mut self,
        text: &[u8],
        reads: &Reads,
        noted: &Noted,
        reason: &ShardReason,
    ) -> Result<String, Fault> {
        let Some(coordinator) = reads.coordinator.clone() else {
            return Err(refusal(reason));
        };
        let found = reads.catalogued.current();
        let names = found.as_ref().map(|found| &found.names);
        let may = match access(text, self.session.lex_now(), names) {
            Access::Read => self.may_go_beyond(reads, &coordinator, &noted.asks),
            Access::Write(Why::NamesUnknown) => May::Later,
            Access::Write(why) => May::Not(why.to_string()),
        };
        match may {
            May::Go if self.lease.is_some() && !self.is_at_coordinator() => {
                Err(beyond_here(reason, reads, self.is_in_transaction()))
            }
            May::Go => Ok(coordinator.name().to_string()),
            May::Later => Err(not_beyond(reason, "what it has is not known yet")),
            May::Not(why) => Err(not_beyond(reason, &why)),
        }
    }

    /// Notes that the unit goes to the coordinator.
    pub(super) fn remember_beyond(&mut self, pool: &Pool, reason: ShardReason) {
        let wishes = &self.routing.wishes;
        let facts = Remembered {
            transaction: self.session.transaction(),
            wanted: wishes.wanted,
            consistency: wishes.consistency,
            has_replicas: false,
        };
        self.routing.last = Last {
            asked: self.routing.asked.take(),
            facts: Some(facts),
            shard: Some(pool.plan.key.place.shard.clone()),
            beyond: Some(reason),
            ..Last::default()
        };
        pool.totals.borrow_mut().routes.count_beyond();
    }

    /// Does the session have a server of the coordinator?
    pub(super) fn is_at_coordinator(&self) -> bool {
        let lease = self.lease.as_ref();
        lease.is_some_and(|lease| lease.pool().plan.key.place.role == Role::Coordinator)
    }

    /// Looks at the next unit of a session that is at the coordinator, in a transaction or because it is pinned.
    pub(super) fn steer_at_coordinator(&mut self, cx: &mut Context<'_>, reads: &Rc<Reads>) -> Steer {
        self.follow_wishes(reads, Instant::now());
        let tied = self.tie(reads);
        let (verdict, noted) = self.judge(reads);
        let is_beyond = matches!(verdict, Verdict::Beyond(_));
        let fault = match verdict {
            Verdict::More => return Steer::More,
            _ if tied.is_err() => tied.err(),
            Verdict::Refused(fault) => Some(fault),
            Verdict::Later if self.waits_for_tables(reads, Instant::now()) => return Steer::More,
            Verdict::Later => Some(not_looked_up()),
            Verdict::Anywhere | Verdict::Shard(_) | Verdict::Several(_) | Verdict::Beyond(_) => None,
        };
        if let Some(fault) = fault {
            return self.fails_at_coordinator(cx, &fault, &noted);
        }
        match self.can_stay_there(reads, &noted) {
            Ok(Some(steer)) => {
                self.routing.looking = None;
                self.take_note(noted);
                steer
            }
            Ok(None) => Steer::More,
            // What was read there was committed; so will be what is read elsewhere.
            Err(_) if !is_beyond && self.session.can_begin_again() => self.begin_again(),
            Err(why) => self.fails_at_coordinator(cx, &not_at_coordinator(&why), &noted),
        }
    }

    /// `None`: more must come first, or be found out. The error says why it can't.
    fn can_stay_there(&mut self, reads: &Rc<Reads>, noted: &Noted) -> Result<Option<Steer>, String> {
        if noted.ends == b'H' {
            return Err("a batch was flushed before Sync".into());
        }
        if noted.asks.statements == 0 && !noted.calls {
            // Nothing is run but what was bound here before.
            return Ok(Some(Steer::On));
        }
        let Some(asked) = self.ask_unit(reads, true) else {
            return Ok(None);
        };
        let is_alone = asked.is_single && noted.asks.statements == 1;
        let word = match &asked.access {
            Access::Write(Why::Begins(word)) => &**word,
            Access::Write(_) | Access::Read => "",
        };
        let has_failed = self
            .lease
            .as_ref()
            .is_some_and(|lease| lease.backend.status == b'E');
        let is_of_session = KEPT.contains(&word) && word != "DECLARE";
        match &asked.access {
            _ if is_alone && (has_failed || ENDS.contains(&word)) => Ok(Some(Steer::On)),
            Access::Write(_) if is_alone && is_of_session => {
                self.session.stays();
                Ok(Some(Steer::On))
            }
            Access::Read if !asked.is_flushed => self.reads_there(reads, noted),
            Access::Read => Err("a batch was flushed before Sync".into()),
            Access::Write(why) => Err(why.to_string()),
        }
    }

    fn reads_there(&mut self, reads: &Rc<Reads>, noted: &Noted) -> Result<Option<Steer>, String> {
        let Some(coordinator) = reads.coordinator.clone() else {
            return Err("it is not configured any more".into());
        };
        match self.may_go_beyond(reads, &coordinator, &noted.asks) {
            May::Go => Ok(Some(Steer::On)),
            May::Later if self.waits_for_coordinator(reads, &coordinator, Instant::now()) => Ok(None),
            May::Later => Err("what it has could not be found out in time".into()),
            May::Not(why) => Err(why),
        }
    }

    fn fails_at_coordinator(&mut self, cx: &mut Context<'_>, fault: &Fault, noted: &Noted) -> Steer {
        self.routing.looking = None;
        match self.fail_there(cx, fault, noted) {
            Stay::On | Stay::Failed => Steer::On,
            Stay::Wait => Steer::More,
            Stay::Ended(_) => Steer::Ended,
        }
    }
}
