//! One shard's part in what is gathered: a server of its pool, and what is owed by it.

use std::task::{Context, Poll};

use tokio::task::JoinHandle;

use crate::client::leave::send_cancel;
use crate::client::worker::Worker;
use crate::cluster::Outstanding;
use crate::net::buffer::Buffers;
use crate::pool::lease::Lease;
use crate::protocol::frame::{self, HEADER, Header};
use crate::server::held::Server;

/// A shard's server in hand.
pub(super) struct Part {
    /// The server.
    pub lease: Lease,
    /// ReadyForQuery still to come.
    pub owes: u32,
    /// A transaction block of ours is open on it.
    pub in_block: bool,
    /// That transaction may have written.
    pub writes: bool,
    /// It has run what is not proven to only read: it is asked at its end whether it wrote.
    pub is_unproven: bool,
    /// Its transaction notifies others, and can't be prepared.
    pub notifies: bool,
    /// Its transaction has locked what others meet at: it ends last.
    pub locks: bool,
    /// It reads the rows of a COPY until it is told that there are no more.
    pub is_copying: bool,
    /// It may hold something of the session.
    pub is_dirty: bool,
    /// A cancel request on its way to it.
    cancel: Option<JoinHandle<()>>,
    /// It is counted among what its replica has to do.
    outstanding: Option<Outstanding>,
}

/// Why no frame can come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoFrame {
    /// The line broke.
    Lost,
    /// It is longer than may be held.
    TooLong,
}

impl Part {
    pub(super) fn new(lease: Lease) -> Self {
        Part {
            lease,
            owes: 0,
            in_block: false,
            writes: false,
            is_unproven: false,
            notifies: false,
            locks: false,
            is_copying: false,
            is_dirty: false,
            cancel: None,
            outstanding: None,
        }
    }

    /// It is this replica of its shard.
    pub(super) fn counts_at(&mut self, replica: usize) {
        let cluster = self.lease.pool().reads().cluster.clone();
        self.outstanding = Some(Outstanding::new(&cluster, replica));
    }

    /// Sends messages with so many Syncs or Queries among them. They are short, or the server reads them to their end before
    /// it answers.
    pub(super) async fn send(&mut self, bytes: &[u8], syncs: u32) -> Result<(), NoFrame> {
        self.settle().await;
        self.owes += syncs;
        self.lease.write(bytes).await.map_err(|_| NoFrame::Lost)
    }

    /// Waits until no cancel request is on its way: what was meant for a statement before must not meet the next one.
    pub(super) async fn settle(&mut self) {
        if let Some(cancel) = self.cancel.take() {
            let _ = cancel.await;
        }
    }

    /// A frame that is here, whole.
    pub(super) fn peek(&self) -> Option<Header> {
        let bytes = self.lease.inbox.bytes();
        match frame::header(bytes) {
            Ok(Some(header)) if header.total <= bytes.len() => Some(header),
            Ok(_) | Err(_) => None,
        }
    }

    /// Waits for a whole frame.
    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
        buffers: &Buffers,
        max: usize,
    ) -> Poll<Result<Header, NoFrame>> {
        loop {
            let bytes = self.lease.inbox.bytes();
            match frame::header(bytes) {
                Ok(Some(header)) if header.total <= bytes.len() => return Poll::Ready(Ok(header)),
                Ok(Some(header)) if header.total > max => return Poll::Ready(Err(NoFrame::TooLong)),
                Ok(_) => {}
                Err(_) => return Poll::Ready(Err(NoFrame::Lost)),
            }
            let server: &mut Server = &mut self.lease;
            match server.inbox.poll_fill(cx, &mut server.stream, buffers) {
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Err(NoFrame::Lost)),
                Poll::Ready(Ok(_)) => {}
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// What is behind the header of the frame that is here.
    pub(super) fn body(&self, header: Header) -> &[u8] {
        &self.lease.inbox.bytes()[HEADER..header.total]
    }

    /// All of the frame that is here.
    pub(super) fn whole(&self, header: Header) -> &[u8] {
        &self.lease.inbox.bytes()[..header.total]
    }

    /// The frame that is here is dealt with.
    pub(super) fn consume(&mut self, header: Header, buffers: &Buffers) {
        self.lease.inbox.consume(header.total, buffers);
    }

    /// Its transaction is over.
    pub(super) fn end_block(&mut self) {
        (self.in_block, self.writes, self.is_unproven) = (false, false, false);
        (self.notifies, self.locks) = (false, false);
    }

    /// Has its statement cancelled, once.
    pub(super) fn cancel(&mut self, worker: &Worker) {
        if self.owes > 0 && self.cancel.is_none() {
            let pool = self.lease.pool().clone();
            self.cancel = send_cancel(&pool, &self.lease, worker);
        }
    }

    /// Was it cancelled since it was last sent anything?
    pub(super) fn is_canceled(&self) -> bool {
        self.cancel.is_some()
    }

    /// Gives the server back, if nothing is left in it; else closes it.
    pub(super) async fn release(mut self, buffers: &Buffers) {
        if self.owes > 0 || self.lease.backend.status != b'I' {
            return;
        }
        if self.is_dirty {
            match self.lease.run(b"DISCARD ALL", buffers).await {
                Ok(Ok(())) => self.lease.backend.emptied(),
                Ok(Err(_)) | Err(_) => return,
            }
        }
        self.lease.give_back();
    }
}
