//! Which servers a shard has, which of them is the primary, and how far the others are behind it.
//!
//! `roles` decides who is what, `lag` how fresh a replica is; both are pure. `watch` looks at every server several times a
//! second over a connection of its own and writes what it finds into a [`Cluster`], where workers read it without a lock.

pub mod lag;
pub mod roles;
pub mod watch;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::server::address::Target;
use roles::Standing;

/// One shard's servers as they are known at this moment.
#[derive(Debug)]
pub struct Cluster {
    /// The shard's name.
    pub name: String,
    /// Its servers, in the order of the configuration.
    pub members: Vec<Member>,
    /// Is anybody looking? Without a control role nobody is, and the primary is found by asking each connection.
    pub is_watched: bool,
    /// A fresh look is wanted now.
    pub wanted: Notify,
    /// A look has ended.
    pub looked: Notify,
    primary: AtomicUsize,
    epoch: AtomicU64,
    born: Instant,
}

/// One server.
#[derive(Debug)]
pub struct Member {
    /// Where it is.
    pub target: Arc<Target>,
    /// Statements in progress on it that pgshunt sent to it as a replica, over all workers.
    pub outstanding: AtomicUsize,
    /// How much of the reads it takes, compared with the others.
    pub weight: u32,
    is_readable: AtomicBool,
    /// Nanoseconds after `Cluster::born`, plus one; 0: never.
    caught_up: AtomicU64,
    standing: AtomicUsize,
    position: AtomicU64,
}

const NOBODY: usize = usize::MAX;

impl Cluster {
    /// Servers nothing is known of yet.
    pub fn new(name: String, targets: Vec<Arc<Target>>, is_watched: bool) -> Arc<Self> {
        let members = targets.into_iter().map(|target| Member {
            target,
            outstanding: AtomicUsize::new(0),
            weight: 1,
            is_readable: AtomicBool::new(false),
            caught_up: AtomicU64::new(0),
            standing: AtomicUsize::new(Standing::Unknown as usize),
            position: AtomicU64::new(0),
        });
        Arc::new(Cluster {
            name,
            members: members.collect(),
            is_watched,
            wanted: Notify::new(),
            looked: Notify::new(),
            primary: AtomicUsize::new(NOBODY),
            epoch: AtomicU64::new(0),
            born: Instant::now(),
        })
    }

    /// The primary's place among the members, if it is known.
    pub fn primary(&self) -> Option<usize> {
        let at = self.primary.load(Ordering::Acquire);
        (at != NOBODY).then_some(at)
    }

    /// Grows each time another server, or another timeline, becomes the primary's.
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Are there replicas at all?
    pub fn has_replicas(&self) -> bool {
        self.is_watched && self.members.len() > 1
    }

    /// Is this member a replica that can be read now?
    pub fn is_readable(&self, at: usize) -> bool {
        self.members[at].is_readable.load(Ordering::Acquire)
    }

    /// The instant as of which a member has everything that had been committed.
    pub fn caught_up(&self, at: usize) -> Option<Instant> {
        let nanos = self.members[at]
            .caught_up
            .load(Ordering::Acquire)
            .checked_sub(1)?;
        self.born.checked_add(Duration::from_nanos(nanos))
    }

    /// What a member is known to be.
    pub fn standing(&self, at: usize) -> Standing {
        Standing::ALL
            .get(self.members[at].standing.load(Ordering::Acquire))
            .copied()
            .unwrap_or(Standing::Unknown)
    }

    /// The member's last known WAL position: written for a primary, replayed for a standby.
    pub fn position(&self, at: usize) -> lag::Lsn {
        lag::Lsn(self.members[at].position.load(Ordering::Acquire))
    }

    fn set_caught_up(&self, at: usize, instant: Instant) {
        let nanos = instant.saturating_duration_since(self.born).as_nanos();
        let nanos = u64::try_from(nanos).unwrap_or(u64::MAX - 1) + 1;
        self.members[at].caught_up.fetch_max(nanos, Ordering::AcqRel);
    }

    fn forget_caught_up(&self) {
        self.members
            .iter()
            .for_each(|member| member.caught_up.store(0, Ordering::Release));
    }
}
