//! The data path: one client, the server it holds, and the bytes between them.
//!
//! One task serves both directions, so no byte crosses a thread and nothing is woken but by a socket. All decisions are
//! `Session`'s; this file reads, writes, borrows and gives back.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use super::handle::Handle;
use super::leave;
use super::route::{Routing, Stay, Steer};
use super::worker::Worker;
use crate::fault::Fault;
use crate::net::buffer::{BUFFER, Inbox, Outbox};
use crate::net::stream::Stream;
use crate::pool::lease::{Lease, Ticket};
use crate::pool::settings::Mode;
use crate::protocol::session::from_server::ENTIRE_MAX;
use crate::protocol::session::{Heard, Next, Session};
use crate::protocol::sqlstate;
use crate::server;

/// A logged-in client.
pub struct Client {
    /// The line to it.
    pub stream: Stream,
    /// Bytes it sent, not yet used.
    pub inbox: Inbox,
    /// Bytes for it, not yet taken.
    pub outbox: Outbox,
    /// Its session.
    pub session: Session,
    /// The mode its session follows.
    pub mode: Mode,
    /// What the worker knows of it.
    pub handle: Rc<Handle>,
    /// Its worker.
    pub worker: Rc<Worker>,
    /// The longest message that must be read whole.
    pub message_max: usize,
    /// The server it holds.
    pub lease: Option<Lease>,
    /// The number of the server it had last; 0 for none.
    pub last_server: u64,
    /// Its place in the queue.
    pub ticket: Option<Ticket>,
    /// Must more be read before anything can be done with what is there?
    pub grows: bool,
    /// Where its statements go.
    pub routing: Routing,
}

/// What happened next.
enum Event {
    FromClient,
    FromServer,
    ClientGone,
    ServerGone,
    Signalled,
}

/// How the session goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// On with it.
    Continue,
    /// The client said goodbye: let the server finish what it was sent.
    Leave,
    /// The client is gone or must go: stop the server.
    Abandon,
    /// The server has taken too long: stop it soon, or do without it.
    GiveUp,
}

// What is kept until it is whole fits into a buffer as it is lent.
const _: () = assert!(ENTIRE_MAX <= BUFFER);

/// Bytes waiting to be written beyond which no more are read for that direction.
const HIGH_WATER: usize = 256 * 1024;

impl Client {
    /// Serves the client until it leaves.
    pub async fn run(mut self: Box<Self>) {
        let then = poll_fn(|cx| self.poll_run(cx)).await;
        self.ticket = None;
        let worker = self.worker.clone();
        worker.clients.borrow_mut().remove(&self.handle.id);
        self.handle.pool.clients.set(self.handle.pool.clients.get() - 1);
        if let Some(lease) = self.lease.take() {
            // Who said goodbye wants no answer; else a statement is to be stopped, and the worker ends no sooner.
            let leaving = u64::from(then != Then::Leave);
            worker.leaving.set(worker.leaving.get() + leaving);
            let session = self.session;
            tokio::task::spawn_local(async move {
                leave::clean(worker.clone(), session, lease, then).await;
                worker.leaving.set(worker.leaving.get() - leaving);
            });
        }
        let _ = tokio::time::timeout(
            std::time::Duration::from_secs(5),
            poll_fn(|cx| self.outbox.poll_flush(cx, &mut self.stream)),
        )
        .await;
        if self.stream.is_tls() {
            let _ = poll_fn(|cx| {
                let _ = tokio::io::AsyncWrite::poll_shutdown(std::pin::Pin::new(&mut self.stream), cx);
                Poll::Ready(())
            })
            .await;
        }
    }

