//! Shards come to take part: a server of each, with what the session has set and what its transaction has said so far.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use super::block::Block;
use super::part::Part;
use super::{Begun, Gather, Halt, Seat};
use crate::fault::Fault;
use crate::pool::lease::{Answer, Lease, Ticket};
use crate::pool::{Pool, Role};
use crate::protocol::session::settings::change;
use crate::protocol::{reply, sqlstate};

impl Gather {
    /// Has a server of each of these shards, in the transaction if there is one. `begins`: a transaction is begun on them, to
    /// end with the unit.
    ///
    /// Servers are borrowed in the order of shards, so that two statements that need the same shards do not wait for each
    /// other's.
    pub(super) async fn join(&mut self, shards: &[usize], begins: bool) -> Result<(), Halt> {
        let is_in_block = self.block.is_some() || begins || self.is_implicit;
        self.is_implicit |= begins && self.block.is_none();
        let mut among = Vec::new();
        for &at in shards {
            self.check_primary(at)?;
            let mut greeting = Vec::new();
            let mut syncs = 0;
            if self.parts[at].is_none() {
                let lease = self.borrow(at).await?;
                self.takes_part(at, &lease);
                self.parts[at] = Some(self.with_settings(lease, &mut greeting, &mut syncs));
            }
            let has_begun = self.parts[at].as_ref().is_some_and(|part| part.in_block);
            if is_in_block && !has_begun {
                self.check_isolation().await?;
                self.say_begin(&mut greeting, &mut syncs);
            }
            let Some(part) = &mut self.parts[at] else { continue };
            part.in_block |= is_in_block;
            if syncs > 0 {
                let sent = part.send(&greeting, syncs).await;
                sent.map_err(|_| self.lost(at))?;
                among.push(at);
            }
        }
        let was_position = std::mem::replace(&mut self.keeps_position, false);
        while let Some((at, header)) = self.next(&mut among).await? {
            self.consume(at, header);
        }
        self.keeps_position = was_position;
        Ok(())
    }

    /// Is a server in hand one of a primary that no longer is?
    fn check_primary(&mut self, at: usize) -> Result<(), Halt> {
        let Some(part) = &self.parts[at] else {
            return Ok(());
        };
        let pool = part.lease.pool();
        pool.follow_primary();
        if !pool.is_fenced(part.lease.facts.generation) {
            return Ok(());
        }
        if !part.in_block {
            self.parts[at] = None;
            return Ok(());
        }
        let fault = Fault::error(
            sqlstate::CONNECTION_FAILURE,
            format!(
                "the primary of shard \"{}\" has changed",
                self.terms.shards[at].name
            ),
        );
        self.lose(at);
        Err(Halt::of(&fault))
    }

    /// A server that is about to hear what the session has set.
    fn with_settings(&self, lease: Lease, greeting: &mut Vec<u8>, syncs: &mut u32) -> Part {
        let replica = replica(lease.pool());
        let mut part = Part::new(lease);
        if let Some(replica) = replica {
            part.counts_at(replica);
        }
        let backend = &mut part.lease.backend;
        backend.unnamed = 0;
        // What it remembers of sequences is no session's from here on.
        backend.last_session = u64::MAX;
        if let Some(change) = change(&backend.settings, &self.terms.settings) {
            reply::query(greeting, &change.sql);
            *syncs += 1;
            let names = self
                .terms
                .settings
                .iter()
                .map(|(name, _)| String::from_utf8_lossy(name));
            for name in names.filter(|name| name.contains('.')) {
                if !backend.custom.iter().any(|own| *own == name) {
                    backend.custom.push(name.into_owned());
                }
            }
            backend.settings = self.terms.settings.clone();
            part.is_dirty = change.may_fail;
        }
        for set in &self.sets {
            reply::query(greeting, set);
            *syncs += 1;
            part.is_dirty = true;
        }
        part
    }

    fn say_begin(&self, greeting: &mut Vec<u8>, syncs: &mut u32) {
        let begin = self.block.as_ref().map_or(&b"BEGIN"[..], |block| &block.begin);
        reply::query(greeting, begin);
        *syncs += 1;
        for said in self.block.iter().flat_map(Block::said) {
            reply::query(greeting, said);
            *syncs += 1;
        }
    }

    /// A shard on which the transaction is open.
    pub(super) fn first_in_block(&self) -> Option<usize> {
        let is_in_block = |part: &Option<Part>| part.as_ref().is_some_and(|part| part.in_block);
        self.parts.iter().position(is_in_block)
    }

