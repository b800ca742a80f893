//! An answer that passes to a client and is taken down for the cache.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use super::shared::Under;
use crate::cache::Reader;
use crate::cache::counts::count;
use crate::cache::fill::{Recorded, Recorder};
use crate::cache::flight::Leader;
use crate::cache::key::Context;
use crate::cache::local::{Entry, Said};
use crate::cache::stamp::Stamp;
use crate::protocol::session::Session;
use crate::protocol::session::question::Question;

/// An answer that is being taken down.
pub(super) struct Filling {
    pub(super) recorder: Recorder,
    pub(super) of: Unanswered,
}

/// What it is the answer to.
pub(super) struct Unanswered {
    pub(super) reader: Rc<Reader>,
    pub(super) question: Question,
    pub(super) hash: u128,
    pub(super) context: Context,
    pub(super) class: usize,
    pub(super) stamp: Stamp,
    pub(super) asked_at: Instant,
    /// Where the answer may be shared.
    pub(super) under: Option<Under>,
    pub(super) leader: Option<Leader>,
}

impl Filling {
    /// Bytes pass from a server to the client. Is it over?
    pub(super) fn passes(&mut self, session: &Session, bytes: &[u8]) -> bool {
        match self.recorder.pass(bytes) {
            Recorded::Going => return false,
            Recorded::No(_) => count(&self.of.reader.cache.counts.classes[self.of.class].dropped),
            Recorded::Whole { description, rows } => self.of.keep(session, description, rows),
        }
        true
    }
}

impl Unanswered {
    /// Keeps the answer, unless it is old already, or the session has become somebody else on the way.
    fn keep(&mut self, session: &Session, description: &[u8], rows: &[u8]) {
        let cache = &self.reader.cache;
        let counts = &cache.counts.classes[self.class];
        if !self.context.is_of(session) || !self.stamp.holds(&cache.generations) {
            return count(&counts.dropped);
        }
        let is_wanted = self.under.is_some() || self.leader.as_ref().is_some_and(Leader::is_awaited);
        if !is_wanted && !cache.local.takes(self.hash) {
            return count(&counts.dropped);
        }
        let entry = Entry {
            hash: self.hash,
            context: self.context.bytes.clone(),
            tenant: self.context.tenant.clone(),
            class: self.class,
            stamp: self.stamp.clone(),
            asked_at: self.asked_at,
            said: Said::new(&self.question.body, description, rows),
            is_used: AtomicBool::new(false),
        };
        if entry.bytes() > self.reader.rules.max_entry_bytes {
            return count(&counts.dropped);
        }
        count(&counts.fills);
        let entry = Arc::new(entry);
        cache.local.keep(entry.clone(), self.reader.rules.tenant_share);
        if let Some(under) = self.under.take() {
            let class = &self.reader.rules.classes[self.class];
            under.keep(entry, class.ttl + class.stale);
        }
    }
}