    /// Deals with one event after the other until there is none, or the session ends.
    fn poll_run(&mut self, cx: &mut Context<'_>) -> Poll<Then> {
        loop {
            let then = match ready!(self.poll_event(cx)) {
                Event::FromClient => self.hear_client(cx),
                Event::FromServer => self.hear_server(cx),
                Event::ClientGone => self.gone(),
                Event::ServerGone => self.server_gone(cx),
                Event::Signalled => self.signalled(cx),
            };
            if then != Then::Continue {
                return Poll::Ready(then);
            }
        }
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        self.handle.sleeps(cx);
        if self.handle.is_signalled()
            || self.ticket.as_ref().is_some_and(Ticket::has_news)
            || (self.is_to_leave() && self.is_idle())
        {
            return Poll::Ready(Event::Signalled);
        }
        if let Poll::Ready(Err(_)) = self.outbox.poll_flush(cx, &mut self.stream) {
            return Poll::Ready(Event::ClientGone);
        }
        let buffers = &self.worker.buffers;
        let mut server_takes = true;
        if let Some(lease) = &mut self.lease {
            let server: &mut server::held::Server = lease;
            if let Poll::Ready(Err(_)) = server.outbox.poll_flush(cx, &mut server.stream) {
                return Poll::Ready(Event::ServerGone);
            }
            server_takes = server.outbox.waiting_bytes() < HIGH_WATER;
            if self.outbox.waiting_bytes() < HIGH_WATER {
                match server.inbox.poll_fill(cx, &mut server.stream, buffers) {
                    Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Event::ServerGone),
                    Poll::Ready(Ok(_)) => return Poll::Ready(Event::FromServer),
                    Poll::Pending => {}
                }
            }
        }
        // A client that waits is still read, to hear it leave; but not without end.
        let blocked = self.ticket.is_some()
            || self.routing.cache.waits()
            || self
                .lease
                .as_ref()
                .is_some_and(|l| !l.backend.pipeline.is_empty());
        if server_takes && !(blocked && self.inbox.bytes().len() >= BUFFER && !self.grows) {
            match self.inbox.poll_fill(cx, &mut self.stream, buffers) {
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Event::ClientGone),
                Poll::Ready(Ok(_)) => return Poll::Ready(Event::FromClient),
                Poll::Pending => {}
            }
        }
        Poll::Pending
    }

    /// Deals with what the client has sent, as far as that goes now.
    pub(super) fn hear_client(&mut self, cx: &mut Context<'_>) -> Then {
        loop {
            if self.ticket.is_some() {
                return Then::Continue;
            }
            if let Some(then) = self.mind_server(cx) {
                return then;
            }
            let at = Instant::now();
            let (next, written) = self.read_client(cx);
            self.grows = next == Next::More;
            match written {
                Then::Continue => {}
                gone => return gone,
            }
            match next {
                Next::More | Next::Drain => {
                    self.note_work(at);
                    return self.settle_if_idle(cx);
                }
                Next::Server => {
                    if !self.borrow(cx, at) {
                        return Then::Continue;
                    }
                }
                Next::Ours(asks) => {
                    let row = self.tell(&asks);
                    self.session.answer(row);
                }
                Next::Terminate => return Then::Leave,
                Next::Fatal(fault) => {
                    self.say(cx, &fault);
                    return Then::Abandon;
                }
            }
        }
    }

    /// Before more is sent to the server in hand: may it be? `Some`: not now, or not at all.
    fn mind_server(&mut self, cx: &mut Context<'_>) -> Option<Then> {
        let lease = self.lease.as_ref()?;
        if self.session.is_on_shard() {
            if self.is_fenced() {
                return Some(self.fenced(cx));
            }
            return self.mind_shard(cx);
        }
        if !self.session.is_on_replica() {
            return self.is_fenced().then(|| self.fenced(cx));
        }
        let is_free = self.session.is_between_units() && lease.backend.pipeline.is_empty();
        if !is_free || (lease.backend.status == b'I' && self.session.pins.is_empty()) {
            return None;
        }
        match self.steer(cx) {
            Steer::On | Steer::Moved => None,
            Steer::More => {
                self.grows = true;
                Some(Then::Continue)
            }
            Steer::Ended => Some(Then::Abandon),
        }
    }

    /// Does the next stretch belong on the shard the session is on?
    fn mind_shard(&mut self, cx: &mut Context<'_>) -> Option<Then> {
        if !self.session.is_between_stretches() {
            return None;
        }
        match self.stay(cx) {
            Stay::On | Stay::Failed => None,
            Stay::Wait => Some(Then::Continue),
            Stay::Ended(then) => Some(then),
        }
    }

    /// Has the session read the client's bytes, and writes what comes of it.
    fn read_client(&mut self, cx: &mut Context<'_>) -> (Next, Then) {
        let worker = self.worker.clone();
        let mut sink = worker.sink();
        let backend = self.lease.as_mut().map(|lease| &mut lease.backend);
        let (session, input) = (&mut self.session, self.inbox.bytes());
        let (used, next) = worker.at_desk(&self.handle.pool, self.message_max, |desk| {
            desk.totals.bytes_received += input.len() as u64;
            session.on_client(input, backend, desk, &mut sink)
        });
        if let Some(dbname) = session.take_vacated() {
            worker.vacate(&dbname);
        }
        let (mut then, mut is_lost) = (Then::Continue, false);
        if let Some(lease) = &mut self.lease {
            let server: &mut server::held::Server = lease;
            let bytes = sink.forward.bytes(input);
            if !bytes.is_empty() && server.outbox.write(cx, &mut server.stream, bytes).is_err() {
                is_lost = true;
            }
        }
        if self.session.is_on_replica() {
            self.remember(used, &mut sink.back);
        }
        if !sink.back.is_empty() && self.outbox.write(cx, &mut self.stream, &sink.back).is_err() {
            then = self.gone();
        }
        self.inbox.consume(used, &worker.buffers);
        worker.recycle(sink);
        if is_lost && then == Then::Continue {
            // What it was last sent may have been the first of a unit that another server can do.
            then = self.server_gone(cx);
            return (Next::More, then);
        }
        (next, then)
    }

    /// Deals with what the server has sent, to its end: what is left of it wakes nobody.
    fn hear_server(&mut self, cx: &mut Context<'_>) -> Then {
        loop {
            let (then, is_all) = self.hear_unit(cx);
            let has_more = self.lease.as_ref().is_some_and(|lease| !lease.inbox.is_empty());
            if then != Then::Continue || is_all || !has_more {
                return then;
            }
        }
    }

    /// Deals with what the server has sent, up to where something ends. Was that all of it that is whole?
    fn hear_unit(&mut self, cx: &mut Context<'_>) -> (Then, bool) {
        let Some(lease) = &mut self.lease else {
            return (Then::Continue, true);
        };
        let worker = self.worker.clone();
        let mut sink = worker.sink();
        let server: &mut server::held::Server = lease;
        let session = &mut self.session;
        let (used, heard) = worker.at_desk(&self.handle.pool, self.message_max, |desk| {
            session.on_server(server.inbox.bytes(), &mut server.backend, desk, &mut sink)
        });
        let bytes = sink.forward.bytes(server.inbox.bytes());
        session.tell_changes(&server.backend);
        self.routing.cache.passes(session, bytes);
        let (outbox, stream) = (&mut self.outbox, &mut self.stream);
        let mut written = Ok(());
        if session.is_on_replica() {
            match self.routing.hold_back(session, bytes) {
                None => {}
                Some(before) if before.is_empty() && bytes.is_empty() => {}
                Some(mut before) => {
                    before.extend_from_slice(bytes);
                    self.handle.pool.totals.borrow_mut().bytes_sent += before.len() as u64;
                    written = outbox.write(cx, stream, &before);
                }
            }
        } else if !bytes.is_empty() {
            self.routing.mark_written();
            self.handle.pool.totals.borrow_mut().bytes_sent += bytes.len() as u64;
            written = outbox.write(cx, stream, bytes);
        }
        server.inbox.consume(used, &worker.buffers);
        if !sink.back.is_empty() {
            let (outbox, stream) = (&mut server.outbox, &mut server.stream);
            written = written.and(outbox.write(cx, stream, &sink.back));
        }
        worker.recycle(sink);
        if written.is_err() {
            return (self.gone(), true);
        }
        let is_all = !matches!(heard, Heard::UnitEnded | Heard::Settled);
        let then = match heard {
            Heard::Going => Then::Continue,
            Heard::UnitEnded => self.hear_client(cx),
            Heard::Settled => self.settled(cx),
            Heard::Elsewhere(cannot) => self.cannot_here(cx, cannot),
            Heard::SettingsRefused => {
                self.drop_server();
                self.hear_client(cx)
            }
            Heard::Ending => {
                self.drop_server();
                Then::Abandon
            }
            Heard::Broken(why) if self.session.is_unheard() => self.run_elsewhere(cx, why),
            Heard::Broken(why) => {
                tracing::warn!(
                    why,
                    user = self.handle.pool.plan.key.user,
                    "a server broke the protocol and was closed"
                );
                let whole = self.lease.as_ref().is_some_and(|l| l.backend.is_between_frames());
                self.drop_server();
                if whole {
                    let text = format!("the server's connection was closed: {why}");
                    self.say(cx, &Fault::fatal(sqlstate::PROTOCOL_VIOLATION, text));
                }
                Then::Abandon
            }
        };
        (then, is_all)
    }
}
