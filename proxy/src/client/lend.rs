//! A server is borrowed for a client, kept while something of the client's is in it, and given back.

use std::rc::Rc;
use std::task::Context;
use std::time::Instant;

use super::cached::Looked;
use super::handle::Doing;
use super::relay::{Client, Then};
use super::route::{Pick, no_coordinator};
use crate::fault::Fault;
use crate::pool::lease::{Answer, Lease};
use crate::pool::{Pool, Role};
use crate::protocol::session::Afterwards;
use crate::protocol::sqlstate;
use crate::server;

impl Client {
    /// The server owes nothing: probe it, keep it, or give it back.
    pub(super) fn settled(&mut self, cx: &mut Context<'_>) -> Then {
        let at = Instant::now();
        if self.handle.doing.get() == Doing::Working {
            self.handle
                .pool
                .totals
                .borrow_mut()
                .query_time
                .record(at - self.handle.since.get());
        }
        self.settle(cx, at);
        if self.inbox.is_empty() {
            Then::Continue
        } else {
            self.hear_client(cx)
        }
    }

    /// After client bytes that sent nothing on: the server may have become free by them.
    pub(super) fn settle_if_idle(&mut self, cx: &mut Context<'_>) -> Then {
        if self
            .lease
            .as_ref()
            .is_some_and(|lease| lease.backend.pipeline.is_empty())
        {
            self.settle(cx, Instant::now());
        }
        Then::Continue
    }

    pub(super) fn settle(&mut self, cx: &mut Context<'_>, at: Instant) {
        let Some(lease) = &self.lease else { return };
        if lease.backend.status == b'I' && !lease.backend.pipeline.is_open() {
            self.follow_mode();
        }
        self.done(at);
        let Some(lease) = &mut self.lease else { return };
        let mut to_server = Vec::new();
        let worker = &self.worker;
        let server: &mut server::held::Server = lease;
        let session = &mut self.session;
        let afterwards = worker.at_desk(&self.handle.pool, self.message_max, |desk| {
            session.afterwards(&mut server.backend, desk, &mut to_server)
        });
        match afterwards {
            Afterwards::InTransaction => self.handle.does(Doing::InTransaction, at),
            Afterwards::Probe => {
                let (outbox, stream) = (&mut server.outbox, &mut server.stream);
                if outbox.write(cx, stream, &to_server).is_err() {
                    self.drop_server();
                }
            }
            Afterwards::Keep => {
                self.end_transaction(at, true);
                self.handle.pins.set(self.session.pins);
                self.handle.does(Doing::Pinned, at);
            }
            Afterwards::Release => {
                server.backend.pipeline.shrink();
                self.end_transaction(at, false);
                if let Some(lease) = self.lease.take() {
                    lease.give_back();
                }
                self.unlinked(at);
            }
        }
    }

    fn end_transaction(&mut self, at: Instant, pinned: bool) {
        self.transaction_ended();
        if let Some(began) = self.handle.xact_since.take() {
            let mut totals = self.handle.pool.totals.borrow_mut();
            totals.xact_count += 1;
            totals.pinned_xact_count += u64::from(pinned);
            totals.xact_time.record(at - began);
        }
    }

    pub(super) fn unlinked(&mut self, at: Instant) {
        self.unrouted();
        self.handle.link.set(0);
        self.handle.generation.set(u64::MAX);
        self.handle.server_pid.set(0);
        self.handle.pins.set(Default::default());
        self.handle.prepared.set(self.session.prepared_len());
        self.handle.does(Doing::Idle, at);
    }

    /// The server in hand is closed.
    pub(super) fn drop_server(&mut self) {
        self.transaction_ended();
        self.session.detach();
        self.lease = None;
        self.handle.xact_since.set(None);
        self.unlinked(Instant::now());
    }

    /// Asks the pool for a server. False: the client waits, or was told no.
    pub(super) fn borrow(&mut self, cx: &mut Context<'_>, at: Instant) -> bool {
        if self.lease.is_some() {
            return true;
        }
        match self.look_in_cache(cx, at) {
            Looked::No => {}
            Looked::Answered => return true,
            Looked::More => {
                self.grows = true;
                return false;
            }
            Looked::Later => return false,
        }
        let pool = match self.pick(at) {
            Pick::Pool(pool) => pool,
            Pick::More => {
                self.grows = true;
                return false;
            }
            Pick::Later => return false,
            Pick::Gather(replicas) => {
                if let Some(lease) = self.gathering(None, &replicas) {
                    self.attach(cx, lease, at);
                }
                return true;
            }
            Pick::Refused(fault) => {
                self.refuse(&fault);
                return true;
            }
        };
        let waker = || cx.waker().clone();
        match pool.borrow(self.last_server, waker) {
            Answer::Lent(lease) => {
                self.attach(cx, lease, at);
                true
            }
            Answer::Queued(ticket) => {
                self.ticket = Some(ticket);
                self.handle.does(Doing::Waiting, at);
                false
            }
            Answer::Refused(fault) => {
                self.no_server(&pool, &fault);
                true
            }
        }
    }

    /// No server of this pool can be had. What a replica could have done, the primary can.
    pub(super) fn no_server(&mut self, pool: &Rc<Pool>, fault: &Fault) {
        match pool.plan.key.place.role {
            Role::Primary => self.refuse(fault),
            Role::Replica(_) => self.goes_to_primary(),
            Role::Coordinator => self.refuse(&no_coordinator(&pool.plan.key.place.shard, fault)),
        }
    }

    pub(super) fn refuse(&mut self, fault: &Fault) {
        self.handle.pool.totals.borrow_mut().fault_count += 1;
        self.session.refuse(fault);
    }

    pub(super) fn attach(&mut self, cx: &mut Context<'_>, mut lease: Lease, at: Instant) {
        let mut back = Vec::new();
        self.routed(&mut lease, &mut back);
        if !back.is_empty() {
            let (outbox, stream) = (&mut self.outbox, &mut self.stream);
            // A broken line shows at the next write.
            let _ = outbox.write(cx, stream, &back);
        }
        self.last_server = lease.id;
        self.handle.link.set(lease.id);
        self.handle.server_pid.set(lease.cancel.pid);
        let is_replica = self.session.is_on_replica();
        let generation = if is_replica {
            u64::MAX
        } else {
            lease.facts.generation
        };
        self.handle.generation.set(generation);
        self.handle.xact_since.set(Some(at));
        self.handle.does(Doing::Working, at);
        self.lease = Some(lease);
        self.trace(cx);
    }

    pub(super) fn note_work(&mut self, at: Instant) {
        if let Some(lease) = &self.lease
            && !lease.backend.pipeline.is_empty()
            && self.handle.doing.get() != Doing::Working
        {
            self.handle.does(Doing::Working, at);
            if self.handle.xact_since.get().is_none() {
                self.handle.xact_since.set(Some(at));
            }
        }
    }

    /// The server's line broke while the client held it.
    pub(super) fn server_gone(&mut self, cx: &mut Context<'_>) -> Then {
        let Some(lease) = &self.lease else {
            return Then::Continue;
        };
        let whole = lease.backend.is_between_frames();
        if self.session.is_unheard() {
            return self.run_elsewhere(cx, "the connection was lost");
        }
        self.drop_server();
        if whole {
            let fault = Fault::fatal(
                sqlstate::CONNECTION_FAILURE,
                "the server closed the connection unexpectedly",
            )
            .detail("What the statement did is not known.")
            .hint("Connect again, and look before you repeat a write.");
            self.say(cx, &fault);
        }
        Then::Abandon
    }
}