    /// Before another shard enters the transaction: only one that is READ COMMITTED can have several.
    async fn check_isolation(&mut self) -> Result<(), Halt> {
        let first = self.first_in_block();
        let Some(first) = first.filter(|_| self.block.as_ref().is_some_and(|block| !block.is_checked)) else {
            return Ok(());
        };
        let question =
            b"SELECT pg_catalog.current_setting('transaction_read_only') OPERATOR(pg_catalog.||) ' ' \
            OPERATOR(pg_catalog.||) pg_catalog.current_setting('transaction_isolation')";
        let rows = self.ask(&[first], question).await?;
        let level = rows.into_iter().last().map(|(_, row)| row).unwrap_or_default();
        if !level.ends_with(b"read committed") && !level.ends_with(b"read uncommitted") {
            let text = "a transaction that is REPEATABLE READ or SERIALIZABLE can't go on to another shard";
            let fault = Fault::error(sqlstate::FEATURE_NOT_SUPPORTED, text)
                .detail("Each shard has snapshots of its own.")
                .hint("Use READ COMMITTED, or keep to one tenant in it.");
            return Err(Halt::of(&fault));
        }
        let is_read_only = level.windows(3).any(|window| window == b"on ");
        if let Some(block) = &mut self.block {
            block.is_checked = true;
            if block.begin.is_empty() {
                block.begin = if is_read_only {
                    &b"BEGIN READ ONLY"[..]
                } else {
                    b"BEGIN"
                }
                .into();
            }
        }
        Ok(())
    }

    /// Says where the shard is read.
    fn takes_part(&self, at: usize, lease: &Lease) {
        let place = &lease.pool().plan.key.place;
        self.terms.course.takes_part(Seat {
            at,
            shard: place.shard.clone(),
            replica: replica(lease.pool()),
            server: lease.facts.target.clone(),
        });
    }

    /// A server of the shard: of its replica, if it is read there. What a replica could have done, the primary can.
    async fn borrow(&mut self, at: usize) -> Result<Lease, Halt> {
        if let Some(replica) = self.terms.shards[at].replica.clone() {
            match self.borrow_from(&replica).await? {
                Ok(lease) => return Ok(lease),
                Err(_) if self.terms.course.may_mix => self.terms.shards[at].replica = None,
                Err(_) => {
                    let text = "a replica can't be had";
                    return Err(Halt::of(&Fault::error(sqlstate::CONNECTION_FAILURE, text)));
                }
            }
        }
        let primary = self.terms.shards[at].primary.clone();
        self.borrow_from(&primary).await?.map_err(|fault| {
            let shard = format!(
                "It was to be a server of shard \"{}\".",
                self.terms.shards[at].name
            );
            let detail = match &fault.detail {
                Some(detail) => format!("{detail} {shard}"),
                None => shard,
            };
            Halt::of(&fault.detail(detail))
        })
    }

    /// A server of this pool, or why there is none; waits for one as any client does.
    async fn borrow_from(&mut self, pool: &Rc<Pool>) -> Result<Result<Lease, Fault>, Halt> {
        let mut ticket: Option<Ticket> = None;
        let lent = poll_fn(|cx| {
            if ticket.is_none() {
                match pool.borrow(0, || cx.waker().clone()) {
                    Answer::Lent(lease) => return Poll::Ready(Ok(lease)),
                    Answer::Refused(fault) => return Poll::Ready(Err(fault)),
                    Answer::Queued(queued) => ticket = Some(queued),
                }
            }
            match ticket.as_ref().and_then(Ticket::outcome) {
                Some(outcome) => Poll::Ready(outcome),
                None => Poll::Pending,
            }
        });
        tokio::select! {
            biased;
            outcome = lent => Ok(outcome),
            // Cancel safe.
            () = self.hail.called() => {
                let text = "canceling statement due to user request";
                Err(Halt::of(&Fault::error(sqlstate::QUERY_CANCELED, text)))
            }
        }
    }

    /// Takes over a transaction that has begun on one shard.
    pub(super) fn take_over(&mut self, begun: Begun) {
        for text in &begun.said {
            self.note_cursor(text, begun.at);
        }
        self.takes_part(begun.at, &begun.lease);
        self.block = Some(Block::begun(begun.said));
        self.status = b'T';
        let mut part = Part::new(begun.lease);
        // What the session has set in it is not known here, nor what it has done.
        (part.in_block, part.writes, part.is_dirty) = (true, true, true);
        part.notifies = begun.notifies;
        part.lease.backend.unnamed = 0;
        part.lease.backend.last_session = u64::MAX;
        self.parts[begun.at] = Some(part);
    }

    /// Servers that were asked to stop what they did, outside of a transaction, go back: the request may still be on its way.
    pub(super) fn let_go_of_canceled(&mut self) {
        self.let_go_of(Part::is_canceled);
    }

    /// Outside of a transaction, a session that has cursors keeps only those servers that have something of it.
    pub(super) fn let_go_of_idle(&mut self) {
        self.let_go_of(|part| !part.is_dirty && part.owes == 0);
    }

    fn let_go_of(&mut self, is_it: fn(&Part) -> bool) {
        for at in 0..self.parts.len() {
            let goes = |part: &mut Part| is_it(part) && !part.in_block;
            if !self.is_read(at)
                && let Some(part) = self.parts[at].take_if(goes)
            {
                let buffers = self.terms.worker.buffers.clone();
                tokio::task::spawn_local(async move { part.release(&buffers).await });
            }
        }
    }
}

/// Which of its shard's replicas a pool's servers are.
fn replica(pool: &Pool) -> Option<usize> {
    match pool.plan.key.place.role {
        Role::Replica(at) => Some(at),
        Role::Primary | Role::Coordinator => None,
    }
}
