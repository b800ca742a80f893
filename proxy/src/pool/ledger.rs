//! How many servers a pool may have, counted over all workers. Numbers only, and never more than the limit.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};

use tokio::sync::Notify;

use crate::protocol::session::reported::Reported;
use crate::protocol::session::settings::Shared;

/// The count that the workers' parts of one pool share.
#[derive(Debug)]
pub struct Ledger {
    limit: AtomicUsize,
    /// Places above the limit, for when clients have waited for long.
    extra: AtomicUsize,
    servers: AtomicUsize,
    surplus: AtomicUsize,
    starving: AtomicUsize,
    behind: AtomicUsize,
    /// A worker began to starve, or a place came free while one did.
    pub changed: Notify,
    workers: usize,
    welcomes: Mutex<Vec<(Shared, Reported)>>,
    ids: std::sync::Arc<AtomicU64>,
}

/// How much a worker is in need of a place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Need {
    /// Nobody waits, or a server is on its way.
    #[default]
    None,
    /// Clients wait, and all places are taken.
    Starving,
    /// Clients wait, and all places of the database are taken, though not all of the pool.
    Database,
    /// Clients wait, and all places of the role are taken, though not all of the pool.
    Role,
    /// And the worker has less than its share of them.
    Behind,
}

impl Need {
    /// Would a place of the pool help?
    fn is_of_the_pool(self) -> bool {
        match self {
            Need::Starving | Need::Behind => true,
            Need::None | Need::Database | Need::Role => false,
        }
    }
}

/// Combinations of startup settings remembered for each pool.
const WELCOMES_MAX: usize = 256;

impl Ledger {
    /// A ledger for at most `limit` servers of `workers` workers that takes their numbers from `ids`.
    pub fn new(limit: usize, workers: usize, ids: std::sync::Arc<AtomicU64>) -> Self {
        Ledger {
            limit: AtomicUsize::new(limit),
            extra: AtomicUsize::new(0),
            servers: AtomicUsize::new(0),
            surplus: AtomicUsize::new(0),
            starving: AtomicUsize::new(0),
            behind: AtomicUsize::new(0),
            changed: Notify::new(),
            workers: workers.max(1),
            welcomes: Mutex::default(),
            ids,
        }
    }

    /// Takes a place for one more server, before it is connected. False when all are taken; those above the limit are
    /// only for those who have waited for long.
    pub fn reserve(&self, has_waited: bool) -> bool {
        let limit = match has_waited {
            true => self.most(),
            false => self.limit.load(Ordering::Acquire),
        };
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
        if self.starving.load(Ordering::Acquire) > 0 {
            self.changed.notify_waiters();
        }
    }

    /// Gives a place back at once, since the database has none. Nobody is told: nothing has become free.
    pub fn hand_back(&self) {
        self.servers.fetch_sub(1, Ordering::AcqRel);
    }

    /// Servers there are, connecting ones and closing ones with them.
    pub fn servers(&self) -> usize {
        self.servers.load(Ordering::Acquire)
    }

    fn most(&self) -> usize {
        self.limit.load(Ordering::Acquire) + self.extra.load(Ordering::Acquire)
    }

    /// Are there more servers than there may be, because a limit was lowered? Then one of the asking worker's is to be closed,
    /// and [`Ledger::gave_up`] says that it was. No more are asked for than there are too many, whoever asks.
    pub fn gives_up(&self) -> bool {
        let (servers, limit) = (self.servers(), self.most());
        if servers <= limit {
            return false;
        }
        self.surplus
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |closing| {
                (servers - limit > closing).then_some(closing + 1)
            })
            .is_ok()
    }

    /// A server that was too many has been released.
    pub fn gave_up(&self) {
        self.surplus.fetch_sub(1, Ordering::AcqRel);
    }

    /// Changes the limit, and how many servers there may be above it.
    pub fn limit(&self, limit: usize, extra: usize) {
        let is_other = self.limit.swap(limit, Ordering::AcqRel) != limit;
        if self.extra.swap(extra, Ordering::AcqRel) != extra || is_other {
            self.changed.notify_waiters();
        }
    }

    /// How many servers a worker may keep while another one has clients that wait and fewer servers.
    pub fn share(&self) -> usize {
        self.limit.load(Ordering::Acquire) / self.workers
    }

    /// A worker's need has changed.
    pub fn need(&self, from: Need, to: Need) {
        let count = |counter: &AtomicUsize, was: bool, is: bool| match (was, is) {
            (false, true) => counter.fetch_add(1, Ordering::AcqRel),
            (true, false) => counter.fetch_sub(1, Ordering::AcqRel),
            (false, false) | (true, true) => 0,
        };
        count(&self.starving, from.is_of_the_pool(), to.is_of_the_pool());
        count(&self.behind, from == Need::Behind, to == Need::Behind);
        if to.is_of_the_pool() && from != to {
            self.changed.notify_waiters();
        }
    }

    /// Do workers have clients that wait while all places are taken? `own` is not counted.
    pub fn others_starve(&self, own: Need) -> bool {
        self.starving.load(Ordering::Acquire) > usize::from(own.is_of_the_pool())
    }

    /// Do workers that have less than their share? `own` is not counted.
    pub fn others_are_behind(&self, own: Need) -> bool {
        self.behind.load(Ordering::Acquire) > usize::from(own == Need::Behind)
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

    /// Forgets it all: other servers may report something else.
    pub fn forget_welcomes(&self) {
        self.welcomes().clear();
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
                .map(|_| scope.spawn(|| (0..100).filter(|_| ledger.reserve(false)).count()))
                .collect();
            threads.into_iter().map(|t| t.join().expect("no panic")).sum()
        });
        assert_eq!(granted, 10);
        ledger.release();
        assert!(ledger.reserve(false));
        assert!(!ledger.gives_up());
        ledger.limit(8, 0);
        assert_eq!((0..9).filter(|_| ledger.gives_up()).count(), 2);
        ledger.release();
        ledger.gave_up();
        assert!(!ledger.gives_up(), "one is still being closed");
        ledger.release();
        ledger.gave_up();
        assert_eq!((ledger.servers(), ledger.gives_up()), (8, false));
        ledger.limit(8, 1);
        assert!(!ledger.reserve(false) && ledger.reserve(true) && !ledger.reserve(true));
        assert!(!ledger.gives_up());
        ledger.limit(8, 0);
        assert!(ledger.gives_up());
    }
}
