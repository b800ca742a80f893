//! A session on one shard of several: one stretch at a time, each looked at before it is sent, and the transaction made to
//! fail when something is said in it that can't be done there.

use super::ours::raise_fault;
use super::pipeline::{Expect, Parsed};
use super::replica::Lane;
use super::{Backend, Session};
use crate::fault::Fault;
use crate::protocol::reply;

/// How far a stretch has gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Pace {
    /// Part of it was sent.
    pub is_begun: bool,
    /// A whole unit was: what follows waits, for it may be another shard's.
    pub is_sent: bool,
}

impl Session {
    /// A primary of one shard was lent.
    pub fn attach_shard(&mut self, backend: &mut Backend, back: &mut Vec<u8>) {
        self.attach(backend, back);
        self.lane = Lane::Shard(Pace::default());
    }

    /// Is the session on a shard's primary, with no stretch begun there? Then the next one is looked at first.
    pub fn is_between_stretches(&self) -> bool {
        match &self.lane {
            Lane::Shard(pace) => *pace == Pace::default() && self.stream_left == 0 && !self.copy_in,
            Lane::Primary | Lane::Replica(_) => false,
        }
    }

    /// Is the session on a shard's primary?
    pub fn is_on_shard(&self) -> bool {
        matches!(self.lane, Lane::Shard(_))
    }

    /// COPY by the extended protocol has ended: the Sync behind it still belongs to it.
    pub(super) fn copy_ended(&mut self) {
        if let Lane::Shard(pace) = &mut self.lane {
            *pace = Pace {
                is_begun: true,
                is_sent: false,
            };
        }
    }

    /// Has the server fail where the client's next stretch would be, whose last frame is `ends`. A Sync or Flush at its end
    /// is still to be sent. False: its settings must be made first, and their outcome awaited.
    pub fn fail(&mut self, fault: &Fault, ends: u8, backend: &mut Backend, out: &mut Vec<u8>) -> bool {
        if backend.is_idle() && self.prepare(backend, out) {
            return false;
        }
        // Of a text that is not sent.
        self.script = None;
        let sql = raise_fault(fault);
        backend.unnamed = 0;
        if !matches!(ends, b'S' | b'H') {
            self.unnamed.token = 0;
            reply::query(out, &sql);
            backend.pipeline.push(Expect::Query);
            self.sent(b'Q');
            return true;
        }
        reply::frame(out, b'P', |out| {
            out.push(0);
            reply::cstr(out, &sql);
            out.extend_from_slice(&[0; 2]);
        });
        reply::frame(out, b'B', |out| out.extend_from_slice(&[0; 8]));
        reply::frame(out, b'E', |out| out.extend_from_slice(&[0; 5]));
        for expect in [
            Expect::OwnParse(Parsed::Nothing),
            Expect::OwnBind,
            Expect::OwnExecute,
        ] {
            backend.pipeline.push(expect);
        }
        true
    }
}
