//! A session on a replica, and back to the primary when the replica can't do what it is asked.

use std::rc::Rc;
use std::task::Context;
use std::time::{Duration, Instant};

use routing_rules::{Access, Why};

use super::super::handle::Doing;
use super::super::relay::{Client, Then};
use super::super::worker::Worker;
use crate::fault::Fault;
use crate::pool::Reads;
use crate::pool::lease::Lease;
use crate::protocol::session::Cannot;
use crate::protocol::sqlstate;

/// What becomes of the next unit of a session that is on a replica.
pub(in crate::client) enum Steer {
    /// It may be sent on.
    On,
    /// More of it must come first.
    More,
    /// It was made to go to the primary.
    Moved,
    /// It can't be done.
    Ended,
}

impl Client {
    /// Bytes of the client's have been used for what was sent to a replica.
    pub(in crate::client) fn remember(&mut self, used: usize, said: &mut Vec<u8>) {
        if self.session.is_unheard() {
            self.routing.unit.extend_from_slice(&self.inbox.bytes()[..used]);
            self.routing.held.append(said);
        }
    }

    /// A replica can't do the unit, and the client has heard nothing.
    pub(in crate::client) fn cannot_here(&mut self, cx: &mut Context<'_>, cannot: Cannot) -> Then {
        if cannot == Cannot::Ever
            && let Some(found) = self.handle.pool.reads().catalogued.current()
        {
            let mut texts = self.worker.texts.borrow_mut();
            self.session
                .refused_unit(&self.routing.unit, &mut texts, found.stamp);
        }
        self.run_elsewhere(cx, "it can't be done on a replica")
    }

    /// Runs the unit at the primary: the replica could not, and the client has heard nothing.
    pub(in crate::client) fn run_elsewhere(&mut self, cx: &mut Context<'_>, why: &str) -> Then {
        if self.is_at_coordinator() {
            // There is no other one.
            self.routing.lost_beyond = true;
        } else if let Some(lease) = &self.lease {
            let address = match self.is_gathered() {
                true => "several shards".to_owned(),
                false => lease.facts.target.address.to_string(),
            };
            tracing::info!(%address, why, "a statement is run again at the primary");
            self.handle.pool.totals.borrow_mut().retry_count += 1;
        }
        let unit = std::mem::take(&mut self.routing.unit);
        self.session.retract();
        self.lease = None;
        self.handle.xact_since.set(None);
        self.unlinked(Instant::now());
        self.inbox.unread(&unit);
        self.routing.to_primary = true;
        self.hear_client(cx)
    }

    /// Looks at the next unit of a session that is on a replica between two of them.
    pub(in crate::client) fn steer(&mut self, cx: &mut Context<'_>) -> Steer {
        let pool = self.handle.pool.clone();
        let reads = pool.reads();
        let input = self.inbox.bytes();
        if input.is_empty() || input.first() == Some(&b'X') {
            return Steer::On;
        }
        if self.is_at_coordinator() {
            return self.steer_at_coordinator(cx, &reads);
        }
        let has_failed = |lease: &Lease| lease.backend.status == b'E';
        if self.lease.as_ref().is_some_and(has_failed) {
            let Some(asked) = self.ask_unit(&reads, true) else {
                return Steer::More;
            };
            let ends = matches!(&asked.access, Access::Write(Why::Begins(word)) if ENDS.contains(&&**word));
            if asked.is_single && !(ends && asked.is_among_others) {
                // It is refused, or ends the transaction.
                return Steer::On;
            }
            self.routing.asked = Some(asked);
        }
        if self.is_gathered() {
            return self.steer_gathered(cx, &reads);
        }
        if reads.sharding.is_some()
            && let Some(steer) = self.steer_on_shard(cx)
        {
            return steer;
        }
        self.steer_by_access(cx, &reads)
    }

