//! How much is known of what changes past this pgshunt: until which instant every write and every right has been heard of.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use routing_rules::cache::Elsewhere;

/// What [`nanos`] counts from.
static BORN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// The cache's clock: nanoseconds since it was first looked at, and one.
pub fn nanos() -> u64 {
    nanos_at(Instant::now())
}

/// The same for another instant.
pub fn nanos_at(at: Instant) -> u64 {
    let nanos = at.saturating_duration_since(*BORN).as_nanos();
    u64::try_from(nanos).unwrap_or(u64::MAX - 1) + 1
}

/// Rights and definitions are looked at this often at least, or nothing is answered from the cache.
pub const RIGHTS_WITHIN: Duration = Duration::from_secs(2);

/// Until when everything has been heard of, on every shard.
#[derive(Debug)]
pub struct Heard {
    shards: Box<[OfShard]>,
}

/// The same of one shard; 0: nothing yet.
#[derive(Debug, Default)]
pub struct OfShard {
    /// Every write committed by then.
    writes: AtomicU64,
    /// Every right and every definition as of then.
    rights: AtomicU64,
}

impl OfShard {
    /// All writes that were committed before this have been heard of.
    pub fn writes_until(&self, at: Instant) {
        self.writes.fetch_max(nanos_at(at), Ordering::AcqRel);
    }

    /// All rights and definitions are as they were then, or their change has been heard of.
    pub fn rights_until(&self, at: Instant) {
        self.rights.fetch_max(nanos_at(at), Ordering::AcqRel);
    }

    /// The stream of writes was lost: nothing is known until the next one is heard.
    pub fn lose_writes(&self) {
        self.writes.store(0, Ordering::Release);
    }
}

impl Heard {
    /// Nothing yet, of so many shards.
    pub fn new(shards: usize) -> Self {
        Heard {
            shards: (0..shards).map(|_| OfShard::default()).collect(),
        }
    }

    /// What is known of one shard, by its place.
    pub fn shard(&self, at: usize) -> Option<&OfShard> {
        self.shards.get(at)
    }

    /// How many shards there are.
    pub fn shards(&self) -> usize {
        self.shards.len()
    }

    /// How long ago all writes were heard of.
    pub fn behind(&self, at: Instant) -> Duration {
        let until = self
            .shards
            .iter()
            .map(|shard| shard.writes.load(Ordering::Acquire))
            .min();
        Duration::from_nanos(nanos_at(at).saturating_sub(until.unwrap_or_default()))
    }

    /// Why nothing may be answered at this moment.
    pub fn is_deaf(&self, at: Instant, elsewhere: Elsewhere, max_delay: Duration) -> Option<&'static str> {
        let now = nanos_at(at);
        let is_within = |until: &AtomicU64, within: Duration| {
            let until = until.load(Ordering::Acquire);
            until > 0 && Duration::from_nanos(now.saturating_sub(until)) <= within
        };
        let mut shards = self.shards.iter();
        shards.find_map(|shard| {
            if !is_within(&shard.rights, RIGHTS_WITHIN) {
                return Some("rights and definitions have not been looked at in time");
            }
            match elsewhere {
                Elsewhere::Follow if !is_within(&shard.writes, max_delay) => {
                    Some("writes from elsewhere are not heard of in time")
                }
                Elsewhere::Follow | Elsewhere::Ttl => None,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_not_heard_in_time_says_nothing() {
        let all = Heard::new(2);
        let [heard, other] = [0, 1].map(|at| all.shard(at).expect("a shard"));
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let within = Duration::from_secs(1);
        let deaf = |ms, elsewhere| all.is_deaf(at(ms), elsewhere, within).is_some();
        other.rights_until(at(0));
        other.writes_until(at(500));
        assert!(deaf(0, Elsewhere::Ttl), "one of two");
        heard.rights_until(at(0));
        assert!(!deaf(0, Elsewhere::Ttl) && deaf(0, Elsewhere::Follow));
        heard.writes_until(at(100));
        assert!(!deaf(1100, Elsewhere::Follow) && deaf(1101, Elsewhere::Follow));
        heard.lose_writes();
        assert!(deaf(200, Elsewhere::Follow) && !deaf(2000, Elsewhere::Ttl) && deaf(2001, Elsewhere::Ttl));
    }
}
