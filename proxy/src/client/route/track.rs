//! What a session has written and seen on each shard, so that its reads never go back in time there.

use std::sync::Arc;
use std::time::Instant;

/// All shards a session has been on.
#[derive(Default)]
pub struct Tracks {
    /// The shard it is on, or was on last.
    pub here: Track,
    others: Vec<Track>,
}

/// One shard.
#[derive(Default)]
pub struct Track {
    /// Its name; `None`: the session has been on none.
    pub shard: Option<Arc<str>>,
    /// What the session has written, or seen on the primary, was committed before this.
    pub needed: Option<Instant>,
    /// What it has seen on its replica was.
    pub seen: Option<Instant>,
    /// The replica it read last.
    pub own: Option<usize>,
}

impl Tracks {
    /// The session goes on on this shard.
    pub fn enter(&mut self, shard: &Arc<str>) {
        let is_here = |track: &Track| track.shard.as_ref().is_some_and(|own| own == shard);
        if is_here(&self.here) {
            return;
        }
        let known = self.others.iter().position(is_here);
        let next = known.map_or_else(
            || Track {
                shard: Some(shard.clone()),
                ..Track::default()
            },
            |at| self.others.swap_remove(at),
        );
        let left = std::mem::replace(&mut self.here, next);
        if left.shard.is_some() {
            self.others.push(left);
        }
    }

    /// The session has written, or seen on this shard's primary, what was committed before this.
    pub fn need(&mut self, shard: &Arc<str>, at: Instant) {
        self.track(shard).needed = Some(at);
    }

    /// What the session has seen on this replica of the shard was committed before this.
    pub fn saw(&mut self, shard: &Arc<str>, replica: usize, at: Instant) {
        let track = self.track(shard);
        (track.seen, track.own) = (Some(at), Some(replica));
    }

    fn track(&mut self, shard: &Arc<str>) -> &mut Track {
        let is_it = |track: &Track| track.shard.as_ref().is_some_and(|own| own == shard);
        if is_it(&self.here) {
            return &mut self.here;
        }
        let known = self.others.iter().position(is_it);
        let at = known.unwrap_or_else(|| {
            self.others.push(Track {
                shard: Some(shard.clone()),
                ..Track::default()
            });
            self.others.len() - 1
        });
        &mut self.others[at]
    }

    /// What is remembered of a shard; `None`: nothing.
    pub fn of(&self, shard: &str) -> Option<&Track> {
        let all = std::iter::once(&self.here).chain(&self.others);
        all.into_iter()
            .find(|track| track.shard.as_deref() == Some(shard))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_shard_has_its_own() {
        let (one, two): (Arc<str>, Arc<str>) = ("s0".into(), "s1".into());
        let mut tracks = Tracks::default();
        tracks.enter(&one);
        tracks.here.own = Some(1);
        tracks.enter(&two);
        assert_eq!(tracks.here.own, None);
        tracks.here.own = Some(2);
        tracks.enter(&one);
        assert_eq!(tracks.here.own, Some(1));
        assert_eq!(tracks.of("s1").and_then(|track| track.own), Some(2));
        assert!(tracks.of("s2").is_none());
        let now = Instant::now();
        tracks.need(&"s2".into(), now);
        tracks.need(&two, now);
        assert_eq!(tracks.of("s2").and_then(|track| track.needed), Some(now));
        assert_eq!(
            tracks.of("s1").map(|track| (track.own, track.needed)),
            Some((Some(2), Some(now)))
        );
        tracks.saw(&two, 0, now);
        assert_eq!(
            tracks.of("s1").map(|track| (track.own, track.seen)),
            Some((Some(0), Some(now)))
        );
    }
}
