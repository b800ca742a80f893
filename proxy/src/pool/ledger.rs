//! How many servers a pool may have, counted over all workers. Numbers only, and never more than the limit.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};

use crate::protocol::session::reported::Reported;
use crate::protocol::session::settings::Shared;

/// The count that the workers' parts of one pool share.
#[derive(Debug)]
pub struct Ledger {
    limit: AtomicUsize,
    servers: AtomicUsize,
    starving: AtomicUsize,
    waiting: AtomicUsize,
    workers: usize,
    welcomes: Mutex<Vec<(Shared, Reported)>>,
    ids: std::sync::Arc<AtomicU64>,
}

/// Combinations of startup settings remembered for each pool.
const WELCOMES_MAX: usize = 256;

impl Ledger {
    /// A ledger for at most `limit` servers of `workers` workers that takes their numbers from `ids`.
    pub fn new(limit: usize, workers: usize, ids: std::sync::Arc<AtomicU64>) -> Self {
        Ledger {
            limit: AtomicUsize::new(limit),
            servers: AtomicUsize::new(0),
            starving: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            workers: workers.max(1),
            welcomes: Mutex::default(),
            ids,
        }
    }

    /// Takes a place for one more server, before it is connected. False when all are taken.
    pub fn reserve(&self) -> bool {
        let limit = self.limit.load(Ordering::Acquire);
        self.servers
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |n| {
                (n < limit).then_some(n + 1)
            })
            .is_ok()
    }

    /// Gives a place back.
    pub fn release(&self) {
        let before = self.servers.fetch_sub(1, Ordering::AcqRel);
        debug_assert!(before > 0, "a place was given back twice");
    }

    /// Are there more servers than the limit, because it was lowered?
    pub fn is_over(&self) -> bool {
        self.servers.load(Ordering::Acquire) > self.limit.load(Ordering::Acquire)
    }

    /// Changes the limit.
    pub fn limit(&self, limit: usize) {
        self.limit.store(limit, Ordering::Release);
    }

    /// How many servers a worker may keep while another one has clients that wait and fewer servers.
    pub fn share(&self) -> usize {
        self.limit.load(Ordering::Acquire) / self.workers
    }

    /// One worker more, or one less, has clients that wait, less than its share, and found all places taken.
    pub fn starve(&self, starving: bool) {
        if starving {
            self.starving.fetch_add(1, Ordering::AcqRel);
        } else {
            let before = self.starving.fetch_sub(1, Ordering::AcqRel);
            debug_assert!(before > 0, "a worker stopped starving twice");
        }
    }

    /// Does any worker starve?
    pub fn is_starved(&self) -> bool {
        self.starving.load(Ordering::Acquire) > 0
    }

    /// One worker more, or one less, has clients that wait and found all places taken, whatever its share.
    pub fn wait(&self, waiting: bool) {
        if waiting {
            self.waiting.fetch_add(1, Ordering::AcqRel);
        } else {
            let before = self.waiting.fetch_sub(1, Ordering::AcqRel);
            debug_assert!(before > 0, "a worker stopped waiting twice");
        }
    }

    /// Does any worker wait for a place?
    pub fn is_waited_for(&self) -> bool {
        self.waiting.load(Ordering::Acquire) > 0
    }

    /// What servers of this pool report to a client with these startup settings, if one of them has been asked; and
    /// the settings themselves, so that clients of one kind share them.
    pub fn welcome(&self, startup: &Shared) -> Option<(Shared, Reported)> {
        let welcomes = self.welcomes();
        welcomes.iter().find(|(known, _)| known == startup).cloned()
    }

    /// Remembers what a server reported.
    pub fn learn_welcome(&self, startup: Shared, reported: Reported) {
        let mut welcomes = self.welcomes();
        if welcomes.len() >= WELCOMES_MAX {
            welcomes.remove(0);
        }
        welcomes.push((startup, reported));
    }

    fn welcomes(&self) -> MutexGuard<'_, Vec<(Shared, Reported)>> {
        self.welcomes
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// A number for a new server.
    pub fn next_id(&self) -> u64 {
        self.ids.fetch_add(1, Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn never_more_than_the_limit_however_many_ask() {
        let ledger = Arc::new(Ledger::new(10, 2, Arc::default()));
        let granted: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| (0..100).filter(|_| ledger.reserve()).count()))
                .collect();
            threads.into_iter().map(|t| t.join().expect("no panic")).sum()
        });
        assert_eq!(granted, 10);
        ledger.release();
        assert!(ledger.reserve());
        ledger.limit(5);
        assert!(ledger.is_over());
    }
}
