//! How fresh a replica is: not "how many bytes behind" but "caught up as of which instant".
//!
//! The primary's WAL position is sampled now and then. A replica that has replayed up to a sample has everything that had
//! been committed when the sample was asked for. On an idle primary the position stands still and the instant goes on, so
//! lag does not grow while nothing happens.

use std::collections::VecDeque;
use std::fmt;
use std::time::Instant;

/// A WAL position.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lsn(pub u64);

impl Lsn {
    /// Reads PostgreSQL's `16/B374D848`.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        let (high, low) = text.split_once('/')?;
        let part = |digits| u32::from_str_radix(digits, 16).ok().map(u64::from);
        Some(Lsn(part(high)? << 32 | part(low)?))
    }

    /// The same position as a replica that has replayed everything would give it: an insert position just behind an
    /// empty page's header stands for the page's begin (`SizeOfXLogShortPHD` is 24 bytes, `SizeOfXLogLongPHD` 40).
    pub fn floor(self) -> Self {
        match self.0 % PAGE_BYTES {
            24 | 40 => Lsn(self.0 - self.0 % PAGE_BYTES),
            _ => self,
        }
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xffff_ffff)
    }
}

/// A WAL page (`XLOG_BLCKSZ`).
const PAGE_BYTES: u64 = 8192;

/// The most samples kept.
const SAMPLES_MAX: usize = 2048;

/// Positions of the primary, oldest first.
#[derive(Debug, Default)]
pub struct Samples {
    samples: VecDeque<(Instant, Lsn)>,
}

impl Samples {
    /// The primary answered with `lsn` to a question sent at `sent`.
    pub fn primary_at(&mut self, sent: Instant, lsn: Lsn) {
        let lsn = lsn.floor();
        match self.samples.back_mut() {
            // While the position stands still, only the latest instant matters.
            Some(last) if last.1 == lsn => last.0 = last.0.max(sent),
            Some(last) if last.1 > lsn => {}
            _ => self.samples.push_back((sent, lsn)),
        }
        if self.samples.len() > SAMPLES_MAX {
            let mut keep = false;
            self.samples.retain(|_| {
                keep = !keep;
                keep
            });
        }
    }

    /// The instant as of which a server that has replayed up to `lsn` has everything.
    pub fn caught_up(&self, lsn: Lsn) -> Option<Instant> {
        let after = self.samples.partition_point(|(_, sample)| *sample <= lsn);
        after.checked_sub(1).map(|at| self.samples[at].0)
    }

    /// Another primary writes from now on: what was sampled says nothing of it.
    pub fn clear(&mut self) {
        self.samples.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn positions_are_read_and_written_as_postgresql_does() {
        let lsn = Lsn::parse(b"16/B374D848").expect("a position");
        assert_eq!(lsn.to_string(), "16/B374D848");
        for wrong in [&b""[..], b"16", b"16/", b"x/1", b"1/123456789", b"\xff/1"] {
            assert_eq!(Lsn::parse(wrong), None);
        }
    }

    #[test]
    fn an_empty_page_is_its_beginning() {
        assert_eq!(Lsn(3 * 8192 + 24).floor(), Lsn(3 * 8192));
        assert_eq!(Lsn(16 * 1024 * 1024 + 40).floor(), Lsn(16 * 1024 * 1024));
        assert_eq!(Lsn(3 * 8192 + 48).floor(), Lsn(3 * 8192 + 48));
    }

    #[test]
    fn a_replica_is_as_fresh_as_the_last_sample_it_has_replayed() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut samples = Samples::default();
        samples.primary_at(at(0), Lsn(100));
        samples.primary_at(at(10), Lsn(200));
        samples.primary_at(at(20), Lsn(300));
        assert_eq!(samples.caught_up(Lsn(99)), None);
        assert_eq!(samples.caught_up(Lsn(100)), Some(at(0)));
        assert_eq!(samples.caught_up(Lsn(299)), Some(at(10)));
        assert_eq!(samples.caught_up(Lsn(1000)), Some(at(20)));
    }

    #[test]
    fn on_an_idle_primary_freshness_goes_on() {
        let start = Instant::now();
        let mut samples = Samples::default();
        for ms in 0..10_000 {
            samples.primary_at(start + Duration::from_millis(ms), Lsn(100));
        }
        assert_eq!(
            samples.caught_up(Lsn(100)),
            Some(start + Duration::from_millis(9_999))
        );
        assert_eq!(samples.samples.len(), 1);
    }

    #[test]
    fn samples_are_bounded_and_the_newest_stays() {
        let start = Instant::now();
        let mut samples = Samples::default();
        for n in 0..100_000 {
            samples.primary_at(start + Duration::from_millis(n), Lsn(n));
        }
        assert!(samples.samples.len() <= SAMPLES_MAX);
        assert!(samples.caught_up(Lsn(100_000)).expect("some") > start + Duration::from_millis(99_000));
    }
}
