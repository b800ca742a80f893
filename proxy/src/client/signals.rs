//! What a client's task is told from outside: to cancel, to leave, that its time is over, that its turn has come.

use std::task::Context;
use std::time::Instant;

use super::handle::{Doing, Overdue, Signal};
use super::leave;
use super::relay::{Client, Then};
use crate::fault::Fault;
use crate::pool::lease::Ticket;
use crate::protocol::sqlstate;

/// What a client hears after `query_wait_notify`.
const WAITS: &str = "no server is free in this pool yet: the statement waits for one (query_wait_notify)";

impl Client {
    pub(super) fn signalled(&mut self, cx: &mut Context<'_>) -> Then {
        if self.handle.take(Signal::Kill) {
            self.say(
                cx,
                &Fault::fatal(
                    sqlstate::ADMIN_SHUTDOWN,
                    "terminating connection due to administrator command",
                ),
            );
            return Then::Abandon;
        }
        if let Some((outcome, pool)) = self
            .ticket
            .as_ref()
            .and_then(|ticket| Some((ticket.outcome()?, ticket.pool().clone())))
        {
            self.ticket = None;
            let at = Instant::now();
            match outcome {
                Ok(lease) => self.attach(cx, lease, at),
                Err(fault) => {
                    self.handle.does(Doing::Idle, at);
                    self.no_server(&pool, &fault);
                }
            }
            return self.hear_client(cx);
        }
        if self.ticket.as_ref().is_some_and(Ticket::takes_notice) {
            self.notice(cx, WAITS);
        }
        if self.handle.take(Signal::Fenced) && self.is_fenced() {
            return self.fenced(cx);
        }
        let waits = self.lease.is_none() || self.session.is_between_stretches();
        if self.handle.take(Signal::Caught) && waits {
            return self.hear_client(cx);
        }
        if self.handle.take(Signal::Cancel) {
            return self.cancel(cx);
        }
        if self.handle.take(Signal::Overdue) {
            return self.overdue(cx);
        }
        if self.is_to_leave() && self.is_idle() {
            let fault = Fault::fatal(
                sqlstate::ADMIN_SHUTDOWN,
                "terminating connection due to administrator command",
            );
            let fault = match self.handle.pool.is_removed() {
                true => fault.detail("The database is no longer in pgshunt's configuration."),
                false => fault,
            };
            self.say(cx, &fault);
            return Then::Abandon;
        }
        if self.handle.take(Signal::Stop) {
            self.look_at_mode(cx);
        }
        Then::Continue
    }

    /// Must it leave when it is idle?
    pub(super) fn is_to_leave(&self) -> bool {
        self.worker.stopping.get() || self.handle.pool.is_removed()
    }

    /// In no transaction, and nothing is owed to it. Its session may keep a server.
    pub(super) fn is_idle(&self) -> bool {
        let is_pinned = self.handle.doing.get() == Doing::Pinned;
        (self.lease.is_none() || is_pinned) && self.ticket.is_none() && !self.session.has_begun()
    }

    /// A cancel request: for a client that waits, the waiting ends; for one whose statement runs, the server hears it.
    pub(super) fn cancel(&mut self, cx: &mut Context<'_>) -> Then {
        if self.ticket.take().is_some() || self.routing.cache.stops_waiting() {
            self.handle.does(Doing::Idle, Instant::now());
            self.refuse(&Fault::error(
                sqlstate::QUERY_CANCELED,
                "canceling statement due to user request",
            ));
            return self.hear_client(cx);
        }
        if let Some(lease) = &self.lease
            && lease.backend.works_for_client()
        {
            leave::send_cancel(&self.handle.pool, lease, &self.worker);
        }
        Then::Continue
    }

    pub(super) fn overdue(&mut self, cx: &mut Context<'_>) -> Then {
        let overdue = self.handle.overdue.take();
        let fault = match overdue {
            None => return Then::Continue,
            // It has begun something since: its turn comes again.
            Some(Overdue::Server) if !self.is_idle() => return Then::Continue,
            Some(Overdue::Server) => Fault::fatal(
                sqlstate::ADMIN_SHUTDOWN,
                "terminating connection because its server is to be connected anew",
            )
            .detail("The session kept a server (server_fast_close)."),
            Some(Overdue::Query) => Fault::fatal(sqlstate::QUERY_CANCELED, "query_timeout is over"),
            Some(Overdue::Transaction) => {
                Fault::fatal(sqlstate::QUERY_CANCELED, "transaction_timeout is over")
            }
            Some(Overdue::IdleTransaction) => Fault::fatal(
                sqlstate::IDLE_IN_TRANSACTION,
                "terminating connection due to idle-in-transaction timeout",
            ),
            Some(Overdue::Idle) => Fault::fatal(
                sqlstate::IDLE_SESSION,
                "terminating connection due to idle-session timeout",
            ),
        };
        if self
            .lease
            .as_ref()
            .is_none_or(|lease| lease.backend.is_between_frames())
        {
            self.say(cx, &fault);
        }
        match overdue {
            Some(Overdue::Query | Overdue::Transaction | Overdue::Server) => Then::GiveUp,
            None | Some(Overdue::IdleTransaction | Overdue::Idle) => Then::Abandon,
        }
    }

    /// The client's line is gone. Who said goodbye before gets done what it had sent.
    pub(super) fn gone(&self) -> Then {
        if self.session.awaits() && self.inbox.bytes().first() == Some(&b'X') {
            Then::Leave
        } else {
            Then::Abandon
        }
    }

    pub(super) fn say(&mut self, cx: &mut Context<'_>, fault: &Fault) {
        let mut bytes = Vec::new();
        fault.write(&mut bytes);
        let (outbox, stream) = (&mut self.outbox, &mut self.stream);
        // A client that can't be told is gone already.
        let _ = outbox.write(cx, stream, &bytes);
    }
}
