//! SHOW CACHE: what the caches have answered, what they hold, and why statements were not looked for.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::admin::lookout::Seen;
use crate::admin::table::{Cell, Column, Row, big, numeric, text};
use crate::cache::Cache;

pub(super) const CACHE: [Column; 23] = [
    text("database"),
    text("class"),
    text("about"),
    big("hits"),
    big("misses"),
    numeric("hit_rate"),
    big("stale_hits"),
    big("waits"),
    big("fills"),
    big("dropped"),
    big("invalidated"),
    big("expired"),
    big("entries"),
    big("bytes"),
    big("max_bytes"),
    big("evictions"),
    big("changes"),
    text("redis"),
    big("redis_hits"),
    big("redis_stored"),
    big("redis_foreign"),
    big("warmed"),
    big("unwarmed"),
];

/// For each database: one row for all it keeps (class `*`), one for each class, one for each reason not to look.
pub(super) fn cache(seen: &Seen) -> Vec<Row> {
    let caches: BTreeMap<_, _> = seen.caches.iter().collect();
    caches
        .into_iter()
        .flat_map(|(database, cache)| of_one(database, cache))
        .collect()
}

fn of_one(database: &str, cache: &Cache) -> Vec<Row> {
    let sum = |of: fn(&crate::cache::counts::OfClass) -> &AtomicU64| {
        cache
            .counts
            .classes
            .iter()
            .map(|class| load(of(class)))
            .sum::<u64>()
    };
    let (entries, bytes) = cache.local.size();
    let state = cache
        .heard
        .is_deaf(Instant::now(), cache.rules.elsewhere, cache.rules.max_delay)
        .unwrap_or("answers");
    let mut rows = vec![vec![
        database.to_owned().into(),
        "*".into(),
        state.into(),
        sum(|class| &class.hits).into(),
        sum(|class| &class.misses).into(),
        rate(sum(|class| &class.hits), sum(|class| &class.misses)),
        sum(|class| &class.stale_hits).into(),
        sum(|class| &class.waits).into(),
        sum(|class| &class.fills).into(),
        sum(|class| &class.dropped).into(),
        sum(|class| &class.invalidated).into(),
        sum(|class| &class.expired).into(),
        (entries as u64).into(),
        (bytes as u64).into(),
        (cache.rules.max_bytes as u64).into(),
        load(&cache.local.evictions).into(),
        cache.generations.anything.count().into(),
        if cache.shared.door().is_some() {
            "shared"
        } else {
            "off"
        }
        .into(),
        load(&cache.shared.hits).into(),
        load(&cache.shared.stored).into(),
        load(&cache.shared.foreign).into(),
        load(&cache.counts.warmed).into(),
        load(&cache.counts.unwarmed).into(),
    ]];
    for (class, counts) in cache.rules.classes.iter().zip(&cache.counts.classes) {
        let (hits, misses) = (load(&counts.hits), load(&counts.misses));
        let mut row: Row = vec![
            database.to_owned().into(),
            class.name.clone().into(),
            "".into(),
            hits.into(),
            misses.into(),
            rate(hits, misses),
            load(&counts.stale_hits).into(),
            load(&counts.waits).into(),
            load(&counts.fills).into(),
            load(&counts.dropped).into(),
            load(&counts.invalidated).into(),
            load(&counts.expired).into(),
        ];
        row.resize(CACHE.len(), Cell::Null);
        rows.push(row);
    }
    for (reason, count) in cache.counts.refusals().filter(|(_, count)| *count > 0) {
        let mut row: Row = vec![
            database.to_owned().into(),
            Cell::Null,
            reason.into(),
            Cell::Null,
            count.into(),
        ];
        row.resize(CACHE.len(), Cell::Null);
        rows.push(row);
    }
    rows
}

fn load(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

/// Percent of those looked for that were found.
fn rate(hits: u64, misses: u64) -> Cell {
    match hits + misses {
        0 => Cell::Null,
        all => format!("{:.1}", hits as f64 * 100.0 / all as f64).into(),
    }
}
