//! Averages over the last stats period, out of two samples of the totals. No clock: every sample brings its time.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::metrics::{PoolRow, Totals};

/// How often a sample is taken (PgBouncer's default `stats_period`).
pub const STATS_PERIOD: Duration = Duration::from_secs(60);

/// PgBouncer's twelve numbers: what SHOW STATS and its kin show, in their order. Times are microseconds.
pub type Twelve = [u64; 12];

const XACTS: usize = 1;
const QUERIES: usize = 2;
const XACT_TIME: usize = 5;
const QUERY_TIME: usize = 6;

/// The twelve numbers of some totals.
pub fn twelve(totals: &Totals) -> Twelve {
    let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    [
        totals.server_assignment_count,
        totals.xact_count,
        totals.query_count,
        totals.bytes_received,
        totals.bytes_sent,
        micros(totals.xact_time.sum),
        micros(totals.query_time.sum),
        micros(totals.wait_time.sum),
        totals.client_parse_count,
        totals.server_parse_count,
        totals.bind_count,
        totals.client_login_count,
    ]
}

/// The totals of every database at one moment.
#[derive(Clone, Debug)]
pub struct Sample {
    at: Instant,
    databases: BTreeMap<String, Twelve>,
}

impl Sample {
    /// Adds the pools of each database up.
    pub fn of(pools: &[PoolRow], at: Instant) -> Self {
        let mut databases = BTreeMap::new();
        for pool in pools {
            let sum: &mut Twelve = databases.entry(pool.database.clone()).or_default();
            add(sum, &twelve(&pool.totals));
        }
        Sample { at, databases }
    }

    /// Each database and its totals.
    pub fn databases(&self) -> &BTreeMap<String, Twelve> {
        &self.databases
    }

    fn together(&self) -> Twelve {
        let mut sum = Twelve::default();
        self.databases.values().for_each(|one| add(&mut sum, one));
        sum
    }
}

/// Adds one set of numbers to another.
pub fn add(sum: &mut Twelve, more: &Twelve) {
    for (sum, more) in sum.iter_mut().zip(more) {
        *sum = sum.saturating_add(*more);
    }
}

/// The last two samples.
#[derive(Debug, Default)]
pub struct Samples {
    older: Option<Sample>,
    newer: Option<Sample>,
}

impl Samples {
    /// A stats period has ended.
    pub fn take(&mut self, sample: Sample) {
        self.older = self.newer.take();
        self.newer = Some(sample);
    }

    /// Averages over the last whole period; before one is over, since the first sample.
    pub fn rates(&self, now: &Sample) -> Rates {
        let (older, newer) = match (&self.older, &self.newer) {
            (Some(older), Some(newer)) => (older, newer),
            (None, Some(first)) => (first, now),
            (Some(_) | None, None) => return Rates::default(),
        };
        let took = newer.at.saturating_duration_since(older.at);
        let databases = newer.databases.iter().map(|(name, after)| {
            let before = older.databases.get(name).copied().unwrap_or_default();
            (name.clone(), averages(&before, after, took))
        });
        Rates {
            databases: databases.collect(),
            together: averages(&older.together(), &newer.together(), took),
        }
    }
}

/// Averages over a stats period.
#[derive(Clone, Debug, Default)]
pub struct Rates {
    /// Of each database.
    pub databases: BTreeMap<String, Twelve>,
    /// Of all databases.
    pub together: Twelve,
}

/// Per second; but the time of transactions and queries is that of one.
fn averages(before: &Twelve, after: &Twelve, took: Duration) -> Twelve {
    let grown: Twelve = std::array::from_fn(|i| after[i].saturating_sub(before[i]));
    let micros = took.as_micros().max(1);
    let per_second = |count: u64| (u128::from(count) * 1_000_000 / micros) as u64;
    let mut averages = grown.map(per_second);
    averages[XACT_TIME] = grown[XACT_TIME].checked_div(grown[XACTS]).unwrap_or(0);
    averages[QUERY_TIME] = grown[QUERY_TIME].checked_div(grown[QUERIES]).unwrap_or(0);
    averages
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(at: Instant, queries: u64, micros: u64) -> Sample {
        let mut totals = Totals {
            query_count: queries,
            ..Totals::default()
        };
        totals.query_time.sum = Duration::from_micros(micros);
        totals.wait_time.sum = Duration::from_micros(micros);
        let pool = PoolRow {
            database: "app".into(),
            totals,
            ..PoolRow::default()
        };
        Sample::of(&[pool.clone(), pool], at)
    }

    #[test]
    fn averages_are_of_the_last_whole_period() {
        let start = Instant::now();
        let minute = |n: u32| start + STATS_PERIOD * n;
        let mut samples = Samples::default();
        assert!(samples.rates(&sample(start, 9, 9)).databases.is_empty());
        samples.take(sample(start, 0, 0));
        // Two pools: 120 queries in 60 seconds.
        let early = samples.rates(&sample(minute(1), 60, 6000)).databases;
        assert_eq!((early["app"][QUERIES], early["app"][QUERY_TIME]), (2, 100));
        samples.take(sample(minute(1), 600, 6000));
        samples.take(sample(minute(2), 900, 12_000));
        let Rates {
            databases: rates,
            together,
        } = samples.rates(&sample(minute(2), 999_999, 999_999));
        assert_eq!(together, rates["app"]);
        assert_eq!((rates["app"][QUERIES], rates["app"][QUERY_TIME]), (10, 20));
        assert_eq!((rates["app"][7], rates["app"][XACT_TIME]), (200, 0));
    }

    #[test]
    fn a_database_that_is_new_counts_from_nothing() {
        let start = Instant::now();
        let mut samples = Samples::default();
        samples.take(Sample::of(&[], start));
        let rates = samples
            .rates(&sample(start + Duration::from_secs(1), 5, 5))
            .databases;
        assert_eq!(rates["app"][QUERIES], 10);
    }
}
