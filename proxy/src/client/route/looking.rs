//! A statement that waits for something to be looked up: the database's tables, or what a coordinator has of them.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::relay::Client;
use crate::catalog::coordinator::Coordinator;
use crate::pool::Reads;

/// How long a statement waits.
const WITHIN: Duration = Duration::from_secs(5);

impl Client {
    /// Until when something may be looked up for the stretch; `None`: that has taken too long already.
    pub(super) fn looks_until(&mut self, at: Instant) -> Option<Instant> {
        let until = *self.routing.looking.get_or_insert(at + WITHIN);
        (at < until).then_some(until)
    }

    /// Waits until the tables have been looked up, if that has not taken too long already.
    pub(super) fn waits_for_tables(&mut self, reads: &Rc<Reads>, at: Instant) -> bool {
        let Some(until) = self.looks_until(at) else {
            return false;
        };
        let reads = reads.clone();
        let looked = async move {
            let learned = reads.catalogued.learned.notified();
            tokio::pin!(learned);
            learned.as_mut().enable();
            if reads.catalogued.tables().is_none() {
                reads.catalogued.wanted.notify_one();
                learned.await;
            }
        };
        self.handle.looks_again(&self.routing.is_awaited, until, looked);
        true
    }

    /// Waits until what the coordinator has was found out, if that has not taken too long already.
    pub(super) fn waits_for_coordinator(
        &mut self,
        reads: &Rc<Reads>,
        coordinator: &Arc<Coordinator>,
        at: Instant,
    ) -> bool {
        let Some(until) = self.looks_until(at) else {
            return false;
        };
        let (reads, coordinator) = (reads.clone(), coordinator.clone());
        let looked = async move {
            let (learned, named) = (
                coordinator.learned.notified(),
                reads.catalogued.learned.notified(),
            );
            tokio::pin!(learned, named);
            learned.as_mut().enable();
            named.as_mut().enable();
            let is_current = reads
                .sharding
                .as_ref()
                .is_some_and(|sharding| coordinator.is_current(reads.catalogued.schema().tables(), sharding));
            if !is_current || reads.catalogued.current().is_none() {
                // Cancel safe: whoever wakes looks again.
                tokio::select! {
                    () = learned => {}
                    () = named => {}
                }
            }
        };
        self.handle.looks_again(&self.routing.is_awaited, until, looked);
        true
    }
}
