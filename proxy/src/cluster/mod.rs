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
    pub name: Arc<str>,
    /// Its servers, in the order of the configuration.
    pub members: Vec<Member>,
    /// Is anybody looking? Without a control role nobody is, and the primary is found by asking each connection.
    pub is_watched: bool,
    /// A fresh look is wanted now.
    pub wanted: Notify,
    /// The primary's position was sampled: replicas may be past it.
    pub sampled: Notify,
    /// A look has ended.
    pub looked: Notify,
    primary: AtomicUsize,
    epoch: AtomicU64,
    /// The system its servers are copies of; 0: not known.
    system: AtomicU64,
    born: Instant,
}

/// One server.
#[derive(Debug)]
pub struct Member {
    /// Where it is.
    pub target: Arc<Target>,
    /// The same in words.
    pub label: Arc<str>,
    /// Statements in progress on it that pgshunt sent to it as a replica, over all workers.
    pub outstanding: AtomicUsize,
    /// How much of the reads it takes, compared with the others.
    pub weight: usize,
    is_readable: AtomicBool,
    /// Nanoseconds after `Cluster::born`, plus one; 0: never.
    caught_up: AtomicU64,
    standing: AtomicUsize,
    position: AtomicU64,
    /// The system it is a copy of, by its own word; 0: it has not said.
    system: AtomicU64,
}

impl Member {
    /// The system it is a copy of, as far as it has said.
    pub fn system(&self) -> Option<u64> {
        Some(self.system.load(Ordering::Acquire)).filter(|system| *system != 0)
    }

    fn set_system(&self, system: Option<u64>) {
        self.system.store(system.unwrap_or(0), Ordering::Release);
    }
}

/// How fresh a replica must be for a read.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    /// It must have all that was committed before this, whoever reads.
    pub oldest: Instant,
    /// And before this: what the session has written, or seen on the primary.
    pub needed: Option<Instant>,
    /// And before this, unless it is the session's own: what the session has seen on its replica.
    pub seen: Option<Instant>,
    /// The replica the session read last.
    pub own: Option<usize>,
}

/// One statement in progress on a replica, counted for as long as this lives.
#[derive(Debug)]
pub struct Outstanding {
    cluster: Arc<Cluster>,
    at: usize,
}

impl Outstanding {
    /// One more.
    pub fn new(cluster: &Arc<Cluster>, at: usize) -> Self {
        cluster.members[at].outstanding.fetch_add(1, Ordering::Relaxed);
        Outstanding {
            cluster: cluster.clone(),
            at,
        }
    }
}

impl Drop for Outstanding {
    fn drop(&mut self) {
        self.cluster.members[self.at]
            .outstanding
            .fetch_sub(1, Ordering::Relaxed);
    }
}

const NOBODY: usize = usize::MAX;

impl Cluster {
    /// Servers nothing is known of yet.
    pub fn new(name: Arc<str>, targets: Vec<Arc<Target>>, weights: &[usize], is_watched: bool) -> Arc<Self> {
        let members = targets.into_iter().enumerate().map(|(at, target)| Member {
            label: target.address.to_string().into(),
            target,
            outstanding: AtomicUsize::new(0),
            weight: weights.get(at).copied().unwrap_or(1),
            is_readable: AtomicBool::new(false),
            caught_up: AtomicU64::new(0),
            standing: AtomicUsize::new(Standing::Unknown as usize),
            position: AtomicU64::new(0),
            system: AtomicU64::new(0),
        });
        Arc::new(Cluster {
            name,
            members: members.collect(),
            is_watched,
            wanted: Notify::new(),
            sampled: Notify::new(),
            looked: Notify::new(),
            primary: AtomicUsize::new(NOBODY),
            epoch: AtomicU64::new(0),
            system: AtomicU64::new(0),
            born: Instant::now(),
        })
    }

    /// The primary's place among the members, if it is known.
    pub fn primary(&self) -> Option<usize> {
        let at = self.primary.load(Ordering::Acquire);
        (at != NOBODY).then_some(at)
    }

    /// The primary's place, or that of the only server.
    pub fn primary_or_only(&self) -> Option<usize> {
        match &self.members[..] {
            [_] => Some(0),
            _ => self.primary(),
        }
    }

    /// Grows each time another server, or another timeline, becomes the primary's.
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// The system its servers are copies of, once that is known. A server of another one is never used.
    pub fn system(&self) -> Option<u64> {
        Some(self.system.load(Ordering::Acquire)).filter(|system| *system != 0)
    }

    fn know_system(&self, system: Option<u64>) {
        self.system.store(system.unwrap_or(0), Ordering::Release);
    }

