//! How fresh a replica must be for a session's read, and a moment's wait for one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use routing_rules::{Consistency, Freshness, Rules};

use super::super::marks::Mark;
use super::super::relay::Client;
use crate::cluster::{Cluster, Wish};

/// A replica that is no further behind than this, when nobody asks, is worth a moment's wait.
const CLOSE_BEHIND: Duration = Duration::from_millis(250);

/// How old a replica may be while the primary does not answer.
const PRIMARY_IS_DOWN: Duration = Duration::from_secs(24 * 3600);

impl Client {
    /// How fresh a replica must be. While the primary does not answer, nothing is written that could be missed, and a
    /// replica with all the session needs is better than nobody: only a bound the session has set itself stands then.
    pub(super) fn wish(&self, freshness: Freshness, cluster: &Cluster, rules: &Rules, at: Instant) -> Wish {
        let routing = &self.routing;
        let track = routing.tracks.of(&cluster.name);
        let mark = routing.wishes.mark.as_ref().and_then(Mark::written);
        let needed = track.and_then(|track| track.needed).max(mark);
        let has_own_writes = freshness.has_own_writes;
        let is_bounded = matches!(
            routing.wishes.consistency.unwrap_or(rules.consistency),
            Consistency::Bounded(_)
        );
        let within = match cluster.is_primary_down() && !is_bounded {
            true => PRIMARY_IS_DOWN,
            false => freshness.within,
        };
        let oldest = at.checked_sub(within).unwrap_or(at);
        Wish {
            oldest,
            needed: needed.filter(|_| has_own_writes),
            seen: track.and_then(|track| track.seen).filter(|_| has_own_writes),
            own: track.and_then(|track| track.own),
        }
    }

    /// Waits a moment for a replica to catch up, if the rules allow it and that moment is not over. Writes that no sample
    /// can show for a long time are not waited for.
    pub(super) fn waits_for_replica(&mut self, cluster: &Arc<Cluster>, rules: &Rules, at: Instant) -> bool {
        let wait = rules.catchup_wait;
        let until = *self.routing.catching.get_or_insert(at + wait);
        // One that is far behind will not be here in a moment.
        let recent = at.checked_sub(wait + CLOSE_BEHIND).unwrap_or(at);
        let mut members = 0..cluster.members.len();
        let has_hope = members.any(|member| {
            let caught_up = cluster.caught_up(member);
            cluster.is_readable(member) && caught_up.is_some_and(|as_of| as_of >= recent)
        });
        if wait.is_zero() || at >= until || !has_hope {
            return false;
        }
        let cluster = cluster.clone();
        let looked = async move {
            let looked = cluster.looked.notified();
            tokio::pin!(looked);
            looked.as_mut().enable();
            cluster.wanted.notify_waiters();
            looked.await;
        };
        self.handle.looks_again(&self.routing.is_awaited, until, looked);
        true
    }
}
