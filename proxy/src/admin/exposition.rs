//! Prometheus' text format, version 0.0.4. Which metrics there are is said in `metrics`.

use std::fmt::Write;

use super::lookout::Seen;
use super::show;
use crate::metrics::{
    BUCKETS_S, CACHE_LABELS, CacheRow, Histogram, Kind, Metric, OF_CACHE, OF_POOL, OF_PROCESS, OF_SHARD,
    POOL_LABELS, PoolRow, SHARD_LABELS, SHARD_WAIT, ShardRow, TIMES,
};

/// The media type of [`text`].
pub const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Everything that was seen.
pub fn text(seen: &Seen) -> String {
    let mut out = String::new();
    head(&mut out, "pgshunt_info", "gauge", "The version of pgshunt.");
    line(
        &mut out,
        "pgshunt_info",
        &label("version", env!("CARGO_PKG_VERSION")),
        1.0,
    );
    let process = seen.process();
    for metric in OF_PROCESS {
        head(&mut out, metric.name, kind(metric), metric.help);
        line(&mut out, metric.name, "", (metric.value)(&process));
    }
    let pools: Vec<(String, &PoolRow)> = seen.census.pools.iter().map(labelled).collect();
    for metric in OF_POOL {
        head(&mut out, metric.name, kind(metric), metric.help);
        for (labels, pool) in &pools {
            line(&mut out, metric.name, labels, (metric.value)(pool));
        }
    }
    let shards = shards(seen);
    for metric in OF_SHARD.iter().filter(|_| !shards.is_empty()) {
        head(&mut out, metric.name, kind(metric), metric.help);
        for (labels, shard) in &shards {
            line(&mut out, metric.name, labels, (metric.value)(shard));
        }
    }
    let caches = caches(seen);
    for metric in OF_CACHE.iter().filter(|_| !caches.is_empty()) {
        head(&mut out, metric.name, kind(metric), metric.help);
        for (labels, cache) in &caches {
            line(&mut out, metric.name, labels, (metric.value)(cache));
        }
    }
    for times in &TIMES {
        head(&mut out, times.name, "histogram", times.help);
        for (labels, pool) in &pools {
            histogram(&mut out, times.name, labels, (times.of)(&pool.totals));
        }
    }
    if !shards.is_empty() {
        head(&mut out, SHARD_WAIT.name, "histogram", SHARD_WAIT.help);
    }
    for (labels, shard) in &shards {
        histogram(
            &mut out,
            SHARD_WAIT.name,
            labels,
            (SHARD_WAIT.of)(&shard.pool.totals),
        );
    }
    out
}

/// Every shard of the databases that are spread over several: of the others, the pools say it all.
fn shards(seen: &Seen) -> Vec<(String, ShardRow)> {
    let [database, shard] = SHARD_LABELS;
    let is_spread = |name: &str| {
        seen.snapshot
            .databases
            .iter()
            .any(|one| one.name == name && one.shards.len() > 1)
    };
    let spread = show::every_shard(seen)
        .into_iter()
        .filter(|one| is_spread(one.database));
    spread
        .map(|one| {
            (
                format!("{},{}", label(database, one.database), label(shard, &one.name)),
                one.row,
            )
        })
        .collect()
}

/// Every class of every cache.
fn caches(seen: &Seen) -> Vec<(String, CacheRow)> {
    let [database, class] = CACHE_LABELS;
    let mut rows: Vec<_> = seen
        .caches
        .iter()
        .flat_map(|(name, cache)| {
            let classes = cache.rules.classes.iter().zip(&cache.counts.classes);
            classes.map(move |(rules, counts)| {
                let labels = format!("{},{}", label(database, name), label(class, &rules.name));
                (labels, counts.row())
            })
        })
        .collect();
    rows.sort_by(|(one, _), (other, _)| one.cmp(other));
    rows
}

fn labelled(pool: &PoolRow) -> (String, &PoolRow) {
    let [database, user] = POOL_LABELS;
    let labels = format!("{},{}", label(database, &pool.database), label(user, &pool.user));
    (labels, pool)
}

fn kind<T>(metric: &Metric<T>) -> &'static str {
    match metric.kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
    }
}

// Writing to a String cannot fail.

fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn line(out: &mut String, name: &str, labels: &str, value: f64) {
    let _ = match labels {
        "" => writeln!(out, "{name} {value}"),
        labels => writeln!(out, "{name}{{{labels}}} {value}"),
    };
}

fn label(name: &str, value: &str) -> String {
    let mut escaped = String::with_capacity(value.len());
    for c in value.chars() {
        match c {
            '\\' => escaped.push_str("\\\\"),
            '"' => escaped.push_str("\\\""),
            '\n' => escaped.push_str("\\n"),
            c => escaped.push(c),
        }
    }
    format!("{name}=\"{escaped}\"")
}

/// Buckets are cumulative, and the last one, without a bound, equals the count.
fn histogram(out: &mut String, name: &str, labels: &str, histogram: &Histogram) {
    let mut below = 0;
    for (count, bound) in histogram.buckets.iter().zip(BUCKETS_S) {
        below += count;
        let _ = writeln!(out, "{name}_bucket{{{labels},le=\"{bound}\"}} {below}");
    }
    let count = histogram.count();
    let _ = writeln!(out, "{name}_bucket{{{labels},le=\"+Inf\"}} {count}");
    line(out, &format!("{name}_sum"), labels, histogram.sum.as_secs_f64());
    line(out, &format!("{name}_count"), labels, count as f64);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use super::*;
    use crate::metrics::Totals;

    #[test]
    fn names_are_unique_and_well_formed() {
        let pools = OF_POOL.iter().map(|metric| (metric.name, metric.kind));
        let process = OF_PROCESS.iter().map(|metric| (metric.name, metric.kind));
        let mut names = BTreeSet::new();
        let shards = OF_SHARD.iter().map(|metric| (metric.name, metric.kind));
        for (name, kind) in pools.chain(process).chain(shards) {
            assert!(names.insert(name), "{name}");
            assert!(
                name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'),
                "{name}"
            );
            assert_eq!(name.ends_with("_total"), kind == Kind::Counter, "{name}");
        }
        for times in TIMES.iter().chain([&SHARD_WAIT]) {
            assert!(times.name.ends_with("_seconds") && names.insert(times.name));
        }
    }

    #[test]
    fn label_values_are_escaped() {
        assert_eq!(label("user", "a\"b\\c\nd"), r#"user="a\"b\\c\nd""#);
    }

    #[test]
    fn buckets_are_cumulative() {
        let mut totals = Totals::default();
        for millis in [1, 2, 60_000] {
            totals.wait_time.record(Duration::from_millis(millis));
        }
        let mut out = String::new();
        histogram(&mut out, "w", "a=\"b\"", &totals.wait_time);
        assert!(out.contains("w_bucket{a=\"b\",le=\"0.001\"} 1\n"), "{out}");
        assert!(out.contains("w_bucket{a=\"b\",le=\"30\"} 2\n"), "{out}");
        assert!(out.contains("w_bucket{a=\"b\",le=\"+Inf\"} 3\n"), "{out}");
        assert!(
            out.ends_with("w_sum{a=\"b\"} 60.003\nw_count{a=\"b\"} 3\n"),
            "{out}"
        );
    }
}
