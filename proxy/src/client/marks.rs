//! How far the writes of each tenant must be seen by its reads, whichever connection made them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// All tenants' marks.
#[derive(Debug)]
pub struct Marks {
    born: Instant,
    marks: Mutex<HashMap<(String, Box<[u8]>), Mark>>,
}

/// One tenant's mark.
#[derive(Clone, Debug)]
pub struct Mark {
    born: Instant,
    /// Nanoseconds after `born`; 0: nothing was written.
    written: Arc<AtomicU64>,
}

/// Tenants remembered before those that nobody is connected for are forgotten, if their writes are old enough to be on
/// every replica that may be read.
const MARKS_MAX: usize = 10_000;

impl Default for Marks {
    fn default() -> Self {
        Marks {
            born: Instant::now(),
            marks: Mutex::default(),
        }
    }
}

impl Marks {
    /// A tenant's mark; a write older than `oldest` need not be remembered.
    pub fn of(&self, database: &str, tenant: &[u8], oldest: Instant) -> Mark {
        let mut marks = self.marks.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if marks.len() >= MARKS_MAX {
            marks.retain(|_, mark| {
                Arc::strong_count(&mark.written) > 1 || mark.written().is_some_and(|at| at > oldest)
            });
        }
        let new = || Mark {
            born: self.born,
            written: Arc::default(),
        };
        marks
            .entry((database.to_owned(), tenant.into()))
            .or_insert_with(new)
            .clone()
    }
}

impl Mark {
    /// A write was acknowledged at this moment.
    pub fn wrote(&self, at: Instant) {
        let nanos = at.saturating_duration_since(self.born).as_nanos();
        let nanos = u64::try_from(nanos).unwrap_or(u64::MAX).max(1);
        self.written.fetch_max(nanos, Ordering::AcqRel);
    }

    /// When the last one was.
    pub fn written(&self) -> Option<Instant> {
        let nanos = self.written.load(Ordering::Acquire);
        (nanos > 0).then(|| self.born + Duration::from_nanos(nanos))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_connections_of_one_tenant_share_its_mark() {
        let marks = Marks::default();
        let now = Instant::now();
        let (one, other) = (marks.of("d", b"t", now), marks.of("d", b"t", now));
        let stranger = marks.of("d", b"u", now);
        one.wrote(now);
        assert_eq!(other.written().map(|at| at >= now), Some(true));
        other.wrote(now - Duration::from_secs(1));
        assert!(
            one.written()
                .is_some_and(|at| at + Duration::from_millis(1) > now)
        );
        assert_eq!(stranger.written(), None);
    }
}
