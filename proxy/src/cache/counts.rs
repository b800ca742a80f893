//! What a cache counts, for SHOW CACHE and /metrics.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::metrics::CacheRow;

/// Counts of one database's cache.
#[derive(Debug)]
pub struct Counts {
    /// Of each class.
    pub classes: Box<[OfClass]>,
    /// Answers fetched in advance, and kept.
    pub warmed: AtomicU64,
    /// Answers that could not be fetched in advance, or were not kept.
    pub unwarmed: AtomicU64,
    refusals: [AtomicU64; REFUSALS.len()],
}

/// Counts of one class.
#[derive(Debug, Default)]
pub struct OfClass {
    /// Answered from the cache.
    pub hits: AtomicU64,
    /// Of those: by an answer past its time.
    pub stale_hits: AtomicU64,
    /// Found in Redis, and kept here from then on.
    pub shared: AtomicU64,
    /// Asked of a server.
    pub misses: AtomicU64,
    /// Answers kept.
    pub fills: AtomicU64,
    /// Answers not kept: a table was changed meanwhile, or the answer was too long or an error.
    pub dropped: AtomicU64,
    /// Waited for another client's answer.
    pub waits: AtomicU64,
    /// Answers found old because of a change.
    pub invalidated: AtomicU64,
    /// Answers found past their time.
    pub expired: AtomicU64,
}

impl OfClass {
    /// For /metrics.
    pub fn row(&self) -> CacheRow {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        CacheRow {
            hits: load(&self.hits),
            shared: load(&self.shared),
            misses: load(&self.misses),
            fills: load(&self.fills),
            invalidated: load(&self.invalidated),
        }
    }
}

/// Every kind of reason for which a statement is not looked for.
pub const REFUSALS: [&str; 13] = [
    "not proven to only read",
    "not a single query",
    "depends on the moment",
    "function not IMMUTABLE",
    "relation",
    "no class",
    "no relation",
    "name beyond ASCII",
    "session",
    "pgshunt.cache",
    "consistency",
    "not heard in time",
    "other",
];

impl Counts {
    /// Of so many classes.
    pub fn new(classes: usize) -> Self {
        Counts {
            classes: (0..classes).map(|_| OfClass::default()).collect(),
            warmed: AtomicU64::new(0),
            unwarmed: AtomicU64::new(0),
            refusals: Default::default(),
        }
    }

    /// A statement was not looked for.
    pub fn refused(&self, kind: &str) {
        let place = REFUSALS.iter().position(|known| *known == kind);
        self.refusals[place.unwrap_or(REFUSALS.len() - 1)].fetch_add(1, Ordering::Relaxed);
    }

    /// How often for which reason.
    pub fn refusals(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.refusals.iter().map(|count| count.load(Ordering::Relaxed));
        REFUSALS.into_iter().zip(counts)
    }
}

/// One more.
pub fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