    /// What was known of these servers under another configuration stays true, if one of them is still here.
    pub fn goes_on_from(&self, before: &Cluster) {
        let stays = |member: &Member| before.members.iter().any(|old| old.label == member.label);
        if self.members.iter().any(stays) {
            self.know_system(before.system());
        }
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

    /// Is the primary known not to answer?
    pub fn is_primary_down(&self) -> bool {
        self.primary()
            .is_some_and(|at| self.standing(at) == Standing::Down)
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

    /// Does it have a server like each of these, in this order?
    pub fn is_like(&self, targets: &[Arc<Target>], weights: &[usize], is_watched: bool) -> bool {
        let like = self.members.iter().zip(targets);
        let weight = |at: usize| weights.get(at).copied().unwrap_or(1);
        self.is_watched == is_watched
            && self
                .members
                .iter()
                .enumerate()
                .all(|(at, member)| member.weight == weight(at))
            && self.members.len() == targets.len()
            && like
                .into_iter()
                .all(|(member, target)| member.target.is_like(target))
    }

    /// The replica to read from: of those that are fresh enough, the one with the least to do for its weight; among
    /// equals the session's own.
    pub fn choose(&self, wish: &Wish) -> Option<usize> {
        let primary = self.primary();
        let mut best: Option<(bool, usize, usize)> = None;
        for at in 0..self.members.len() {
            if Some(at) == primary || !self.is_fit(at, wish) {
                continue;
            }
            let member = &self.members[at];
            let load = member.outstanding.load(Ordering::Relaxed) * 1000 / member.weight.max(1);
            let stranger = wish.own != Some(at);
            // A session goes on where it was unless somebody else has clearly less to do.
            let load = if stranger { load + 1500 } else { load };
            if best.is_none_or(|(_, least, _)| load < least) {
                best = Some((stranger, load, at));
            }
        }
        best.map(|(_, _, at)| at)
    }

    fn is_fit(&self, at: usize, wish: &Wish) -> bool {
        let Some(caught_up) = self.caught_up(at).filter(|_| self.is_readable(at)) else {
            return false;
        };
        let seen = wish.seen.filter(|_| wish.own != Some(at));
        caught_up >= wish.oldest
            && [wish.needed, seen]
                .into_iter()
                .flatten()
                .all(|needed| caught_up >= needed)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::tls::{ServerTls, ToServer};
    use crate::server::address::Address;

    /// A primary and two replicas caught up as of one and two seconds ago.
    fn three() -> (Arc<Cluster>, Instant) {
        let tls = Arc::new(ToServer::new(&ServerTls::default()).expect("no files"));
        let targets = (1..=3).map(|port| {
            Arc::new(Target {
                address: Address::Tcp {
                    host: "h".into(),
                    port,
                },
                dbname: "d".into(),
                tls: tls.clone(),
                connect_timeout: Duration::from_secs(1),
                tcp: Default::default(),
                name: Default::default(),
            })
        });
        let cluster = Cluster::new("s".into(), targets.collect(), &[], true);
        let now = cluster.born + Duration::from_secs(100);
        cluster.primary.store(0, Ordering::Release);
        for (at, ago) in [(1, 1), (2, 2)] {
            cluster.members[at].is_readable.store(true, Ordering::Release);
            cluster.set_caught_up(at, now - Duration::from_secs(ago));
        }
        (cluster, now)
    }

    #[test]
    fn a_read_goes_where_it_is_fresh_enough_and_least_is_done() {
        let (cluster, now) = three();
        let ago = |millis| now - Duration::from_millis(millis);
        let any = Wish {
            oldest: ago(10_000),
            needed: None,
            seen: None,
            own: None,
        };
        assert_eq!(cluster.choose(&any), Some(1));
        let busy = Outstanding::new(&cluster, 1);
        assert_eq!(cluster.choose(&any), Some(2));
        let own = Wish { own: Some(1), ..any };
        assert_eq!(
            cluster.choose(&own),
            Some(1),
            "one statement is no reason to leave"
        );
        drop(busy);
        let fresh = Wish {
            oldest: ago(1_500),
            own: Some(2),
            ..any
        };
        assert_eq!(cluster.choose(&fresh), Some(1));
        let written = Wish {
            needed: Some(ago(500)),
            ..any
        };
        assert_eq!(cluster.choose(&written), None);
        let seen = Wish {
            seen: Some(ago(500)),
            own: Some(2),
            ..any
        };
        assert_eq!(
            cluster.choose(&seen),
            Some(2),
            "what it has seen on its own, its own has"
        );
        cluster.members[2].is_readable.store(false, Ordering::Release);
        assert_eq!(cluster.choose(&seen), None);
    }
}