    /// The same, by what it does to data.
    pub(super) fn steer_by_access(&mut self, cx: &mut Context<'_>, reads: &Reads) -> Steer {
        let Some(asked) = self.ask_unit(reads, true) else {
            return Steer::More;
        };
        let why = match &asked.access {
            Access::Read if !asked.is_flushed => return Steer::On,
            Access::Read => None,
            Access::Write(why) => Some(why),
        };
        let word = match why {
            Some(Why::Begins(word)) => &**word,
            _ => "",
        };
        let ends = ENDS.contains(&word) && asked.is_single;
        // What is behind the end of a transaction may be nothing for its server.
        if ends && !asked.is_among_others {
            return Steer::On;
        }
        if self.session.can_begin_again() {
            self.routing.asked = Some(asked);
            return self.begin_again();
        }
        if KEPT.contains(&word) && asked.is_single {
            self.session.stays();
            return Steer::On;
        }
        if ends || REFUSED.contains(&word) && asked.is_single {
            return Steer::On;
        }
        let why = why.map(ToString::to_string).unwrap_or_default();
        let fault = Fault::fatal(
            sqlstate::FEATURE_NOT_SUPPORTED,
            "this statement can't be run in a transaction that is on a replica",
        );
        let fault = fault
            .detail(why)
            .hint("SET pgshunt.target = 'primary' before the transaction begins.");
        self.say(cx, &fault);
        Steer::Ended
    }

    /// Its transaction begins anew, elsewhere.
    pub(super) fn begin_again(&mut self) -> Steer {
        let lease = self.lease.take();
        self.session.retract();
        self.unlinked(Instant::now());
        self.routing.to_primary = true;
        if let Some(lease) = lease {
            tokio::task::spawn_local(roll_back(self.worker.clone(), lease));
        }
        Steer::Moved
    }

    /// Is the server in hand one of a primary that no longer is?
    pub(in crate::client) fn is_fenced(&self) -> bool {
        let Some(lease) = &self.lease else { return false };
        let pool = lease.pool();
        pool.follow_primary();
        pool.is_fenced(lease.facts.generation)
    }

    /// Its server is no longer the primary's.
    pub(in crate::client) fn fenced(&mut self, cx: &mut Context<'_>) -> Then {
        let whole = self
            .lease
            .as_ref()
            .is_some_and(|lease| lease.backend.is_between_frames());
        let busy = self.handle.doing.get() == Doing::Working;
        self.drop_server();
        if whole {
            let fault = Fault::fatal(
                sqlstate::CONNECTION_FAILURE,
                "the primary has changed, and the session was on the old one",
            );
            let fault = match busy {
                true => fault.detail("What the statement did is not known."),
                false => fault.detail("Its transaction is lost."),
            };
            self.say(cx, &fault.hint("Connect again."));
        }
        Then::Abandon
    }
}

async fn roll_back(worker: Rc<Worker>, mut lease: Lease) {
    let patience = Duration::from_secs(5);
    let rolled_back = lease.run(b"ROLLBACK", &worker.buffers);
    if let Ok(Ok(Ok(()))) = tokio::time::timeout(patience, rolled_back).await {
        lease.give_back();
    }
}

/// First words of statements that end a transaction.
pub(super) const ENDS: [&str; 4] = ["COMMIT", "END", "ROLLBACK", "ABORT"];

/// First words of statements that concern nothing but the transaction or the session.
pub(super) const KEPT: [&str; 10] = [
    "SAVEPOINT",
    "RELEASE",
    "DECLARE",
    "FETCH",
    "MOVE",
    "CLOSE",
    "SHOW",
    "SET",
    "RESET",
    "DEALLOCATE",
];

/// First words of statements that any server refuses in a READ ONLY transaction, in the same words (25006).
const REFUSED: [&str; 11] = [
    "INSERT", "UPDATE", "DELETE", "MERGE", "CREATE", "ALTER", "DROP", "TRUNCATE", "GRANT", "REVOKE",
    "COMMENT",
];
